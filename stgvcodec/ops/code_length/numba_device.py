"""The bits of one symbol, for the numba kernels of the quantisers."""

from __future__ import annotations

import numpy as np

from stgvcodec.ops.compiled import njit

_ZERO = np.float32(0.0)


@njit(nogil=True, cache=True, forceinline=True)
def clamped(x, low, high):  # type: ignore[no-untyped-def]
    """Clamp a float32 number to integers; NaN counts as 0."""
    x = x if x == x else _ZERO
    return min(max(x, np.float32(low)), np.float32(high))


@njit(nogil=True, cache=True, forceinline=True)
def code_length(position, row, first, n_symbols):  # type: ignore[no-untyped-def]
    """Bits of the symbol nearest to a position, and their slope there, as `reference.code_length` has them.

    Args:
        position: Value in units of symbols. float32.
        row: Bits of the symbols. [A] float32.
        first: Integer that the first symbol stands for.
        n_symbols: Size of the alphabet, 2 to A.

    Returns:
        Bits and slope. float32 each.
    """
    bounded = clamped(position, first, first + n_symbols - 1)
    lower = min(np.floor(bounded), np.float32(first + n_symbols - 2))
    at = np.uint64(np.int64(lower) - first)
    below, above = row[at], row[at + np.uint64(1)]
    # np.rint rounds half to even, as the quantisers do.
    return above if np.rint(bounded) > lower else below, above - below if bounded == position else _ZERO
