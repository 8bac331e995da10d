"""Where the bits of a GoP's payload go: the model of each symbol array, and what each symbol costs by it.

The cost of a symbol is -log2 of the probability that its model gives it, which is what the ANS coder spends but for its
roundings and its ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from stgvcodec.bitstream.entropy.conditional import AttributeSet, read_class, read_thresholds
from stgvcodec.bitstream.entropy.frequency_tables import TOTAL
from stgvcodec.bitstream.entropy.models import (
    CONSTANT,
    FAMILIES,
    FIRST_NARROW,
    MODE_BITS,
    TABLE,
    UNCODED,
    Model,
    SymbolArray,
    Symbols,
)
from stgvcodec.bitstream.entropy.streams import read_model
from stgvcodec.bitstream.payload.head import GopHeader, read_head
from stgvcodec.bitstream.payload.pack import arranged
from stgvcodec.bitstream.payload.symbols import GopSymbols
from stgvcodec.bitstream.syntax.limits import LIMITS
from stgvcodec.bitstream.syntax.pieces import Piece, read_pieces
from stgvcodec.bitstream.syntax.primitives import ByteReader
from stgvcodec.bitstream.syntax.sections import STREAM_SECTIONS
from stgvcodec.bitstream.syntax.tables import GOP_HEADER, STREAM_LENGTHS, STREAMS

_KIND_SECTIONS = {"table": "5.3", "geometric": "5.4", "normal": "5.4", "narrow": "5.4"}


@dataclass(frozen=True, eq=False)
class ModelledSymbols:
    """Symbols that have one model: those of a symbol array, or of a class of an attribute.

    Attributes:
        name: Name of the symbol array or of the attribute.
        contexts: First and last context of the class; None where the symbols have no classes.
        kind: Kind of the model: "constant", "raw", "table", "geometric", "normal" or "narrow".
        parameter: p of the model: log2 of the sum of a table, the width of a family; 0 for the others.
        centre: Most likely symbol of a family, or the symbol of a constant; None for the others.
        model_first: Offset of the model in the file.
        model_bytes: Size of the model, bytes; raw symbols are a part of theirs.
        symbols: The symbols, in decoding order. [n] uint8.
        members: Index of the Gaussian of each symbol; None where symbols belong to no Gaussian. [n] int64.
        probabilities: Probability of each symbol of the alphabet by the model. [A] float64.
    """

    name: str
    contexts: tuple[int, int] | None
    kind: str
    parameter: int
    centre: int | None
    model_first: int
    model_bytes: int
    symbols: Symbols
    members: npt.NDArray[np.int64] | None
    probabilities: npt.NDArray[np.float64]

    @property
    def bits(self) -> npt.NDArray[np.float64]:
        """Bits that each symbol costs. [n] float64."""
        costs: npt.NDArray[np.float64] = -np.log2(self.probabilities[self.symbols])
        return np.maximum(costs, 0.0)

    @property
    def is_coded(self) -> bool:
        """Whether the symbols are coded by ANS."""
        return self.kind not in ("constant", "raw")

    @property
    def described(self) -> str:
        """The model in words."""
        if self.kind == "constant":
            return f"constant {self.centre}"
        if self.kind == "raw":
            return "raw"
        if self.kind == "table":
            return f"table, frequencies sum to 2^{self.parameter}"
        return f"{self.kind}, width {self.parameter}, centre {self.centre}"

    @property
    def description_bits(self) -> float:
        """Bits of the model alone, without the symbols."""
        own = 8.0 * self.model_bytes
        return own - float(self.bits.sum()) if self.kind == "raw" else own

    @property
    def entropy_bits(self) -> float:
        """Bits of the symbols by their own frequencies: no model of independent symbols costs less."""
        counts = np.bincount(self.symbols)
        counts = counts[counts > 0]
        return float(counts @ (np.log2(counts.sum()) - np.log2(counts))) if len(counts) else 0.0


@dataclass(frozen=True, eq=False)
class StreamAnatomy:
    """What a stream consists of.

    Attributes:
        name: Name of the stream.
        first: Offset of the stream in the file.
        n_bytes: Size of the stream, bytes.
        arrays: Its symbols by model, in decoding order; none for point_bits, whose bits have no model.
        threshold_bytes: Bytes of thresholds between classes.
        coder_bytes: Bytes of the ANS coder.
        pieces: Its bytes, front to back.
    """

    name: str
    first: int
    n_bytes: int
    arrays: tuple[ModelledSymbols, ...]
    threshold_bytes: int
    coder_bytes: int
    pieces: tuple[Piece, ...]

    @property
    def symbol_bits(self) -> float:
        """Bits of all symbols by their models."""
        return sum(float(array.bits.sum()) for array in self.arrays)

    @property
    def coder_overhead_bits(self) -> float:
        """Bits of the ANS coder above the cost of its symbols: its check, its ends and its roundings."""
        return 8.0 * self.coder_bytes - sum(float(array.bits.sum()) for array in self.arrays if array.is_coded)


@dataclass(frozen=True, eq=False)
class PayloadAnatomy:
    """What the payload of a GoP consists of.

    Attributes:
        header: Header of the GoP.
        streams: Its streams by name, in file order.
        gaussian_symbols: Symbols of each Gaussian that cost bits, by name, in decoding order; for "bucket" the bucket
            of its gap, for "low bits" their number. [N] each, Gaussians in stored order.
        gaussian_bits: Bits of each of them. [N] float64 each.
        pieces: The bytes of the payload, front to back.
    """

    header: GopHeader
    streams: dict[str, StreamAnatomy]
    gaussian_symbols: dict[str, npt.NDArray[np.int64]]
    gaussian_bits: dict[str, npt.NDArray[np.float64]]
    pieces: tuple[Piece, ...]


def payload_anatomy(payload: bytes, symbols: GopSymbols, *, base_offset: int = 0) -> PayloadAnatomy:
    """Take the payload of a GoP apart.

    Args:
        payload: The payload.
        symbols: What `unpack_gop` makes of it.
        base_offset: Offset of the payload in the file.

    Raises:
        BitstreamError: the payload is damaged.
    """
    layout, block, symbols_of, _ = arranged(symbols)
    reader = ByteReader(bytes(payload), "GoP header", base_offset=base_offset)
    header, lengths = read_head(ByteReader(reader.data, "GoP header", base_offset=base_offset))
    pieces = []
    for name, table, section in (("GOP_HEADER", GOP_HEADER, "4.1"), ("STREAM_LENGTHS", STREAM_LENGTHS, "4.2")):
        start = reader.position
        _, elements = read_pieces(reader, table, section)
        pieces.append(Piece(name, base_offset + start, reader.position - start, section, children=elements))
    streams = {}
    for name in STREAMS:
        part = reader.slice(lengths[name], f"GoP {name}")
        if name in layout.attributes:
            streams[name] = _conditional(name, part, layout.attributes[name], block)
        elif name in layout.arrays:
            streams[name] = _plain(name, part, layout.arrays[name], symbols_of[name], _labels(name, header))
        else:
            streams[name] = _low_bits(name, part)
        stream = streams[name]
        pieces.append(Piece(name, stream.first, stream.n_bytes, STREAM_SECTIONS[name], children=stream.pieces))
    values, costs = _of_gaussians(streams, symbols_of["points"][0])
    return PayloadAnatomy(header, streams, values, costs, tuple(pieces))


def _labels(stream: str, header: GopHeader) -> list[str]:
    """Name the symbol arrays of a plain stream, as the error messages do not need to: each differently."""
    if stream == "points":
        return ["bucket"]
    if stream == "side_info":
        planes = [f"byte {plane} of the floats" for plane in range(4)]
        stages = range(header.codebooks_shape[0])
        return planes + [f"codebook {stage}, {part} bytes" for stage in stages for part in ("high", "low")]
    return [
        *(f"2D level {level}" for level in range(len(header.static_entries))),
        *(f"3D level {level}" for level in range(len(header.dynamic_entries))),
        *header.mlp_tensors,
    ]


def _plain(
    name: str, part: ByteReader, arrays: Sequence[SymbolArray], symbols: Sequence[Symbols], labels: Sequence[str]
) -> StreamAnatomy:
    first = part.position
    found, pieces = [], []
    for array, array_symbols, label in zip(arrays, symbols, labels, strict=True):
        start = part.position
        read = read_model(part, array)
        members = np.arange(array.n_symbols) if name == "points" else None
        model = read if isinstance(read, Model) else None
        found.append(_modelled(label, None, array.alphabet, model, part, start, array_symbols, members))
        pieces += _model_piece(found[-1])
    return _stream(name, part, first, found, pieces, threshold_bytes=0)


def _conditional(name: str, part: ByteReader, attributes: AttributeSet, block: Symbols) -> StreamAnatomy:
    first = part.position
    found, pieces = [], []
    threshold_bytes = 0
    for attribute in attributes.attributes:
        is_coded = attribute.alphabet > 1
        thresholds: list[int] = []
        if is_coded and attribute.context_of:
            start = part.position
            thresholds = read_thresholds(part, attribute)
            n_bytes = part.position - start
            label = f"{attribute.name}: thresholds of classes"
            pieces.append(Piece(label, part.base_offset + start, n_bytes, "5.6", tuple(thresholds)))
            threshold_bytes += n_bytes
        classes = np.searchsorted(np.array(thresholds, np.uint8), attributes.context(block, attribute), side="right")
        column = attributes.column(block, attribute.column)
        bounds = [0, *thresholds, LIMITS["alphabet"]]
        for index, (low, high) in enumerate(pairwise(bounds)):
            start = part.position
            read = read_class(part, attribute) if is_coded else 0
            members = np.flatnonzero(classes == index)
            model = read if isinstance(read, Model) else None
            contexts = (low, high - 1) if attribute.context_of else None
            array = _modelled(
                attribute.name, contexts, attribute.alphabet, model, part, start, column[members], members
            )
            found.append(array)
            pieces += _model_piece(array)
    return _stream(name, part, first, found, pieces, threshold_bytes=threshold_bytes)


def _low_bits(name: str, part: ByteReader) -> StreamAnatomy:
    n_bytes = part.remaining
    return StreamAnatomy(name, part.base_offset + part.position, n_bytes, (), 0, 0, ())


def _modelled(
    name: str,
    contexts: tuple[int, int] | None,
    alphabet: int,
    model: Model | None,
    part: ByteReader,
    start: int,
    symbols: Symbols,
    members: npt.NDArray[np.int64] | None,
) -> ModelledSymbols:
    """Describe the model that was read from `start` on; `model` is None where its symbols are not coded."""
    n_bytes = part.position - start
    kind, parameter, centre = _kind(part.data[start : start + 2] if n_bytes else bytes(2))
    probabilities = np.zeros(alphabet)
    if model is not None:
        assert model.frequencies is not None
        probabilities[slice(None) if model.symbols is None else model.symbols] = model.frequencies / TOTAL
    elif kind == "raw":
        probabilities[:] = 2.0 ** -SymbolArray(name, len(symbols), alphabet).raw_bits
    else:
        probabilities[centre or 0] = 1.0
    first = part.base_offset + start
    return ModelledSymbols(name, contexts, kind, parameter, centre, first, n_bytes, symbols, members, probabilities)


def _kind(model: bytes) -> tuple[str, int, int | None]:
    """Return the kind, the parameter and the centre of a model by its first bytes."""
    mode, parameter = model[0] & (1 << MODE_BITS) - 1, model[0] >> MODE_BITS
    if mode == UNCODED:
        return ("constant", 0, model[1]) if parameter == CONSTANT else ("raw", 0, None)
    if mode == TABLE and parameter < FIRST_NARROW:
        return "table", parameter, None
    if mode == TABLE:
        return "narrow", parameter - FIRST_NARROW, model[1]
    return FAMILIES[mode], parameter, model[1]


def _model_piece(array: ModelledSymbols) -> list[Piece]:
    if not array.model_bytes:
        return []
    of_class = "" if array.contexts is None else f", contexts {array.contexts[0]} to {array.contexts[1]}"
    section = _KIND_SECTIONS.get(array.kind, "5.2")
    return [Piece(f"model of {array.name}{of_class}", array.model_first, array.model_bytes, section, array.described)]


def _stream(
    name: str,
    part: ByteReader,
    first: int,
    arrays: Sequence[ModelledSymbols],
    pieces: list[Piece],
    *,
    threshold_bytes: int,
) -> StreamAnatomy:
    """Put a stream together whose coder is all that `part` has left."""
    coder_bytes = part.remaining
    if coder_bytes:
        n_symbols = sum(len(array.symbols) for array in arrays if array.is_coded)
        words = Piece("ANS words", part.base_offset + part.position, coder_bytes, "5.5", note=f"{n_symbols} symbols")
        pieces = [*pieces, words]
    begin = part.base_offset + first
    return StreamAnatomy(name, begin, part.end - first, tuple(arrays), threshold_bytes, coder_bytes, tuple(pieces))


def _of_gaussians(
    streams: Mapping[str, StreamAnatomy], buckets: Symbols
) -> tuple[dict[str, npt.NDArray[np.int64]], dict[str, npt.NDArray[np.float64]]]:
    """Return the symbols of each Gaussian, and what they cost, by name."""
    n_low = np.maximum((buckets.astype(np.int64) >> 2) - 2, 0)
    values: dict[str, npt.NDArray[np.int64]] = {}
    costs: dict[str, npt.NDArray[np.float64]] = {}
    for stream in streams.values():
        if stream.name == "point_bits":
            values["low bits"], costs["low bits"] = n_low, n_low.astype(np.float64)
        for array in stream.arrays:
            if array.members is None:
                continue
            of_all = values.setdefault(array.name, np.zeros(len(buckets), np.int64))
            of_all[array.members] = array.symbols
            costs.setdefault(array.name, np.zeros(len(buckets)))[array.members] = array.bits
    return values, costs
