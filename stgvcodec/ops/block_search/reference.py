"""The search in numpy: one pass over the picture for each move."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stgvcodec.ops.block_search import BLOCK, LEAST_GAIN, REACH

_Array = npt.NDArray[np.float32]


def block_search(now: _Array, other: _Array) -> tuple[_Array, _Array]:
    """Reference of `stgvcodec.ops.block_search.block_search`, with the same arguments and results."""
    height, width = now.shape
    rows, columns = height // BLOCK, width // BLOCK
    least = np.full((rows, columns), np.inf, np.float32)
    distances = np.zeros((rows, columns), np.float32)
    for distance, dy, dx in moves():
        top, left = REACH + dy, REACH + dx
        difference = np.abs(now - other[top : top + height, left : left + width])
        error = difference.reshape(rows, BLOCK, columns, BLOCK).mean(axis=(1, 3), dtype=np.float32)
        better = error < least - np.float32(LEAST_GAIN)
        least = np.where(better, error, least)
        distances = np.where(better, np.float32(distance), distances)
    return least, distances


def moves() -> list[tuple[float, int, int]]:
    """Return the moves in the order in which they are tried: (distance, dy, dx)."""
    steps = range(-REACH, REACH + 1)
    return sorted((float(np.hypot(dy, dx)), dy, dx) for dy in steps for dx in steps)
