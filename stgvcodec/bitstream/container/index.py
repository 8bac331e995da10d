"""The places of the GoPs and the times of their frames: the table before a GoP's payload, and the index of the file."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import islice, pairwise
from typing import Any

from stgvcodec.bitstream.container.chunks import (
    CRC_BYTES,
    FRAME_BYTES,
    HEADER_BYTES,
    Chunk,
    ChunkType,
    is_critical,
    is_known,
)
from stgvcodec.bitstream.container.file_header import StreamHeader
from stgvcodec.bitstream.payload.head import LEAST_HEAD_BYTES
from stgvcodec.bitstream.syntax.elements import read_elements, write_elements
from stgvcodec.bitstream.syntax.primitives import ByteReader, uint_bytes
from stgvcodec.bitstream.syntax.tables import GOP_CHUNK, INDEX, INDEX_ENTRY, INDEX_GOP, INDEX_TAIL
from stgvcodec.bitstream.syntax.versions import FORMAT_VERSION
from stgvcodec.errors import BitstreamError

END_TAIL_BYTES = 4 + CRC_BYTES
"""Number of bytes at the end of a file that hold the size of the end chunk (u32) and its payload CRC."""


@dataclass(frozen=True, slots=True)
class GopTiming:
    """Frames and timestamps of a GoP: the table GOP_CHUNK of bitstream_spec.md, which comes before the payload.

    Attributes:
        first_frame: Number of the first frame in the file.
        n_frames: Number of frames.
        pts_first: Timestamp of the first frame, time base units.
        pts_step: Constant difference of timestamps; 0 if `pts_deltas` has the differences.
        pts_deltas: Differences of successive timestamps, n_frames - 1 of them; empty if `pts_step` > 0. They are
            compact, 8 bytes each: the index of a file keeps those of all its GoPs.
    """

    first_frame: int
    n_frames: int
    pts_first: int
    pts_step: int
    pts_deltas: Sequence[int]

    @classmethod
    def from_pts(cls, first_frame: int, pts: Sequence[int]) -> GopTiming:
        """Describe timestamps as briefly as possible.

        Raises:
            ValueError: there are no timestamps, or they do not increase.
        """
        if not pts:
            raise ValueError("a GoP has no timestamps, expected one a frame")
        deltas = tuple(after - before for before, after in pairwise(pts))
        if any(delta <= 0 for delta in deltas):
            raise ValueError(f"timestamps are {list(pts)}, expected each to be larger than the one before")
        if deltas and deltas.count(deltas[0]) == len(deltas):
            return cls(first_frame, len(pts), pts[0], deltas[0], ())
        return cls(first_frame, len(pts), pts[0], 0, _compact(deltas))

    @property
    def pts(self) -> tuple[int, ...]:
        """Timestamps of all frames, time base units."""
        if self.pts_step:
            return tuple(self.pts_first + k * self.pts_step for k in range(self.n_frames))
        stamps = [self.pts_first]
        for delta in self.pts_deltas:
            stamps.append(stamps[-1] + delta)
        return tuple(stamps)

    def pts_of(self, k: int) -> int:
        """Return the timestamp of frame k of the GoP, time base units."""
        return self.pts_first + k * self.pts_step + sum(islice(self.pts_deltas, k))

    @property
    def pts_last(self) -> int:
        """Timestamp of the last frame, time base units."""
        return self.pts_first + self.pts_step * (self.n_frames - 1) + sum(self.pts_deltas)

    def follows(self, before: GopTiming | None) -> bool:
        """Whether frames and timestamps go on where those of a GoP end; with None, whether the first frame is 0."""
        if before is None:
            return self.first_frame == 0
        return self.first_frame == before.first_frame + before.n_frames and self.pts_first > before.pts_last

    def to_bytes(self) -> bytes:
        """Write the table GOP_CHUNK."""
        return write_elements(self.values(), GOP_CHUNK)

    def values(self) -> dict[str, Any]:
        """Values of the table GOP_CHUNK, by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def read(cls, reader: ByteReader) -> GopTiming:
        """Read the table GOP_CHUNK."""
        return cls.of(read_elements(reader, GOP_CHUNK))

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> GopTiming:
        """Take the values of the table GOP_CHUNK, by name."""
        return cls(**{**values, "pts_deltas": _compact(values["pts_deltas"])})


@dataclass(frozen=True, slots=True)
class GopEntry:
    """One GoP of a file.

    Attributes:
        timing: Frames of the GoP and their timestamps.
        n_gaussians: Number of Gaussians of the GoP.
        offset: Offset of the GoP's chunk in the file.
        n_bytes: Size of the GoP's chunk, framing included, bytes.
    """

    timing: GopTiming
    n_gaussians: int
    offset: int
    n_bytes: int

    @property
    def first_frame(self) -> int:
        """Number of the GoP's first frame in the file."""
        return self.timing.first_frame

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return self.timing.n_frames

    @property
    def pts(self) -> tuple[int, ...]:
        """Timestamps of all frames, time base units."""
        return self.timing.pts

    @property
    def payload_offset(self) -> int:
        """Offset in the file of what `StgvReader.read_gop` returns."""
        return self.offset + HEADER_BYTES + len(self.timing.to_bytes())


def _compact(deltas: Sequence[int]) -> Sequence[int]:
    return array("q", deltas) if deltas else ()


