"""Code lengths for the lanes of a kernel, and sums in order; for the kernels of other operators."""

# The interpreter and the compiler both read types from annotations, and only constexpr means anything to them.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import triton
import triton.language as tl

# Added and taken off again it leaves the nearest integer, ties to even, for magnitudes up to 2^22.
_ROUNDER = tl.constexpr(1.5 * 2.0**23)


@triton.jit
def rounded(x, FIRST: tl.constexpr, N_SYMBOLS: tl.constexpr):
    """The integer from FIRST to FIRST + N_SYMBOLS - 1 that is nearest, half to even."""
    bounded = tl.minimum(tl.maximum(x, FIRST * 1.0), (FIRST + N_SYMBOLS - 1) * 1.0)
    return (bounded + _ROUNDER) - _ROUNDER


@triton.jit
def code_length(position, row_ptrs, mask, FIRST: tl.constexpr, N_SYMBOLS: tl.constexpr):
    """Bits of rounded(position) and their slope, zeros where not `mask`. `row_ptrs`: to symbol 0, of each or of all."""
    bounded = tl.minimum(tl.maximum(position, FIRST * 1.0), (FIRST + N_SYMBOLS - 1) * 1.0)
    lower = tl.minimum(tl.floor(bounded), (FIRST + N_SYMBOLS - 2) * 1.0)
    at = row_ptrs + (lower.to(tl.int32) - FIRST)
    below = tl.load(at, mask=mask, other=0.0)
    above = tl.load(at + 1, mask=mask, other=0.0)
    slope = tl.where(bounded == position, above - below, 0.0)
    return tl.where(rounded(position, FIRST, N_SYMBOLS) > lower, above, below), slope


@triton.jit
def sum_in_order(partials_ptr, n, BLOCK: tl.constexpr):
    """Sum of n numbers that other programs may have stored."""
    lanes = tl.arange(0, BLOCK)
    sums = tl.zeros([BLOCK], tl.float32)
    start = 0
    while start < n:
        # Past the first-level cache, which knows nothing of other multiprocessors' stores.
        sums += tl.load(partials_ptr + start + lanes, mask=start + lanes < n, other=0.0, cache_modifier=".cg")
        start += BLOCK
    return tl.sum(sums)
