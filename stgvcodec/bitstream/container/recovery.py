"""Recovery of damaged files: what is wrong with a file that cannot be opened, and which of its GoPs are intact."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from stgvcodec.bitstream.container.chunks import (
    HEADER_BYTES,
    MAGIC,
    SYNC,
    Chunk,
    ChunkType,
    is_critical,
    is_known,
    parse_chunk_header,
)
from stgvcodec.bitstream.container.file_header import StreamHeader
from stgvcodec.bitstream.container.gaps import find_gaps
from stgvcodec.bitstream.container.index import GopEntry, GopTiming, read_timings
from stgvcodec.bitstream.container.source import KEEP_GOING_ADVICE, ByteSource
from stgvcodec.bitstream.payload.head import read_header
from stgvcodec.bitstream.syntax.primitives import ByteReader
from stgvcodec.errors import BitstreamError

# The search for a header begins with few bytes, since the next chunk mostly begins where the last one ended.
_FIRST_BLOCK_BYTES, _BLOCK_BYTES = 1 << 10, 1 << 20
MAX_PASSES = 8
"""Bytes that may be checked over the bytes of the file, since chunks of a hostile file may lie in one another."""


@dataclass
class Recovered:
    """What `scan` finds in a file.

    Attributes:
        header: The file header.
        chunks: All intact chunks behind the file header that are neither file headers nor end chunks.
        gops: The GoPs among these chunks, frames in order, none twice.
        gaps: Frames that are missing and their timestamps, in order, where these are known or can be guessed.
        notes: Descriptions of what is damaged or missing, with byte offsets.
    """

    header: StreamHeader
    chunks: list[Chunk] = field(default_factory=list)
    gops: list[GopEntry] = field(default_factory=list)
    gaps: list[GopTiming] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def missing_end_error(source: ByteSource, offset: int) -> BitstreamError:
    """Find out why the last bytes of a file are not an end chunk; return the error that says so.

    Args:
        source: The file, whose header is intact.
        offset: Offset of the first chunk behind the file header.
    """
    while offset < source.n_bytes:
        chunk = source.chunk_at(offset)
        if chunk is None:
            return BitstreamError(
                f"damaged or cut short: no chunk begins here, and the file has no end chunk; {KEEP_GOING_ADVICE}",
                section="file",
                offset=offset,
            )
        if chunk.end > source.n_bytes:
            return BitstreamError(
                f"cut short: the {chunk.name} ends at byte {chunk.end}, the file at {source.n_bytes}; "
                f"{KEEP_GOING_ADVICE}",
                section="file",
                offset=offset,
            )
        if chunk.type == ChunkType.END:
            extra = source.n_bytes - chunk.end
            if extra:
                message = f"{extra} bytes follow the end chunk, expected none: remove them; {KEEP_GOING_ADVICE}"
                return BitstreamError(message, section="file", offset=chunk.end)
            message = f"the end chunk is damaged: its CRC-32 or its size is wrong; {KEEP_GOING_ADVICE}"
            return BitstreamError(message, section="end chunk", offset=chunk.offset)
        offset = chunk.end
    return BitstreamError(
        f"no end chunk, so the file was not finished or is cut short; {KEEP_GOING_ADVICE}",
        section="file",
        offset=source.n_bytes,
    )


def scan(source: ByteSource) -> Recovered:
    """Find everything that is intact, from sync marker to sync marker.

    Args:
        source: The file.

    Returns:
        The intact parts of the file.

    Raises:
        BitstreamError: no file header or no GoP is intact, or the file needs a newer reader.
    """
    notes: list[str] = []
    start = len(MAGIC)
    if source.read_at(0, len(MAGIC)) != MAGIC:
        notes.append("byte 0: the magic bytes are damaged")
        start = 0
    result: Recovered | None = None
    end_at: int | None = None
    declared_frames: int | None = None
    index: list[GopTiming] = []
    early_gops = 0
    for chunk in _intact_chunks(source, start, notes):
        if is_critical(chunk.type) and not is_known(chunk.type):
            raise BitstreamError(
                f"critical {chunk.name} is not known: use a newer stgvcodec", section="file", offset=chunk.offset
            )
        if chunk.type == ChunkType.FILE_HEADER:
            if result is not None:
                notes.append(f"byte {chunk.offset}: a second file header was skipped")
                continue
            payload = source.payload(chunk, "file header")
            result = Recovered(StreamHeader.from_bytes(payload, chunk.payload_offset), notes=notes)
        elif chunk.type == ChunkType.END:
            if end_at is None:
                end_at = chunk.end
                reader = ByteReader(source.payload(chunk, "index"), "index", base_offset=chunk.payload_offset)
                try:
                    declared_frames, index = read_timings(reader)
                except BitstreamError as error:
                    notes.append(str(error))
        elif result is None:
            early_gops += 1
        else:
            result.chunks.append(chunk)
            if chunk.type == ChunkType.GOP:
                _add_gop(source, chunk, result)
    if result is None:
        raise BitstreamError(
            f"the file header is damaged, so that nothing can be decoded ({early_gops} intact chunks follow); "
            "fetch the file again",
            section="file header",
            offset=len(MAGIC),
        )
    if not result.gops:
        raise BitstreamError(
            "no GoP is intact, so that nothing can be decoded; fetch the file again", section="file", offset=0
        )
    if end_at is None:
        last = result.gops[-1].first_frame + result.gops[-1].n_frames - 1
        notes.append(
            f"byte {source.n_bytes}: the end chunk is missing or damaged, so that frames behind {last} may be missing"
        )
    elif end_at < source.n_bytes:
        notes.append(f"byte {end_at}: {source.n_bytes - end_at} bytes follow the end chunk")
    header = result.header
    interval = max(1, round(1 / (header.frame_rate * header.time_base)))
    gaps = find_gaps(result.gops, index, declared_frames, interval)
    result.gaps = gaps.timings
    notes += gaps.notes
    return result


def _add_gop(source: ByteSource, chunk: Chunk, result: Recovered) -> None:
    """Keep the GoP of an intact chunk, or note why not."""
    reader = ByteReader(source.payload(chunk, "GoP"), "GoP", base_offset=chunk.payload_offset)
    try:
        timing = GopTiming.read(reader)
        header = read_header(reader.data[reader.position :])
    except BitstreamError as error:
        result.notes.append(str(error))
        return
    if fault := _gop_fault(timing, header.n_frames, result):
        result.notes.append(f"byte {chunk.offset}: a GoP {fault} was skipped")
        return
    result.gops.append(GopEntry(timing, header.n_gaussians, chunk.offset, chunk.n_bytes))


def _gop_fault(timing: GopTiming, n_frames: int, result: Recovered) -> str | None:
    last = result.gops[-1].timing if result.gops else None
    if last and (timing.first_frame < last.first_frame + last.n_frames or timing.pts_first <= last.pts_last):
        return f"that begins again at frame {timing.first_frame}"
    if n_frames != timing.n_frames:
        return f"of {n_frames} frames declared as {timing.n_frames}"
    return None


def _intact_chunks(source: ByteSource, start: int, notes: list[str]) -> Iterator[Chunk]:
    """Yield every chunk whose two CRCs hold, front to back; describe in `notes` what lies between them."""
    # a hostile file may hold many headers that each claim most of it: bound the bytes that are checked
    budget = MAX_PASSES * source.n_bytes
    position = damage_start = start
    reason = "no chunk begins here"
    fault: str | None
    while (chunk := next_header(source, position)) is not None:
        if chunk.end > source.n_bytes:
            fault = f"the {chunk.name} is cut short: it ends at byte {chunk.end}, the file at {source.n_bytes}"
        elif budget < chunk.n_bytes:
            notes.append(f"byte {chunk.offset}: too much damage, the rest of the file was not searched")
            return
        else:
            budget -= chunk.n_bytes
            fault = _payload_fault(source, chunk)
        if not fault:
            if chunk.offset > damage_start:
                notes.append(f"byte {damage_start}: {chunk.offset - damage_start} bytes were skipped, {reason}")
            yield chunk
            position = damage_start = chunk.end
            reason = "no chunk begins here"
            continue
        if chunk.offset == damage_start:
            reason = fault
        else:
            notes.append(f"byte {chunk.offset}: {fault}")
        position = chunk.offset + HEADER_BYTES  # bytes may be gone, so the next chunk may begin inside this one
    if damage_start < source.n_bytes:
        notes.append(f"byte {damage_start}: {source.n_bytes - damage_start} bytes were skipped, {reason}")


def _payload_fault(source: ByteSource, chunk: Chunk) -> str | None:
    try:
        source.payload(chunk, chunk.name)
    except BitstreamError:
        return f"the payload of the {chunk.name} is damaged"
    return None


def next_header(source: ByteSource, position: int) -> Chunk | None:
    """Find the first intact chunk header at or behind a position."""
    n_searched = _FIRST_BLOCK_BYTES
    while position < source.n_bytes:
        block = source.read_at(position, n_searched + HEADER_BYTES - 1)
        at = block.find(SYNC)
        while 0 <= at < n_searched:
            chunk = parse_chunk_header(block[at : at + HEADER_BYTES], position + at)
            if chunk is not None:
                return chunk
            at = block.find(SYNC, at + 1)
        position += n_searched
        n_searched = min(4 * n_searched, _BLOCK_BYTES)
    return None
