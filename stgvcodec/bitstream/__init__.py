"""The file format of bitstream_spec.md: a GoP's symbols to bytes and back, and the container around them. No torch."""

from __future__ import annotations

from stgvcodec.bitstream.framing import ChunkType
from stgvcodec.bitstream.gop_payload import gop_stream_bytes, pack_gop, unpack_gop
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
    "GopSymbols",
    "StgvReader",
    "StgvWriter",
    "StreamHeader",
    "gop_stream_bytes",
    "pack_gop",
    "stream_bytes",
    "unpack_gop",
]
