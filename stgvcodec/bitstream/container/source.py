"""Random access to a file's bytes, and to the chunks in them."""

from __future__ import annotations

import io
import os
from typing import BinaryIO

from stgvcodec.bitstream.container.chunks import CRC_BYTES, HEADER_BYTES, Chunk, parse_chunk_header, payload_crc_matches
from stgvcodec.errors import BitstreamError, InputVideoError

KEEP_GOING_ADVICE = "`stgvcodec decode --keep-going` renders the GoPs that are intact"


class ByteSource:
    """A seekable file, opened here (from a path) or by the caller.

    Args:
        source: A path, or a binary file that can seek; the latter is not closed.

    Raises:
        InputVideoError: the file cannot be opened or cannot seek.
    """

    def __init__(self, source: str | os.PathLike[str] | BinaryIO) -> None:
        self._owned = isinstance(source, str | os.PathLike)
        if isinstance(source, str | os.PathLike):
            try:
                self._file: BinaryIO = open(source, "rb")  # noqa: PTH123, SIM115
            except OSError as error:
                raise InputVideoError(
                    f"{os.fspath(source)}: cannot be opened ({error.strerror}): check the path"
                ) from error
        else:
            self._file = source
            if not source.seekable():
                raise InputVideoError("the source cannot seek: write it to a file first")
        self.n_bytes = self._file.seek(0, io.SEEK_END)

    def close(self) -> None:
        """Close the file if it was opened here."""
        if self._owned:
            self._file.close()

    def read_at(self, offset: int, n_bytes: int) -> bytes:
        """Read up to `n_bytes` from `offset`; fewer only at the file's end."""
        self._file.seek(offset)
        data = self._file.read(n_bytes)
        while len(data) < n_bytes:
            more = self._file.read(n_bytes - len(data))
            if not more:
                break
            data += more
        return data

    def chunk_at(self, offset: int) -> Chunk | None:
        """Return the chunk whose header is intact at `offset`; None if there is none."""
        return parse_chunk_header(self.read_at(offset, HEADER_BYTES), offset)

    def payload(self, chunk: Chunk, section: str) -> bytes:
        """Read the payload of a chunk.

        Raises:
            BitstreamError: the file ends before the chunk does, or the CRC-32 of the payload is wrong.
        """
        if chunk.end > self.n_bytes:
            raise BitstreamError(
                f"cut short: the chunk ends at byte {chunk.end}, the file at {self.n_bytes}",
                section=section,
                offset=chunk.offset,
            )
        data = self.read_at(chunk.payload_offset, chunk.payload_bytes + CRC_BYTES)
        payload, crc = data[: chunk.payload_bytes], data[chunk.payload_bytes :]
        if not payload_crc_matches(payload, crc):
            raise BitstreamError(
                f"damaged: the payload's CRC-32 is wrong; {KEEP_GOING_ADVICE}",
                section=section,
                offset=chunk.payload_offset,
            )
        return payload
