"""Forward kernel: draws the picture tile by tile, as floats, as 8-bit samples, or as the residual of a loss."""

# Triton's interpreter and compiler both read types from annotations, and constexpr is the only one that they know.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from stgvcodec.ops.rasterize import triton_bins
from stgvcodec.ops.rasterize.triton_bins import Bins
from stgvcodec.ops.rasterize.triton_device import EXP_MAX

FORWARD_WARPS = 1


def forward(bins: Bins, image: Tensor) -> None:
    """Write `image` [B, H, W, 3], contiguous, float32 or uint8."""
    n_frames, height, width, _ = image.shape
    _launch(bins, n_frames, height, width, image, None, None, None, None, None)


def draw_residual(
    bins: Bins,
    blocks: Tensor,
    frames: Tensor,
    picked: Tensor,
    size: tuple[int, int, int],
    image: Tensor | None,
    known: Tensor | None,
) -> Tensor:
    """Draw pictures and write how far they are from their frames.

    Args:
        bins: Bins of the call.
        blocks: Output for C - frame / 255, in gradient blocks (`triton_backward.new_blocks`).
        frames: All frames. [T, H, W, 3] uint8, contiguous.
        picked: Index into `frames` for each picture. [B] int64.
        size: The sizes B, H and W.
        image: Output for the pictures, [B, H, W, 3] float32; None if they are not wanted.
        known: Pixels that count, those of `frames`; None: all. [T, H, W] bool, contiguous.

    Returns:
        Sum of squared differences of each tile. [B * tiles] float32.
    """
    squares = torch.empty(len(bins.starts), device=blocks.device)
    _launch(bins, *size, image, blocks, squares, frames, picked, known)
    return squares


def _launch(
    bins: Bins,
    n_frames: int,
    height: int,
    width: int,
    image: Tensor | None,
    blocks: Tensor | None,
    squares: Tensor | None,
    frames: Tensor | None,
    picked: Tensor | None,
    known: Tensor | None,
) -> None:
    if not len(bins.starts):
        return
    tile_height, tile_width = triton_bins.TILE_HEIGHT, triton_bins.TILE_WIDTH
    _splat_forward_kernel[(len(bins.starts),)](
        # The records are passed as pairs of floats, so that each is read by four loads.
        bins.gaussians.view(torch.int64), bins.pairs, bins.starts, bins.ends, image, blocks, squares, frames, picked,
        None if known is None else known.view(torch.uint8),
        len(bins.pairs), height, width, len(bins.starts) // n_frames, triton.cdiv(width, tile_width),
        TILE_HEIGHT=tile_height, TILE_WIDTH=tile_width, BLOCK_ROWS=triton_bins.GRADIENT_ROWS,
        BLOCK_COLUMNS=triton_bins.GRADIENT_COLUMNS, num_warps=FORWARD_WARPS,
    )  # fmt: skip


@triton.jit
def _low(pair):
    return pair.to(tl.int32).to(tl.float32, bitcast=True)


@triton.jit
def _high(pair):
    return (pair >> 32).to(tl.int32).to(tl.float32, bitcast=True)


