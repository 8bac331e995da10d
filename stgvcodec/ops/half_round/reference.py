"""The reference of rounding to half precision, in torch."""

from __future__ import annotations

import torch
from torch import Tensor

HALF_MAX = 65504.0
"""Largest finite half; larger magnitudes saturate to it."""


def round_to_half(x: Tensor) -> Tensor:
    """Round to the nearest finite half, ties to even, without a gradient; NaN counts as zero. float32 -> float16."""
    # A value that overflows to infinity comes back as the largest half, as if it had been clamped before.
    return torch.nan_to_num(x.detach().to(torch.float16), nan=0.0)


def half_values(x: Tensor) -> Tensor:
    """Round to half precision, as `ops.half_round.half_round` describes it, without a gradient."""
    return round_to_half(x).to(torch.float32)
