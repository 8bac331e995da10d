"""A predicted GoP's symbols to the bytes of its payload and back."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import chain

import numpy as np

from stgvcodec.bitstream.entropy.conditional import ConditionedDecoder, encode_conditioned
from stgvcodec.bitstream.entropy.streams import Decoder, Runner, StreamDecoder, decode_streams, encode_streams, in_order
from stgvcodec.bitstream.gop_predicted.layout import predicted_gop_layout
from stgvcodec.bitstream.gop_predicted.symbols import (
    PredictedGopSymbols,
    mode_fault,
    predicted_float_shapes,
    to_zigzag,
)
from stgvcodec.bitstream.payload.head import PayloadHead
from stgvcodec.bitstream.payload.header import GopSetHeader
from stgvcodec.bitstream.payload.symbol_arrays import field_runs, float_runs
from stgvcodec.bitstream.payload.symbols import check_decoded_scales
from stgvcodec.bitstream.syntax.primitives import ByteReader
from stgvcodec.bitstream.syntax.tables import PREDICTED_FLOATS, PREDICTED_STREAM_LENGTHS, PREDICTED_STREAMS


class _PredictedHead(PayloadHead[GopSetHeader]):
    """The heads of predicted payloads: those of set payloads in three modes only."""

    def read_header(self, reader: ByteReader) -> GopSetHeader:
        start = reader.position
        header = super().read_header(reader)
        if fault := mode_fault(header):
            raise reader.error(fault, at=start)
        return header


_HEAD = _PredictedHead(GopSetHeader, PREDICTED_STREAM_LENGTHS, PREDICTED_STREAMS)


def pack_predicted_gop(symbols: PredictedGopSymbols) -> bytes:
    """Code a GoP: header, lengths of the streams, streams.

    Args:
        symbols: The GoP; its Gaussians in the order of the GoP before.

    Returns:
        The payload for `StgvWriter.add_gop` with `predicted`; the same bytes for the same symbols.

    Raises:
        ValueError: the symbols do not fit their header or the format's limits.
    """
    symbols.validate()
    layout = predicted_gop_layout(symbols.header)
    block = np.zeros(layout.n_bytes, np.uint8)
    layout.sections["residuals"].of(block)[:] = to_zigzag(symbols.residuals)
    field = field_runs(symbols.header, symbols.static_table, symbols.dynamic_table, symbols.mlp)
    runs = {"side_info": float_runs(symbols.float_bytes()), "field": list(chain.from_iterable(field.values()))}
    coded = encode_streams(layout.contexts, runs, narrow=True)
    coded["residuals"] = encode_conditioned(block, layout.residuals)
    return _HEAD.join(symbols.header, coded)


def unpack_predicted_gop(payload: bytes, *, run: Runner = in_order) -> PredictedGopSymbols:
    """Decode a GoP.

    Args:
        payload: What `pack_predicted_gop` returned.
        run: Calls its first argument with 0 to n - 1, in threads if it likes; streams are decoded in it.

    Returns:
        The symbols, exactly as they were.

    Raises:
        BitstreamError: the payload is cut short or damaged; its offset counts from the payload's start.
    """
    reader = ByteReader(bytes(payload), "GoP header")
    header, lengths = _HEAD.read(reader)
    layout = predicted_gop_layout(header)
    streams = {name: reader.slice(lengths[name], f"GoP {name}") for name in PREDICTED_STREAMS}
    block = np.empty(layout.n_bytes, np.uint8)

    def plain(name: str) -> Decoder:
        return StreamDecoder(streams[name], layout.contexts[name], layout.places[name], block)

    decoders: list[Callable[[], Decoder]] = [
        partial(plain, "side_info"),
        partial(ConditionedDecoder, [(streams["residuals"], layout.residuals)], block),
        partial(plain, "field"),
    ]
    decode_streams(decoders, run)
    floats = layout.sections["floats"].of(block)
    check_decoded_scales(header, floats, PREDICTED_FLOATS, predicted_float_shapes(header))
    return layout.symbols(block)


def predicted_stream_bytes(payload: bytes) -> dict[str, int]:
    """What each stream of a predicted GoP costs.

    Args:
        payload: What `pack_predicted_gop` returned.

    Returns:
        Bytes by stream name, in file order; header and lengths count as "side_info". The sum is `len(payload)`.

    Raises:
        BitstreamError: header or lengths are damaged.
    """
    return _HEAD.stream_bytes(payload)


def read_predicted_header(payload: bytes) -> GopSetHeader:
    """The header of a predicted payload, of which only the beginning need be there.

    Raises:
        BitstreamError: it is cut short or damaged.
    """
    return _HEAD.read_header(ByteReader(bytes(payload), "GoP header"))
