"""The symbols of a GoP's symbol arrays, flat, in the order in which memory_layout.py lists the arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from stgvcodec.bitstream.entropy.models import Symbols
from stgvcodec.bitstream.payload.field import FieldHeader


def split_bytes(halves: npt.NDArray[np.uint16]) -> tuple[Symbols, Symbols]:
    """Split binary16 bit patterns into their high and their low bytes."""
    return (halves >> 8).astype(np.uint8), (halves & 0xFF).astype(np.uint8)


def float_symbols(packed: bytes) -> list[Symbols]:
    """Split little-endian float32 values into the symbols of four arrays, one for each byte of a float."""
    side = np.frombuffer(packed, np.uint8).reshape(-1, 4)
    return [np.ascontiguousarray(plane) for plane in side.T]


def codebook_symbols(codebooks: npt.NDArray[np.uint16]) -> list[Symbols]:
    """Split codebooks into the high and the low bytes of each stage."""
    return [part for stage in codebooks for part in split_bytes(stage.reshape(-1))]


def field_symbols(
    header: FieldHeader,
    static_table: npt.NDArray[np.int8],
    dynamic_table: npt.NDArray[np.int8],
    mlp: Sequence[npt.NDArray[np.int8]],
) -> list[Symbols]:
    """Symbols of a field, unsigned: one array for each level of the tables and each tensor of the MLP that is there."""
    half = 1 << (header.weight_bits - 1)

    def unsigned(array: npt.NDArray[np.int8]) -> Symbols:
        return array.reshape(-1).view(np.uint8) + np.uint8(half)  # wraps where q < 0, as intended

    def levels(table: npt.NDArray[np.int8], entries: Sequence[int]) -> list[Symbols]:
        ends = np.cumsum(entries)[:-1]
        return [unsigned(np.ascontiguousarray(part)) for part in np.split(table, ends)]

    return [
        *levels(static_table, header.static_entries),
        *levels(dynamic_table, header.dynamic_entries),
        *(unsigned(np.ascontiguousarray(tensor)) for tensor in mlp if tensor.size),
    ]
