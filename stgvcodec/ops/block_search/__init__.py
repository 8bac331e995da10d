"""Search for the moves of a picture's blocks. The maths is in README.md. It needs no torch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

BLOCK = 8
"""Side of a block, pixels."""
REACH = 4
"""Largest move along each axis, pixels."""
LEAST_GAIN = 0.02
"""A longer move must lower a block's error by more than this, in units of the pictures."""

_Array = npt.NDArray[np.float32]


def block_search(now: _Array, other: _Array) -> tuple[_Array, _Array]:
    """Find for each block of a picture the move by which another picture explains it best.

    Args:
        now: The picture, whose sides are multiples of `BLOCK`. [h, w] float32.
        other: The other picture with `REACH` more pixels on each side. [h + 2 REACH, w + 2 REACH] float32.

    Returns:
        error: Mean absolute difference of each block at its best move. [h / BLOCK, w / BLOCK] float32.
        distance: Length of that move, pixels. [h / BLOCK, w / BLOCK] float32.

    Raises:
        ValueError: a shape or dtype differs from the above.
    """
    from stgvcodec.ops.block_search import numba_kernel

    _check(now, other)
    return numba_kernel.block_search(now, other)


def _check(now: _Array, other: _Array) -> None:
    height, width = now.shape
    if height % BLOCK or width % BLOCK or other.shape != (height + 2 * REACH, width + 2 * REACH):
        raise ValueError(
            f"pictures have shapes {list(now.shape)} and {list(other.shape)}, expected multiples of {BLOCK} and "
            f"{2 * REACH} more"
        )
    if now.dtype != np.float32 or other.dtype != np.float32:
        raise ValueError(f"pictures are {now.dtype} and {other.dtype}, expected float32")
