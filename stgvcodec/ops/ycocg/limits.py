"""What luma and chroma codes can say."""

from __future__ import annotations

from stgvcodec.ops.lsq.steps import MAGNITUDE_MAX, SCALE_MIN

__all__ = ["MAGNITUDE_MAX", "MAX_CODE", "MIN_CODE", "N_CODES", "SCALE_MAX", "SCALE_MIN", "ZERO"]

MIN_CODE, MAX_CODE = -128, 127
N_CODES = 256
ZERO = 128
"""Symbol of code 0."""
SCALE_MAX = 2.0**10
