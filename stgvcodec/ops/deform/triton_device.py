"""Device functions of the fused field's kernels. Sizes in capitals are compile-time constants.

The kernels are launched with `enable_fp_fusion=False`, for the reason in `hash_encode.triton_device`. Matrices are
padded with zeros.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import triton
import triton.language as tl

from stgvcodec.ops.hash_encode.triton_device import LEVEL_COLUMNS, PRIME_Z, cell_and_fraction, unit_position

# Columns of the heads side by side: two of displacement, three of colour, three of shape (zeros if there is no such
# head), and padding to what a matrix unit takes. In the backward the first free column counts points.
OUTPUTS = tl.constexpr(16)
N_OUTPUTS = tl.constexpr(8)


@triton.jit
def time_rows(time, row, n_rows, row_bases, row_levels, dynamic_levels):
    """Return the two rows of the 3D table whose mix at a time is a row of the plane, and the weight of the second."""
    base = tl.load(row_bases + row, mask=row < n_rows, other=0)
    columns = dynamic_levels + tl.load(row_levels + row, mask=row < n_rows, other=0) * LEVEL_COLUMNS
    offset, stride, mask = tl.load(columns + 3), tl.load(columns + 5), tl.load(columns + 6)
    unit = unit_position(tl.load(time)) + tl.zeros(row.shape, tl.float32)
    cell, place = cell_and_fraction(unit, tl.load(columns + 2))
    before = tl.where(mask != 0, base ^ ((cell * PRIME_Z) & mask), base + cell * stride)
    after = tl.where(mask != 0, base ^ (((cell + 1) * PRIME_Z) & mask), base + (cell + 1) * stride)
    return offset + before, offset + after, place


@triton.jit
def packed_matrix(packed, ROWS: tl.constexpr, COLUMNS: tl.constexpr, PACKED: tl.constexpr):
    """Load a packed matrix [ROWS, COLUMNS] as the two parts into which `halves` would split it."""
    i = tl.arange(0, ROWS)[:, None] * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    high = tl.load(packed + i)
    low = tl.load(packed + PACKED + i) if packed.dtype.element_ty == tl.bfloat16 else high
    return high, low


@triton.jit
def halves(x, PRECISION: tl.constexpr):
    """Split x into x rounded to bfloat16 and the rest in bfloat16; for other precisions, return x itself twice."""
    if PRECISION == "bf16" or PRECISION == "bf16x3":
        high = x.to(tl.bfloat16)
        low = (x - high.to(tl.float32)).to(tl.bfloat16)
    else:
        high = x
        low = x
    return high, low


@triton.jit
def dot(a, a_low, b, b_low, total, PRECISION: tl.constexpr):
    """Add (a + a_low) @ (b + b_low) to `total`. The factors are pairs that `halves` or `packed_matrix` returned."""
    if PRECISION == "bf16x3":
        total = tl.dot(a_low, b, total)
        total = tl.dot(a, b_low, total)
        total = tl.dot(a, b, total)
    elif PRECISION == "bf16":
        total = tl.dot(a, b, total)
    else:
        total = tl.dot(a, b, total, input_precision=PRECISION)
    return total


@triton.jit
def relu(x):
    """Set negative values to 0. NaN stays NaN, as in torch, so that a fit that diverged shows."""
    return tl.where(x < 0.0, 0.0, x)


@triton.jit
def network_inputs(features, gamma, alive, n_time, ENCODED: tl.constexpr, K_PAD: tl.constexpr):
    """Load the network's inputs for rows of encodings: [f_s, f_d, gamma, 1, 0...]. The 1 multiplies the bias."""
    column = tl.arange(0, K_PAD)
    time = tl.load(gamma + column - ENCODED, mask=(column >= ENCODED) & (column < ENCODED + n_time), other=0.0)
    time = tl.where(column == ENCODED + n_time, 1.0, time)
    encoded = tl.load(features + column[None, :], mask=alive & (column < ENCODED)[None, :], other=0.0)
    return encoded + tl.where(alive, time[None, :], 0.0)
