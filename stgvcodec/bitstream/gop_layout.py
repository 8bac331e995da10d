"""Where a GoP's symbols lie once they are decoded: one block of bytes, in the shapes that follow from its header."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from stgvcodec.bitstream.layout import MLP_TENSORS
from stgvcodec.bitstream.models import Context
from stgvcodec.bitstream.symbols import GopHeader, GopSymbols
from stgvcodec.ops.ans import ContextPlace, StreamPlaces

ALIGNMENT = 16
"""Every section begins at a multiple of this many bytes: loads may be wide."""

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
    n_floats = 6 + len(header.static_resolutions) + len(header.dynamic_resolutions) + len(MLP_TENSORS)
    shapes: dict[str, tuple[type[np.generic], tuple[int, ...]]] = {
        "floats": (np.float32, (n_floats,)),
        "means": (np.uint16, (n, 2)),
        "cholesky": (np.uint8, (n, 3)),
        "color_indices": (np.uint8, (n, m)),
        "codebooks": (np.uint16, (m, k, 3)),
        "static_table": (np.int8, (sum(header.static_entries), header.static_features)),
        "dynamic_table": (np.int8, (sum(header.dynamic_entries), header.dynamic_features)),
        **{name: (np.int8, shape) for name, shape in zip(MLP_TENSORS, header.mlp_shapes, strict=True)},
    }
    sections: dict[str, BlockSection] = {}
    n_bytes = 0
    for name, (dtype, shape) in shapes.items():
        sections[name] = BlockSection(np.dtype(dtype), shape, n_bytes)
        n_bytes = aligned(n_bytes + sections[name].n_bytes)

    first = {name: section.first for name, section in sections.items()}
    contexts = {name: tuple(found) for name, found in _stream_contexts(header)}
    half = 1 << (header.weight_bits - 1)

    def levels(name: str, begin: int) -> list[tuple[int, int, int]]:
        """(first, step, zero) of contexts one behind the other."""
        starts = [begin]
        for context in contexts[name]:
            starts.append(starts[-1] + context.n_symbols)
        return [(start, 1, half) for start in starts[:-1]]

    bytes_of_half = (_HIGH, _LOW)
    places: dict[str, list[tuple[int, int, int]]] = {
        "side_info": [(first["floats"] + (plane if _LITTLE else 3 - plane), 4, 0) for plane in range(4)],
        "means": [(first["means"] + 2 * axis + byte, 4, 0) for axis in range(2) for byte in bytes_of_half],
        "cholesky": [(first["cholesky"] + component, 3, 0) for component in range(3)],
        "color_indices": [(first["color_indices"] + stage, m, 0) for stage in range(m)],
        "codebooks": [
            (first["codebooks"] + 6 * k * stage + byte, 2, 0) for stage in range(m) for byte in bytes_of_half
        ],
        "hash_static": levels("hash_static", first["static_table"]),
        "hash_dynamic": levels("hash_dynamic", first["dynamic_table"]),
        "mlp": [(first[name], 1, half) for name in MLP_TENSORS],
    }
    return GopLayout(
        header,
        sections,
        contexts,
        {
            name: StreamPlaces(
                [
                    ContextPlace(context.n_symbols, context.alphabet, *place)
                    for context, place in zip(contexts[name], places[name], strict=True)
                ]
            )
            for name in contexts
        },
        n_bytes,
    )


def aligned(n: int) -> int:
    """The next multiple of `ALIGNMENT`."""
    return -(-n // ALIGNMENT) * ALIGNMENT


def _stream_contexts(header: GopHeader) -> Iterator[tuple[str, list[Context]]]:
    """Contexts of each stream in decoding order."""
    n, k = header.n_gaussians, header.color_codebook_size
    n_floats = 6 + len(header.static_resolutions) + len(header.dynamic_resolutions) + len(MLP_TENSORS)
    weights = 1 << header.weight_bits
    bytes_of = ("high", "low")
    yield "side_info", [Context(f"byte {plane} of the floats", n_floats, _BYTE) for plane in range(4)]
    yield "means", [Context(f"{part} bytes of {axis}", n, _BYTE) for axis in _AXES for part in bytes_of]
    yield "cholesky", [Context(component, n, 1 << header.cholesky_bits) for component in _COMPONENTS]
    yield "color_indices", [Context(f"stage {stage}", n, k) for stage in range(header.color_stages)]
    yield (
        "codebooks",
        [
            Context(f"{part} bytes of stage {stage}", 3 * k, _BYTE)
            for stage in range(header.color_stages)
            for part in bytes_of
        ],
    )
    for name, entries, n_features in (
        ("hash_static", header.static_entries, header.static_features),
        ("hash_dynamic", header.dynamic_entries, header.dynamic_features),
    ):
        yield name, [Context(f"level {level}", size * n_features, weights) for level, size in enumerate(entries)]
    yield (
        "mlp",
        [Context(name, math.prod(shape), weights) for name, shape in zip(MLP_TENSORS, header.mlp_shapes, strict=True)],
    )
