"""A file that is looked at in whatever state it is: its bytes, the GoPs that are intact, and what is wrong."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stgvcodec.bitstream.container.anatomy import ChunkPiece, file_anatomy
from stgvcodec.bitstream.container.chunks import ChunkType
from stgvcodec.bitstream.container.index import GopEntry
from stgvcodec.bitstream.container.reader import StgvReader
from stgvcodec.bitstream.container.source import ByteSource
from stgvcodec.bitstream.syntax.pieces import Piece
from stgvcodec.bitstream.syntax.tables import STREAMS
from stgvcodec.decoder.video_decoder import VideoDecoder
from stgvcodec.errors import BitstreamError


@dataclass
class GopSlot:
    """The chunk of a GoP, intact or not.

    Attributes:
        offset: Offset of the chunk in the file.
        n_bytes: Size of the chunk, bytes.
        entry: Frames and timestamps of the GoP; None where nothing says them.
        place: Index of the GoP in the reader's list; None where it cannot be read.
        streams: Bytes of each stream, head as "side_info", as `payload_stream_bytes` counts; empty where unknown.
        fault: Why the GoP cannot be decoded; empty where it can.
    """

    offset: int
    n_bytes: int
    entry: GopEntry | None
    place: int | None
    streams: dict[str, int]
    fault: str = ""


@dataclass
class OpenedFile:
    """A file, and what can be read of it.

    Attributes:
        file_bytes: Size of the file, bytes.
        chunks: The bytes of the file, front to back.
        slots: Chunks of GoPs, in file order.
        reader: Reader of the GoPs; None where nothing can be decoded.
        decoder: Decoder of the frames; None where nothing can be decoded.
        damage: What is wrong with the file, a sentence each.
    """

    file_bytes: int
    chunks: list[ChunkPiece]
    slots: list[GopSlot] = field(default_factory=list)
    reader: StgvReader | None = None
    decoder: VideoDecoder | None = None
    damage: list[str] = field(default_factory=list)


def open_file(path: Path, stack: ExitStack, **options: Any) -> OpenedFile:
    """Open a file for inspection.

    Args:
        path: A `.stgv` file, which may be damaged.
        stack: What closes the file.
        options: Device, back end and budgets of `VideoDecoder`.

    Raises:
        MissingFileError, InputVideoError: the file cannot be read.
        BitstreamError: no byte of it is a chunk of a `.stgv` file.
    """
    source = ByteSource(path)
    stack.callback(source.close)
    opened = OpenedFile(source.n_bytes, file_anatomy(source))
    entries: dict[int, GopEntry] = {}
    try:
        strict = stack.enter_context(StgvReader(path))
        entries = {entry.offset: entry for entry in strict.gops}
        opened.reader = strict
    except BitstreamError as error:
        if all(chunk is None for _, chunk in opened.chunks):
            raise
        opened.damage.append(str(error))
    if opened.reader is None or any(piece.crc is False for piece, _ in opened.chunks):
        opened.reader = None
        try:
            opened.reader = stack.enter_context(StgvReader(path, keep_going=True))
            opened.damage += opened.reader.damage
        except BitstreamError as error:
            opened.damage.append(str(error))
    if opened.reader is not None:
        is_intact = not opened.damage
        opened.decoder = stack.enter_context(VideoDecoder(path, keep_going=not is_intact, **options))
    places = {} if opened.reader is None else {entry.offset: i for i, entry in enumerate(opened.reader.gops)}
    if opened.reader is not None:
        entries |= {entry.offset: entry for entry in opened.reader.gops}
    for piece, chunk in opened.chunks:
        if chunk is not None and chunk.type == ChunkType.GOP:
            place = places.get(chunk.offset)
            fault = "" if place is not None else piece.note or "it cannot be decoded without the rest of the file"
            entry = entries.get(chunk.offset)
            opened.slots.append(GopSlot(chunk.offset, chunk.n_bytes, entry, place, _stream_bytes(piece), fault))
    return opened


def _stream_bytes(gop: Piece) -> dict[str, int]:
    sizes = {piece.name: piece.n_bytes for piece in gop.children}
    if not set(STREAMS) <= set(sizes):
        return {}
    head = sizes["GOP_HEADER"] + sizes["STREAM_LENGTHS"]
    return {name: sizes[name] + (head if name == "side_info" else 0) for name in STREAMS}
