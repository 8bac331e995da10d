"""The search in numba: block by block, all moves of one before the next."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stgvcodec.ops.block_search import BLOCK, LEAST_GAIN, REACH
from stgvcodec.ops.block_search.reference import moves
from stgvcodec.ops.compiled import njit

_Array = npt.NDArray[np.float32]

_MOVES = np.array([(dy, dx) for _, dy, dx in moves()], np.int64)
_DISTANCES = np.array([distance for distance, _, _ in moves()], np.float32)
_BLOCK, _REACH = BLOCK, REACH
_LEAST_GAIN = np.float32(LEAST_GAIN)
_PER_PIXEL = np.float32(1.0 / BLOCK**2)


def block_search(now: _Array, other: _Array) -> tuple[_Array, _Array]:
    """Twin of `reference.block_search`."""
    shape = (now.shape[0] // BLOCK, now.shape[1] // BLOCK)
    least, distances = np.empty(shape, np.float32), np.empty(shape, np.float32)
    _search(np.ascontiguousarray(now), np.ascontiguousarray(other), _MOVES, _DISTANCES, least, distances)
    return least, distances


@njit(nogil=True, cache=True, fastmath={"contract", "reassoc"})
def _search(  # type: ignore[no-untyped-def]
    now, other, moves, of_moves, least, distances
):
    for row in range(least.shape[0]):
        for column in range(least.shape[1]):
            top, left = row * _BLOCK, column * _BLOCK
            best, distance = np.float32(np.inf), np.float32(0.0)
            for i in range(len(moves)):
                y, x = top + _REACH + moves[i, 0], left + _REACH + moves[i, 1]
                total = np.float32(0.0)
                for dy in range(_BLOCK):
                    for dx in range(_BLOCK):
                        total += abs(now[top + dy, left + dx] - other[y + dy, x + dx])
                error = total * _PER_PIXEL
                if error < best - _LEAST_GAIN:
                    best, distance = error, of_moves[i]
            least[row, column], distances[row, column] = best, distance
