"""Where the symbols of a predicted payload lie once they are decoded, and how its streams are made up."""

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
    field_arrays,
    field_contexts,
    field_places,
    float_contexts,
    float_places,
    place_sections,
    split_floats,
    stream_places,
)
from stgvcodec.bitstream.gop_predicted.symbols import (
    RESIDUALS,
    PredictedGopSymbols,
    from_zigzag,
    predicted_float_shapes,
)
from stgvcodec.bitstream.payload.header import GopSetHeader
from stgvcodec.bitstream.syntax.limits import LIMITS
from stgvcodec.bitstream.syntax.tables import MLP_TENSORS
from stgvcodec.ops.ans import Column, StreamPlaces

# Of each of `RESIDUALS`: those whose symbols' sum its class depends on.
_SOURCES: tuple[tuple[int, ...], ...] = ((), (0,), (0, 1), (2,), (2, 3), (0, 1), (5,), (6,))


@dataclass(frozen=True, eq=False)
class PredictedGopLayout:
    """How the predicted GoPs of one header lie in a block.

    Attributes:
        header: The header.
        sections: By name: the arrays of `PredictedGopSymbols`, where the tensors of the MLP go by their names, "floats"
            are all scales, and "residuals" are zigzag numbers. [N, 8] uint8.
        contexts: Of the plain streams side_info and field, in decoding order.
        places: Of the contexts' symbols in the block.
        residuals: The attributes of the stream residuals.
        n_bytes: Size of the block.
    """

    header: GopSetHeader
    sections: Mapping[str, BlockSection]
    contexts: Mapping[str, tuple[Context, ...]]
    places: Mapping[str, StreamPlaces]
    residuals: AttributeSet
    n_bytes: int

    def symbols(self, block: npt.NDArray[np.uint8]) -> PredictedGopSymbols:
        """A block's arrays; views of it, but for the residuals."""
        arrays = {name: section.of(block) for name, section in self.sections.items()}
        arrays.update(split_floats(arrays.pop("floats"), predicted_float_shapes(self.header)))
        residuals = from_zigzag(arrays.pop("residuals"))
        mlp = tuple(arrays.pop(name) for name in MLP_TENSORS)
        return PredictedGopSymbols(header=self.header, residuals=residuals, mlp=mlp, **arrays)


@lru_cache(maxsize=16)
def predicted_gop_layout(header: GopSetHeader) -> PredictedGopLayout:
    """The layout of a header's GoPs; the same object while a file's GoPs have the same header."""
    n, width = header.n_gaussians, len(RESIDUALS)
    n_floats = sum(shape[0] for shape in predicted_float_shapes(header).values())
    arrays: dict[str, ArrayShape] = {
        "floats": (np.float32, (n_floats,)),
        "residuals": (np.uint8, (n, width)),
        **field_arrays(header),
    }
    sections, n_bytes = place_sections(arrays)
    first = {name: section.first for name, section in sections.items()}
    contexts = {
        "side_info": tuple(float_contexts(n_floats)),
        "field": tuple(chain.from_iterable(field_contexts(header).values())),
    }
    places = {
        "side_info": float_places(first["floats"]),
        "field": list(chain.from_iterable(field_places(header, first).values())),
    }
    columns = [Column(first["residuals"] + i, width) for i in range(width)]
    attributes = tuple(
        Attribute(name, LIMITS["alphabet"], column, tuple(columns[source] for source in sources))
        for name, column, sources in zip(RESIDUALS, columns, _SOURCES, strict=True)
    )
    return PredictedGopLayout(
        header,
        sections,
        contexts,
        {name: stream_places(contexts[name], places[name]) for name in contexts},
        AttributeSet(n, attributes),
        n_bytes,
    )
