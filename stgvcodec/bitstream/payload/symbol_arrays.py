"""The symbols of a GoP's symbol arrays, flat, in the order in which memory_layout.py lists the arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from stgvcodec.bitstream.entropy.models import Symbols
from stgvcodec.bitstream.payload.field import FieldHeader


def split_bytes(halves: npt.NDArray[np.uint16]) -> tuple[Symbols, Symbols]:
    """High and low bytes."""
    return (halves >> 8).astype(np.uint8), (halves & 0xFF).astype(np.uint8)


def float_symbols(packed: bytes) -> list[Symbols]:
    """The byte planes of little-endian floats."""
    side = np.frombuffer(packed, np.uint8).reshape(-1, 4)
    return [np.ascontiguousarray(plane) for plane in side.T]


def codebook_symbols(codebooks: npt.NDArray[np.uint16]) -> list[Symbols]:
    """High and low bytes of each stage."""
    return [part for stage in codebooks for part in split_bytes(stage.reshape(-1))]


def field_symbols(
    header: FieldHeader,
    static_table: npt.NDArray[np.int8],
    dynamic_table: npt.NDArray[np.int8],
    mlp: Sequence[npt.NDArray[np.int8]],
) -> dict[str, list[Symbols]]:
    """The symbols of a field: each level of its tables, each tensor of its MLP."""
    half = 1 << (header.weight_bits - 1)

    def unsigned(array: npt.NDArray[np.int8]) -> Symbols:
        return array.reshape(-1).view(np.uint8) + np.uint8(half)  # wraps where q < 0, as intended

    def levels(table: npt.NDArray[np.int8], entries: Sequence[int]) -> list[Symbols]:
        ends = np.cumsum(entries)[:-1]
        return [unsigned(np.ascontiguousarray(part)) for part in np.split(table, ends)]

    return {
        "hash_static": levels(static_table, header.static_entries),
        "hash_dynamic": levels(dynamic_table, header.dynamic_entries),
        "mlp": [unsigned(np.ascontiguousarray(tensor)) for tensor in mlp],
    }
