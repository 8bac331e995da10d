"""The rasteriser and the squared error in one kernel: the picture stays in registers, and only its residual is kept."""

# Triton's interpreter and compiler both read types from annotations, and constexpr is the only one that they know.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from stgvcodec.ops.rasterize.pair_budget import PairBudget
from stgvcodec.ops.rasterize.triton_backward import backward, new_blocks, pack
from stgvcodec.ops.rasterize.triton_bins import make_bins
from stgvcodec.ops.rasterize.triton_forward import draw_residual
from stgvcodec.ops.rasterize.triton_kernel import check_float32, launching_on, save_bins, saved_bins
from stgvcodec.ops.splat_loss.reference import with_dssim

_MEAN_BLOCK, _MEAN_WARPS = 4096, 16


def splat_loss(
    means: Tensor,
    cholesky: Tensor,
    colors: Tensor,
    frames: Tensor,
    picked: Tensor,
    known: Tensor | None,
    dssim_weight: float,
    budget: PairBudget | None,
) -> tuple[Tensor, Tensor]:
    """Twin of `reference.splat_loss`, for float32 Gaussians.

    Raises:
        ValueError: the Gaussians are not float32, or there is no budget and there are more pairs than a call can list.
    """
    check_float32(means)
    with launching_on(means.device):
        mse, image = _SplatLoss.apply(means, cholesky, colors, frames, picked, known, dssim_weight != 0.0, budget)
        loss = mse if image is None else with_dssim(mse, image, frames, picked, dssim_weight, "triton")
        return loss, mse.detach()


class _SplatLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        means: Tensor,
        cholesky: Tensor,
        colors: Tensor,
        frames: Tensor,
        picked: Tensor,
        known: Tensor | None,
        with_image: bool,
        budget: PairBudget | None,
    ) -> tuple[Tensor, Tensor | None]:
        """Return the mean squared error, and the picture if it is wanted."""
        n_frames = means.shape[0]
        _, height, width, _ = frames.shape
        inputs = means.contiguous(), cholesky.contiguous(), colors.contiguous()
        bins = make_bins(*inputs, height, width, budget, ordered=False, with_strips=True)
        image = torch.empty(n_frames, height, width, 3, device=means.device) if with_image else None
        blocks = new_blocks(n_frames, height, width, means.device)
        size = (n_frames, height, width)
        counted = None if known is None else known.contiguous()
        squares = draw_residual(bins, blocks, frames.contiguous(), picked.contiguous(), size, image, counted)
        mse = torch.empty((), device=means.device)
        n_samples = n_frames * height * width * 3
        _mean_kernel[(1,)](squares, mse, len(squares), 1.0 / n_samples, BLOCK=_MEAN_BLOCK, num_warps=_MEAN_WARPS)
        save_bins(ctx, bins, blocks)
        ctx.shape, ctx.size, ctx.per_frame = means.shape[:2], (height, width), cholesky.ndim == 3
        ctx.factor = 2.0 / n_samples
        return mse, image

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_mse: Tensor, grad_image: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, None, None, None, None, None]:
        bins, (blocks,) = saved_bins(ctx)
        height, width = ctx.size
        gradients = partial(backward, bins, ctx.shape, height=height, width=width, per_frame=ctx.per_frame)
        if grad_image is None:
            result = gradients(blocks, scale=grad_mse, factor=ctx.factor)
        else:
            result = gradients(pack(grad_image, blocks, grad_mse, ctx.factor))
        return *result, None, None, None, None, None


@triton.jit(do_not_specialize=["n"])
def _mean_kernel(values, mean, n, by_samples, BLOCK: tl.constexpr):
    """Add up `values` [n] in a fixed order and multiply the sum by `by_samples`."""
    lane = tl.arange(0, BLOCK)
    total = tl.zeros([BLOCK], tl.float32)
    i = 0
    while i < n:
        total += tl.load(values + i + lane, mask=i + lane < n, other=0.0)
        i += BLOCK
    tl.store(mean, tl.sum(total) * by_samples)
