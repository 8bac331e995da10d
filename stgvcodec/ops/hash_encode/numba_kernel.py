"""The hash encoding on CPU threads: float32, forward and backward, the same bits for any number of threads.

Points are processed in blocks of `_BLOCK` that lie in SIMD lanes: rows and weights of the vertices are computed for a
whole block, then every point gathers its features. The last block is padded, so that a point goes through the same
instructions whichever block it lies in. `stgvcodec.ops.deform` runs the same kernels between its own.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from stgvcodec.ops.compiled import njit
from stgvcodec.ops.hash_encode.spec import HASH_PRIMES, HashGridSpec
from stgvcodec.ops.threads import run_chunks

# Points of a block: enough to fill SIMD lanes, and so few that rows, weights and projections stay in L1.
_BLOCK = 64
# Splits of the work. They depend on the data alone, so that results do not depend on the machine's threads. A chunk of
# fewer points would take less time than handing it to a thread does.
_BLOCKS_PER_CHUNK = 16
_MAX_CHUNKS = 16

_PRIME_Y = np.uint32(HASH_PRIMES[1])
_PRIME_Z = np.uint32(HASH_PRIMES[2])
_ZERO = np.float32(0.0)
_ONE = np.float32(1.0)

_kernel = njit(nogil=True, cache=True)
# Callers pass the numbers of vertices and features as literals, so that the loops over them are unrolled. Multiply-adds
# may fuse; no other rearrangement is allowed, so that NaN and Inf keep their meaning.
_unrolled = njit(nogil=True, cache=True, fastmath={"contract"}, forceinline=True)
# Here nothing fuses: the place in a cell follows from the rounded product that the cell follows from.
_unfused = njit(nogil=True, cache=True, forceinline=True)


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
        arrays = (levels_of(spec), positions.detach().numpy(), table.detach().numpy(), encoding.numpy())
        n_chunks = _n_chunks(n_points)
        run_chunks(lambda i: encode_points(*arrays, *_span(i, n_chunks, n_points)), n_chunks)
        return encoding

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_encoding: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        positions, table = ctx.saved_tensors
        spec: HashGridSpec = ctx.spec
        n_points = positions.shape[0]
        n_chunks = max(min(_n_chunks(n_points), most_tables(spec, n_points)), 1)
        partials = np.zeros((n_chunks, *table.shape), dtype=np.float32)
        grad_positions = torch.empty_like(positions)
        arrays = (
            levels_of(spec),
            positions.detach().numpy(),
            table.detach().numpy(),
            grad_encoding.contiguous().numpy(),
            grad_positions.numpy(),
        )
        needs_positions = bool(ctx.needs_input_grad[0])
        run_chunks(
            lambda i: encode_backward(*arrays, partials[i], needs_positions, *_span(i, n_chunks, n_points)), n_chunks
        )
        grad_table = torch.from_numpy(partials[0] if n_chunks == 1 else np.add.reduce(partials, axis=0))
        return grad_positions if needs_positions else None, grad_table, None


def _n_chunks(n_points: int) -> int:
    return min(-(-n_points // (_BLOCKS_PER_CHUNK * _BLOCK)), _MAX_CHUNKS)


def most_tables(spec: HashGridSpec, n_points: int) -> int:
    """Return how many chunks, each with a table of its own, can be added up in less time than filling them takes."""
    return n_points * spec.n_levels // spec.n_entries


def _span(chunk: int, n_chunks: int, n_points: int) -> tuple[int, int]:
    """Return the range of a chunk's points, which begins with a block."""
    n_blocks = -(-n_points // _BLOCK)
    return chunk * n_blocks // n_chunks * _BLOCK, min((chunk + 1) * n_blocks // n_chunks * _BLOCK, n_points)


@lru_cache(maxsize=64)
def levels_of(spec: HashGridSpec) -> np.ndarray:
    """Return a row for each level: cells in x, y, z (z 1 in 2D), first row, dense strides of y and z, mask or 0."""
    rows = []
    for cells, offset, is_dense in zip(spec.resolutions, spec.level_offsets, spec.level_is_dense, strict=True):
        x, y, z = (*cells, 1)[:3]
        strides = (x + 1, (x + 1) * (y + 1)) if is_dense else (0, 0)
        rows.append((x, y, z, offset, *strides, 0 if is_dense else 2**spec.log2_hashmap_size - 1))
    return np.array(rows, dtype=np.int64)  # [L, 7]


@_kernel
def _load(positions, start, stop, units):  # type: ignore[no-untyped-def]
    """Copy the points [start, stop) into units [3, _BLOCK], clamped; what is missing becomes zero."""
    units[:] = _ZERO
    for p in range(stop - start):
        for axis in range(positions.shape[1]):
            x = positions[start + p, axis]
            # The comparison turns NaN into 0, since NaN must not become a row of the table.
            units[axis, p] = min(x, _ONE) if x > _ZERO else _ZERO


@_unfused
def _locate(units, axis, n_cells, cells, places):  # type: ignore[no-untyped-def]
    """Find the cell of each point along an axis, and the place inside it."""
    scale, last = np.float32(n_cells), np.int32(n_cells - 1)
    for p in range(_BLOCK):
        x = units[axis, p] * scale
        cell = min(np.int32(x), last)
        cells[axis, p] = cell
        places[axis, p] = x - np.float32(cell)


@_unrolled
def _find_rows(cells, grid, rows, n_corners):  # type: ignore[no-untyped-def]
    """Find the table's row of each vertex; bit a of a vertex's number is its side on axis a."""
    offset, mask = np.uint32(grid[3]), np.uint32(grid[6])
    factor_y = _PRIME_Y if mask else np.uint32(grid[4])
    factor_z = _PRIME_Z if mask else np.uint32(grid[5])
    for corner in range(n_corners):
        side_x, side_y, side_z = np.int32(corner & 1), np.int32((corner >> 1) & 1), np.int32(corner >> 2)
        if mask:
            for p in range(_BLOCK):
                y, z = np.uint32(cells[1, p] + side_y) * factor_y, np.uint32(cells[2, p] + side_z) * factor_z
                rows[corner, p] = np.uint32((np.uint32(cells[0, p] + side_x) ^ y ^ z) & mask) + offset
        else:
            for p in range(_BLOCK):
                y, z = np.uint32(cells[1, p] + side_y) * factor_y, np.uint32(cells[2, p] + side_z) * factor_z
                rows[corner, p] = np.uint32(cells[0, p] + side_x) + y + z + offset


@_unrolled
def _side_weight(place, side):  # type: ignore[no-untyped-def]
    return place if side else _ONE - place


@_unrolled
def _weigh(places, weights, n_corners):  # type: ignore[no-untyped-def]
    """Compute the weight of each vertex."""
    for corner in range(n_corners):
        for p in range(_BLOCK):
            weight = _side_weight(places[0, p], corner & 1) * _side_weight(places[1, p], (corner >> 1) & 1)
            weights[corner, p] = weight * _side_weight(places[2, p], corner >> 2) if n_corners == 8 else weight


@_unrolled
def _prepare(units, grid, cells, places, rows, weights, n_corners):  # type: ignore[no-untyped-def]
    _locate(units, 0, grid[0], cells, places)
    _locate(units, 1, grid[1], cells, places)
    if n_corners == 8:
        _locate(units, 2, grid[2], cells, places)
    _find_rows(cells, grid, rows, n_corners)
    _weigh(places, weights, n_corners)


@_unrolled
def _mix(table, rows, weights, encoding, start, stop, column, n_corners, n_features):  # type: ignore[no-untyped-def]
    """Write the features of one level for the points [start, stop) of a block."""
    for p in range(stop - start):
        for f in range(n_features):
            total = _ZERO
            for corner in range(n_corners):
                total += weights[corner, p] * table[np.uint64(rows[corner, p]), f]
            encoding[start + p, column + f] = total


@_kernel
def encode_points(levels, positions, table, encoding, start, stop):  # type: ignore[no-untyped-def]
    """Write the encodings of the points [start, stop)."""
    n_features = table.shape[1]
    n_corners = 1 << positions.shape[1]
    units, places = np.empty((3, _BLOCK), np.float32), np.empty((3, _BLOCK), np.float32)
    cells, rows = np.zeros((3, _BLOCK), np.int32), np.empty((8, _BLOCK), np.uint32)
    weights = np.empty((8, _BLOCK), np.float32)
    for first in range(start, stop, _BLOCK):
        end = min(first + _BLOCK, stop)
        _load(positions, first, end, units)
        for level in range(levels.shape[0]):
            grid, column = levels[level], level * n_features
            if n_corners == 8:
                _prepare(units, grid, cells, places, rows, weights, 8)
                if n_features == 4:
                    _mix(table, rows, weights, encoding, first, end, column, 8, 4)
                elif n_features == 2:
                    _mix(table, rows, weights, encoding, first, end, column, 8, 2)
                else:
                    _mix(table, rows, weights, encoding, first, end, column, 8, n_features)
            else:
                _prepare(units, grid, cells, places, rows, weights, 4)
                if n_features == 2:
                    _mix(table, rows, weights, encoding, first, end, column, 4, 2)
                else:
                    _mix(table, rows, weights, encoding, first, end, column, 4, n_features)


@_unrolled
def _spread(  # type: ignore[no-untyped-def]
    table, rows, weights, gradient, start, stop, column, grad_table, projections, n_corners, n_features
):
    """Add to the table's gradient, and project each vertex's features on the gradient of the encoding."""
    for p in range(stop - start):
        for corner in range(n_corners):
            row, weight, projection = np.uint64(rows[corner, p]), weights[corner, p], _ZERO
            for f in range(n_features):
                value = gradient[start + p, column + f]
                projection += value * table[row, f]
                grad_table[row, f] += weight * value
            projections[corner, p] = projection


@_unrolled
def _add_slopes(places, grid, projections, slopes, n_corners):  # type: ignore[no-untyped-def]
    """Add one level's share of the position gradients."""
    scale_x, scale_y, scale_z = np.float32(grid[0]), np.float32(grid[1]), np.float32(grid[2])
    for p in range(_BLOCK):
        x, y, z = places[0, p], places[1, p], places[2, p]
        slope_x, slope_y, slope_z = _ZERO, _ZERO, _ZERO
        for corner in range(n_corners):
            side_x, side_y, side_z = corner & 1, (corner >> 1) & 1, corner >> 2
            weight_x, weight_y = _side_weight(x, side_x), _side_weight(y, side_y)
            weight_z = _side_weight(z, side_z) if n_corners == 8 else _ONE
            here = projections[corner, p]
            if not side_x:
                slope_x += (projections[corner + 1, p] - here) * (weight_y * weight_z)
            if not side_y:
                slope_y += (projections[corner + 2, p] - here) * (weight_x * weight_z)
            if n_corners == 8 and not side_z:
                slope_z += (projections[corner + 4, p] - here) * (weight_x * weight_y)
        slopes[0, p] += scale_x * slope_x
        slopes[1, p] += scale_y * slope_y
        slopes[2, p] += scale_z * slope_z


@_kernel
def encode_backward(  # type: ignore[no-untyped-def]
    levels, positions, table, gradient, grad_positions, grad_table, needs_positions, start, stop
):
    """Write the position gradients of the points [start, stop), if needed; add to the table's gradient."""
    n_features = table.shape[1]
    n_dims = positions.shape[1]
    n_corners = 1 << n_dims
    units, places = np.empty((3, _BLOCK), np.float32), np.empty((3, _BLOCK), np.float32)
    cells, rows = np.zeros((3, _BLOCK), np.int32), np.empty((8, _BLOCK), np.uint32)
    weights, slopes = np.empty((8, _BLOCK), np.float32), np.empty((3, _BLOCK), np.float32)
    # The lanes past the last point are computed too, and thrown away.
    projections = np.zeros((8, _BLOCK), np.float32)
    for first in range(start, stop, _BLOCK):
        end = min(first + _BLOCK, stop)
        _load(positions, first, end, units)
        slopes[:] = _ZERO
        for level in range(levels.shape[0]):
            grid, column = levels[level], level * n_features
            if n_corners == 8:
                _prepare(units, grid, cells, places, rows, weights, 8)
                if n_features == 4:
                    _spread(table, rows, weights, gradient, first, end, column, grad_table, projections, 8, 4)
                elif n_features == 2:
                    _spread(table, rows, weights, gradient, first, end, column, grad_table, projections, 8, 2)
                else:
                    _spread(table, rows, weights, gradient, first, end, column, grad_table, projections, 8, n_features)
                if needs_positions:
                    _add_slopes(places, grid, projections, slopes, 8)
            else:
                _prepare(units, grid, cells, places, rows, weights, 4)
                if n_features == 2:
                    _spread(table, rows, weights, gradient, first, end, column, grad_table, projections, 4, 2)
                else:
                    _spread(table, rows, weights, gradient, first, end, column, grad_table, projections, 4, n_features)
                if needs_positions:
                    _add_slopes(places, grid, projections, slopes, 4)
        if needs_positions:
            for p in range(end - first):
                for axis in range(n_dims):
                    # Clamped positions get no gradient; a NaN fails the comparison too.
                    passes = _ZERO <= positions[first + p, axis] <= _ONE
                    grad_positions[first + p, axis] = slopes[axis, p] if passes else _ZERO
