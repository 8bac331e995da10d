"""Binning kernels: they count the pairs, give each tile its place, scatter and order, and split large Gaussians.

Count and scatter must find the same tiles, so both compute from the record and are launched with
`enable_fp_fusion=False`. Loops are `while`: under numpy 2.4 the interpreter's `range` takes no bound that is computed.
"""

# Triton's interpreter and compiler both read types from annotations, and constexpr is the only one that they know.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import triton
import triton.language as tl

from stgvcodec.ops.rasterize.triton_device import (
    NOWHERE_PX,
    RECORD,
    box_px,
    columns_px,
    is_drawable,
    is_within_limits,
    make_record,
    reach_of,
)


@triton.jit(do_not_specialize=["room", "n_shapes", "total", "n_gaussians", "height", "width", "tiles_y", "tiles_x"])
def count_kernel(
    means,  # [B * N, 2] float32
    cholesky,  # [n_shapes, 3] float32
    colors,  # [B * N, 3] float32
    gaussians,  # [B * N, 8] float32, out
    counts,  # [B * tiles] int32, zeros, out
    places,  # [B * N, 2] int32, out, or None
    items,  # [room, 4] int32, out, or None
    n_strips,  # [1] int32, 0, out, or None
    room,
    n_shapes,
    total,
    n_gaussians,
    height,
    width,
    tiles_y,
    tiles_x,
    MANY_BLOCKS: tl.constexpr,
    STRIP_BLOCKS: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLUMNS: tl.constexpr,
    TILE_HEIGHT: tl.constexpr,
    TILE_WIDTH: tl.constexpr,
    GROUP: tl.constexpr,
    LANES: tl.constexpr,
    MANY_TILES: tl.constexpr,
    MANY_LANES: tl.constexpr,
):
    """Write the records of GROUP Gaussians, count the pairs of each tile, and split the large Gaussians into strips.

    There are N shapes if the frames share them, else B * N.
    """
    g = tl.program_id(0) * GROUP + tl.arange(0, GROUP)
    is_one = g < total
    n = g % n_shapes
    x = tl.load(means + 2 * g, mask=is_one, other=0.0)
    y = tl.load(means + 2 * g + 1, mask=is_one, other=0.0)
    l1 = tl.load(cholesky + 3 * n, mask=is_one, other=0.0)
    l2 = tl.load(cholesky + 3 * n + 1, mask=is_one, other=0.0)
    l3 = tl.load(cholesky + 3 * n + 2, mask=is_one, other=0.0)
    red = tl.load(colors + 3 * g, mask=is_one, other=0.0)
    green = tl.load(colors + 3 * g + 1, mask=is_one, other=0.0)
    blue = tl.load(colors + 3 * g + 2, mask=is_one, other=0.0)
    drawable = is_drawable(x, y, l1, l2, l3) & is_within_limits(red) & is_within_limits(green) & is_within_limits(blue)

    x, y, inverse_l1, ratio, inverse_l3 = make_record(x, y, l1, l2, l3, drawable)
    record = gaussians + g * RECORD
    tl.store(record, x, mask=is_one)
    tl.store(record + 1, y, mask=is_one)
    tl.store(record + 2, inverse_l1, mask=is_one)
    tl.store(record + 3, ratio, mask=is_one)
    tl.store(record + 4, inverse_l3, mask=is_one)
    tl.store(record + 5, tl.where(drawable, red, 0.0), mask=is_one)
    tl.store(record + 6, tl.where(drawable, green, 0.0), mask=is_one)
    tl.store(record + 7, tl.where(drawable, blue, 0.0), mask=is_one)

    _visit_tiles(
        g, x, y, inverse_l1, ratio, inverse_l3, counts, None, 0, n_gaussians, height, width, tiles_y, tiles_x,
        TILE_HEIGHT, TILE_WIDTH, GROUP, LANES, MANY_TILES, MANY_LANES,
    )  # fmt: skip
    if places is not None:
        _split(
            g, is_one, x, y, inverse_l1, ratio, inverse_l3, places, items, n_strips, room, height, width,
            MANY_BLOCKS, STRIP_BLOCKS, BLOCK_ROWS, BLOCK_COLUMNS,
        )  # fmt: skip


@triton.jit(do_not_specialize=["n_tiles"])
def starts_kernel(ends, starts, n_pairs, n_tiles, BLOCK: tl.constexpr, MAX_PAIRS: tl.constexpr):
    """Give each tile its place among the pairs. `ends` holds the counts and becomes the starts, for the scatter.

    The places may be in any order, so that no program waits for another.
    """
    tile = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    counts = tl.load(ends + tile, mask=tile < n_tiles, other=0).to(tl.int64)
    first = tl.atomic_add(n_pairs, tl.sum(counts, 0), sem="relaxed")
    # Beyond MAX_PAIRS nothing is listed. The scatter counts on from the start, which the limit keeps within 32 bits.
    start = tl.minimum(first + tl.cumsum(counts, 0) - counts, MAX_PAIRS).to(tl.int32)
    tl.store(starts + tile, start, mask=tile < n_tiles)
    tl.store(ends + tile, start, mask=tile < n_tiles)


