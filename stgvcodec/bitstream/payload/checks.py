"""Checks of a GoP's arrays: arrays to be coded raise ValueError, decoded arrays raise BitstreamError."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from stgvcodec.bitstream.payload.field import FieldHeader
from stgvcodec.bitstream.syntax.elements import SyntaxTable, dimensions, read_elements
from stgvcodec.bitstream.syntax.primitives import ByteReader
from stgvcodec.bitstream.syntax.tables import MLP_TENSORS

_HALF_EXPONENT = 0x7C00


def halves_are_finite(patterns: npt.NDArray[np.uint16]) -> bool:
    """Whether no binary16 bit pattern is an infinity or NaN."""
    return not bool(((patterns & _HALF_EXPONENT) == _HALF_EXPONENT).any())


def check_decoded_floats(floats: npt.NDArray[np.float32], table: SyntaxTable, counts: Mapping[str, int]) -> None:
    """Hold the decoded values of a table of f32 elements to their limits.

    Args:
        floats: Values of all elements, in the order of the table. [n] float32.
        table: The elements.
        counts: Numbers that the shapes of the elements refer to, by name.

    Raises:
        BitstreamError: a value is not finite or outside its limits.
    """
    low, high = _float_limits(table, tuple(counts.items()))
    if not bool(((low <= floats) & (floats <= high)).all()):
        # Reading element by element finds the value and says what is wrong with it.
        read_elements(ByteReader(floats.astype("<f4").tobytes(), "GoP side_info, decoded"), table, counts)


@cache
def _float_limits(
    table: SyntaxTable, counts: tuple[tuple[str, int], ...]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Smallest and largest value that each float may have, exact in float32. [n] each."""
    limits = [element for element in table for _ in range(math.prod(dimensions(element, dict(counts))))]
    low, high = ([getattr(element, name) for element in limits] for name in ("minimum", "maximum"))
    return np.array(low, np.float32), np.array(high, np.float32)


def check_array(name: str, array: npt.NDArray[Any], dtype: type[np.generic], shape: tuple[int, ...]) -> None:
    """Hold an array to a dtype and a shape."""
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.shape != shape:
        got = f"{array.dtype} {list(array.shape)}" if isinstance(array, np.ndarray) else type(array).__name__
        raise ValueError(f"{name} is {got}, expected {np.dtype(dtype)} {list(shape)} by the header")


def check_range(name: str, array: npt.NDArray[Any], low: int, high: int) -> None:
    """Hold symbols to [low, high]."""
    if array.size and (int(array.min()) < low or int(array.max()) > high):
        raise ValueError(
            f"{name} has symbols from {int(array.min())} to {int(array.max())}, expected {low} to {high} by the header"
        )


def check_field(
    header: FieldHeader,
    static_table: npt.NDArray[np.int8],
    dynamic_table: npt.NDArray[np.int8],
    mlp: Sequence[npt.NDArray[np.int8]],
) -> None:
    """Hold the symbols of a deformation field to the sizes in its header."""
    if len(mlp) != len(MLP_TENSORS):
        raise ValueError(f"mlp has {len(mlp)} tensors, expected the {len(MLP_TENSORS)} of {MLP_TENSORS}")
    half = 1 << (header.weight_bits - 1)
    for (name, shape), tensor in zip(header.array_shapes.items(), (static_table, dynamic_table, *mlp), strict=True):
        check_array(name, tensor, np.int8, shape)
        check_range(name, tensor, -half, half - 1)