@triton.jit(do_not_specialize=["capacity", "height", "width", "n_tiles", "tiles_x"])
def _splat_forward_kernel(
    gaussians,  # [B * N, 4] int64: records, with two floats in each int64
    pairs,  # [capacity] int32
    starts,  # [B * tiles] int32
    ends,  # [B * tiles] int32
    image,  # [B, H, W, 3] float32 or uint8, out, or None
    blocks,  # gradient blocks, out, or None; with it:
    squares,  # [B * tiles] float32, out
    frames,  # [T, H, W, 3] uint8
    picked,  # [B] int64
    known,  # [T, H, W] uint8, or None
    capacity,
    height,
    width,
    n_tiles,
    tiles_x,
    TILE_HEIGHT: tl.constexpr,
    TILE_WIDTH: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLUMNS: tl.constexpr,
):
    """Sum the Gaussians of one tile. A record is loaded one step before it is used, its index two steps before."""
    tile = tl.program_id(0)
    frame = tile // n_tiles
    row = (tile % n_tiles) // tiles_x * TILE_HEIGHT + tl.arange(0, TILE_HEIGHT)[:, None]
    column = (tile % n_tiles) % tiles_x * TILE_WIDTH + tl.arange(0, TILE_WIDTH)[None, :]
    y, x = row.to(tl.float32) + 0.5, column.to(tl.float32) + 0.5
    red = tl.zeros([TILE_HEIGHT, TILE_WIDTH], tl.float32)
    green, blue = red, red

    # The pairs of a tile that lie beyond the capacity are not drawn.
    first, end = tl.minimum(tl.load(starts + tile), capacity), tl.minimum(tl.load(ends + tile), capacity)
    record = gaussians + 4 * tl.load(pairs + first, mask=first < end, other=0).to(tl.int64)
    mean = tl.load(record, mask=first < end, other=0)
    across = tl.load(record + 1, mask=first < end, other=0)
    down = tl.load(record + 2, mask=first < end, other=0)
    color = tl.load(record + 3, mask=first < end, other=0)
    following = tl.load(pairs + first + 1, mask=first + 1 < end, other=0)
    i = first
    while i < end:
        record = gaussians + 4 * following.to(tl.int64)
        next_mean, next_across = tl.load(record), tl.load(record + 1)
        next_down, next_color = tl.load(record + 2), tl.load(record + 3)
        following = tl.load(pairs + i + 2, mask=i + 2 < end, other=0)
        u = (x - _low(mean)) * _low(across)
        v = (y - _high(mean)) * _low(down) - u * _high(across)
        weight = tl.maximum(tl.exp2(-u * u - v * v) - EXP_MAX, 0.0)
        red += weight * _high(down)
        green += weight * _low(color)
        blue += weight * _high(color)
        mean, across, down, color = next_mean, next_across, next_down, next_color
        i += 1

    pixel = row * width + column
    is_shown = (row < height) & (column < width)
    size = 3 * height * width
    if image is not None:
        sample = image + frame.to(tl.int64) * size + 3 * pixel
        if image.dtype.element_ty == tl.uint8:
            tl.store(sample, _to_uint8(red), mask=is_shown)
            tl.store(sample + 1, _to_uint8(green), mask=is_shown)
            tl.store(sample + 2, _to_uint8(blue), mask=is_shown)
        else:
            tl.store(sample, red, mask=is_shown)
            tl.store(sample + 1, green, mask=is_shown)
            tl.store(sample + 2, blue, mask=is_shown)
    if blocks is not None:
        sample = frames + tl.load(picked + frame) * size + 3 * pixel
        red -= tl.load(sample, mask=is_shown, other=0).to(tl.float32) * (1.0 / 255.0)
        green -= tl.load(sample + 1, mask=is_shown, other=0).to(tl.float32) * (1.0 / 255.0)
        blue -= tl.load(sample + 2, mask=is_shown, other=0).to(tl.float32) * (1.0 / 255.0)
        counts = is_shown
        if known is not None:
            place = known + tl.load(picked + frame) * (height * width) + pixel
            counts = is_shown & (tl.load(place, mask=is_shown, other=0) != 0)
        red, green, blue = tl.where(counts, red, 0.0), tl.where(counts, green, 0.0), tl.where(counts, blue, 0.0)
        tl.store(squares + tile, tl.sum(red * red + green * green + blue * blue))
        # Gradient blocks are [frame, block row, block column, channel, row, column]; beyond the picture they are 0.
        blocks_y, blocks_x = tl.cdiv(height, BLOCK_ROWS), tl.cdiv(width, BLOCK_COLUMNS)
        block = row // BLOCK_ROWS * blocks_x + column // BLOCK_COLUMNS
        within = row % BLOCK_ROWS * BLOCK_COLUMNS + column % BLOCK_COLUMNS
        area: tl.constexpr = BLOCK_ROWS * BLOCK_COLUMNS
        sample = blocks + frame.to(tl.int64) * (blocks_y * blocks_x) * (3 * area) + block * (3 * area) + within
        is_held = (row < blocks_y * BLOCK_ROWS) & (column < blocks_x * BLOCK_COLUMNS)
        tl.store(sample, red, mask=is_held)
        tl.store(sample + area, green, mask=is_held)
        tl.store(sample + 2 * area, blue, mask=is_held)


@triton.jit
def _to_uint8(sample):
    return (tl.minimum(tl.maximum(sample, 0.0), 1.0) * 255.0 + 0.5).to(tl.uint8)
