"""The bytes of a whole file as pieces, front to back, whether it is intact or damaged.

The pieces cover every byte. What no intact chunk header explains is a piece too, which says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from stgvcodec.bitstream.container.chunks import (
    CRC_BYTES,
    HEADER_BYTES,
    MAGIC,
    Chunk,
    ChunkType,
    is_known,
    payload_crc_matches,
)
from stgvcodec.bitstream.container.recovery import MAX_PASSES, next_header
from stgvcodec.bitstream.container.source import ByteSource
from stgvcodec.bitstream.payload.head import read_head
from stgvcodec.bitstream.syntax.pieces import Piece, read_pieces
from stgvcodec.bitstream.syntax.primitives import ByteReader
from stgvcodec.bitstream.syntax.sections import STREAM_SECTIONS
from stgvcodec.bitstream.syntax.tables import (
    FILE_HEADER,
    GOP_CHUNK,
    GOP_HEADER,
    INDEX,
    METADATA,
    STREAM_LENGTHS,
    TRACK,
    TRACK_PACKETS,
)
from stgvcodec.errors import BitstreamError

_SECTIONS = {
    ChunkType.FILE_HEADER: "3.2",
    ChunkType.GOP: "3.3",
    ChunkType.END: "3.4",
    ChunkType.TRACK: "3.5",
    ChunkType.TRACK_PACKETS: "3.5",
    ChunkType.METADATA: "3.5",
}
_END_CHUNK_BYTES = 4


class ChunkPiece(NamedTuple):
    """A piece of a file, and the chunk that it is.

    Attributes:
        piece: The bytes. Its `crc` says whether the CRC-32 of the payload holds.
        chunk: The chunk; None for the magic and for bytes that are no chunk.
    """

    piece: Piece
    chunk: Chunk | None


def file_anatomy(source: ByteSource) -> list[ChunkPiece]:
    """Take a file apart into its magic, its chunks and what is neither.

    A chunk whose payload is damaged is kept as a whole if its length leads to the next chunk or to the end of the file.
    Payloads are parsed only where their CRC-32 holds; what is malformed all the same is noted.

    Args:
        source: The file.

    Returns:
        Pieces without gaps, from the first byte of the file to the last.
    """
    magic = source.read_at(0, len(MAGIC))
    is_magic = magic == MAGIC
    note = "" if is_magic else f"expected {MAGIC.hex(' ')}"
    found = [ChunkPiece(Piece("magic", 0, len(magic), "3.1", magic.hex(" "), note=note), None)] if magic else []
    position = damage_first = len(magic)
    # A hostile file may hold many headers that each claim most of it, as for `scan`.
    budget = MAX_PASSES * source.n_bytes
    while (chunk := next_header(source, position)) is not None:
        fits = chunk.end <= source.n_bytes
        budget -= chunk.n_bytes if fits else 0
        if budget < 0:
            break
        data = source.read_at(chunk.payload_offset, chunk.payload_bytes + CRC_BYTES) if fits else b""
        payload, crc = data[: chunk.payload_bytes], data[chunk.payload_bytes :]
        is_intact = fits and payload_crc_matches(payload, crc)
        leads_on = fits and (chunk.end == source.n_bytes or source.chunk_at(chunk.end) is not None)
        if not (is_intact or leads_on):
            # Bytes may be missing, so that the next chunk may begin inside this one.
            position = chunk.offset + HEADER_BYTES
            continue
        if chunk.offset > damage_first:
            found.append(_damage(damage_first, chunk.offset))
        found.append(ChunkPiece(_chunk_piece(chunk, payload if is_intact else None, crc), chunk))
        position = damage_first = chunk.end
    if damage_first < source.n_bytes:
        found.append(_damage(damage_first, source.n_bytes))
    return found


def _damage(first: int, end: int) -> ChunkPiece:
    note = "no intact chunk has these bytes: a chunk header is damaged, or bytes are missing"
    return ChunkPiece(Piece("damaged bytes", first, end - first, "9", crc=False, note=note), None)


def _chunk_piece(chunk: Chunk, payload: bytes | None, crc: bytes) -> Piece:
    """Describe a chunk; `payload` is None where its CRC-32 is wrong."""
    header = Piece("chunk header", chunk.offset, HEADER_BYTES, "3.1", crc=True)
    tail = Piece("payload CRC-32", chunk.end - CRC_BYTES, CRC_BYTES, "3.1", crc[::-1].hex(), crc=payload is not None)
    section = _SECTIONS.get(ChunkType(chunk.type), "") if is_known(chunk.type) else "3.1"
    name = ChunkType(chunk.type).name if is_known(chunk.type) else f"type 0x{chunk.type:04x}"
    note = ""
    inner: tuple[Piece, ...] = ()
    if payload is None:
        note = "the CRC-32 of the payload is wrong, so that it is not parsed"
    else:
        try:
            inner = _payload_pieces(chunk, payload)
        except BitstreamError as error:
            note = f"the CRC-32 holds, but the payload is malformed: {error}"
    if not inner and chunk.payload_bytes:
        inner = (Piece("payload", chunk.payload_offset, chunk.payload_bytes, section, crc=payload is not None),)
    return Piece(name, chunk.offset, chunk.n_bytes, section, None, payload is not None, note, (header, *inner, tail))


def _payload_pieces(chunk: Chunk, payload: bytes) -> tuple[Piece, ...]:
    parse = _PARSERS.get(chunk.type)
    if parse is None:
        return ()
    return parse(ByteReader(payload, chunk.name, base_offset=chunk.payload_offset))


def _file_header(reader: ByteReader) -> tuple[Piece, ...]:
    _, elements = read_pieces(reader, FILE_HEADER, "3.2")
    return (*elements, *_rest(reader, "elements of a later version", "10"))


def _gop(reader: ByteReader) -> tuple[Piece, ...]:
    _, timing = read_pieces(reader, GOP_CHUNK, "3.3")
    begin = reader.base_offset
    pieces = [Piece("GOP_CHUNK", begin, reader.position, "3.3", children=timing)]
    _, lengths = read_head(ByteReader(reader.data, reader.section, start=reader.position, base_offset=begin))
    for name, table, section in (("GOP_HEADER", GOP_HEADER, "4.1"), ("STREAM_LENGTHS", STREAM_LENGTHS, "4.2")):
        start = reader.position
        _, elements = read_pieces(reader, table, section)
        pieces.append(Piece(name, begin + start, reader.position - start, section, children=elements))
    for stream, n_bytes in lengths.items():
        pieces.append(Piece(stream, begin + reader.position, n_bytes, STREAM_SECTIONS[stream]))
        reader.skip(n_bytes)
    return tuple(pieces)


def _end(reader: ByteReader) -> tuple[Piece, ...]:
    _, counts = read_pieces(reader, INDEX, "3.4")
    begin, n_entries = reader.position, reader.remaining - _END_CHUNK_BYTES
    if n_entries < 0:
        raise reader.error("cut short: the size of the end chunk is missing")
    reader.skip(n_entries)
    size = reader.u32()
    tail = Piece("end_chunk_bytes", reader.base_offset + begin + n_entries, _END_CHUNK_BYTES, "3.4", size)
    entries = Piece("entries, one a chunk", reader.base_offset + begin, n_entries, "3.4")
    return (*counts, *((entries,) if n_entries else ()), tail)


def _track(reader: ByteReader) -> tuple[Piece, ...]:
    _, elements = read_pieces(reader, TRACK, "3.5")
    return (*elements, *_rest(reader, "set-up", "3.5"))


def _packets(reader: ByteReader) -> tuple[Piece, ...]:
    values, elements = read_pieces(reader, TRACK_PACKETS, "3.5")
    return (*elements, *_rest(reader, f"{values['n_packets']} packets", "3.5"))


def _metadata(reader: ByteReader) -> tuple[Piece, ...]:
    _, elements = read_pieces(reader, METADATA, "3.5")
    return (*elements, *_rest(reader, "bytes that no element claims", "3.5"))


def _rest(reader: ByteReader, name: str, section: str) -> tuple[Piece, ...]:
    if not reader.remaining:
        return ()
    return (Piece(name, reader.base_offset + reader.position, reader.remaining, section),)


_PARSERS: dict[int, Callable[[ByteReader], tuple[Piece, ...]]] = {
    ChunkType.FILE_HEADER: _file_header,
    ChunkType.GOP: _gop,
    ChunkType.END: _end,
    ChunkType.TRACK: _track,
    ChunkType.TRACK_PACKETS: _packets,
    ChunkType.METADATA: _metadata,
}
