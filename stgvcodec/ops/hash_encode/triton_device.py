"""Device functions of the hash encoding, on tiles of [points, levels, features], for `hash_encode` and `deform`.

Kernels that use these are launched with `enable_fp_fusion=False`: with a fused multiply-add, x * N - floor(x * N) would
be computed from another x * N than the one whose floor chose the cell. Sizes in capitals are compile-time constants;
`_PAD` marks powers of two.
"""

# Triton's interpreter and compiler both read types from annotations, and constexpr is the only one that they know.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import triton
import triton.language as tl

# Number of columns of a grid's level table, which `triton_kernel.level_table` describes.
LEVEL_COLUMNS = tl.constexpr(8)
# Factors of the hash (`spec.HASH_PRIMES`) as int32. Their products wrap to the same 32 bits.
PRIME_Y = tl.constexpr(2654435761 - 2**32)
PRIME_Z = tl.constexpr(805459861)


@triton.jit
def unit_position(x):
    """Clamp a position to [0, 1]; NaN becomes 0."""
    return tl.where(x > 0.0, tl.where(x < 1.0, x, 1.0), 0.0)


@triton.jit
def passes_gradient(x):
    """Return whether a position gets a gradient, which is so in [0, 1] with both ends: there it is not clamped."""
    return (x >= 0.0) & (x <= 1.0)


@triton.jit
def cell_and_fraction(unit, cells):
    """Return the cell of a clamped position along one axis, and the place inside the cell, 0 to 1."""
    scaled = unit * cells.to(tl.float32)
    cell = tl.minimum(scaled.to(tl.int32), cells - 1)
    return cell, scaled - cell.to(tl.float32)


@triton.jit
def side_weight(fraction, SIDE: tl.constexpr):
    """Return the linear weight of a cell's lower (0) or upper (1) vertex."""
    return fraction if SIDE == 1 else 1.0 - fraction


@triton.jit
def tile_columns(
    N_LEVELS: tl.constexpr, N_FEATURES: tl.constexpr, LEVELS_PAD: tl.constexpr, FEATURES_PAD: tl.constexpr
):
    """Return the columns of an encoding for a tile of [1, levels, features], and which of its elements exist."""
    level = tl.arange(0, LEVELS_PAD)[None, :, None]
    feature = tl.arange(0, FEATURES_PAD)[None, None, :]
    return level * N_FEATURES + feature, (level < N_LEVELS) & (feature < N_FEATURES)


