"""Device functions of the rasteriser: a Gaussian's record, its rows and its columns, for scalars and for blocks.

A record is eight floats: mean x, mean y, K / l1, l2 / l3, K / l3, red, green, blue, with K = sqrt(log2(e) / 2). So
u = dx K / l1 and v = dy K / l3 - u l2 / l3 give exp(-sigma) = 2^-(u^2 + v^2), and the support is u^2 + v^2 < REACH^2.
A Gaussian that is not to be drawn has the record of a small black one far above the picture.
"""

# Triton's interpreter and compiler both read types from annotations, and constexpr is the only one that they know.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import math

import triton
import triton.language as tl

from stgvcodec.ops.rasterize import MAX_MAGNITUDE, MIN_SCALE_PX, SIGMA_MAX

RECORD = tl.constexpr(8)
SCALE = tl.constexpr(math.sqrt(0.5 * math.log2(math.e)))
REACH = tl.constexpr(math.sqrt(SIGMA_MAX * math.log2(math.e)))
EXP_MAX = tl.constexpr(math.exp(-SIGMA_MAX))
_MAX_MAGNITUDE = tl.constexpr(MAX_MAGNITUDE)
_MIN_SCALE_PX = tl.constexpr(MIN_SCALE_PX)
# Pixels by which rows and columns are widened: twice the rounding of float32 at 16 384. The weight w vanishes there.
MARGIN_PX = tl.constexpr(2.0**-9)
NOWHERE_PX = tl.constexpr(-1e9)


@triton.jit
def is_within_limits(x):
    """Return whether a number of a Gaussian may be drawn; False for a NaN."""
    return tl.abs(x) <= _MAX_MAGNITUDE


@triton.jit
def is_drawable(x, y, l1, l2, l3):
    """Return whether a Gaussian's mean and Cholesky factor may be drawn."""
    is_small = is_within_limits(x) & is_within_limits(y)
    is_small &= is_within_limits(l1) & is_within_limits(l2) & is_within_limits(l3)
    return is_small & (l1 >= _MIN_SCALE_PX) & (l3 >= _MIN_SCALE_PX)


@triton.jit
def make_record(x, y, l1, l2, l3, drawable):
    """Return the record's first five numbers. Divisions are correctly rounded, which long thin Gaussians need."""
    x = tl.where(drawable, x, 0.0)
    y = tl.where(drawable, y, NOWHERE_PX)
    l1, l2, l3 = tl.where(drawable, l1, 1.0), tl.where(drawable, l2, 0.0), tl.where(drawable, l3, 1.0)
    scale = tl.zeros_like(l1) + SCALE
    return x, y, tl.div_rn(scale, l1), tl.div_rn(l2, l3), tl.div_rn(scale, l3)


@triton.jit
def pixels_between(low, high, size):
    """Return the pixels [first, end) of a line of `size` whose centres lie in [low, high]; first >= end for none."""
    limit = size * 1.0
    first = tl.ceil(tl.minimum(tl.maximum(low - (0.5 + MARGIN_PX), 0.0), limit)).to(tl.int32)
    last = tl.floor(tl.minimum(tl.maximum(high - (0.5 - MARGIN_PX), -1.0), limit - 1.0)).to(tl.int32)
    return first, last + 1


@triton.jit
def reach_of(inverse_l1, ratio):
    """Return z_max, the largest dy K / l3 of the support, and l1_by_q, which is l1 / K over q = 1 + (l2 / l3)^2."""
    q = 1.0 + ratio * ratio
    return tl.sqrt(q) * REACH, 1.0 / q / inverse_l1


@triton.jit
def box_px(x, y, inverse_l1, inverse_l3, z_max, height, width):
    """Return the rows [first, end) and columns [first, end) of the picture in the support's bounding box."""
    reach_x, reach_y = 1.0 / inverse_l1 * REACH, z_max / inverse_l3
    first_row, end_row = pixels_between(y - reach_y, y + reach_y, height)
    first_column, end_column = pixels_between(x - reach_x, x + reach_x, width)
    return first_row, end_row, first_column, end_column


@triton.jit
def span_at(z_top, z_bottom, ratio, z_max):
    """Return how far left and right of its mean the support reaches where z_top <= z <= z_bottom, over `l1_by_q`.

    With z = dy K / l3, r = l2 / l3 and q = 1 + r^2 the support's right end in a row is at
    u = (r z + sqrt(z_max^2 - z^2)) / q, which is concave in z and largest where z = r REACH. The left end is its mirror
    image. So the extreme over an interval of z is where z comes nearest to that. The caller clamps z_top and z_bottom
    to +-z_max.
    """
    tip, limit = ratio * REACH, z_max * z_max
    z_left = tl.minimum(tl.maximum(-tip, z_top), z_bottom)
    z_right = tl.minimum(tl.maximum(tip, z_top), z_bottom)
    left = ratio * z_left - tl.sqrt(tl.maximum(limit - z_left * z_left, 0.0))
    right = ratio * z_right + tl.sqrt(tl.maximum(limit - z_right * z_right, 0.0))
    return left, right


@triton.jit
def columns_px(top, bottom, x, y, ratio, inverse_l3, z_max, l1_by_q, width):
    """Return the columns [first, end) of the picture that the support touches in the rows [top, bottom]."""
    z_top = tl.maximum((top + (0.5 - MARGIN_PX) - y) * inverse_l3, -z_max)
    z_bottom = tl.minimum((bottom + (0.5 + MARGIN_PX) - y) * inverse_l3, z_max)
    left, right = span_at(z_top, z_bottom, ratio, z_max)
    first, end = pixels_between(x + left * l1_by_q, x + right * l1_by_q, width)
    return first, tl.where(z_top <= z_bottom, end, 0)
