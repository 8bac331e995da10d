"""The file format of bitstream_spec.md: a GoP's symbols to bytes and back, and the container around them. No torch."""

from __future__ import annotations

from stgvcodec.bitstream.framing import ChunkType
from stgvcodec.bitstream.gop_payload import gop_stream_bytes, pack_gop, unpack_gop
from stgvcodec.bitstream.gop_predicted.payload import (
    pack_predicted_gop,
    predicted_stream_bytes,
    unpack_predicted_gop,
)
from stgvcodec.bitstream.gop_predicted.symbols import PredictedGopSymbols
from stgvcodec.bitstream.gop_set.header import GopSetHeader
from stgvcodec.bitstream.gop_set.payload import gop_set_stream_bytes, pack_gop_set, unpack_gop_set
from stgvcodec.bitstream.gop_set.symbols import GopSetSymbols
from stgvcodec.bitstream.header import ColorDescription, StreamHeader
from stgvcodec.bitstream.index import GopEntry
from stgvcodec.bitstream.limits import LIMITS
from stgvcodec.bitstream.reader import StgvReader, stream_bytes
from stgvcodec.bitstream.symbols import GopHeader, GopSymbols
from stgvcodec.bitstream.writer import StgvWriter

__all__ = [
    "LIMITS",
    "ChunkType",
    "ColorDescription",
    "GopEntry",
    "GopHeader",
    "GopSetHeader",
    "GopSetSymbols",
    "GopSymbols",
    "PredictedGopSymbols",
    "StgvReader",
    "StgvWriter",
    "StreamHeader",
    "gop_set_stream_bytes",
    "gop_stream_bytes",
    "pack_gop",
    "pack_gop_set",
    "pack_predicted_gop",
    "predicted_stream_bytes",
    "stream_bytes",
    "unpack_gop",
    "unpack_gop_set",
    "unpack_predicted_gop",
]