@triton.jit
def encode(
    x,
    y,
    z,
    table,
    levels,
    N_DIMS: tl.constexpr,
    N_LEVELS: tl.constexpr,
    N_FEATURES: tl.constexpr,
    LEVELS_PAD: tl.constexpr,
    FEATURES_PAD: tl.constexpr,
    ROW_STRIDE: tl.constexpr,
):
    """Encode points x, y, z [M], z being ignored in two dimensions. [M, LEVELS_PAD, FEATURES_PAD], padding 0."""
    level = tl.arange(0, LEVELS_PAD)[None, :, None]
    feature = tl.arange(0, FEATURES_PAD)[None, None, :]
    present = (level < N_LEVELS) & (feature < N_FEATURES)
    columns = levels + level * LEVEL_COLUMNS
    offset, stride_y = tl.load(columns + 3), tl.load(columns + 4)
    stride_z, mask = tl.load(columns + 5), tl.load(columns + 6)
    cell_x, place_x = cell_and_fraction(unit_position(x)[:, None, None], tl.load(columns))
    cell_y, place_y = cell_and_fraction(unit_position(y)[:, None, None], tl.load(columns + 1))
    cell_z, place_z = cell_and_fraction(unit_position(z)[:, None, None], tl.load(columns + 2))
    total = tl.zeros([x.shape[0], LEVELS_PAD, FEATURES_PAD], tl.float32)
    for corner in tl.static_range(2**N_DIMS):
        row = _row(
            cell_x + corner % 2,
            cell_y + corner // 2 % 2,
            cell_z + corner // 4,
            offset,
            stride_y,
            stride_z,
            mask,
            N_DIMS,
        )
        weight = side_weight(place_x, corner % 2) * side_weight(place_y, corner // 2 % 2)
        if N_DIMS == 3:
            weight *= side_weight(place_z, corner // 4)
        address = table + row * ROW_STRIDE + feature
        if N_LEVELS == LEVELS_PAD and N_FEATURES == FEATURES_PAD:
            value = tl.load(address)
        else:
            value = tl.load(address, mask=present, other=0.0)
        total += weight * value
    return total


@triton.jit
def encode_backward(
    gradient,
    x,
    y,
    z,
    alive,
    table,
    grad_table,
    levels,
    N_DIMS: tl.constexpr,
    N_LEVELS: tl.constexpr,
    N_FEATURES: tl.constexpr,
    LEVELS_PAD: tl.constexpr,
    FEATURES_PAD: tl.constexpr,
    ROW_STRIDE: tl.constexpr,
):
    """Add to the table's gradient (relaxed atomics) where `alive` [M]; return the positions' gradients, three of [M].

    `gradient` is the features' gradient [M, LEVELS_PAD, FEATURES_PAD]. The caller sets the gradients of clamped
    positions to zero.
    """
    level = tl.arange(0, LEVELS_PAD)[None, :, None]
    feature = tl.arange(0, FEATURES_PAD)[None, None, :]
    present = (level < N_LEVELS) & (feature < N_FEATURES)
    columns = levels + level * LEVEL_COLUMNS
    cells_x, cells_y, cells_z = tl.load(columns), tl.load(columns + 1), tl.load(columns + 2)
    offset, stride_y = tl.load(columns + 3), tl.load(columns + 4)
    stride_z, mask = tl.load(columns + 5), tl.load(columns + 6)
    cell_x, place_x = cell_and_fraction(unit_position(x)[:, None, None], cells_x)
    cell_y, place_y = cell_and_fraction(unit_position(y)[:, None, None], cells_y)
    cell_z, place_z = cell_and_fraction(unit_position(z)[:, None, None], cells_z)
    slope_x = tl.zeros([x.shape[0], LEVELS_PAD, FEATURES_PAD], tl.float32)
    slope_y = tl.zeros([x.shape[0], LEVELS_PAD, FEATURES_PAD], tl.float32)
    slope_z = tl.zeros([x.shape[0], LEVELS_PAD, FEATURES_PAD], tl.float32)
    for corner in tl.static_range(2**N_DIMS):
        row = _row(
            cell_x + corner % 2,
            cell_y + corner // 2 % 2,
            cell_z + corner // 4,
            offset,
            stride_y,
            stride_z,
            mask,
            N_DIMS,
        )
        weight_x = side_weight(place_x, corner % 2)
        weight_y = side_weight(place_y, corner // 2 % 2)
        weight_z = side_weight(place_z, corner // 4) if N_DIMS == 3 else 1.0
        if N_LEVELS == LEVELS_PAD and N_FEATURES == FEATURES_PAD:
            value = tl.load(table + row * ROW_STRIDE + feature)
            touched = alive[:, None, None]
        else:
            value = tl.load(table + row * ROW_STRIDE + feature, mask=present, other=0.0)
            touched = alive[:, None, None] & present
        tl.atomic_add(
            grad_table + row * ROW_STRIDE + feature,
            weight_x * weight_y * weight_z * gradient,
            mask=touched,
            sem="relaxed",
        )
        projection = gradient * value
        slope_x += (2 * (corner % 2) - 1) * weight_y * weight_z * projection
        slope_y += (2 * (corner // 2 % 2) - 1) * weight_x * weight_z * projection
        if N_DIMS == 3:
            slope_z += (2 * (corner // 4) - 1) * weight_x * weight_y * projection
    grad_x = tl.sum(tl.sum(slope_x * cells_x.to(tl.float32), axis=2), axis=1)
    grad_y = tl.sum(tl.sum(slope_y * cells_y.to(tl.float32), axis=2), axis=1)
    grad_z = tl.sum(tl.sum(slope_z * cells_z.to(tl.float32), axis=2), axis=1)
    return grad_x, grad_y, grad_z


@triton.jit
def _row(x, y, z, offset, stride_y, stride_z, mask, N_DIMS: tl.constexpr):
    """Return the table row of a vertex; a level whose mask is 0 is dense."""
    if N_DIMS == 3:
        hashed = x ^ (y * PRIME_Y) ^ (z * PRIME_Z)
        dense = x + y * stride_y + z * stride_z
    else:
        hashed = x ^ (y * PRIME_Y)
        dense = x + y * stride_y
    return offset + tl.where(mask != 0, hashed & mask, dense)
