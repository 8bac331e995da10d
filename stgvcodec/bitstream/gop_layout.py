"""Where a GoP's symbols lie once they are decoded: one block of bytes, in the shapes that follow from its header."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from stgvcodec.bitstream.entropy.models import Context
from stgvcodec.bitstream.payload.field import FieldSizes
from stgvcodec.bitstream.symbols import GopHeader, GopSymbols
from stgvcodec.bitstream.syntax.tables import MLP_TENSORS
from stgvcodec.ops.ans import ContextPlace, StreamPlaces

ALIGNMENT = 16
"""Every section begins at a multiple of this many bytes: loads may be wide."""

ArrayShape = tuple[type[np.generic], tuple[int, ...]]
Place = tuple[int, int, int]
"""(first, step, zero) of a `ContextPlace`."""

_BYTE = 256
_AXES = ("x", "y")
_COMPONENTS = ("l1", "l2", "l3")
# Values are kept as this machine has them.
_LITTLE = sys.byteorder == "little"
_HIGH, _LOW = (1, 0) if _LITTLE else (0, 1)


class BlockSection(NamedTuple):
    """An array inside a block; `first` in bytes."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    first: int

    @property
    def n_bytes(self) -> int:
        """Its size."""
        return self.dtype.itemsize * math.prod(self.shape)

    def of(self, block: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        """The array, a view of the block."""
        return np.ndarray(self.shape, self.dtype, block.data, self.first)


@dataclass(frozen=True, eq=False)
class GopLayout:
    """How the GoPs of one header lie in a block.

    Attributes:
        header: The header.
        sections: By name: those of `GopSymbols`, where the tensors of the MLP go by their names, and "floats": all of
            the side information, its parts one behind the other. "static_table" to "b_colors" follow one another.
        contexts: Of each stream, in decoding order.
        places: Of the contexts' symbols in the block.
        n_bytes: Size of the block.
    """

    header: GopHeader
    sections: Mapping[str, BlockSection]
    contexts: Mapping[str, tuple[Context, ...]]
    places: Mapping[str, StreamPlaces]
    n_bytes: int

    def symbols(self, block: npt.NDArray[np.uint8]) -> GopSymbols:
        """A block's arrays; views of it."""
        arrays = {name: section.of(block) for name, section in self.sections.items()}
        floats = arrays.pop("floats")
        mlp = tuple(arrays.pop(name) for name in MLP_TENSORS)
        start = 6 + len(self.header.static_resolutions)
        end = len(floats) - len(MLP_TENSORS)
        return GopSymbols(
            header=self.header,
            cholesky_scale=floats[:3],
            cholesky_offset=floats[3:6],
            static_scales=floats[6:start],
            dynamic_scales=floats[start:end],
            mlp=mlp,
            mlp_scales=floats[end:],
            **arrays,
        )


@lru_cache(maxsize=16)
def gop_layout(header: GopHeader) -> GopLayout:
    """The layout of a header's GoPs; the same object while a file's GoPs have the same header."""
    n, m, k = header.n_gaussians, header.color_stages, header.color_codebook_size
    shapes: dict[str, ArrayShape] = {
        "floats": (np.float32, (_n_floats(header),)),
        "means": (np.uint16, (n, 2)),
        "cholesky": (np.uint8, (n, 3)),
        "color_indices": (np.uint8, (n, m)),
        "codebooks": (np.uint16, (m, k, 3)),
        **field_arrays(header),
    }
    sections, n_bytes = place_sections(shapes)
    first = {name: section.first for name, section in sections.items()}
    contexts = {name: tuple(found) for name, found in _stream_contexts(header)}
    places: dict[str, list[Place]] = {
        "side_info": float_places(first["floats"]),
        "means": [(first["means"] + 2 * axis + byte, 4, 0) for axis in range(2) for byte in (_HIGH, _LOW)],
        "cholesky": [(first["cholesky"] + component, 3, 0) for component in range(3)],
        "color_indices": [(first["color_indices"] + stage, m, 0) for stage in range(m)],
        "codebooks": codebook_places(first["codebooks"], m, k),
        **field_places(header, first),
    }
    return GopLayout(
        header,
        sections,
        contexts,
        {name: stream_places(contexts[name], places[name]) for name in contexts},
        n_bytes,
    )


def place_sections(arrays: Mapping[str, ArrayShape]) -> tuple[dict[str, BlockSection], int]:
    """Arrays one behind the other, aligned; their sections by name, and the size of the block."""
    sections: dict[str, BlockSection] = {}
    n_bytes = 0
    for name, (dtype, shape) in arrays.items():
        sections[name] = BlockSection(np.dtype(dtype), shape, n_bytes)
        n_bytes = aligned(n_bytes + sections[name].n_bytes)
    return sections, n_bytes


def stream_places(contexts: Sequence[Context], places: Sequence[Place]) -> StreamPlaces:
    """The contexts of a stream with their places, as the decoder wants them."""
    return StreamPlaces(
        [
            ContextPlace(context.n_symbols, context.alphabet, *place)
            for context, place in zip(contexts, places, strict=True)
        ]
    )


def float_contexts(n_floats: int) -> list[Context]:
    """The contexts of floats, a byte plane each."""
    return [Context(f"byte {plane} of the floats", n_floats, _BYTE) for plane in range(4)]


def float_places(first: int) -> list[Place]:
    """Places of `float_contexts`."""
    return [(first + (plane if _LITTLE else 3 - plane), 4, 0) for plane in range(4)]


def split_floats(
    floats: npt.NDArray[np.float32], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, npt.NDArray[np.float32]]:
    """Views of floats that lie one behind the other, by name; all shapes have one dimension."""
    ends = accumulate(shape[0] for shape in shapes.values())
    return {name: floats[end - shape[0] : end] for (name, shape), end in zip(shapes.items(), ends, strict=True)}


def codebook_contexts(n_stages: int, n_codewords: int) -> list[Context]:
    """The contexts of codebooks: high and low bytes of each stage."""
    return [
        Context(f"{part} bytes of stage {stage}", 3 * n_codewords, _BYTE)
        for stage in range(n_stages)
        for part in ("high", "low")
    ]


def codebook_places(first: int, n_stages: int, n_codewords: int) -> list[Place]:
    """Places of `codebook_contexts`."""
    return [(first + 6 * n_codewords * stage + byte, 2, 0) for stage in range(n_stages) for byte in (_HIGH, _LOW)]


def field_arrays(header: FieldSizes) -> dict[str, ArrayShape]:
    """The arrays of a field in the order of the file: the two hash tables, the tensors of the MLP."""
    return {
        "static_table": (np.int8, (sum(header.static_entries), header.static_features)),
        "dynamic_table": (np.int8, (sum(header.dynamic_entries), header.dynamic_features)),
        **{name: (np.int8, shape) for name, shape in zip(MLP_TENSORS, header.mlp_shapes, strict=True)},
    }


def field_contexts(header: FieldSizes) -> dict[str, list[Context]]:
    """The contexts of a field: one a level of each encoding, one a tensor of the MLP."""
    weights = 1 << header.weight_bits

    def levels(entries: Sequence[int], n_features: int) -> list[Context]:
        return [Context(f"level {level}", size * n_features, weights) for level, size in enumerate(entries)]

    return {
        "hash_static": levels(header.static_entries, header.static_features),
        "hash_dynamic": levels(header.dynamic_entries, header.dynamic_features),
        "mlp": [
            Context(name, math.prod(shape), weights) for name, shape in zip(MLP_TENSORS, header.mlp_shapes, strict=True)
        ],
    }


def field_places(header: FieldSizes, first: Mapping[str, int]) -> dict[str, list[Place]]:
    """Places of `field_contexts`, `first` being where each array begins."""
    half = 1 << (header.weight_bits - 1)

    def levels(begin: int, entries: Sequence[int], n_features: int) -> list[Place]:
        return [(begin + n_features * before, 1, half) for before in accumulate(entries[:-1], initial=0)]

    return {
        "hash_static": levels(first["static_table"], header.static_entries, header.static_features),
        "hash_dynamic": levels(first["dynamic_table"], header.dynamic_entries, header.dynamic_features),
        "mlp": [(first[name], 1, half) for name in MLP_TENSORS],
    }


def aligned(n: int) -> int:
    """The next multiple of `ALIGNMENT`."""
    return -(-n // ALIGNMENT) * ALIGNMENT


def _stream_contexts(header: GopHeader) -> Iterator[tuple[str, list[Context]]]:
    """Contexts of each stream in decoding order."""
    n, m, k = header.n_gaussians, header.color_stages, header.color_codebook_size
    yield "side_info", float_contexts(_n_floats(header))
    yield "means", [Context(f"{part} bytes of {axis}", n, _BYTE) for axis in _AXES for part in ("high", "low")]
    yield "cholesky", [Context(component, n, 1 << header.cholesky_bits) for component in _COMPONENTS]
    yield "color_indices", [Context(f"stage {stage}", n, k) for stage in range(m)]
    yield "codebooks", codebook_contexts(m, k)
    yield from field_contexts(header).items()


def _n_floats(header: GopHeader) -> int:
    return 6 + len(header.static_resolutions) + len(header.dynamic_resolutions) + len(MLP_TENSORS)
