"""Limits of luma and chroma symbols and of their steps."""

from __future__ import annotations

from stgvcodec.ops.lsq.steps import MAGNITUDE_MAX, SCALE_MIN

__all__ = ["MAGNITUDE_MAX", "MAX_SYMBOL", "MIN_SYMBOL", "N_SYMBOLS", "SCALE_MAX", "SCALE_MIN", "ZERO"]

MIN_SYMBOL, MAX_SYMBOL = -128, 127
N_SYMBOLS = 256
ZERO = 128
"""Transmitted symbol that stands for a component of zero."""
SCALE_MAX = 2.0**10
