"""Which Gaussians each tile shows. Sizes stay on the device (README.md, "triton: binning")."""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
from torch import Tensor

from stgvcodec.ops.rasterize.pair_budget import PairBudget
from stgvcodec.ops.rasterize.triton_binning import count_kernel, order_kernel, scatter_kernel, starts_kernel
from stgvcodec.ops.rasterize.triton_device import RECORD

# Pixels; multiples of GRADIENT_ROWS and GRADIENT_COLUMNS.
TILE_HEIGHT, TILE_WIDTH = 16, 16
# The gradient's picture is laid out in blocks of so many pixels, two a lane.
GRADIENT_ROWS, GRADIENT_COLUMNS = 8, 8

# Gaussians of a program, and tiles of each at a time; one of more than _MANY_TILES is left to all lanes together.
_GROUP, _LANES, _MANY_TILES, _MANY_LANES = 16, 8, 64, 1024
_WALK_WARPS = 4
_STARTS_BLOCK = 1024
_ORDER_BLOCK = 32
# Gradient blocks of a bounding box beyond which a Gaussian is split into strips; those of a strip; strips beyond N / 2.
_MANY_BLOCKS, _STRIP_BLOCKS, _SPARE_STRIPS = 96, 64, 4096
MAX_PAIRS = 2**30


class Strips(NamedTuple):
    """The parts of the Gaussians that are too large for one warp: rows of gradient blocks."""

    places: Tensor  # [B * N, 2] int32: a Gaussian's first strip and how many it has, 0 for the small ones.
    items: Tensor  # [room, 4] int32: index in `gaussians`, rows of blocks [first, end), nothing.
    n_items: Tensor  # [1] int32, maybe more than there is room for.


class Bins(NamedTuple):
    """The layout of one call. The Gaussians of all frames are numbered frame by frame, and so are the tiles."""

    gaussians: Tensor  # [B * N, 8] float32, records (`triton_device`).
    pairs: Tensor  # [capacity] int32: indices in `gaussians`, tile by tile.
    starts: Tensor  # [B * tiles] int32: where each tile's pairs begin.
    ends: Tensor  # [B * tiles] int32
    strips: Strips | None


def make_bins(
    means: Tensor,
    cholesky: Tensor,
    colors: Tensor,
    height: int,
    width: int,
    budget: PairBudget | None,
    *,
    ordered: bool,
    with_strips: bool,
) -> Bins:
    """Lay out contiguous float32 inputs over a picture.

    Args:
        means: [B, N, 2].
        cholesky: [N, 3].
        colors: [B, N, 3].
        height: Rows, pixels.
        width: Columns, pixels.
        budget: Room for pairs; None waits for the device once, to learn how many there are.
        ordered: Whether each tile's pairs are in the order of their index, the same in every run.
        with_strips: Whether the gradients will be asked for.

    Raises:
        ValueError: without a budget, more than MAX_PAIRS pairs.
    """
    n_frames, n_gaussians, _ = means.shape
    total, device = n_frames * n_gaussians, means.device
    tiles_y, tiles_x = triton.cdiv(height, TILE_HEIGHT), triton.cdiv(width, TILE_WIDTH)
    n_tiles = n_frames * tiles_y * tiles_x
    # Two counters, of pairs (64 bits) and of strips, before the tiles' own.
    counters = torch.zeros(4 + n_tiles, dtype=torch.int32, device=device)
    n_pairs, n_strips, ends = counters[:2].view(torch.int64), counters[2:3], counters[4:]
    gaussians = torch.empty(total, int(RECORD), device=device)
    starts = torch.empty(n_tiles, dtype=torch.int32, device=device)
    strips: Strips | None = None
    if with_strips:
        # A Gaussian has a strip a row of blocks at most; what finds no room is walked by one warp.
        room = min(total * triton.cdiv(height, GRADIENT_ROWS), total // 2 + _SPARE_STRIPS)
        places, items = (torch.empty(n, k, dtype=torch.int32, device=device) for n, k in ((total, 2), (room, 4)))
        strips = Strips(places, items, n_strips)

    groups = (triton.cdiv(total, _GROUP),)
    sizes = (total, n_gaussians, height, width, tiles_y, tiles_x)
    shape = {
        "TILE_HEIGHT": TILE_HEIGHT, "TILE_WIDTH": TILE_WIDTH, "GROUP": _GROUP, "LANES": _LANES,
        "MANY_TILES": _MANY_TILES, "MANY_LANES": _MANY_LANES, "num_warps": _WALK_WARPS,
        # Fused or not, both walks must come to the same tiles.
        "enable_fp_fusion": False,
    }  # fmt: skip
    if total:
        split = (*strips, len(strips.items)) if strips is not None else (None, None, None, 0)
        count_kernel[groups](
            means, cholesky, colors, gaussians, ends, *split, *sizes,
            MANY_BLOCKS=_MANY_BLOCKS, STRIP_BLOCKS=_STRIP_BLOCKS,
            BLOCK_ROWS=GRADIENT_ROWS, BLOCK_COLUMNS=GRADIENT_COLUMNS, **shape,
        )  # fmt: skip
    if n_tiles:
        blocks = (triton.cdiv(n_tiles, _STARTS_BLOCK),)
        starts_kernel[blocks](ends, starts, n_pairs, n_tiles, BLOCK=_STARTS_BLOCK, MAX_PAIRS=MAX_PAIRS, num_warps=4)
    capacity = _measured(n_pairs) if budget is None else min(budget.capacity, MAX_PAIRS)
    pairs = torch.empty(capacity, dtype=torch.int32, device=device)
    if total:
        need = None if budget is None else budget.need
        scatter_kernel[groups](gaussians, ends, pairs, n_pairs, need, capacity, *sizes, **shape)
    if ordered and n_tiles:
        unordered, pairs = pairs, torch.empty_like(pairs)
        order_kernel[(n_tiles,)](unordered, pairs, starts, ends, capacity, BLOCK=_ORDER_BLOCK, num_warps=1)
    return Bins(gaussians, pairs, starts, ends, strips)


def _measured(n_pairs: Tensor) -> int:
    need = int(n_pairs.item())
    if need > MAX_PAIRS:
        raise ValueError(
            f"the picture has {need} (Gaussian, tile) pairs, at most {MAX_PAIRS}; draw fewer frames a call"
        )
    return need
