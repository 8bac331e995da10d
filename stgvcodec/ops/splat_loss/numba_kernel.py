"""The loss on CPU threads: a band of rows becomes its residual where it is drawn, in the blocks that gradients want."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from stgvcodec.ops.compiled import njit
from stgvcodec.ops.rasterize.numba_bins import BAND_ROWS, LANES, make_plan, row_size
from stgvcodec.ops.rasterize.numba_kernel import collect_gradients, draw_blocks, frames_of
from stgvcodec.ops.splat_loss import reference
from stgvcodec.ops.threads import run_chunks

_255 = np.float32(255.0)
_ZERO = np.float32(0.0)

_kernel = njit(nogil=True, cache=True)
# The additions may be put into lanes, always in the same way: a function that is not inlined has a copy in each library
# that calls it, optimised there, and which of the copies runs depends on what the cache holds.
_reordered = njit(nogil=True, cache=True, fastmath={"contract", "reassoc"}, forceinline=True)


def splat_loss(
    means: Tensor,
    cholesky: Tensor,
    colors: Tensor,
    frames: Tensor,
    picked: Tensor,
    known: Tensor | None,
    dssim_weight: float,
) -> tuple[Tensor, Tensor]:
    """Twin of `reference.splat_loss`, for float32 tensors on a CPU.

    Raises:
        ValueError: the tensors are not float32.
    """
    if dssim_weight:
        # D-SSIM needs the picture itself.
        return reference.splat_loss(means, cholesky, colors, frames, picked, known, dssim_weight, backend="numba")
    if means.dtype != torch.float32:
        raise ValueError(f"means is {means.dtype}, but the numba kernel takes torch.float32; use backend='reference'")
    mse: Tensor = _MeanSquaredError.apply(means, cholesky, colors, frames, picked, known)
    return mse, mse.detach()


class _MeanSquaredError(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        means: Tensor,
        cholesky: Tensor,
        colors: Tensor,
        frames: Tensor,
        picked: Tensor,
        known: Tensor | None,
    ) -> Tensor:
        n_pictures = means.shape[0]
        _, height, width, _ = frames.shape
        arrays = _array(means), _array(colors)
        plan = make_plan(arrays[0], frames_of(cholesky), arrays[1], height)
        n_bands = plan.offsets.shape[1] - 1
        residual = np.empty((n_pictures, height, row_size(width)), np.float32)
        squares = np.empty(n_pictures * n_bands, np.float64)
        targets, indices = frames.contiguous().numpy(), picked.tolist()
        counted = None if known is None else known.contiguous().numpy()

        def draw(i: int) -> None:
            b, band = divmod(i, n_bands)
            first, end = plan.offsets[b, band : band + 2]
            rows = residual[b, band * BAND_ROWS : (band + 1) * BAND_ROWS]
            squares[i] = _draw_residual(
                arrays[0][b],
                arrays[1][b],
                plan.shapes_of(b),
                plan.rows[b],
                plan.items[b][first:end],
                band,
                targets[indices[b]],
                None if counted is None else counted[indices[b]],
                rows,
            )

        run_chunks(draw, n_pictures * n_bands)
        ctx.save_for_backward(means, cholesky, colors)
        ctx.plan, ctx.residual, ctx.width = plan, residual, width
        return torch.tensor(squares.sum() / (n_pictures * height * width * 3), dtype=torch.float32)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None, None]:
        means, cholesky, colors = ctx.saved_tensors
        n_pictures, height, _ = ctx.residual.shape
        # The gradients are linear in the residual, so that the factor is taken where there is least to multiply.
        factor = np.float32(2.0 * float(grad) / (n_pictures * height * ctx.width * 3))
        gradients = collect_gradients(
            ctx.plan, _array(means), frames_of(cholesky), _array(colors), ctx.residual, ctx.width
        )
        grad_means, grad_cholesky, grad_colors = (torch.from_numpy(gradient * factor) for gradient in gradients)
        return grad_means, grad_cholesky.reshape(cholesky.shape), grad_colors, None, None, None


def _array(tensor: Tensor) -> np.ndarray:
    array: np.ndarray = tensor.detach().contiguous().numpy()
    return array


@_kernel
def _draw_residual(  # type: ignore[no-untyped-def]
    means, colors, shapes, rows, items, band, target, known, residual
):
    """Write one band of the picture less `target` [H, W, 3] into `residual` [rows, row_size]; return its squares' sum.

    What lies beyond the width becomes zero, and so do pixels that are not `known` [H, W], if that is not None.
    """
    width = target.shape[1]
    residual[:] = _ZERO
    draw_blocks(means, colors, shapes, rows, items, band, width, residual.reshape(-1))
    total = 0.0
    for y in range(residual.shape[0]):
        row, wanted = residual[y], target[band * BAND_ROWS + y]
        for first in range(0, width, LANES):
            r = np.uint64(3 * first)
            g, b = r + np.uint64(LANES), r + np.uint64(2 * LANES)
            if first + LANES <= width:
                # The number of pixels is fixed here and the channels come together, so that they lie in SIMD lanes.
                for k in range(LANES):
                    i, x = np.uint64(k), np.uint64(first + k)
                    row[r + i] -= np.float32(wanted[x, 0]) / _255
                    row[g + i] -= np.float32(wanted[x, 1]) / _255
                    row[b + i] -= np.float32(wanted[x, 2]) / _255
            else:
                n = width - first
                for channel in range(3):
                    start = 3 * first + channel * LANES
                    for k in range(n):
                        row[start + k] -= np.float32(wanted[first + k, channel]) / _255
                    for k in range(n, LANES):
                        row[start + k] = _ZERO
        if known is not None:
            counts = known[band * BAND_ROWS + y]
            for column in range(width):
                if not counts[column]:
                    red = 3 * (column - column % LANES) + column % LANES
                    row[red] = row[red + LANES] = row[red + 2 * LANES] = _ZERO
        total += np.float64(_sum_of_squares(row))
    return total


@_reordered
def _sum_of_squares(row):  # type: ignore[no-untyped-def]
    # A row is short enough for float32.
    total = _ZERO
    for i in range(row.shape[0]):
        total += row[i] * row[i]
    return total