@triton.jit(do_not_specialize=["capacity", "total", "n_gaussians", "height", "width", "tiles_y", "tiles_x"])
def scatter_kernel(
    gaussians,  # [B * N, 8] float32
    ends,  # [B * tiles] int32: the starts before the kernel, the ends after it
    pairs,  # [capacity] int32, out
    n_pairs,  # [1] int64
    need,  # [1] int32, or None
    capacity,
    total,
    n_gaussians,
    height,
    width,
    tiles_y,
    tiles_x,
    TILE_HEIGHT: tl.constexpr,
    TILE_WIDTH: tl.constexpr,
    GROUP: tl.constexpr,
    LANES: tl.constexpr,
    MANY_TILES: tl.constexpr,
    MANY_LANES: tl.constexpr,
):
    """Write each of GROUP Gaussians into the lists of its tiles."""
    g = tl.program_id(0) * GROUP + tl.arange(0, GROUP)
    is_one = g < total
    record = gaussians + g * RECORD
    x = tl.load(record, mask=is_one, other=0.0)
    y = tl.load(record + 1, mask=is_one, other=NOWHERE_PX)
    inverse_l1 = tl.load(record + 2, mask=is_one, other=1.0)
    ratio = tl.load(record + 3, mask=is_one, other=0.0)
    inverse_l3 = tl.load(record + 4, mask=is_one, other=1.0)
    _visit_tiles(
        g, x, y, inverse_l1, ratio, inverse_l3, ends, pairs, capacity, n_gaussians, height, width, tiles_y, tiles_x,
        TILE_HEIGHT, TILE_WIDTH, GROUP, LANES, MANY_TILES, MANY_LANES,
    )  # fmt: skip
    if need is not None and tl.program_id(0) == 0:
        tl.atomic_max(need, tl.minimum(tl.load(n_pairs), 2**31 - 1).to(tl.int32), sem="relaxed")


