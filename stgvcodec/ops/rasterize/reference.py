"""Splatting in plain torch, on any device, in float32 or float64: the reference that the kernels are tested against.

It culls by 16x16 tiles and works in chunks of (Gaussian, tile) pairs; each chunk is computed again in the backward pass
instead of being kept, so memory is bounded by the chunk, whatever the number of Gaussians.
"""

from __future__ import annotations

import math
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from stgvcodec.ops.rasterize import MAX_MAGNITUDE, MIN_SCALE_PX, SIGMA_MAX

_TILE = 16
# Pairs evaluated at once: on a CPU a chunk's [pairs, 256] values should stay in the cache, on a GPU there should be few
# launches.
_CHUNK_CPU = 1024
_CHUNK_GPU = 65536
_EXP_MAX = math.exp(-SIGMA_MAX)


def rasterize(means: Tensor, cholesky: Tensor, colors: Tensor, height: int, width: int) -> Tensor:
    """Twin of `stgvcodec.ops.rasterize.rasterize`, for checked inputs."""
    n_frames, n_gaussians, _ = means.shape
    gaussians = torch.cat([means, cholesky.expand(n_frames, -1, -1), colors], dim=2).reshape(-1, 8)  # [B * N, 8]
    drawable = _drawable(gaussians)
    gaussians = torch.where(drawable[:, None], gaussians, gaussians.new_tensor([0.0, 0, 1, 0, 1, 0, 0, 0]))
    n_tiles_y, n_tiles_x = -(-height // _TILE), -(-width // _TILE)
    with torch.no_grad():
        boxes = _tile_boxes(gaussians, drawable, n_tiles_y, n_tiles_x)
    n_pairs = int(boxes.pairs_before[-1]) if len(drawable) else 0

    tiles = gaussians.new_zeros(n_frames * n_tiles_y * n_tiles_x, _TILE * _TILE, 3)
    chunk = _CHUNK_CPU if means.device.type == "cpu" else _CHUNK_GPU
    # There is at least one chunk, if an empty one, so that a picture without a visible Gaussian has gradients (zeros).
    for first in range(0, max(n_pairs, 1), chunk):
        pairs = torch.arange(first, min(first + chunk, n_pairs), device=means.device)
        gaussian, tile_y, tile_x = _locate(pairs, boxes)
        tile = (gaussian // max(n_gaussians, 1) * n_tiles_y + tile_y) * n_tiles_x + tile_x
        values = cast(
            Tensor,
            checkpoint(_splat, gaussians, gaussian, tile_y, tile_x, use_reentrant=False, preserve_rng_state=False),
        )  # [pairs, 256, 3]
        if means.device.type == "cpu":
            tiles.index_add_(0, tile, values)
        else:
            tiles.index_put_((tile,), values, accumulate=True)  # Unlike index_add_, this sorts and needs no atomics.
    image = tiles.view(n_frames, n_tiles_y, n_tiles_x, _TILE, _TILE, 3).transpose(2, 3)
    image = image.reshape(n_frames, n_tiles_y * _TILE, n_tiles_x * _TILE, 3)
    return image[:, :height, :width].contiguous()


class _TileBoxes(NamedTuple):
    first_y: Tensor  # [B * N] int64: first row of tiles.
    first_x: Tensor  # [B * N] int64: first column of tiles.
    n_x: Tensor  # [B * N] int64: number of tiles in a row.
    pairs_before: Tensor  # [B * N] int64: running total of pairs, those of the Gaussian itself included.
    n_pairs: Tensor  # [B * N] int64: number of pairs.


def _drawable(gaussians: Tensor) -> Tensor:
    # A NaN fails every comparison.
    small_enough = (gaussians.abs() <= MAX_MAGNITUDE).all(dim=1)
    return small_enough & (gaussians[:, 2] >= MIN_SCALE_PX) & (gaussians[:, 4] >= MIN_SCALE_PX)


def _tile_boxes(gaussians: Tensor, drawable: Tensor, n_tiles_y: int, n_tiles_x: int) -> _TileBoxes:
    """Find the tiles that the bounding box of each Gaussian's support touches."""
    mean_x, mean_y, l1, l2, l3 = gaussians[:, :5].double().unbind(1)
    radius = math.sqrt(2 * SIGMA_MAX)
    spans = []
    for mean, reach, n_tiles in ((mean_y, radius * torch.hypot(l2, l3), n_tiles_y), (mean_x, radius * l1, n_tiles_x)):
        first = ((mean - reach) / _TILE).floor().clamp(0, n_tiles).long()
        end = (((mean + reach) / _TILE).floor() + 1).clamp(0, n_tiles).long()
        spans.append((first, (end - first).clamp_min(0)))
    (first_y, n_y), (first_x, n_x) = spans
    n_pairs = torch.where(drawable, n_y * n_x, 0)
    return _TileBoxes(first_y, first_x, n_x, n_pairs.cumsum(0), n_pairs)


def _locate(pairs: Tensor, boxes: _TileBoxes) -> tuple[Tensor, Tensor, Tensor]:
    """Find Gaussian, tile row and tile column of pairs, which are numbered Gaussian by Gaussian and row by row."""
    gaussian = torch.searchsorted(boxes.pairs_before, pairs, right=True)
    first_y, first_x, n_x, pairs_before, n_pairs = (column.index_select(0, gaussian) for column in boxes)
    within = pairs - (pairs_before - n_pairs)
    return gaussian, first_y + within // n_x, first_x + within % n_x


def _splat(gaussians: Tensor, gaussian: Tensor, tile_y: Tensor, tile_x: Tensor) -> Tensor:
    """Compute what each pair adds to its tile. [pairs, 256, 3]."""
    # The backward of F.embedding is deterministic on a CPU; that of gaussians[gaussian] is not.
    mean_x, mean_y, l1, l2, l3, *color = F.embedding(gaussian, gaussians)[:, None, :].unbind(2)  # each [pairs, 1]
    pixel = torch.arange(_TILE * _TILE, device=gaussian.device)
    x = (tile_x[:, None] * _TILE + pixel % _TILE).to(gaussians.dtype) + 0.5  # [pairs, 256]
    y = (tile_y[:, None] * _TILE + pixel // _TILE).to(gaussians.dtype) + 0.5
    u = (x - mean_x) / l1
    v = ((y - mean_y) - l2 * u) / l3
    sigma = 0.5 * (u * u + v * v)
    weight = F.relu(torch.exp(-sigma) - _EXP_MAX)
    return weight[:, :, None] * torch.stack(color, dim=2)
