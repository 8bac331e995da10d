"""The writer of `.stgv` files. It writes front to back and needs only `file.write`, so that a pipe will do."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Protocol

from stgvcodec.bitstream.container.chunks import MAGIC, Chunk, ChunkType, frame_chunk, is_critical
from stgvcodec.bitstream.container.file_header import StreamHeader
from stgvcodec.bitstream.container.index import GopEntry, GopTiming, pack_end_chunk
from stgvcodec.bitstream.payload.head import payload_stream_bytes, read_header
from stgvcodec.bitstream.syntax.limits import LIMITS


class Writable(Protocol):
    """What a file is written to: a binary file, or the like."""

    def write(self, data: memoryview, /) -> int | None:
        """Write bytes and return how many were taken; None for all of them."""


class StgvWriter:
    """The writer of one file: header at once, then GoPs and other chunks as they come, index at `finish`.

    Args:
        file: Anything with `write`; it is neither sought in nor closed.
        header: The file header.

    Raises:
        ValueError: the header has a value outside the format's limits.
    """

    def __init__(self, file: Writable, header: StreamHeader) -> None:
        self._file = file
        self._offset = 0
        self._chunks: list[Chunk] = []
        self._gops: list[GopEntry] = []
        self._finished = False
        payload = header.to_bytes()
        self._write(MAGIC + frame_chunk(ChunkType.FILE_HEADER, payload))

    @property
    def n_bytes(self) -> int:
        """Bytes written so far."""
        return self._offset

    def add_gop(self, payload: bytes, pts: Sequence[int]) -> None:
        """Append a GoP.

        Args:
            payload: Payload that `pack_gop` returned.
            pts: Timestamp of each frame in units of the header's time base; increasing, also from GoP to GoP.

        Raises:
            ValueError: the timestamps do not fit the GoP or do not increase, or the file is finished.
            BitstreamError: the payload is not a GoP's.
        """
        payload_stream_bytes(payload)  # It refuses a payload that is cut short.
        header = read_header(payload)
        if len(pts) != header.n_frames:
            raise ValueError(f"{len(pts)} timestamps for a GoP of {header.n_frames} frames, expected one a frame")
        first_frame = 0
        if self._gops:
            last = self._gops[-1].timing
            first_frame = last.first_frame + last.n_frames
            if pts[0] <= last.pts_last:
                raise ValueError(f"a GoP begins at timestamp {pts[0]}, expected more than {last.pts_last}")
        timing = GopTiming.from_pts(first_frame, [int(stamp) for stamp in pts])
        chunk = self._add(ChunkType.GOP, timing.to_bytes() + payload)
        self._gops.append(GopEntry(timing, header.n_gaussians, chunk.offset, chunk.n_bytes))

    def add_chunk(self, chunk_type: int, payload: bytes) -> None:
        """Append an ancillary chunk: a track, packets of one, metadata, or a private one that readers skip.

        Raises:
            ValueError: the type is critical or not 16 bits, or the file is finished.
        """
        if not 0 <= chunk_type <= 0xFFFF or is_critical(chunk_type):
            raise ValueError(f"chunk type is {chunk_type:#06x}, expected an ancillary one, below 0x8000")
        self._add(chunk_type, payload)

    def finish(self) -> None:
        """Write the end chunk. Without it the file is refused by readers unless they are told to keep going.

        Raises:
            ValueError: no GoP was added, or the file is finished already.
        """
        if not self._gops:
            raise ValueError("no GoP was added, expected at least one")
        self._check_open()
        self._write(frame_chunk(ChunkType.END, pack_end_chunk(self._chunks, self._gops)))
        self._finished = True

    def _add(self, chunk_type: int, payload: bytes) -> Chunk:
        self._check_open()
        if len(self._chunks) >= LIMITS["n_chunks"]:
            raise ValueError(f"the file has {len(self._chunks)} chunks, the most that the format allows")
        chunk = Chunk(chunk_type, self._offset, len(payload))
        self._write(frame_chunk(chunk_type, payload))
        self._chunks.append(chunk)
        return chunk

    def _check_open(self) -> None:
        if self._finished:
            raise ValueError("the file is finished, nothing can be added")

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            written = self._file.write(view)
            if written is None:
                if isinstance(self._file, io.RawIOBase):
                    raise BlockingIOError("the destination does not block and is full: open it in blocking mode")
                break  # a file whose `write` returns no count took everything
            view = view[written:]
        self._offset += len(data)
