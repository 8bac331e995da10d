"""Colours to luma and chroma, and symbols back to colours as every decoder computes them."""

from __future__ import annotations

import torch
from torch import Tensor


def to_ycocg(rgb: Tensor) -> Tensor:
    """Y = (R + 2G + B) / 4, Co = (R - B) / 2, Cg = (2G - R - B) / 4. [N, 3] to [N, 3]."""
    r, g, b = rgb.unbind(1)
    return torch.stack((0.25 * (r + b) + 0.5 * g, 0.5 * (r - b), 0.5 * g - 0.25 * (r + b)), dim=1)


def values_of(symbols: Tensor, scale: Tensor) -> Tensor:
    """Dequantise symbols to RGB, as every decoder does. [N, 3] integers, of any dtype, to [N, 3] float32.

    The products come first, then G = Y + Cg, t = Y - Cg, R = t + Co and B = t - Co, each rounded to float32.
    """
    y, co, cg = (symbols.float() * scale).unbind(1)
    base = y - cg
    return torch.stack((base + co, y + cg, base - co), dim=1)
