"""The hash encoding in torch: the reference, on any device, vectorised over points, levels and vertices."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from functools import lru_cache, reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from stgvcodec.ops.hash_encode.spec import HASH_PRIMES, HashGridSpec

_UINT32 = 0xFFFFFFFF


def hash_encode(positions: Tensor, table: Tensor, spec: HashGridSpec) -> Tensor:
    """Reference of `stgvcodec.ops.hash_encode.hash_encode`, with the same arguments, result and gradients."""
    grid = _grid(spec, table.dtype, table.device)
    unit = positions.nan_to_num(nan=0.0, posinf=1.0, neginf=0.0).clamp(0.0, 1.0)
    scaled = unit[:, None, :] * grid.cells  # [M, L, d]
    cell = torch.minimum(scaled.detach().floor(), grid.cells - 1)
    fraction = scaled - cell
    axis_weights = torch.stack([1 - fraction, fraction], dim=-1)  # [M, L, d, 2]
    vertices = cell.long()[..., None] + grid.corner  # [M, L, d, 2]
    dense_parts = vertices * grid.strides  # [M, L, d, 2]
    hash_parts = (vertices * grid.primes) & _UINT32

    dense = reduce(operator.add, _axes_apart(dense_parts))  # [M, L, 2] or [M, L, 2, 2, 2], the last axis is x
    hashed = reduce(operator.xor, _axes_apart(hash_parts)) & (2**spec.log2_hashmap_size - 1)
    weights = reduce(operator.mul, _axes_apart(axis_weights))

    corners = (spec.n_levels, 2**spec.n_dims)
    rows = torch.where(grid.is_dense, dense.reshape(-1, *corners), hashed.reshape(-1, *corners)) + grid.offsets
    # The backward of F.embedding is deterministic on a CPU; that of table[rows] is not.
    features = F.embedding(rows, table)  # [M, L, 2**d, F]
    return (weights.reshape(-1, *corners, 1) * features).sum(dim=2).reshape(-1, spec.n_features)


def _axes_apart(parts: Tensor) -> list[Tensor]:
    """Split values for each axis, [M, L, d, 2], into d tensors that broadcast to [M, L, 2 (last axis), .., 2 (x)]."""
    n_dims = parts.shape[2]
    return [
        parts[:, :, axis].reshape(
            *parts.shape[:2], *(2 if n_dims - 1 - place == axis else 1 for place in range(n_dims))
        )
        for axis in range(n_dims)
    ]


@dataclass(frozen=True)
class _Grid:
    cells: Tensor  # [L, d] of the table's dtype
    strides: Tensor  # [L, d, 1] int64, dense rows per step along each axis
    primes: Tensor  # [d, 1] int64
    corner: Tensor  # [2] int64, the two vertices of a cell along an axis
    is_dense: Tensor  # [L, 1] bool
    offsets: Tensor  # [L, 1] int64


@lru_cache(maxsize=64)
def _grid(spec: HashGridSpec, dtype: torch.dtype, device: torch.device) -> _Grid:
    # These tensors are cached across calls and must not be inference tensors, which a later backward could not use.
    with torch.inference_mode(False):
        strides = torch.tensor([[1, x + 1, (x + 1) * (y + 1)] for x, y, *_ in spec.resolutions], device=device)
        # A hashed level's strides are not used; zero keeps their product from overflowing.
        is_dense = torch.tensor(spec.level_is_dense, device=device)[:, None]
        return _Grid(
            cells=torch.tensor(spec.resolutions, dtype=dtype, device=device),
            strides=(strides * is_dense)[:, : spec.n_dims, None],
            primes=torch.tensor(HASH_PRIMES[: spec.n_dims], device=device)[:, None],
            corner=torch.arange(2, device=device),
            is_dense=is_dense,
            offsets=torch.tensor(spec.level_offsets, device=device)[:, None],
        )
