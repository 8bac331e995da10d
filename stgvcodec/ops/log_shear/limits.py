"""What log-scale and shear symbols can say."""

from __future__ import annotations

SCALE_LIMITS = (2.0**-10, 0.5)
"""Smallest and largest relative step of the diagonal."""
SHEAR_LIMITS = (2.0**-10, 2.0**10)
"""Smallest and largest step of the shear."""
MIN_DIAGONAL_PX = 0.5
"""Lower bound of l1 and l3, symbol 0."""
MAX_DIAGONAL_PX = 2.0**20
"""Where their symbols stop growing, and l2 saturates."""
N_SYMBOLS = 256
SHEAR_ZERO = 128
"""Code of no shear."""
