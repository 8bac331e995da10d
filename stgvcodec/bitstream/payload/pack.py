"""Packing of a GoP's symbols into the bytes of its payload, and unpacking."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt

from stgvcodec.bitstream.entropy.conditional import ConditionalDecoder, encode_conditional
from stgvcodec.bitstream.entropy.streams import Decoder, Runner, StreamDecoder, decode_streams, encode_streams, in_order
from stgvcodec.bitstream.payload.checks import halves_are_finite
from stgvcodec.bitstream.payload.head import join_head, read_head
from stgvcodec.bitstream.payload.memory_layout import MemoryLayout, memory_layout
from stgvcodec.bitstream.payload.morton_order import join_gaps, morton_codes, split_gaps
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


def pack_gop(symbols: GopSymbols) -> bytes:
    """Code a GoP: its header, the lengths of its streams, and the streams.

    Args:
        symbols: Symbols of the GoP. The Gaussians may have any order; those at the same point keep theirs.

    Returns:
        The payload for `StgvWriter.add_gop`; the same symbols give the same bytes.

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
    coded = encode_streams(layout.arrays, arrays)
    coded["point_bits"] = low_bits
    for name, attribute_set in layout.attributes.items():
        coded[name] = encode_conditional(attributes, attribute_set)
    return join_head(header, coded)


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
        is_finite = int(points.min()) >= ORDERED_HALF_MIN and int(points.max()) <= ORDERED_HALF_MAX
        if not self._layout.header.point_mode and not is_finite:
            message = "points hold NaN or Inf, so bytes are damaged"
            raise ByteReader(self._low_bits.data, "GoP points").error(message, at=self._start)


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
    reader = ByteReader(bytes(payload), "GoP header")
    header, lengths = read_head(reader)
    layout = memory_layout(header)
    streams = {name: reader.slice(lengths[name], f"GoP {name}") for name in STREAMS}
    starts = {name: stream.position for name, stream in streams.items()}
    block = np.empty(layout.n_bytes, np.uint8)

    def plain(name: str) -> Decoder:
        return StreamDecoder(streams[name], layout.arrays[name], layout.slots[name], block)

    decoders: list[Callable[[], Decoder]] = [
        partial(plain, "side_info"),
        partial(_Points, layout, block, streams["points"], streams["point_bits"]),
        partial(ConditionalDecoder, [(streams[name], found) for name, found in layout.attributes.items()], block),
        partial(plain, "field"),
    ]
    decode_streams(decoders, run)
    symbols = layout.symbols(block)
    at = starts["side_info"]
    try:
        check_decoded_side_info(header, layout.sections["floats"].of(block))
    except BitstreamError as error:
        # Its offset is one in the decoded bytes.
        raise ByteReader(reader.data, "GoP side_info").error(str(error), at=at) from error
    if not halves_are_finite(symbols.codebooks):
        message = "codebooks hold NaN or Inf, so bytes are damaged"
        raise ByteReader(reader.data, "GoP side_info").error(message, at=at)
    return symbols
