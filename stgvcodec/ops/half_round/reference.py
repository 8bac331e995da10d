"""Rounding to half precision in torch: the truth."""

from __future__ import annotations

import torch
from torch import Tensor

HALF_MAX = 65504.0
"""Largest finite half; larger magnitudes saturate to it."""


def round_to_half(x: Tensor) -> Tensor:
    """Nearest finite IEEE half, ties to even; NaN counts as zero. Any shape, float32 -> float16, no gradient."""
    # What overflows to infinity comes back as the largest half, as if it had been clamped before.
    return torch.nan_to_num(x.detach().to(torch.float16), nan=0.0)


def half_values(x: Tensor) -> Tensor:
    """`round_to_half` as float32; see the contract."""
    return round_to_half(x).to(torch.float32)
