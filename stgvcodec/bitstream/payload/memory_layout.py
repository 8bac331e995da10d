"""Where the symbols of a set payload lie once they are decoded, and how its streams are made up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

import numpy as np
import numpy.typing as npt

from stgvcodec.bitstream.entropy.conditional import Attribute, AttributeSet
from stgvcodec.bitstream.entropy.models import Context
from stgvcodec.bitstream.gop_layout import (
    ArrayShape,
    BlockSection,
    codebook_contexts,
    codebook_places,
    field_arrays,
    field_contexts,
    field_places,
    float_contexts,
    float_places,
    place_sections,
    split_floats,
    stream_places,
)
from stgvcodec.bitstream.payload.header import GopSetHeader
from stgvcodec.bitstream.payload.morton_order import N_BUCKETS
from stgvcodec.bitstream.payload.symbols import GopSetSymbols
from stgvcodec.bitstream.syntax.tables import MLP_TENSORS
from stgvcodec.ops.ans import Column, StreamPlaces

_SHAPE_NAMES = (("l1", "l2", "l3"), ("log scale of l1", "log scale of l3", "shear"))
# Of both shape modes: the symbols in decoding order, each with the symbols whose sum its class depends on.
_SHAPE_SOURCES: tuple[tuple[tuple[int, tuple[int, ...]], ...], ...] = (
    ((0, ()), (2, (0,)), (1, (0, 2))),
    ((0, ()), (1, (0,)), (2, (1,))),
)
# The symbols whose sum grows with a Gaussian's size.
_SIZE_SYMBOLS = ((0, 2), (0, 1))
_COLOR_NAMES = ("Y", "Co", "Cg")


@dataclass(frozen=True, eq=False)
class GopSetLayout:
    """How the GoPs of one header lie in a block.

    Attributes:
        header: The header.
        sections: By name: the arrays of `GopSetSymbols`, where the tensors of the MLP go by their names, "floats" are
            all scales and offsets, and "buckets" those of the points' gaps. [N] uint8.
        contexts: Of the plain streams side_info, points and field, in decoding order.
        places: Of the contexts' symbols in the block.
        attributes: Of the conditioned streams shapes and colors.
        n_bytes: Size of the block.
    """

    header: GopSetHeader
    sections: Mapping[str, BlockSection]
    contexts: Mapping[str, tuple[Context, ...]]
    places: Mapping[str, StreamPlaces]
    attributes: Mapping[str, AttributeSet]
    n_bytes: int

    def symbols(self, block: npt.NDArray[np.uint8]) -> GopSetSymbols:
        """A block's arrays; views of it."""
        arrays = {name: section.of(block) for name, section in self.sections.items() if name != "buckets"}
        arrays.update(split_floats(arrays.pop("floats"), self.header.float_shapes))
        mlp = tuple(arrays.pop(name) for name in MLP_TENSORS)
        return GopSetSymbols(header=self.header, mlp=mlp, **arrays)


@lru_cache(maxsize=16)
def gop_set_layout(header: GopSetHeader) -> GopSetLayout:
    """The layout of a header's GoPs; the same object while a file's GoPs have the same header."""
    n = header.n_gaussians
    n_floats = sum(shape[0] for shape in header.float_shapes.values())
    n_stages, n_codewords, _ = header.codebooks_shape
    arrays: dict[str, ArrayShape] = {
        "floats": (np.float32, (n_floats,)),
        "points": (np.uint16, (n, 2)),
        "buckets": (np.uint8, (n,)),
        "shapes": (np.uint8, (n, 3)),
        "colors": (np.uint8, (n, header.n_color_symbols)),
        "codebooks": (np.uint16, header.codebooks_shape),
        **field_arrays(header),
    }
    sections, n_bytes = place_sections(arrays)
    first = {name: section.first for name, section in sections.items()}
    contexts = {
        "side_info": [*float_contexts(n_floats), *codebook_contexts(n_stages, n_codewords)],
        "points": [Context("buckets", n, N_BUCKETS)],
        "field": list(chain.from_iterable(field_contexts(header).values())),
    }
    places = {
        "side_info": [
            *float_places(first["floats"]),
            *codebook_places(first["codebooks"], n_stages, n_codewords),
        ],
        "points": [(first["buckets"], 1, 0)],
        "field": list(chain.from_iterable(field_places(header, first).values())),
    }
    return GopSetLayout(
        header,
        sections,
        {name: tuple(found) for name, found in contexts.items()},
        {name: stream_places(contexts[name], places[name]) for name in contexts},
        {
            "shapes": AttributeSet(n, _shape_attributes(header, first["shapes"])),
            "colors": AttributeSet(n, _color_attributes(header, first["shapes"], first["colors"])),
        },
        n_bytes,
    )


def _shape_attributes(header: GopSetHeader, first: int) -> tuple[Attribute, ...]:
    names = _SHAPE_NAMES[header.shape_mode]
    return tuple(
        Attribute(
            names[i], 1 << header.cholesky_bits, Column(first + i, 3), tuple(Column(first + s, 3) for s in sources)
        )
        for i, sources in _SHAPE_SOURCES[header.shape_mode]
    )


def _color_attributes(header: GopSetHeader, first_shape: int, first: int) -> tuple[Attribute, ...]:
    n = header.n_color_symbols
    columns = [Column(first + i, n) for i in range(n)]
    size = tuple(Column(first_shape + s, 3) for s in _SIZE_SYMBOLS[header.shape_mode])
    if header.color_mode:
        names: tuple[str, ...] = _COLOR_NAMES
        sources = [size, size, (columns[1],)]
    else:
        names = tuple(f"stage {stage}" for stage in range(n))
        sources = [size, *((column,) for column in columns[:-1])]
    return tuple(
        Attribute(name, header.color_alphabet, column, source)
        for name, column, source in zip(names, columns, sources, strict=True)
    )
