"""The reference of luma and chroma symbols, in torch, with the decoder's arithmetic of `transform`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from stgvcodec.ops.code_length import CodeLengths, code_length
from stgvcodec.ops.ycocg.limits import MAGNITUDE_MAX, MAX_SYMBOL, MIN_SYMBOL, SCALE_MAX, SCALE_MIN
from stgvcodec.ops.ycocg.transform import to_ycocg, values_of


def transmitted_scale(gain: Tensor, unit: Tensor) -> Tensor:
    """Return the steps as transmitted, as `ops.ycocg.ycocg_scale` describes them."""
    return (unit * gain.exp()).clamp(SCALE_MIN, SCALE_MAX)


def ratios_of(x: Tensor, scale: Tensor) -> Tensor:
    """Divide the components (Y, Co, Cg) by their steps. [N, 3]."""
    # Clamping far beyond all symbols keeps sums from overflowing.
    return to_ycocg(torch.nan_to_num(x, nan=0.0).clamp(-MAGNITUDE_MAX, MAGNITUDE_MAX)) / scale


def symbols_of(ratios: Tensor) -> Tensor:
    """Round ratios to symbols. [N, 3] float32."""
    # Without the sum with 0 a negative zero would survive, of which the decoder knows nothing.
    return ratios.round().clamp_(MIN_SYMBOL, MAX_SYMBOL) + 0.0


def ycocg_round(x: Tensor, gain: Tensor, unit: Tensor, lengths: CodeLengths | None) -> tuple[Tensor, Tensor | None]:
    """Return values as decoded and the bits of their symbols, as `ops.ycocg.ycocg_round` describes them."""
    values, ratios = _Round.apply(x, transmitted_scale(gain, unit))
    return values, None if lengths is None else code_length(ratios.t(), lengths, first=MIN_SYMBOL).reshape(1)


class _Round(torch.autograd.Function):
    """Values and ratios, with gradients by hand, since symbols have none."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        ratios = ratios_of(x, scale)
        symbols = symbols_of(ratios)
        ctx.save_for_backward(scale, ratios, symbols)
        return values_of(symbols, scale), ratios

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        grad_values, grad_ratios = grads
        scale, ratios, symbols = ctx.saved_tensors
        r, g, b = grad_values.unbind(1)
        along = torch.stack((r + g + b, r - b, g - r - b), dim=1)
        inside = (ratios >= MIN_SYMBOL) & (ratios <= MAX_SYMBOL)
        rated = grad_ratios / scale
        y, co, cg = (torch.where(inside, along, 0.0) + rated).unbind(1)
        grad_x = torch.stack((0.25 * (y - cg) + 0.5 * co, 0.5 * (y + cg), 0.25 * (y - cg) - 0.5 * co), dim=1)
        moved = torch.where(inside, symbols - ratios, symbols)
        return grad_x, (along * moved - rated * ratios).sum(dim=0)
