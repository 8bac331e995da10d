"""Binning on a GPU: lists which Gaussians each tile shows. Sizes stay on the device (README.md, "triton: binning")."""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
from torch import Tensor

from stgvcodec.ops.rasterize.pair_budget import PairBudget
from stgvcodec.ops.rasterize.triton_binning import count_kernel, order_kernel, scatter_kernel, starts_kernel
from stgvcodec.ops.rasterize.triton_device import RECORD

# Size of a tile, pixels: multiples of GRADIENT_ROWS and GRADIENT_COLUMNS.
TILE_HEIGHT, TILE_WIDTH = 16, 16
# Size of a gradient block, pixels, of which a lane takes two.
GRADIENT_ROWS, GRADIENT_COLUMNS = 8, 8

# A program takes _GROUP Gaussians, and of each _LANES tiles at a time. A Gaussian of more than _MANY_TILES tiles is
# done by all lanes together, _MANY_LANES tiles at a time.
_GROUP, _LANES, _MANY_TILES, _MANY_LANES = 16, 8, 64, 1024
_BINNING_WARPS = 4
_STARTS_BLOCK = 1024
_ORDER_BLOCK = 32
# A Gaussian whose bounding box has more than _MANY_BLOCKS gradient blocks is split into strips of about _STRIP_BLOCKS.
# There is room for _SPARE_STRIPS strips beside one for every two Gaussians.
_MANY_BLOCKS, _STRIP_BLOCKS, _SPARE_STRIPS = 96, 64, 4096
MAX_PAIRS = 2**30


class Strips(NamedTuple):
    """Strips of the Gaussians that are too large for one warp. A strip is a range of rows of gradient blocks."""

    places: Tensor  # [B * N, 2] int32: first strip of each Gaussian and number of its strips, 0 for a small Gaussian.
    items: Tensor  # [room, 4] int32: index in `gaussians`, rows of blocks [first, end), unused.
    n_items: Tensor  # [1] int32: number of strips, which may exceed the room.


class Bins(NamedTuple):
    """Bins of one call. The Gaussians of all frames are numbered frame by frame, and so are the tiles."""

    gaussians: Tensor  # [B * N, 8] float32: records (`triton_device`).
    pairs: Tensor  # [capacity] int32: indices in `gaussians`, tile by tile.
    starts: Tensor  # [B * tiles] int32: where each tile's pairs begin.
    ends: Tensor  # [B * tiles] int32: where each tile's pairs end.
    strips: Strips | None  # None if no gradients will be asked for.


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
    """Bin contiguous float32 Gaussians into the tiles of a picture.

    Args:
        means: Centres, pixels. [B, N, 2].
        cholesky: Lower factors (l1, l2, l3), pixels. [N, 3] or [B, N, 3].
        colors: Weighted RGB. [B, N, 3].
        height: Rows of the picture, pixels.
        width: Columns of the picture, pixels.
        budget: Room for pairs. With None the call waits for the device once, to learn how many pairs there are.
        ordered: Whether to order each tile's pairs by index, so that they are the same in every run.
        with_strips: Whether gradients will be asked for, which need the strips of large Gaussians.

    Raises:
        ValueError: there is no budget, and there are more than MAX_PAIRS pairs.
    """
    n_frames, n_gaussians, _ = means.shape
    total, device = n_frames * n_gaussians, means.device
    tiles_y, tiles_x = triton.cdiv(height, TILE_HEIGHT), triton.cdiv(width, TILE_WIDTH)
    n_tiles = n_frames * tiles_y * tiles_x
    # The counters of pairs (64 bits) and of strips come before those of the tiles.
    counters = torch.zeros(4 + n_tiles, dtype=torch.int32, device=device)
    n_pairs, n_strips, ends = counters[:2].view(torch.int64), counters[2:3], counters[4:]
    gaussians = torch.empty(total, int(RECORD), device=device)
    starts = torch.empty(n_tiles, dtype=torch.int32, device=device)
    strips: Strips | None = None
    if with_strips:
        # A Gaussian has at most one strip for each row of blocks. One whose strips find no room is left to one warp.
        room = min(total * triton.cdiv(height, GRADIENT_ROWS), total // 2 + _SPARE_STRIPS)
        places, items = (torch.empty(n, k, dtype=torch.int32, device=device) for n, k in ((total, 2), (room, 4)))
        strips = Strips(places, items, n_strips)

    groups = (triton.cdiv(total, _GROUP),)
    sizes = (total, n_gaussians, height, width, tiles_y, tiles_x)
    shape = {
        "TILE_HEIGHT": TILE_HEIGHT, "TILE_WIDTH": TILE_WIDTH, "GROUP": _GROUP, "LANES": _LANES,
        "MANY_TILES": _MANY_TILES, "MANY_LANES": _MANY_LANES, "num_warps": _BINNING_WARPS,
        # Count and scatter must find the same tiles to the last bit, so neither may fuse multiply-adds.
        "enable_fp_fusion": False,
    }  # fmt: skip
    if total:
        split = (*strips, len(strips.items)) if strips is not None else (None, None, None, 0)
        count_kernel[groups](
            means, cholesky, colors, gaussians, ends, *split, cholesky.numel() // 3, *sizes,
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
