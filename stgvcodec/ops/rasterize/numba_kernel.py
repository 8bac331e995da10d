"""Splatting on a CPU: each Gaussian's exact row spans, sixteen pixels at a time, forward and backward.

The inner loops run over aligned blocks of sixteen pixels, without a branch, so that LLVM turns each into vector
instructions; exp is a polynomial. A row is set up in float64 and its pixels are computed in float32. Sums over a
Gaussian move to float64 after at most 64 float32 additions or one row. The kernels run on one thread each;
`stgvcodec.ops.threads` calls them on several.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from stgvcodec.ops.compiled import njit
from stgvcodec.ops.rasterize import SIGMA_MAX
from stgvcodec.ops.rasterize.numba_bins import BAND_ROWS, Plan, make_plan, row_size
from stgvcodec.ops.rasterize.numba_bins import LANES as _LANES
from stgvcodec.ops.threads import run_chunks

_F32 = np.float32
# Gaussians in a chunk of the backward pass. The number is fixed, so that the split does not depend on the machine.
_CHUNK = 256
# Pixels of a Gaussian after which its float32 sums move to float64.
_FLUSH_PX = 1024

_SIGMA_MAX = _F32(SIGMA_MAX)
_EXP_MAX = _F32(math.exp(-SIGMA_MAX))
_SQRT_HALF = math.sqrt(0.5)
_ZERO = _F32(0)
# Coefficients of a polynomial for exp(-s / 4) on [0, SIGMA_MAX], fitted by least squares of the relative error, which
# is 7e-8 at most, and 3e-7 after the two squarings.
_E0 = _F32(0.9999999347593813)
_E1 = _F32(-0.9999951425668435 / 4)
_E2 = _F32(0.4999386445698066 / 4**2)
_E3 = _F32(-0.1663666491564857 / 4**3)
_E4 = _F32(0.04094766573873039 / 4**4)
_E5 = _F32(-0.007417354860107726 / 4**5)
_E6 = _F32(0.0007723595387713082 / 4**6)

# Multiply-adds may fuse; no other rearrangement is allowed, so that NaN and Inf keep their meaning.
_kernel = njit(nogil=True, cache=True, fastmath={"contract"}, error_model="numpy")


def rasterize(means: Tensor, cholesky: Tensor, colors: Tensor, height: int, width: int) -> Tensor:
    """Twin of `reference.rasterize`, for float32 tensors on a CPU.

    Raises:
        ValueError: the tensors are not float32.
    """
    if means.dtype != torch.float32:
        raise ValueError(f"means is {means.dtype}, but the numba kernel takes torch.float32; use backend='reference'")
    image: Tensor = _Rasterize.apply(means, cholesky, colors, height, width)
    return image


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, means: Tensor, cholesky: Tensor, colors: Tensor, height: int, width: int) -> Tensor:
        plan = make_plan(_array(means), frames_of(cholesky), _array(colors), height)
        ctx.save_for_backward(means, cholesky, colors)
        ctx.plan = plan
        return torch.from_numpy(_forward(plan, _array(means), _array(colors), height, width))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_image: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        means, cholesky, colors = ctx.saved_tensors
        gradients = _backward(ctx.plan, _array(means), frames_of(cholesky), _array(colors), _array(grad_image))
        grad_means, grad_cholesky, grad_colors = (torch.from_numpy(gradient) for gradient in gradients)
        return grad_means, grad_cholesky.reshape(cholesky.shape), grad_colors, None, None


def _array(tensor: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.detach().contiguous().numpy()
    return array


def frames_of(cholesky: Tensor) -> NDArray[np.float32]:
    """Factors that the frames share, or of each frame. [1 or B, N, 3]."""
    return _array(cholesky if cholesky.ndim == 3 else cholesky[None])


def _forward(
    plan: Plan, means: NDArray[np.float32], colors: NDArray[np.float32], height: int, width: int
) -> NDArray[np.float32]:
    n_frames = means.shape[0]
    n_bands = plan.offsets.shape[1] - 1
    image = np.empty((n_frames, height, width, 3), np.float32)

    def draw(i: int) -> None:
        b, band = divmod(i, n_bands)
        first, end = plan.offsets[b, band : band + 2]
        _draw_band(means[b], colors[b], plan.shapes_of(b), plan.rows[b], plan.items[b][first:end], band, image[b])

    run_chunks(draw, n_frames * n_bands)
    return image


def _backward(
    plan: Plan,
    means: NDArray[np.float32],
    cholesky: NDArray[np.float32],
    colors: NDArray[np.float32],
    grad_image: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Compute the gradients to means, cholesky and colors, each in its shape, given that to the pictures."""
    n_frames, height, width, _ = grad_image.shape
    n_bands = plan.offsets.shape[1] - 1
    blocks = np.empty((n_frames, height, row_size(width)), np.float32)

    def pack(i: int) -> None:
        b, band = divmod(i, n_bands)
        _pack_band(grad_image[b], band, blocks[b])

    run_chunks(pack, n_frames * n_bands)
    return collect_gradients(plan, means, cholesky, colors, blocks, width)


