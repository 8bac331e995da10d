"""Values to integer symbols, which are transmitted, and symbols to values, under given scales and offsets."""

from __future__ import annotations

import torch
from torch import Tensor


def symbols_of(x: Tensor, scale: Tensor, offset: Tensor | None, min_symbol: int, max_symbol: int) -> Tensor:
    """Quantise values under scales and offsets that broadcast against them. Shape of `x`, int16."""
    return ratio_of(x, scale, offset).round_().clamp_(min_symbol, max_symbol).to(torch.int16)


def values_of(symbols: Tensor, scale: Tensor, offset: Tensor | None) -> Tensor:
    """Dequantise integer symbols, as every decoder does. Shape of `symbols`, float32."""
    # The product starts from the integers, so that no negative zero survives that the decoder could not know of.
    product = symbols.to(torch.float32) * scale
    # Product and sum are separate operations, hence two roundings; addcmul could contract them.
    return product if offset is None else product + offset


def ratio_of(x: Tensor, scale: Tensor, offset: Tensor | None) -> Tensor:
    """Divide values, less their offset, by their scale, before rounding; NaN counts as zero. Shape of `x`."""
    clean = torch.nan_to_num(x, nan=0.0)
    return (clean if offset is None else clean - offset) / scale
