"""Packing of a GoP's symbols into the bytes of its payload, and unpacking."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from stgvcodec.bitstream.entropy.conditional import ConditionalDecoder, decode_conditional_slowly, encode_conditional
from stgvcodec.bitstream.entropy.streams import (
    Decoder,
    Runner,
    StreamDecoder,
    decode_stream_slowly,
    decode_streams,
    encode_streams,
    in_order,
)
from stgvcodec.bitstream.payload.checks import halves_are_finite
from stgvcodec.bitstream.payload.head import join_head, read_head
from stgvcodec.bitstream.payload.memory_layout import MemoryLayout, memory_layout
from stgvcodec.bitstream.payload.morton_order import join_gaps, join_gaps_slowly, morton_codes, split_gaps
from stgvcodec.bitstream.payload.symbol_arrays import codebook_symbols, field_symbols, float_symbols
from stgvcodec.bitstream.payload.symbols import (
    ORDERED_HALF_MAX,
    ORDERED_HALF_MIN,
    GopSymbols,
    check_decoded_side_info,
)
from stgvcodec.bitstream.syntax.primitives import ByteReader
from stgvcodec.bitstream.syntax.tables import STREAMS
from stgvcodec.errors import BitstreamError


class Arranged(NamedTuple):
    """The symbols of a GoP in the order and the arrays in which its streams have them.

    Attributes:
        layout: Layout of the GoP.
        attributes: Shapes and colours as they lie in memory. [layout.n_bytes] uint8.
        arrays: Symbols of the arrays of each plain stream, by the stream's name.
        low_bits: The stream point_bits.
    """

    layout: MemoryLayout
    attributes: npt.NDArray[np.uint8]
    arrays: dict[str, list[npt.NDArray[np.uint8]]]
    low_bits: bytes


def pack_gop(symbols: GopSymbols) -> bytes:
    """Code a GoP: its header, the lengths of its streams, and the streams.

    Args:
        symbols: Symbols of the GoP. The Gaussians may have any order; those at the same point keep theirs.

    Returns:
        The payload for `StgvWriter.add_gop`; the same symbols give the same bytes.

    Raises:
        ValueError: the symbols do not fit their header or the format's limits.
    """
    layout, attributes, arrays, low_bits = arranged(symbols)
    coded = encode_streams(layout.arrays, arrays)
    coded["point_bits"] = low_bits
    for name, attribute_set in layout.attributes.items():
        coded[name] = encode_conditional(attributes, attribute_set)
    return join_head(symbols.header, coded)


def arranged(symbols: GopSymbols) -> Arranged:
    """Put the symbols of a GoP into the order and the arrays in which its streams have them.

    Raises:
        ValueError: the symbols do not fit their header or the format's limits.
    """
    symbols.validate()
    header = symbols.header
    layout = memory_layout(header)
    codes = morton_codes(symbols.points)
    order = np.argsort(codes, kind="stable")
    buckets, low_bits = split_gaps(codes[order])
    attributes = np.zeros(layout.n_bytes, np.uint8)
    layout.sections["shapes"].of(attributes)[:] = symbols.shapes[order]
    layout.sections["colors"].of(attributes)[:] = symbols.colors[order]
    arrays = {
        "side_info": [*float_symbols(symbols.side_info_bytes()), *codebook_symbols(symbols.codebooks)],
        "points": [buckets],
        "field": field_symbols(header, symbols.static_table, symbols.dynamic_table, symbols.mlp),
    }
    return Arranged(layout, attributes, arrays, low_bits)


class _Points:
    """A `Decoder` of the streams points and point_bits."""

    def __init__(
        self, layout: MemoryLayout, block: npt.NDArray[np.uint8], buckets: ByteReader, low_bits: ByteReader
    ) -> None:
        self._start = buckets.position
        self._buckets = StreamDecoder(buckets, layout.arrays["points"], layout.slots["points"], block)
        self._low_bits = low_bits
        self._layout, self._block = layout, block
        self.n_symbols = 2 * layout.header.n_gaussians

    def run(self) -> None:
        """Decode both streams.

        Raises:
            BitstreamError: a stream is damaged.
        """
        self._buckets.run()
        points, buckets = (self._layout.sections[name].of(self._block) for name in ("points", "buckets"))
        join_gaps(points, buckets, self._low_bits, self._start)
        _check_points(self._layout, points, self._low_bits, self._start)


def _check_points(layout: MemoryLayout, points: npt.NDArray[np.uint16], reader: ByteReader, at: int) -> None:
    """Refuse points that are no finite binary16 numbers where they have to be; `at` is the place of their stream."""
    is_finite = int(points.min()) >= ORDERED_HALF_MIN and int(points.max()) <= ORDERED_HALF_MAX
    if not layout.header.point_mode and not is_finite:
        raise ByteReader(reader.data, "GoP points").error("points hold NaN or Inf, so bytes are damaged", at=at)


def unpack_gop(payload: bytes, *, run: Runner = in_order) -> GopSymbols:
    """Decode a GoP.

    Args:
        payload: Payload that `pack_gop` returned.
        run: Runner of the decoders: it calls its first argument with 0 to n - 1, in threads if it likes.

    Returns:
        The symbols, with the Gaussians in stored order. `pack_gop` makes the same payload of them.

    Raises:
        BitstreamError: the payload is cut short or damaged; its offset counts from the payload's start.
    """
    layout, streams, block = _opened(payload)
    at = streams["side_info"].position

    def plain(name: str) -> Decoder:
        return StreamDecoder(streams[name], layout.arrays[name], layout.slots[name], block)

    decoders: list[Callable[[], Decoder]] = [
        partial(plain, "side_info"),
        partial(_Points, layout, block, streams["points"], streams["point_bits"]),
        partial(ConditionalDecoder, [(streams[name], found) for name, found in layout.attributes.items()], block),
        partial(plain, "field"),
    ]
    decode_streams(decoders, run)
    return _checked(layout, block, streams["side_info"], at)


def unpack_gop_slowly(payload: bytes) -> GopSymbols:
    """The reference of `unpack_gop`: it decodes with NumPy and the coder that encodes, without compiled kernels.

    Args:
        payload: Payload that `pack_gop` returned.

    Returns:
        What `unpack_gop` returns.

    Raises:
        BitstreamError: what `unpack_gop` raises.
    """
    layout, streams, block = _opened(payload)
    starts = {name: stream.position for name, stream in streams.items()}

    def plain(name: str) -> None:
        decoded = decode_stream_slowly(streams[name], layout.arrays[name], backend="reference")
        for (n_symbols, _, first, step, zero), symbols in zip(layout.slots[name].rows.tolist(), decoded, strict=True):
            # Symbols less their zero wrap around, as int8 in the block's bytes.
            block[first::step][:n_symbols] = symbols - np.uint8(zero)

    plain("side_info")
    plain("points")
    points, buckets = (layout.sections[name].of(block) for name in ("points", "buckets"))
    points[:] = join_gaps_slowly(buckets, streams["point_bits"], starts["points"])
    _check_points(layout, points, streams["points"], starts["points"])
    for name, attributes in layout.attributes.items():
        decode_conditional_slowly(streams[name], attributes, block, backend="reference")
    plain("field")
    return _checked(layout, block, streams["side_info"], starts["side_info"])


def _opened(payload: bytes) -> tuple[MemoryLayout, dict[str, ByteReader], npt.NDArray[np.uint8]]:
    """Read the head of a payload; return the layout of its symbols, a reader of each stream, and memory for symbols."""
    reader = ByteReader(bytes(payload), "GoP header")
    header, lengths = read_head(reader)
    layout = memory_layout(header)
    streams = {name: reader.slice(lengths[name], f"GoP {name}") for name in STREAMS}
    return layout, streams, np.empty(layout.n_bytes, np.uint8)


def _checked(layout: MemoryLayout, block: npt.NDArray[np.uint8], side_info: ByteReader, at: int) -> GopSymbols:
    """Hold decoded scales, offsets and codebooks to their limits; `at` is the place of their stream."""
    symbols = layout.symbols(block)
    try:
        check_decoded_side_info(layout.header, layout.sections["floats"].of(block))
    except BitstreamError as error:
        # Its offset is one in the decoded bytes.
        raise side_info.error(str(error), at=at) from error
    if not halves_are_finite(symbols.codebooks):
        raise side_info.error("codebooks hold NaN or Inf, so bytes are damaged", at=at)
    return symbols
