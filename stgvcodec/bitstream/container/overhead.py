"""The bytes of a file besides the payloads of its GoPs, exact, from the format's own tables."""

from __future__ import annotations

from collections.abc import Sequence

from stgvcodec.bitstream.container.chunks import FRAME_BYTES, MAGIC, ChunkType
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