def collect_gradients(
    plan: Plan,
    means: NDArray[np.float32],
    cholesky: NDArray[np.float32],
    colors: NDArray[np.float32],
    blocks: NDArray[np.float32],
    width: int,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Compute the gradients to means, cholesky and colors, given that to the pictures in blocks.

    Args:
        plan: Plan of the pictures.
        means: Centres, pixels. [B, N, 2].
        cholesky: Factors that the frames share, or of each frame. [1 or B, N, 3].
        colors: Weighted RGB. [B, N, 3].
        blocks: Gradient to the pictures, in blocks. [B, H, row_size(width)].
        width: Columns of the pictures.

    Returns:
        The gradients, each in the shape of its argument.
    """
    n_frames, n_gaussians, _ = means.shape
    n_chunks = -(-n_gaussians // _CHUNK)
    grad_means = np.empty(means.shape, np.float32)
    grad_shapes = np.empty((n_frames, n_gaussians, 3), np.float64)
    grad_colors = np.empty(colors.shape, np.float32)

    def collect(i: int) -> None:
        b, chunk = divmod(i, n_chunks)
        chosen = plan.order[b, chunk * _CHUNK : (chunk + 1) * _CHUNK]
        _collect_chunk(
            means[b], cholesky[b % len(cholesky)], colors[b], plan.shapes_of(b), plan.rows[b], chosen, blocks[b],
            width, grad_means[b], grad_shapes[b], grad_colors[b],
        )  # fmt: skip

    run_chunks(collect, n_frames * n_chunks)
    if len(cholesky) == 1:
        grad_shapes = grad_shapes.sum(axis=0, keepdims=True)
    return grad_means, grad_shapes.astype(np.float32), grad_colors


@_kernel
def _set_up_rows(
    start: int,
    stop: int,
    mean_x: float,
    mean_y: float,
    shape: NDArray[np.float64],
    width: int,
    spans: NDArray[np.int32],
    values: NDArray[np.float32],
) -> None:
    """Set up the rows [start, stop) of a Gaussian, which lie in SIMD lanes here, before their pixels do.

    The columns of `spans` [3, H] are the pixels [first, end) that the support may touch and a pixel in their middle,
    those of `values` [2, H] are u and v there. Columns count from `start`.

    The support ends where sigma = SIGMA_MAX, a quadratic in x whose roots have this closed form without cancellation.
    The margin covers rounding: w vanishes at the ends, so that a thousandth of a pixel shows nowhere. Counted from
    the middle, u and v differ by 3 sqrt(2) at most within the support, so that float32 steps lose nothing.
    `first` is moved back to the beginning of a block.
    """
    reach, shift, aspect, scale_u, scale_v, shear = shape[0], shape[1], shape[2], shape[3], shape[4], shape[5]
    right = float(width)
    for row in range(stop - start):
        i = np.uint64(row)
        dy = np.float64(np.int32(start + row)) + 0.5 - mean_y
        half = aspect * math.sqrt(max(reach - dy * dy, 0.0)) + 1e-3
        middle = mean_x + dy * shift - 0.5
        first = np.int32(np.ceil(min(max(middle - half, 0.0), right)))
        centre = np.floor(min(max(middle + 0.5, 0.0), right - 1.0))
        spans[0, i] = first & np.int32(-_LANES)
        spans[1, i] = np.int32(np.floor(min(max(middle + half, -1.0), right - 1.0))) + np.int32(1)
        spans[2, i] = np.int32(centre)
        dx = centre + 0.5 - mean_x
        values[0, i] = _F32(dx * scale_u)
        values[1, i] = _F32(dy * scale_v - dx * shear)


@_kernel
def _exp_minus(sigma: np.float32) -> np.float32:
    """Compute exp(-sigma) for sigma in [0, SIGMA_MAX]."""
    root = _E0 + sigma * (_E1 + sigma * (_E2 + sigma * (_E3 + sigma * (_E4 + sigma * (_E5 + sigma * _E6)))))
    return root * root * (root * root)


@_kernel
def draw_blocks(
    means: NDArray[np.float32],
    colors: NDArray[np.float32],
    shapes: NDArray[np.float64],
    rows: NDArray[np.int32],
    items: NDArray[np.int32],
    band: int,
    width: int,
    blocks: NDArray[np.float32],
) -> None:
    """Add `items` in their order to the rows of one band, which lie in `blocks` [rows * blocks * 3 * _LANES]."""
    row_size = (width + _LANES - 1) // _LANES * 3 * _LANES
    first_row = band * BAND_ROWS
    end_row = first_row + blocks.shape[0] // row_size
    spans, values = np.empty((3, BAND_ROWS), np.int32), np.empty((2, BAND_ROWS), np.float32)
    for n in items:
        mean_x, mean_y = float(means[n, 0]), float(means[n, 1])
        red, green, blue = colors[n, 0], colors[n, 1], colors[n, 2]
        shape = shapes[n]
        step_u, step_v = _F32(shape[3]), _F32(shape[5])
        start, stop = max(rows[n, 0], first_row), min(rows[n, 1], end_row)
        _set_up_rows(start, stop, mean_x, mean_y, shape, width, spans, values)
        for y in range(start, stop):
            row = np.uint64(y - start)
            first, end, centre, u0, v0 = spans[0, row], spans[1, row], spans[2, row], values[0, row], values[1, row]
            for x in range(first, end, _LANES):
                begin = _F32(x - centre)
                # Indices are unsigned: for signed ones numba would check whether they are negative.
                r = np.uint64((y - first_row) * row_size + 3 * x)
                g, b = r + np.uint64(_LANES), r + np.uint64(2 * _LANES)
                for k in range(_LANES):
                    i = np.uint64(k)
                    dx = begin + _F32(k)
                    u, v = u0 + dx * step_u, v0 - dx * step_v
                    sigma = u * u + v * v
                    w = _exp_minus(sigma) - _EXP_MAX if sigma < _SIGMA_MAX else _ZERO
                    w = w if w > _ZERO else _ZERO
                    blocks[r + i] += w * red
                    blocks[g + i] += w * green
                    blocks[b + i] += w * blue


@_kernel
def _draw_band(
    means: NDArray[np.float32],
    colors: NDArray[np.float32],
    shapes: NDArray[np.float64],
    rows: NDArray[np.int32],
    items: NDArray[np.int32],
    band: int,
    image: NDArray[np.float32],
) -> None:
    """Write the rows of one band of `image` [H, W, 3], the sum over `items` in their order."""
    height, width, _ = image.shape
    first_row, end_row = band * BAND_ROWS, min((band + 1) * BAND_ROWS, height)
    row_size = (width + _LANES - 1) // _LANES * 3 * _LANES
    blocks = np.zeros((end_row - first_row) * row_size, np.float32)  # [rows, blocks, 3, _LANES]
    draw_blocks(means, colors, shapes, rows, items, band, width, blocks)
    for y in range(first_row, end_row):
        for x in range(width):
            r = (y - first_row) * row_size + x // _LANES * 3 * _LANES + x % _LANES
            image[y, x, 0] = blocks[r]
            image[y, x, 1] = blocks[r + _LANES]
            image[y, x, 2] = blocks[r + 2 * _LANES]


@_kernel
def _pack_band(image: NDArray[np.float32], band: int, blocks: NDArray[np.float32]) -> None:
    """Reorder one band of `image` [H, W, 3] into `blocks` [H, blocks * 3 * _LANES], zeros beyond the width."""
    height, width, _ = image.shape
    for y in range(band * BAND_ROWS, min((band + 1) * BAND_ROWS, height)):
        blocks[y, blocks.shape[1] - 3 * _LANES :] = 0
        for x in range(width):
            r = x // _LANES * 3 * _LANES + x % _LANES
            blocks[y, r] = image[y, x, 0]
            blocks[y, r + _LANES] = image[y, x, 1]
            blocks[y, r + 2 * _LANES] = image[y, x, 2]


@_kernel
def _collect_chunk(
    means: NDArray[np.float32],
    cholesky: NDArray[np.float32],
    colors: NDArray[np.float32],
    shapes: NDArray[np.float64],
    rows: NDArray[np.int32],
    chosen: NDArray[np.int32],
    grad_blocks: NDArray[np.float32],
    width: int,
    grad_means: NDArray[np.float32],
    grad_cholesky: NDArray[np.float64],
    grad_colors: NDArray[np.float32],
) -> None:
    """Write the gradients of the `chosen` Gaussians of one frame, from eight moments each (README.md)."""
    lanes = np.zeros(8 * _LANES, np.float32)
    sums = np.empty(8, np.float64)
    height = grad_blocks.shape[0]
    spans, values = np.empty((3, height), np.int32), np.empty((2, height), np.float32)
    for n in chosen:
        mean_x, mean_y = float(means[n, 0]), float(means[n, 1])
        red, green, blue = colors[n, 0], colors[n, 1], colors[n, 2]
        shape = shapes[n]
        step_u, step_v = _F32(shape[3]), _F32(shape[5])
        sums[:] = 0
        n_px = 0
        start, stop = rows[n, 0], rows[n, 1]
        _set_up_rows(start, stop, mean_x, mean_y, shape, width, spans, values)
        for y in range(start, stop):
            row = np.uint64(y - start)
            first, end, centre, u0, v0 = spans[0, row], spans[1, row], spans[2, row], values[0, row], values[1, row]
            grad_row = grad_blocks[y]
            for x in range(first, end, _LANES):
                begin = _F32(x - centre)
                r = np.uint64(3 * x)
                g, b = r + np.uint64(_LANES), r + np.uint64(2 * _LANES)
                for k in range(_LANES):
                    i = np.uint64(k)
                    dx = begin + _F32(k)
                    u, v = u0 + dx * step_u, v0 - dx * step_v
                    sigma = u * u + v * v
                    # Outside the support all is zeroed by a select, not by a product: 0 * Inf is not 0.
                    inside = sigma < _SIGMA_MAX
                    e = _exp_minus(sigma) if inside else _ZERO
                    w = e - _EXP_MAX if inside else _ZERO
                    u, v = u if inside else _ZERO, v if inside else _ZERO
                    grad_r, grad_g, grad_b = grad_row[r + i], grad_row[g + i], grad_row[b + i]
                    t = e * (red * grad_r + green * grad_g + blue * grad_b)  # -dL/dsigma
                    tu, tv = t * u, t * v
                    lanes[i] += w * grad_r
                    lanes[np.uint64(_LANES) + i] += w * grad_g
                    lanes[np.uint64(2 * _LANES) + i] += w * grad_b
                    lanes[np.uint64(3 * _LANES) + i] += tu
                    lanes[np.uint64(4 * _LANES) + i] += tv
                    lanes[np.uint64(5 * _LANES) + i] += tu * u
                    lanes[np.uint64(6 * _LANES) + i] += tu * v
                    lanes[np.uint64(7 * _LANES) + i] += tv * v
            n_px += end - first
            if n_px >= _FLUSH_PX or y == rows[n, 1] - 1:
                for moment in range(8):
                    # The sum is a local, since adding to memory would wait for each store.
                    total = sums[moment]
                    for j in range(moment * _LANES, (moment + 1) * _LANES):
                        total += lanes[j]
                        lanes[j] = 0
                    sums[moment] = total
                n_px = 0
        _write_gradients(sums, cholesky[n], grad_means[n], grad_cholesky[n], grad_colors[n])


@_kernel
def _write_gradients(
    sums: NDArray[np.float64],
    cholesky: NDArray[np.float32],
    grad_mean: NDArray[np.float32],
    grad_cholesky: NDArray[np.float64],
    grad_color: NDArray[np.float32],
) -> None:
    """Turn the moments (w g, t u, t v, t u u, t u v, t v v), with u and v times sqrt(1/2), into gradients."""
    l1, l2, l3 = float(cholesky[0]), float(cholesky[1]), float(cholesky[2])
    for channel in range(3):
        grad_color[channel] = sums[channel]
    drawn = sums[3] != 0 or sums[4] != 0 or sums[5] != 0 or sums[6] != 0 or sums[7] != 0
    if not drawn:  # There is no division then, since l1 and l3 may be 0 or NaN.
        grad_mean[:] = 0
        grad_cholesky[:] = 0
        return
    ratio = l2 / l3
    grad_mean[0] = (sums[3] - ratio * sums[4]) / (_SQRT_HALF * l1)
    grad_mean[1] = sums[4] / (_SQRT_HALF * l3)
    grad_cholesky[0] = 2 * (sums[5] - ratio * sums[6]) / l1
    grad_cholesky[1] = 2 * sums[6] / l3
    grad_cholesky[2] = 2 * sums[7] / l3
