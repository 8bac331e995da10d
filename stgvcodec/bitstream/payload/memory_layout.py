"""The memory layout of a GoP's decoded symbols: they lie in one block of bytes, in shapes that the header implies."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from stgvcodec.bitstream.entropy.conditional import Attribute, AttributeSet
from stgvcodec.bitstream.entropy.models import SymbolArray
from stgvcodec.bitstream.payload.contexts import CodedSymbol, SymbolRef, color_symbols, shape_symbols
from stgvcodec.bitstream.payload.field import FieldHeader
from stgvcodec.bitstream.payload.head import GopHeader
from stgvcodec.bitstream.payload.morton_order import N_BUCKETS
from stgvcodec.bitstream.payload.symbols import GopSymbols, split_side_info
from stgvcodec.bitstream.syntax.tables import MLP_TENSORS
from stgvcodec.ops.ans import ArraySlot, StreamSlots, StridedSlot

ALIGNMENT = 16
"""Every section begins at a multiple of this many bytes, so that loads may be wide."""

ArrayShape = tuple[type[np.generic], tuple[int, ...]]
Slot = tuple[int, int, int]
"""The elements (first, step, zero) of an `ArraySlot`."""

_BYTE = 256
# Values in a block have the byte order of this machine.
_LITTLE = sys.byteorder == "little"
_HIGH, _LOW = (1, 0) if _LITTLE else (0, 1)


class BlockSection(NamedTuple):
    """An array inside a block, where it begins at byte `first`."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    first: int

    @property
    def n_bytes(self) -> int:
        """Size of the section, bytes."""
        return self.dtype.itemsize * math.prod(self.shape)

    def of(self, block: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        """Return the array as a view of the block."""
        return np.ndarray(self.shape, self.dtype, block.data, self.first)


@dataclass(frozen=True, eq=False)
class MemoryLayout:
    """The memory layout of all GoPs that have the same header.

    Attributes:
        header: Header of the GoPs.
        sections: Sections of the block by name. They are the arrays of `GopSymbols`, but each tensor of the MLP has its
            own name, and "floats" has all scales and offsets. "buckets" has the buckets of the points' gaps, [N] uint8.
        arrays: Symbol arrays of the plain streams side_info, points and field, in decoding order, by stream.
        slots: Strided slots of these arrays in the block, by stream.
        attributes: Attributes of the conditional streams shapes and colors, by stream.
        n_bytes: Size of the block, bytes.
    """

    header: GopHeader
    sections: Mapping[str, BlockSection]
    arrays: Mapping[str, tuple[SymbolArray, ...]]
    slots: Mapping[str, StreamSlots]
    attributes: Mapping[str, AttributeSet]
    n_bytes: int

    def symbols(self, block: npt.NDArray[np.uint8]) -> GopSymbols:
        """Return the symbols that lie in a block; the arrays are views of it."""
        arrays = {name: section.of(block) for name, section in self.sections.items() if name != "buckets"}
        arrays.update(split_side_info(arrays.pop("floats"), self.header.side_info_shapes))
        mlp = tuple(arrays.pop(name) for name in MLP_TENSORS)
        return GopSymbols(header=self.header, mlp=mlp, **arrays)


@lru_cache(maxsize=16)
def memory_layout(header: GopHeader) -> MemoryLayout:
    """Return the layout of the GoPs with a header. It is cached: the GoPs of a file mostly have the same header."""
    n = header.n_gaussians
    n_floats = sum(shape[0] for shape in header.side_info_shapes.values())
    n_stages, n_codewords, _ = header.codebooks_shape
    shapes: dict[str, ArrayShape] = {
        "floats": (np.float32, (n_floats,)),
        "points": (np.uint16, (n, 2)),
        "buckets": (np.uint8, (n,)),
        "shapes": (np.uint8, (n, 3)),
        "colors": (np.uint8, (n, header.n_color_symbols)),
        "codebooks": (np.uint16, header.codebooks_shape),
        **{name: (np.int8, shape) for name, shape in header.array_shapes.items()},
    }
    sections, n_bytes = place_sections(shapes)
    first = {name: section.first for name, section in sections.items()}
    arrays = {
        "side_info": [*float_symbol_arrays(n_floats), *codebook_symbol_arrays(n_stages, n_codewords)],
        "points": [SymbolArray("buckets", n, N_BUCKETS)],
        "field": field_symbol_arrays(header),
    }
    slots = {
        "side_info": [
            *float_slots(first["floats"]),
            *codebook_slots(first["codebooks"], n_stages, n_codewords),
        ],
        "points": [(first["buckets"], 1, 0)],
        "field": field_slots(header, first),
    }
    widths = {"shapes": 3, "colors": header.n_color_symbols}
    columns = {name: [StridedSlot(first[name] + i, width) for i in range(width)] for name, width in widths.items()}
    shape_order = shape_symbols(header.shape_mode)
    color_order = color_symbols(header.shape_mode, header.color_mode, header.n_color_symbols)
    return MemoryLayout(
        header,
        sections,
        {name: tuple(found) for name, found in arrays.items()},
        {name: stream_slots(arrays[name], slots[name]) for name in arrays},
        {
            "shapes": AttributeSet(n, _attributes(shape_order, 1 << header.cholesky_bits, columns)),
            "colors": AttributeSet(n, _attributes(color_order, header.color_alphabet, columns)),
        },
        n_bytes,
    )


def _attributes(
    symbols: Sequence[CodedSymbol], alphabet: int, columns: Mapping[str, Sequence[StridedSlot]]
) -> tuple[Attribute, ...]:
    """Make the attributes of a conditional stream from its symbols and from the columns of both such streams."""

    def column(ref: SymbolRef) -> StridedSlot:
        return columns[ref.stream][ref.component]

    return tuple(
        Attribute(coded.name, alphabet, column(coded.symbol), tuple(column(ref) for ref in coded.context_of))
        for coded in symbols
    )


def place_sections(arrays: Mapping[str, ArrayShape]) -> tuple[dict[str, BlockSection], int]:
    """Place arrays one behind the other, aligned; return their sections by name, and the size of the block in bytes."""
    sections: dict[str, BlockSection] = {}
    n_bytes = 0
    for name, (dtype, shape) in arrays.items():
        sections[name] = BlockSection(np.dtype(dtype), shape, n_bytes)
        n_bytes = aligned(n_bytes + sections[name].n_bytes)
    return sections, n_bytes


def stream_slots(arrays: Sequence[SymbolArray], slots: Sequence[Slot]) -> StreamSlots:
    """Join the arrays of a stream and their slots in the form that the decoder takes."""
    return StreamSlots(
        [ArraySlot(array.n_symbols, array.alphabet, *slot) for array, slot in zip(arrays, slots, strict=True)]
    )


def float_symbol_arrays(n_floats: int) -> list[SymbolArray]:
    """Symbol arrays of the floats: one for each of the four bytes of a float32."""
    return [SymbolArray(f"byte {plane} of the floats", n_floats, _BYTE) for plane in range(4)]


def float_slots(first: int) -> list[Slot]:
    """Slots of `float_symbol_arrays` in a block where the floats begin at byte `first`."""
    return [(first + (plane if _LITTLE else 3 - plane), 4, 0) for plane in range(4)]


def codebook_symbol_arrays(n_stages: int, n_codewords: int) -> list[SymbolArray]:
    """Symbol arrays of the codebooks: the high and the low bytes of each stage."""
    return [
        SymbolArray(f"{part} bytes of stage {stage}", 3 * n_codewords, _BYTE)
        for stage in range(n_stages)
        for part in ("high", "low")
    ]


def codebook_slots(first: int, n_stages: int, n_codewords: int) -> list[Slot]:
    """Slots of `codebook_symbol_arrays` in a block where the codebooks begin at byte `first`."""
    return [(first + 6 * n_codewords * stage + byte, 2, 0) for stage in range(n_stages) for byte in (_HIGH, _LOW)]


def field_symbol_arrays(header: FieldHeader) -> list[SymbolArray]:
    """Symbol arrays of a field: one for each level of both encodings, one for each tensor of the MLP that is there."""
    weights = 1 << header.weight_bits

    def levels(entries: Sequence[int], n_features: int) -> list[SymbolArray]:
        return [SymbolArray(f"level {level}", size * n_features, weights) for level, size in enumerate(entries)]

    return [
        *levels(header.static_entries, header.static_features),
        *levels(header.dynamic_entries, header.dynamic_features),
        *(SymbolArray(name, math.prod(header.array_shapes[name]), weights) for name in header.mlp_tensors),
    ]


def field_slots(header: FieldHeader, first: Mapping[str, int]) -> list[Slot]:
    """Slots of `field_symbol_arrays` in a block where each array of the field begins at byte `first[name]`."""
    half = 1 << (header.weight_bits - 1)

    def levels(begin: int, entries: Sequence[int], n_features: int) -> list[Slot]:
        return [(begin + n_features * before, 1, half) for before in accumulate(entries[:-1], initial=0)]

    return [
        *levels(first["static_table"], header.static_entries, header.static_features),
        *levels(first["dynamic_table"], header.dynamic_entries, header.dynamic_features),
        *((first[name], 1, half) for name in header.mlp_tensors),
    ]


def aligned(n: int) -> int:
    """Round a number of bytes up to a multiple of `ALIGNMENT`."""
    return -(-n // ALIGNMENT) * ALIGNMENT
