"""Random access to a file's bytes, and to the chunks in them."""

from __future__ import annotations

import errno
import io
import os
import threading
import weakref
from typing import BinaryIO

from stgvcodec.bitstream.container.chunks import CRC_BYTES, HEADER_BYTES, Chunk, parse_chunk_header, payload_crc_matches
from stgvcodec.errors import BitstreamError, ClosedDecoderError, InputVideoError, MissingFileError

KEEP_GOING_ADVICE = "`stgvcodec decode --keep-going` renders the GoPs that are intact"


_SOURCES: weakref.WeakSet[ByteSource] = weakref.WeakSet()


class ByteSource:
    """A seekable file, opened here (from a path) or by the caller.

    Reads have no offset in common: threads, and processes that were forked after the file was opened, may read at the
    same time.

    Args:
        source: A path, or a binary file that can seek.
        owned: Whether a binary file that was opened by the caller is closed too.

    Attributes:
        n_bytes: Size of the file when it was opened, or when `remeasure` was called.
        is_growing: Whether bytes are expected to be appended while it is open.

    Raises:
        MissingFileError: there is no such file.
        InputVideoError: the file cannot be opened or cannot seek.
    """

    def __init__(self, source: str | os.PathLike[str] | BinaryIO, *, owned: bool = False) -> None:
        self._owned = owned or isinstance(source, str | os.PathLike)
        if isinstance(source, str | os.PathLike):
            name = f"{os.fspath(source)}: "
            try:
                self._file: BinaryIO = open(source, "rb")  # noqa: PTH123, SIM115
            except FileNotFoundError as error:
                raise MissingFileError(f"{name}does not exist, expected a .stgv file: check the path") from error
            except IsADirectoryError as error:
                raise InputVideoError(f"{name}is a folder, expected a .stgv file: name the file in it") from error
            except OSError as error:
                raise InputVideoError(f"{name}cannot be opened: {error.strerror}{_remedy(error)}") from error
        else:
            name, self._file = "", source
        if isinstance(self._file, io.TextIOBase):
            raise InputVideoError("the source is open as text, expected bytes: open it in binary mode, 'rb'")
        if not self._file.seekable():
            self.close()
            raise InputVideoError(f"{name}is not a file that can seek, such as a pipe: write it to a file first")
        self._lock = threading.Lock()
        _SOURCES.add(self)
        self.n_bytes = self._file.seek(0, io.SEEK_END)
        self._descriptor = _descriptor(self._file) if hasattr(os, "pread") else None
        self._name = name
        self.is_growing = False
        self._modified_ns = None if self._descriptor is None else os.fstat(self._descriptor).st_mtime_ns

    def close(self) -> None:
        """Close the file if it was opened here, or is owned."""
        if self._owned:
            self._file.close()

    def read_at(self, offset: int, n_bytes: int) -> bytes:
        """Read up to `n_bytes` from `offset`; fewer only at the file's end.

        Raises:
            ClosedDecoderError: the file is closed.
            InputVideoError: the file cannot be read any more, as where a network failed.
        """
        data = self._part_at(offset, n_bytes)
        while len(data) < n_bytes:
            more = self._part_at(offset + len(data), n_bytes - len(data))
            if not more:
                break
            data += more
        return data

    def _part_at(self, offset: int, n_bytes: int) -> bytes:
        if getattr(self._file, "closed", False):
            name = self._name or "the file "
            raise ClosedDecoderError(f"{name}is closed, as after the decoder's `with` block: open it anew")
        if self._descriptor is not None:
            try:
                return os.pread(self._descriptor, n_bytes, offset)
            except OSError as error:
                raise InputVideoError(
                    f"{self._name}cannot be read at byte {offset}: {error.strerror}; is it still there?"
                ) from error
        with self._lock:
            self._file.seek(offset)
            return self._file.read(n_bytes)

    @property
    def descriptor(self) -> int | None:
        """Descriptor of the file; None where it is not one of the system."""
        return self._descriptor

    def remeasure(self) -> None:
        """Take note of what was added to the file since it was opened."""
        if self._descriptor is not None:
            state = os.fstat(self._descriptor)
            self.n_bytes, self._modified_ns = state.st_size, state.st_mtime_ns

    def check_unchanged(self, *, is_faulty: bool) -> None:
        """Refuse a file that another program cut or wrote over since it was opened: its parts are of different files.

        A file that only grew may still be being written; what was there before is then held to be as it was, unless it
        is faulty.

        Args:
            is_faulty: Whether what was read is not what was expected.

        Raises:
            InputVideoError: the file was changed.
        """
        if self._descriptor is None or self._file.closed:
            return
        state = os.fstat(self._descriptor)
        # The time of a file changes a moment before its size does.
        least = self.n_bytes if self.is_growing else self.n_bytes + 1
        has_grown = state.st_size >= least and not is_faulty
        if (state.st_size, state.st_mtime_ns) != (self.n_bytes, self._modified_ns) and not has_grown:
            raise InputVideoError(
                f"{self._name}was changed since it was opened, from {self.n_bytes} bytes to {state.st_size} or in what "
                "they hold: open it anew when no other program writes it"
            )

    def chunk_at(self, offset: int) -> Chunk | None:
        """Return the chunk whose header is intact at `offset`; None if there is none."""
        return parse_chunk_header(self.read_at(offset, HEADER_BYTES), offset)

    def payload(self, chunk: Chunk, section: str) -> bytes:
        """Read the payload of a chunk.

        Raises:
            BitstreamError: the file ends before the chunk does, or the CRC-32 of the payload is wrong.
            InputVideoError: the file was changed since it was opened.
        """
        if chunk.end > self.n_bytes:
            raise BitstreamError(
                f"cut short: the chunk ends at byte {chunk.end}, the file at {self.n_bytes}; {KEEP_GOING_ADVICE}",
                section=section,
                offset=chunk.offset,
            )
        data = self.read_at(chunk.payload_offset, chunk.payload_bytes + CRC_BYTES)
        payload, crc = data[: chunk.payload_bytes], data[chunk.payload_bytes :]
        is_intact = payload_crc_matches(payload, crc)
        self.check_unchanged(is_faulty=not is_intact)
        if not is_intact:
            raise BitstreamError(
                f"damaged: the payload's CRC-32 is wrong; {KEEP_GOING_ADVICE}",
                section=section,
                offset=chunk.payload_offset,
            )
        return payload


def _renew_locks() -> None:
    """Give every source of a forked process a lock that is free: a thread of the parent may have held it."""
    for source in _SOURCES:
        source._lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)


def _remedy(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "; ask its owner for the right to read it"
    return "; close some files first" if error.errno in (errno.EMFILE, errno.ENFILE) else ""


def _descriptor(file: BinaryIO) -> int | None:
    """Return the descriptor of a file whose bytes are those that it reads; None for any other kind."""
    # What is layered over a file, such as one of gzip, has the descriptor of the file but not its bytes.
    if not isinstance(file, io.FileIO | io.BufferedReader | io.BufferedRandom):
        return None
    if not isinstance(getattr(file, "raw", file), io.FileIO):
        return None
    return file.fileno()
