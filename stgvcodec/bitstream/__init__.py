"""The file format of bitstream_spec.md: a GoP's symbols to bytes and back, and the container around them. No torch."""

from __future__ import annotations

from stgvcodec.bitstream.container.chunks import ChunkType
from stgvcodec.bitstream.container.file_header import ColorDescription, StreamHeader
from stgvcodec.bitstream.container.index import GopEntry
from stgvcodec.bitstream.container.reader import StgvReader, stream_bytes
from stgvcodec.bitstream.container.writer import StgvWriter
from stgvcodec.bitstream.gop_payload import gop_stream_bytes, pack_gop, unpack_gop
from stgvcodec.bitstream.gop_predicted.payload import (
    pack_predicted_gop,
    predicted_stream_bytes,
    unpack_predicted_gop,
)
from stgvcodec.bitstream.gop_predicted.symbols import PredictedGopSymbols
from stgvcodec.bitstream.payload.header import GopSetHeader
from stgvcodec.bitstream.payload.pack import gop_set_stream_bytes, pack_gop_set, unpack_gop_set
from stgvcodec.bitstream.payload.symbols import GopSetSymbols
from stgvcodec.bitstream.symbols import GopHeader, GopSymbols
from stgvcodec.bitstream.syntax.limits import LIMITS

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
