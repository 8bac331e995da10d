"""The hash encoding on CPU threads: float32, forward and backward, the same bits for any number of threads."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor
from torch.autograd.function import once_differentiable

from stgvcodec.ops.hash_encode.spec import HASH_PRIMES, HashGridSpec
from stgvcodec.ops.threads import run_chunks

# Splits of the work. They depend on the data alone, so that results do not depend on the machine's threads.
_POINTS_PER_CHUNK = 256
_MAX_CHUNKS = 16
_POINTS_PER_PARTIAL = 4096
_MAX_PARTIALS = 4

_PRIME_Y = HASH_PRIMES[1]
_PRIME_Z = HASH_PRIMES[2]
_ZERO = np.float32(0.0)
_ONE = np.float32(1.0)


def hash_encode(positions: Tensor, table: Tensor, spec: HashGridSpec) -> Tensor:
    """Numba twin of `stgvcodec.ops.hash_encode.reference.hash_encode`, float32 on a CPU.

    Raises:
        ValueError: the tensors are not float32.
    """
    if table.dtype != torch.float32:
        raise ValueError(f"backend 'numba' computes in float32, got {table.dtype}; convert, or use backend 'reference'")
    encoding: Tensor = _HashEncode.apply(positions, table, spec)
    return encoding


class _HashEncode(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, positions: Tensor, table: Tensor, spec: HashGridSpec) -> Tensor:
        positions, table = positions.contiguous(), table.contiguous()
        ctx.save_for_backward(positions, table)
        ctx.spec = spec
        n_points = positions.shape[0]
        encoding = torch.empty((n_points, spec.n_features), dtype=torch.float32)
        arrays = (_levels(spec), positions.detach().numpy(), table.detach().numpy(), encoding.numpy())
        n_chunks = _n_chunks(n_points)
        run_chunks(lambda i: _encode(*arrays, *_span(i, n_chunks, n_points)), n_chunks)
        return encoding

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_encoding: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        positions, table = ctx.saved_tensors
        spec: HashGridSpec = ctx.spec
        n_points = positions.shape[0]
        arrays = (_levels(spec), positions.detach().numpy(), table.detach().numpy(), grad_encoding.contiguous().numpy())
        grad_positions = grad_table = None
        if ctx.needs_input_grad[0]:
            grad_positions = torch.empty_like(positions)
            grad_array = grad_positions.numpy()
            n_chunks = _n_chunks(n_points)
            run_chunks(lambda i: _grad_positions(*arrays, grad_array, *_span(i, n_chunks, n_points)), n_chunks)
        if ctx.needs_input_grad[1]:
            # A chunk is one level of one part of the points. Levels have rows of their own, so only parts are added up.
            n_parts = min(max(n_points // _POINTS_PER_PARTIAL, 1), _MAX_PARTIALS)
            partials = np.zeros((n_parts, *table.shape), dtype=np.float32)

            def add_level(i: int) -> None:
                part, level = divmod(i, spec.n_levels)
                _grad_table(*arrays, partials[part], level, *_span(part, n_parts, n_points))

            run_chunks(add_level, n_parts * spec.n_levels)
            grad_table = torch.from_numpy(partials[0] if n_parts == 1 else np.add.reduce(partials, axis=0))
        return grad_positions, grad_table, None


def _n_chunks(n_points: int) -> int:
    return min(-(-n_points // _POINTS_PER_CHUNK), _MAX_CHUNKS)


def _span(chunk: int, n_chunks: int, n_points: int) -> tuple[int, int]:
    return chunk * n_points // n_chunks, (chunk + 1) * n_points // n_chunks


@lru_cache(maxsize=64)
def _levels(spec: HashGridSpec) -> np.ndarray:
    """Return a row for each level: cells in x, y, z (z 1 in 2D), first row, dense strides of y and z, mask or 0."""
    rows = []
    for cells, offset, is_dense in zip(spec.resolutions, spec.level_offsets, spec.level_is_dense, strict=True):
        x, y, z = (*cells, 1)[:3]
        strides = (x + 1, (x + 1) * (y + 1)) if is_dense else (0, 0)
        rows.append((x, y, z, offset, *strides, 0 if is_dense else 2**spec.log2_hashmap_size - 1))
    return np.array(rows, dtype=np.int64)  # [L, 7]


@njit(nogil=True, cache=True)
def _unit(x):  # type: ignore[no-untyped-def]
    # The comparison turns NaN into 0, since NaN must not become a row of the table.
    if not x > _ZERO:
        return _ZERO
    return min(x, _ONE)


@njit(nogil=True, cache=True)
def _corners(positions, m, grid, rows, weights):  # type: ignore[no-untyped-def]
    """Fill table rows and weights of the vertices around point m; bit a of a vertex's number is its side on axis a.

    The return value is the point's place inside its cell, (x, y, z).
    """
    n_dims = positions.shape[1]
    x = _unit(positions[m, 0]) * np.float32(grid[0])
    y = _unit(positions[m, 1]) * np.float32(grid[1])
    z = _unit(positions[m, 2]) * np.float32(grid[2]) if n_dims == 3 else _ZERO
    cell_x = min(np.int64(x), grid[0] - 1)
    cell_y = min(np.int64(y), grid[1] - 1)
    cell_z = min(np.int64(z), grid[2] - 1)
    x, y, z = x - np.float32(cell_x), y - np.float32(cell_y), z - np.float32(cell_z)
    offset, stride_y, stride_z, mask = grid[3], grid[4], grid[5], grid[6]
    for corner in range(1 << n_dims):
        side_x, side_y, side_z = corner & 1, (corner >> 1) & 1, corner >> 2
        vertex_x, vertex_y, vertex_z = cell_x + side_x, cell_y + side_y, cell_z + side_z
        if mask:
            # The mask keeps fewer than 32 bits, so wrapping to uint32 first would change nothing.
            rows[corner] = offset + ((vertex_x ^ (vertex_y * _PRIME_Y) ^ (vertex_z * _PRIME_Z)) & mask)
        else:
            rows[corner] = offset + vertex_x + vertex_y * stride_y + vertex_z * stride_z
        weights[corner] = _side_weight(x, side_x) * _side_weight(y, side_y) * _side_weight(z, side_z)
    return x, y, z


@njit(nogil=True, cache=True)
def _corner_buffers():  # type: ignore[no-untyped-def]
    # The rows are unsigned, so that numba leaves out the check for negative indices, which takes a tenth of the time.
    return np.empty(8, np.uint64), np.empty(8, np.float32)


@njit(nogil=True, cache=True)
def _side_weight(place, side):  # type: ignore[no-untyped-def]
    return place if side else _ONE - place


@njit(nogil=True, cache=True)
def _encode(levels, positions, table, encoding, start, stop):  # type: ignore[no-untyped-def]
    n_features = table.shape[1]
    n_corners = 1 << positions.shape[1]
    rows, weights = _corner_buffers()
    for level in range(levels.shape[0]):
        grid = levels[level]
        for m in range(start, stop):
            _corners(positions, m, grid, rows, weights)
            for f in range(n_features):
                total = _ZERO
                for corner in range(n_corners):
                    total += weights[corner] * table[rows[corner], f]
                encoding[m, level * n_features + f] = total


@njit(nogil=True, cache=True)
def _grad_table(levels, positions, table, grad_encoding, grad_table, level, start, stop):  # type: ignore[no-untyped-def]
    n_features = table.shape[1]
    n_corners = 1 << positions.shape[1]
    rows, weights = _corner_buffers()
    grid = levels[level]
    for m in range(start, stop):
        _corners(positions, m, grid, rows, weights)
        for corner in range(n_corners):
            for f in range(n_features):
                grad_table[rows[corner], f] += weights[corner] * grad_encoding[m, level * n_features + f]


@njit(nogil=True, cache=True)
def _grad_positions(levels, positions, table, grad_encoding, grad_positions, start, stop):  # type: ignore[no-untyped-def]
    n_features = table.shape[1]
    n_dims = positions.shape[1]
    rows, weights = _corner_buffers()
    for m in range(start, stop):
        total_x, total_y, total_z = _ZERO, _ZERO, _ZERO
        for level in range(levels.shape[0]):
            grid = levels[level]
            x, y, z = _corners(positions, m, grid, rows, weights)
            slope_x, slope_y, slope_z = _ZERO, _ZERO, _ZERO
            for corner in range(1 << n_dims):
                projection = _ZERO
                for f in range(n_features):
                    projection += grad_encoding[m, level * n_features + f] * table[rows[corner], f]
                side_x, side_y, side_z = corner & 1, (corner >> 1) & 1, corner >> 2
                weight_x, weight_y, weight_z = _side_weight(x, side_x), _side_weight(y, side_y), _side_weight(z, side_z)
                slope_x += _signed(projection, side_x) * weight_y * weight_z
                slope_y += _signed(projection, side_y) * weight_x * weight_z
                slope_z += _signed(projection, side_z) * weight_x * weight_y
            total_x += np.float32(grid[0]) * slope_x
            total_y += np.float32(grid[1]) * slope_y
            total_z += np.float32(grid[2]) * slope_z
        grad_positions[m, 0] = total_x if _ZERO <= positions[m, 0] <= _ONE else _ZERO
        grad_positions[m, 1] = total_y if _ZERO <= positions[m, 1] <= _ONE else _ZERO
        if n_dims == 3:
            grad_positions[m, 2] = total_z if _ZERO <= positions[m, 2] <= _ONE else _ZERO


@njit(nogil=True, cache=True)
def _signed(value, side):  # type: ignore[no-untyped-def]
    return value if side else -value
