"""Limits of log-scale and shear symbols and of their steps."""

from __future__ import annotations

SCALE_LIMITS = (2.0**-10, 0.5)
"""Smallest and largest relative step of the diagonal."""
SHEAR_LIMITS = (2.0**-10, 2.0**10)
"""Smallest and largest step of the shear."""
MIN_DIAGONAL_PX = 0.5
"""Lower bound of l1 and l3, for which symbol 0 stands."""
MAX_DIAGONAL_PX = 2.0**20
"""Largest l1 and l3 that symbols stand for; the quantiser clamps l2 to this magnitude."""
N_SYMBOLS = 256
SHEAR_ZERO = 128
"""Symbol of a shear of zero."""
