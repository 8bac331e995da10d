"""The reference of uniform fake quantisation, in torch, with the arithmetic of `rounding`."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from stgvcodec.ops.code_length import CodeLengths, code_length
from stgvcodec.ops.lsq.rounding import ratio_of, symbols_of, values_of
from stgvcodec.ops.lsq.segments import Segments
from stgvcodec.ops.lsq.steps import MAGNITUDE_MAX, SCALE_MIN, LsqSteps


def transmitted_steps(steps: LsqSteps) -> tuple[Tensor, Tensor | None]:
    """Return scale and offset as transmitted, as `ops.lsq.lsq_steps` describes them."""
    scale = (steps.unit * steps.gain.exp()).clamp(SCALE_MIN, MAGNITUDE_MAX)
    if steps.shift is None or steps.anchor is None:
        return scale, None
    return scale, (steps.anchor + steps.unit * steps.shift).clamp(-MAGNITUDE_MAX, MAGNITUDE_MAX)


def lsq_round(x: Tensor, steps: LsqSteps, segments: Segments | None, min_symbol: int, max_symbol: int) -> Tensor:
    """Return values as decoded, as `ops.lsq.lsq_round` describes them."""
    scale, offset = transmitted_steps(steps)
    result: Tensor = _Round.apply(x, scale, offset, segments, min_symbol, max_symbol)
    return result


def lsq_round_rated(
    x: Tensor, steps: LsqSteps, tables: Tensor, segments: Segments, min_symbol: int, max_symbol: int
) -> tuple[Tensor, Tensor]:
    """Return values as decoded and the bits of their symbols, as `ops.lsq.lsq_round_rated` describes them."""
    scale, offset = transmitted_steps(steps)
    positions: Tensor = _Positions.apply(x, scale, segments, min_symbol, max_symbol)
    rows = torch.cat([torch.full((size,), i, device=x.device) for i, size in enumerate(segments.sizes)])
    lengths = CodeLengths(tables, rows.int())
    bits = code_length(positions, lengths, first=min_symbol, n_symbols=max_symbol - min_symbol + 1)
    values: Tensor = _Round.apply(x, scale, offset, segments, min_symbol, max_symbol)
    return values, bits.reshape(1)


def per_value(step: Tensor, segments: Segments | None) -> Tensor:
    """Bring steps into a shape that broadcasts against the values: [G] -> [n_values], or unchanged for columns."""
    if segments is None:
        return step
    return torch.cat([one.expand(size) for one, size in zip(step, segments.sizes, strict=True)])


class _Round(torch.autograd.Function):
    """LSQ (Esser et al. 2020) and LSQ+ (Bhalgat et al. 2020) around the decoder's arithmetic."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        scale: Tensor,
        offset: Tensor | None,
        segments: Segments | None,
        min_symbol: int,
        max_symbol: int,
    ) -> Tensor:
        scale = per_value(scale, segments)
        offset = None if offset is None else per_value(offset, segments)
        symbols = symbols_of(x, scale, offset, min_symbol, max_symbol)
        ctx.save_for_backward(x, scale, offset, symbols)
        ctx.segments = segments
        ctx.min_symbol, ctx.max_symbol = min_symbol, max_symbol
        return values_of(symbols, scale, offset)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grad_outputs
        x, scale, offset, symbols = ctx.saved_tensors
        ratio = ratio_of(x, scale, offset)
        inside = (ratio >= ctx.min_symbol) & (ratio <= ctx.max_symbol)
        symbol_values = symbols.to(grad.dtype)
        zero = torch.zeros_like(grad)
        grad_scale = _damped_sums(
            grad * torch.where(inside, symbol_values - ratio, symbol_values), ctx.segments, ctx.max_symbol
        )
        grad_offset = None
        if offset is not None:
            grad_offset = _damped_sums(torch.where(inside, zero, grad), ctx.segments, ctx.max_symbol)
        return torch.where(inside, grad, zero), grad_scale, grad_offset, None, None, None


class _Positions(torch.autograd.Function):
    """x / scale, whose gradient to the scale is damped as LSQ damps the gradient of the values."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, segments: Segments, min_symbol: int, max_symbol: int) -> Tensor:
        scale = per_value(scale, segments)
        ratio = ratio_of(x, scale, None)
        ctx.save_for_backward(scale, ratio)
        ctx.segments = segments
        ctx.min_symbol, ctx.max_symbol = min_symbol, max_symbol
        return ratio

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grad_outputs
        scale, ratio = ctx.saved_tensors
        grad_x = grad / scale
        # Outside the symbols the gradient is zero, but a ratio may be infinite.
        inside = (ratio >= ctx.min_symbol) & (ratio <= ctx.max_symbol)
        by_scale = torch.where(inside, grad_x * ratio, 0.0)
        return grad_x, -_damped_sums(by_scale, ctx.segments, ctx.max_symbol), None, None, None


def _damped_sums(contributions: Tensor, segments: Segments | None, max_symbol: int) -> Tensor:
    """Sum of each group, divided by the root of its number of values times the largest symbol, as in LSQ. [G]."""
    if segments is None:
        return contributions.sum(dim=0) * (1.0 / math.sqrt(max(contributions.shape[0], 1) * max_symbol))
    # Contiguous groups are summed one by one: index_add_ would not be repeatable on CUDA.
    groups = contributions.split(segments.sizes)
    return torch.stack([group.sum() / math.sqrt(max(group.numel(), 1) * max_symbol) for group in groups])
