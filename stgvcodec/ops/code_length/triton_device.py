"""Device functions for the kernels of other operators: code lengths of a program's lanes, and sums in order."""

# The interpreter and the compiler both read types from annotations, and only constexpr means anything to them.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import triton
import triton.language as tl

# Adding and subtracting this leaves the nearest integer, ties to even, for magnitudes up to 2^22.
_ROUNDER = tl.constexpr(1.5 * 2.0**23)


@triton.jit
def rounded(x, FIRST: tl.constexpr, N_SYMBOLS: tl.constexpr):
    """Round to the nearest integer from FIRST to FIRST + N_SYMBOLS - 1, half to even."""
    bounded = tl.minimum(tl.maximum(x, FIRST * 1.0), (FIRST + N_SYMBOLS - 1) * 1.0)
    return (bounded + _ROUNDER) - _ROUNDER


@triton.jit
def code_length(position, row_ptrs, mask, FIRST: tl.constexpr, N_SYMBOLS: tl.constexpr):
    """Bits of rounded(position) and their slope, zeros where `mask` is not set.

    `row_ptrs` points to the first symbol of the table row, one pointer for each position or one for all.
    """
    bounded = tl.minimum(tl.maximum(position, FIRST * 1.0), (FIRST + N_SYMBOLS - 1) * 1.0)
    lower = tl.minimum(tl.floor(bounded), (FIRST + N_SYMBOLS - 2) * 1.0)
    at = row_ptrs + (lower.to(tl.int32) - FIRST)
    below = tl.load(at, mask=mask, other=0.0)
    above = tl.load(at + 1, mask=mask, other=0.0)
    slope = tl.where(bounded == position, above - below, 0.0)
    return tl.where(rounded(position, FIRST, N_SYMBOLS) > lower, above, below), slope


@triton.jit
def sum_in_order(partials_ptr, n, BLOCK: tl.constexpr):
    """Sum of n values that other programs may have stored, always in the same order."""
    lanes = tl.arange(0, BLOCK)
    sums = tl.zeros([BLOCK], tl.float32)
    start = 0
    while start < n:
        # The load bypasses the first-level cache, which knows nothing of other multiprocessors' stores.
        sums += tl.load(partials_ptr + start + lanes, mask=start + lanes < n, other=0.0, cache_modifier=".cg")
        start += BLOCK
    return tl.sum(sums)