def pack_end_chunk(chunks: Sequence[Chunk], gops: Sequence[GopEntry]) -> bytes:
    """Make the payload of the end chunk.

    Args:
        chunks: All chunks between the file header and the end chunk, in order.
        gops: The GoPs among them, in order.
    """
    values = {"n_frames": sum(gop.n_frames for gop in gops), "n_chunks": len(chunks)}
    out = bytearray(write_elements(values, INDEX))
    by_offset = {gop.offset: gop for gop in gops}
    for chunk in chunks:
        out += write_elements({"chunk_type": int(chunk.type), "payload_bytes": chunk.payload_bytes}, INDEX_ENTRY)
        if chunk.type == ChunkType.GOP:
            gop = by_offset[chunk.offset]
            out += write_elements({"n_gaussians": gop.n_gaussians, **gop.timing.values()}, INDEX_GOP)
    return bytes(out) + write_elements({"end_chunk_bytes": len(out) + 4 + FRAME_BYTES}, INDEX_TAIL)


def read_timings(reader: ByteReader) -> tuple[int, list[GopTiming]]:
    """Read what the index says of frames alone, and hold it to nothing else.

    Args:
        reader: Reader of the payload of the end chunk.

    Returns:
        The number of frames, and the frames of each GoP. None of the latter where the index is malformed behind its
        first elements, or the GoPs are not in order.

    Raises:
        BitstreamError: the first elements are malformed.
    """
    values = read_elements(reader, INDEX)
    timings: list[GopTiming] = []
    try:
        for _ in range(values["n_chunks"]):
            entry = read_elements(reader, INDEX_ENTRY)
            if entry["chunk_type"] == ChunkType.GOP:
                before = timings[-1] if timings else None
                timings.append(_read_gop(reader, entry["payload_bytes"], len(timings), before)[1])
    except BitstreamError:
        return values["n_frames"], []
    return values["n_frames"], timings


def read_end_chunk(
    payload: bytes, end_chunk: Chunk, first_offset: int, header: StreamHeader
) -> tuple[list[Chunk], list[GopEntry]]:
    """Read the payload of the end chunk and hold it against the file's layout.

    Args:
        payload: Payload of the end chunk.
        end_chunk: Place of the end chunk in the file.
        first_offset: Offset of the first chunk behind the file header.
        header: The file header. Where its minor version is later than the reader's, elements may follow the known ones.

    Returns:
        All chunks between the file header and the end chunk, and the GoPs among them.

    Raises:
        BitstreamError: the index is malformed, does not cover the file exactly, or has GoPs out of order.
    """
    reader = ByteReader(payload, "index", base_offset=end_chunk.payload_offset)
    start = reader.position
    values = read_elements(reader, INDEX)
    chunks: list[Chunk] = []
    gops: list[GopEntry] = []
    offset = first_offset
    for _ in range(values["n_chunks"]):
        entry_start = reader.position
        entry = read_elements(reader, INDEX_ENTRY)
        chunk = Chunk(entry["chunk_type"], offset, entry["payload_bytes"])
        if fault := chunk_fault(chunk):
            raise reader.error(fault, at=entry_start)
        offset = chunk.end
        if offset > end_chunk.offset:
            raise reader.error(
                f"the {chunk.name} ends at byte {offset}, behind the end chunk's start {end_chunk.offset}",
                at=entry_start,
            )
        chunks.append(chunk)
        if chunk.type == ChunkType.GOP:
            before = gops[-1].timing if gops else None
            n_gaussians, timing = _read_gop(reader, chunk.payload_bytes, len(gops), before)
            gops.append(GopEntry(timing, n_gaussians, chunk.offset, chunk.n_bytes))
    if offset != end_chunk.offset:
        raise reader.error(f"its chunks end at byte {offset}, the end chunk begins at {end_chunk.offset}", at=start)
    n_frames = gops[-1].first_frame + gops[-1].n_frames if gops else 0
    if n_frames != values["n_frames"]:
        raise reader.error(f"{values['n_frames']} frames are declared, the GoPs have {n_frames}", at=start)
    if header.format_version > FORMAT_VERSION and reader.remaining > 4:
        reader.skip(reader.remaining - 4)
    tail = read_elements(reader, INDEX_TAIL)
    reader.expect_end()
    if tail["end_chunk_bytes"] != end_chunk.n_bytes:
        raise reader.error(f"the end chunk has {end_chunk.n_bytes} bytes, {tail['end_chunk_bytes']} are declared")
    return chunks, gops


def _read_gop(reader: ByteReader, payload_bytes: int, number: int, before: GopTiming | None) -> tuple[int, GopTiming]:
    """Read the table INDEX_GOP; return the number of Gaussians, and the frames.

    Raises:
        BitstreamError: the payload is too short for a GoP, or the GoP does not go on where the one before it ends.
    """
    start = reader.position
    values = read_elements(reader, INDEX_GOP)
    n_gaussians = values.pop("n_gaussians")
    timing = GopTiming.of(values)
    least = reader.position - start - uint_bytes(n_gaussians) + LEAST_HEAD_BYTES
    if payload_bytes < least:
        message = f"GoP {number} has a payload of {payload_bytes} bytes, expected {least} at least"
        raise reader.error(f"{message}: it is too short for its head", at=start)
    if not timing.follows(before):
        raise reader.error(f"GoP {number} is out of order: {timing}", at=start)
    return n_gaussians, timing


def chunk_fault(chunk: Chunk) -> str | None:
    """Say why a chunk may not lie between the file header and the end chunk; None where it may."""
    if chunk.type in (ChunkType.FILE_HEADER, ChunkType.END):
        return f"a second {chunk.name} at byte {chunk.offset}, expected one in a file"
    if is_critical(chunk.type) and not is_known(chunk.type):
        return f"critical {chunk.name} at byte {chunk.offset} is not known: use a newer stgvcodec"
    return None
