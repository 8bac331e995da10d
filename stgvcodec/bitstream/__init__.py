"""The file format of bitstream_spec.md: payloads of GoPs, and the container around them. It needs no torch."""

from __future__ import annotations

from stgvcodec.bitstream.container.chunks import ChunkType
from stgvcodec.bitstream.container.file_header import ColorDescription, StreamHeader
from stgvcodec.bitstream.container.index import GopEntry
from stgvcodec.bitstream.container.reader import StgvReader
from stgvcodec.bitstream.container.writer import StgvWriter
from stgvcodec.bitstream.payload.head import GopHeader, payload_stream_bytes
from stgvcodec.bitstream.payload.pack import pack_gop, unpack_gop
from stgvcodec.bitstream.payload.symbols import GopSymbols
from stgvcodec.bitstream.syntax.limits import LIMITS

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
    "pack_gop",
    "payload_stream_bytes",
    "unpack_gop",
]
