"""Splatting on a GPU: pairs of Gaussians and tiles, a picture by tile, gradients by Gaussian. README.md says why.

No call waits for the device, except one without a budget, which must learn how many pairs there are.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from stgvcodec.ops.rasterize.pair_budget import PairBudget
from stgvcodec.ops.rasterize.triton_backward import backward, pack
from stgvcodec.ops.rasterize.triton_bins import Bins, Strips, make_bins
from stgvcodec.ops.rasterize.triton_forward import forward


def rasterize(
    means: Tensor, cholesky: Tensor, colors: Tensor, height: int, width: int, budget: PairBudget | None
) -> Tensor:
    """Twin of `reference.rasterize`, for float32 tensors.

    Raises:
        ValueError: the tensors are not float32, or there is no budget and there are more pairs than a call can list.
    """
    check_float32(means)
    with launching_on(means.device):
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (means, cholesky, colors)):
            image: Tensor = _Rasterize.apply(means, cholesky, colors, height, width, budget)
            return image
        return _drawn_in_order(means, cholesky, colors, height, width, budget, torch.float32)


def rasterize_uint8(
    means: Tensor, cholesky: Tensor, colors: Tensor, height: int, width: int, budget: PairBudget | None
) -> Tensor:
    """Rasterise to 8-bit samples. The errors are those of `rasterize`."""
    check_float32(means)
    with launching_on(means.device):
        return _drawn_in_order(means.detach(), cholesky.detach(), colors.detach(), height, width, budget, torch.uint8)


def check_float32(means: Tensor) -> None:
    """Raise ValueError unless `means` is float32, the only dtype that the kernels take."""
    if means.dtype != torch.float32:
        raise ValueError(f"means is {means.dtype}, but the triton kernels take torch.float32; use backend='reference'")


def launching_on(device: torch.device) -> AbstractContextManager[object]:
    """Make `device` current: Triton launches on the current device, which need not be that of the tensors."""
    if device.type != "cuda" or device.index == torch.cuda.current_device():
        return nullcontext()
    return torch.cuda.device(device)


def save_bins(ctx: Any, bins: Bins, *more: Tensor) -> None:
    """Keep `more`, and what the gradients need of the bins, until the backward pass."""
    assert bins.strips is not None
    ctx.save_for_backward(bins.gaussians, *bins.strips, *more)


def saved_bins(ctx: Any) -> tuple[Bins, tuple[Tensor, ...]]:
    """Return what `save_bins` kept, which does not include the pairs: the gradients go by Gaussian."""
    records, places, items, n_items, *more = ctx.saved_tensors
    nothing = records.new_empty(0, dtype=torch.int32)
    return Bins(records, nothing, nothing, nothing, Strips(places, items, n_items)), tuple(more)


def _drawn_in_order(
    means: Tensor,
    cholesky: Tensor,
    colors: Tensor,
    height: int,
    width: int,
    budget: PairBudget | None,
    dtype: torch.dtype,
) -> Tensor:
    inputs = means.contiguous(), cholesky.contiguous(), colors.contiguous()
    bins = make_bins(*inputs, height, width, budget, ordered=True, with_strips=False)
    image = torch.empty(means.shape[0], height, width, 3, dtype=dtype, device=means.device)
    forward(bins, image)
    return image


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, means: Tensor, cholesky: Tensor, colors: Tensor, height: int, width: int, budget: PairBudget | None
    ) -> Tensor:
        inputs = means.contiguous(), cholesky.contiguous(), colors.contiguous()
        bins = make_bins(*inputs, height, width, budget, ordered=False, with_strips=True)
        image = torch.empty(means.shape[0], height, width, 3, device=means.device)
        forward(bins, image)
        save_bins(ctx, bins)
        ctx.shape, ctx.per_frame = means.shape[:2], cholesky.ndim == 3
        return image

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_image: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None, None]:
        bins, _ = saved_bins(ctx)
        _, height, width, _ = grad_image.shape
        gradients = backward(bins, ctx.shape, pack(grad_image), height, width, per_frame=ctx.per_frame)
        return *gradients, None, None, None