@triton.jit
def _visit_tiles(
    g,
    x,
    y,
    inverse_l1,
    ratio,
    inverse_l3,
    counters,
    pairs,
    capacity,
    n_gaussians,
    height,
    width,
    tiles_y,
    tiles_x,
    TILE_HEIGHT: tl.constexpr,
    TILE_WIDTH: tl.constexpr,
    GROUP: tl.constexpr,
    LANES: tl.constexpr,
    MANY_TILES: tl.constexpr,
    MANY_LANES: tl.constexpr,
):
    """Count or list the tiles of GROUP Gaussians, each on LANES lanes; those of many tiles, one by one on all lanes."""
    z_max, l1_by_q = reach_of(inverse_l1, ratio)
    first_row, end_row, first_column, end_column = box_px(x, y, inverse_l1, inverse_l3, z_max, height, width)
    is_empty = (first_row >= end_row) | (first_column >= end_column)
    row, column = first_row // TILE_HEIGHT, first_column // TILE_WIDTH
    n_columns = tl.maximum((end_column + (TILE_WIDTH - 1)) // TILE_WIDTH - column, 1)
    n_tiles = tl.where(is_empty, 0, n_columns * ((end_row + (TILE_HEIGHT - 1)) // TILE_HEIGHT - row))
    frame = counters + g // n_gaussians * (tiles_y * tiles_x)

    n_own = tl.where(n_tiles <= MANY_TILES, n_tiles, 0)
    lane = tl.arange(0, LANES)[None, :]
    k = 0
    while k < tl.max(n_own, 0):
        _touch(
            k + lane, k + lane < n_own[:, None], g[:, None], frame[:, None], row[:, None], column[:, None],
            n_columns[:, None], x[:, None], y[:, None], ratio[:, None], inverse_l3[:, None], z_max[:, None],
            l1_by_q[:, None], pairs, capacity, width, tiles_x, TILE_HEIGHT, TILE_WIDTH,
        )  # fmt: skip
        k += LANES

    index = tl.arange(0, GROUP)
    lane = tl.arange(0, MANY_LANES)
    chosen = tl.min(tl.where(n_tiles > MANY_TILES, index, GROUP), 0)
    while chosen < GROUP:
        is_it = index == chosen
        its_tiles = tl.sum(tl.where(is_it, n_tiles, 0), 0)
        its_g = tl.sum(tl.where(is_it, g, 0), 0)
        its_row, its_column = tl.sum(tl.where(is_it, row, 0), 0), tl.sum(tl.where(is_it, column, 0), 0)
        its_columns = tl.sum(tl.where(is_it, n_columns, 0), 0)
        its_x, its_y = tl.sum(tl.where(is_it, x, 0.0), 0), tl.sum(tl.where(is_it, y, 0.0), 0)
        its_ratio = tl.sum(tl.where(is_it, ratio, 0.0), 0)
        its_inverse_l3 = tl.sum(tl.where(is_it, inverse_l3, 0.0), 0)
        its_z_max = tl.sum(tl.where(is_it, z_max, 0.0), 0)
        its_l1_by_q = tl.sum(tl.where(is_it, l1_by_q, 0.0), 0)
        k = 0
        while k < its_tiles:
            _touch(
                k + lane, k + lane < its_tiles, its_g, counters + its_g // n_gaussians * (tiles_y * tiles_x), its_row,
                its_column, its_columns, its_x, its_y, its_ratio, its_inverse_l3, its_z_max, its_l1_by_q, pairs,
                capacity, width, tiles_x, TILE_HEIGHT, TILE_WIDTH,
            )  # fmt: skip
            k += MANY_LANES
        chosen = tl.min(tl.where((n_tiles > MANY_TILES) & (index > chosen), index, GROUP), 0)


@triton.jit
def _touch(
    place,
    is_one,
    g,
    frame,
    row,
    column,
    n_columns,
    x,
    y,
    ratio,
    inverse_l3,
    z_max,
    l1_by_q,
    pairs,
    capacity,
    width,
    tiles_x,
    TILE_HEIGHT: tl.constexpr,
    TILE_WIDTH: tl.constexpr,
):
    """Count a pair for each `place` in a box of tiles whose tile meets the support, and list it if `pairs` is given."""
    tile_row, tile_column = row + place // n_columns, column + place % n_columns
    top, left = tile_row * TILE_HEIGHT, tile_column * TILE_WIDTH
    top_px = top.to(tl.float32)
    first, end = columns_px(top_px, top_px + (TILE_HEIGHT - 1), x, y, ratio, inverse_l3, z_max, l1_by_q, width)
    is_hit = is_one & (tl.maximum(first, left) < tl.minimum(end, left + TILE_WIDTH))
    slot = tl.atomic_add(frame + tile_row * tiles_x + tile_column, 1, mask=is_hit, sem="relaxed")
    if pairs is not None:
        tl.store(pairs + slot, g + tl.zeros_like(slot), mask=is_hit & (slot < capacity))


@triton.jit
def _split(
    g,
    is_one,
    x,
    y,
    inverse_l1,
    ratio,
    inverse_l3,
    places,
    items,
    n_strips,
    room,
    height,
    width,
    MANY_BLOCKS: tl.constexpr,
    STRIP_BLOCKS: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLUMNS: tl.constexpr,
):
    """List the strips of Gaussians with many gradient blocks. A Gaussian whose strips find no room gets none."""
    z_max, _ = reach_of(inverse_l1, ratio)
    first_row, end_row, first_column, end_column = box_px(x, y, inverse_l1, inverse_l3, z_max, height, width)
    row, end = first_row // BLOCK_ROWS, (end_row + (BLOCK_ROWS - 1)) // BLOCK_ROWS
    n_columns = tl.maximum((end_column + (BLOCK_COLUMNS - 1)) // BLOCK_COLUMNS - first_column // BLOCK_COLUMNS, 1)
    n_rows = tl.maximum(STRIP_BLOCKS // n_columns, 1)
    is_large = (first_row < end_row) & (first_column < end_column) & ((end - row) * n_columns > MANY_BLOCKS)
    wanted = tl.where(is_large, (end - row + n_rows - 1) // n_rows, 0)
    most = tl.max(wanted, 0)
    first = tl.zeros_like(wanted)
    if most > 0:
        first = tl.atomic_add(n_strips + tl.zeros_like(wanted), wanted, mask=is_large, sem="relaxed")
    has_room = first + wanted <= room
    tl.store(places + 2 * g, first, mask=is_one)
    tl.store(places + 2 * g + 1, tl.where(has_room, wanted, 0), mask=is_one)
    s = 0
    while s < most:
        is_item = (s < wanted) & (first + s < room)
        item = items + 4 * (first + s)
        top = row + s * n_rows
        tl.store(item, g, mask=is_item)
        tl.store(item + 1, top, mask=is_item)
        tl.store(item + 2, tl.where(has_room, tl.minimum(top + n_rows, end), top), mask=is_item)
        s += 1


@triton.jit(do_not_specialize=["capacity"])
def order_kernel(unordered, pairs, starts, ends, capacity, BLOCK: tl.constexpr):
    """Copy one tile's pairs in the order of their index: the place of a pair is the number of smaller ones."""
    tile = tl.program_id(0)
    first, end = tl.minimum(tl.load(starts + tile), capacity), tl.minimum(tl.load(ends + tile), capacity)
    lane = tl.arange(0, BLOCK)
    i = first
    while i < end:
        own = tl.load(unordered + i + lane, mask=i + lane < end, other=0)
        rank = tl.zeros_like(own)
        j = first
        while j < end:
            other = tl.load(unordered + j + lane, mask=j + lane < end, other=2**31 - 1)
            rank += tl.sum((other[None, :] < own[:, None]).to(tl.int32), 1)
            j += BLOCK
        tl.store(pairs + first + rank, own, mask=i + lane < end)
        i += BLOCK
