"""The bytes of a file besides the payloads of its GoPs, exact, from the format's own tables."""

from __future__ import annotations

from collections.abc import Sequence

from stgvcodec.bitstream.container.chunks import FRAME_BYTES, MAGIC, Chunk, ChunkType
from stgvcodec.bitstream.container.file_header import StreamHeader
from stgvcodec.bitstream.container.index import GopTiming
from stgvcodec.bitstream.syntax.elements import write_elements
from stgvcodec.bitstream.syntax.tables import INDEX, INDEX_ENTRY, INDEX_GOP, INDEX_TAIL


def file_framing_bytes(header: StreamHeader, *, n_frames: int, n_gops: int) -> int:
    """Bytes of a file that do not belong to any GoP: magic, file header, and the end chunk without its entries.

    Args:
        header: The file header.
        n_frames: Frames in the file.
        n_gops: Number of GoPs, which are the only chunks between the file header and the end chunk.
    """
    head = len(MAGIC) + FRAME_BYTES + len(header.to_bytes())
    index = len(write_elements({"n_frames": n_frames, "n_chunks": n_gops}, INDEX))
    tail = len(write_elements({"end_chunk_bytes": 0}, INDEX_TAIL))
    return head + FRAME_BYTES + index + tail


def gop_framing_bytes(pts: Sequence[int], *, first_frame: int, payload_bytes: int, n_gaussians: int) -> int:
    """Bytes of a file that a GoP takes besides its payload: framing, timing and index entry.

    Args:
        pts: Timestamps of the GoP's frames, time base units.
        first_frame: Number of the GoP's first frame in the file.
        payload_bytes: Size of the GoP's payload, bytes.
        n_gaussians: Number of Gaussians of the GoP.
    """
    timing = GopTiming.from_pts(first_frame, pts)
    own = timing.to_bytes()
    entry = write_elements(
        {"chunk_type": int(ChunkType.GOP), "payload_bytes": len(own) + payload_bytes},
        INDEX_ENTRY,
    )
    return (
        FRAME_BYTES
        + len(own)
        + len(entry)
        + len(write_elements({"n_gaussians": n_gaussians, **timing.values()}, INDEX_GOP))
    )


def is_carried(chunk_type: int) -> bool:
    """Tell whether a chunk holds sound, subtitles or metadata, which are no part of the pictures."""
    return chunk_type in (ChunkType.TRACK, ChunkType.TRACK_PACKETS, ChunkType.METADATA)


def carried_chunk_bytes(chunk_type: int, payload_bytes: int) -> int:
    """Bytes of a file that such a chunk takes: payload, framing and index entry.

    Args:
        chunk_type: Type code of the chunk.
        payload_bytes: Size of its payload, bytes.
    """
    entry = write_elements({"chunk_type": int(chunk_type), "payload_bytes": payload_bytes}, INDEX_ENTRY)
    return FRAME_BYTES + payload_bytes + len(entry)


def video_bytes(chunks: Sequence[Chunk], file_bytes: int) -> int:
    """Bytes of a file that belong to its pictures: all but sound, subtitles and metadata.

    Args:
        chunks: Chunks between the file header and the end chunk.
        file_bytes: Size of the file, bytes.
    """
    return file_bytes - sum(
        carried_chunk_bytes(chunk.type, chunk.payload_bytes) for chunk in chunks if is_carried(chunk.type)
    )
