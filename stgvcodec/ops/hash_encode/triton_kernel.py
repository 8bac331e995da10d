"""The hash encoding on CUDA: float32, forward and backward; a program takes a block of points on all levels at once."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from stgvcodec.ops.hash_encode.spec import HashGridSpec
from stgvcodec.ops.hash_encode.triton_device import encode, encode_backward, passes_gradient, tile_columns

# Number of elements of a [points, levels, features] tile: eight a thread, so that all gathers of a point are in flight
# together.
_TILE_ELEMENTS = 1024
_N_WARPS = 4


def hash_encode(positions: Tensor, table: Tensor, spec: HashGridSpec) -> Tensor:
    """Triton twin of `stgvcodec.ops.hash_encode.reference.hash_encode`, float32 on CUDA.

    Deterministic: forward yes; gradients of positions yes; gradients of the table no (atomic adds).

    Raises:
        ValueError: the tensors are not float32, or the table has 2**31 elements or more.
    """
    if table.dtype != torch.float32:
        raise ValueError(
            f"backend 'triton' computes in float32, got {table.dtype}; convert, or use backend 'reference'"
        )
    if table.numel() >= 2**31:
        raise ValueError(f"backend 'triton' takes tables below 2**31 elements, got {table.numel()}; use 'reference'")
    encoding: Tensor = _HashEncode.apply(positions, table, spec)
    return encoding


@lru_cache(maxsize=64)
def level_table(spec: HashGridSpec, n_levels: int, device: torch.device) -> Tensor:
    """Make the level table of a grid, padded to `n_levels`.

    Returns:
        A row for each level: cells in x, y, z (z is 1 in two dimensions), first row of the table, dense strides of y
        and z, mask (0 if dense), 0. [n_levels, 8] int32.
    """
    rows = []
    for cells, offset, is_dense in zip(spec.resolutions, spec.level_offsets, spec.level_is_dense, strict=True):
        x, y, z = (*cells, 1)[:3]
        strides = (x + 1, (x + 1) * (y + 1)) if is_dense else (0, 0)
        rows.append((x, y, z, offset, *strides, 0 if is_dense else 2**spec.log2_hashmap_size - 1, 0))
    rows += [(1, 1, 1, 0, 0, 0, 0, 0)] * (n_levels - spec.n_levels)
    # The tensor is cached across calls and must not be an inference tensor, which a later backward could not use.
    with torch.inference_mode(False):
        return torch.tensor(rows, dtype=torch.int32, device=device)


class _HashEncode(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, positions: Tensor, table: Tensor, spec: HashGridSpec) -> Tensor:
        positions, table = positions.contiguous(), table.contiguous()
        ctx.save_for_backward(positions, table)
        ctx.spec = spec
        n_points = positions.shape[0]
        encoding = torch.empty((n_points, spec.n_features), dtype=torch.float32, device=table.device)
        if n_points:
            block, constants = _constants(spec)
            levels = level_table(spec, constants["LEVELS_PAD"], table.device)
            with torch.cuda.device_of(table):
                _forward[(triton.cdiv(n_points, block),)](positions, table, levels, encoding, n_points, **constants)
        return encoding

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_encoding: Tensor) -> tuple[Tensor, Tensor, None]:
        positions, table = ctx.saved_tensors
        n_points = positions.shape[0]
        grad_positions, grad_table = torch.empty_like(positions), torch.zeros_like(table)
        if n_points:
            block, constants = _constants(ctx.spec)
            levels = level_table(ctx.spec, constants["LEVELS_PAD"], table.device)
            with torch.cuda.device_of(table):
                _backward[(triton.cdiv(n_points, block),)](
                    positions,
                    table,
                    levels,
                    grad_encoding.contiguous(),
                    grad_positions,
                    grad_table,
                    n_points,
                    **constants,
                )
        return grad_positions, grad_table, None


def _constants(spec: HashGridSpec) -> tuple[int, dict[str, int]]:
    levels_pad = triton.next_power_of_2(spec.n_levels)
    features_pad = triton.next_power_of_2(spec.n_features_per_level)
    block = min(max(_TILE_ELEMENTS // (levels_pad * features_pad), 1), 128)
    constants = {
        "N_DIMS": spec.n_dims,
        "N_LEVELS": spec.n_levels,
        "N_FEATURES": spec.n_features_per_level,
        "LEVELS_PAD": levels_pad,
        "FEATURES_PAD": features_pad,
        "BLOCK": block,
    }
    return block, constants | {"num_warps": _N_WARPS, "enable_fp_fusion": False}


@triton.jit(do_not_specialize=["n_points"])
def _forward(  # type: ignore[no-untyped-def]
    positions,
    table,
    levels,
    encoding,
    n_points,
    N_DIMS: tl.constexpr,
    N_LEVELS: tl.constexpr,
    N_FEATURES: tl.constexpr,
    LEVELS_PAD: tl.constexpr,
    FEATURES_PAD: tl.constexpr,
    BLOCK: tl.constexpr,
):
    point = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    x, y, z = _load_position(positions, tl.minimum(point, n_points - 1), N_DIMS)
    features = encode(
        x, y, z, table, levels, N_DIMS, N_LEVELS, N_FEATURES, LEVELS_PAD, FEATURES_PAD, ROW_STRIDE=N_FEATURES
    )
    column, present = tile_columns(N_LEVELS, N_FEATURES, LEVELS_PAD, FEATURES_PAD)
    present &= (point < n_points)[:, None, None]
    tl.store(encoding + point[:, None, None] * (N_LEVELS * N_FEATURES) + column, features, mask=present)


@triton.jit(do_not_specialize=["n_points"])
def _backward(  # type: ignore[no-untyped-def]
    positions,
    table,
    levels,
    grad_encoding,
    grad_positions,
    grad_table,
    n_points,
    N_DIMS: tl.constexpr,
    N_LEVELS: tl.constexpr,
    N_FEATURES: tl.constexpr,
    LEVELS_PAD: tl.constexpr,
    FEATURES_PAD: tl.constexpr,
    BLOCK: tl.constexpr,
):
    point = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    alive = point < n_points
    x, y, z = _load_position(positions, tl.minimum(point, n_points - 1), N_DIMS)
    column, present = tile_columns(N_LEVELS, N_FEATURES, LEVELS_PAD, FEATURES_PAD)
    present &= alive[:, None, None]
    address = grad_encoding + point[:, None, None] * (N_LEVELS * N_FEATURES) + column
    gradient = tl.load(address, mask=present, other=0.0)
    grad_x, grad_y, grad_z = encode_backward(
        gradient,
        x,
        y,
        z,
        alive,
        table,
        grad_table,
        levels,
        N_DIMS,
        N_LEVELS,
        N_FEATURES,
        LEVELS_PAD,
        FEATURES_PAD,
        ROW_STRIDE=N_FEATURES,
    )
    out = grad_positions + point * N_DIMS
    tl.store(out, tl.where(passes_gradient(x), grad_x, 0.0), mask=alive)
    tl.store(out + 1, tl.where(passes_gradient(y), grad_y, 0.0), mask=alive)
    if N_DIMS == 3:
        tl.store(out + 2, tl.where(passes_gradient(z), grad_z, 0.0), mask=alive)


@triton.jit
def _load_position(positions, point, N_DIMS: tl.constexpr):  # type: ignore[no-untyped-def]
    x = tl.load(positions + point * N_DIMS)
    y = tl.load(positions + point * N_DIMS + 1)
    z = tl.load(positions + point * N_DIMS + 2) if N_DIMS == 3 else tl.zeros_like(x)
    return x, y, z
