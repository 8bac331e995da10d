"""Files that the package fsspec opens, such as those behind https:// and s3://, by ranges of what is needed."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeGuard

from stgvcodec.errors import ConfigError, InputVideoError
from stgvcodec.media.addresses import not_found, open_address

if TYPE_CHECKING:
    from fsspec.core import OpenFile

# Bytes that a request fetches beyond what was asked for: the next reads are mostly of what follows.
_READ_AHEAD_BYTES = 16 << 10


def is_open_file(source: object) -> TypeGuard[OpenFile]:
    """Tell whether a source is what `fsspec.open` returns."""
    core = sys.modules.get("fsspec.core")
    return core is not None and isinstance(source, core.OpenFile)


class RemoteFile(io.RawIOBase):
    """A file of fsspec that reads by ranges, in every process by a connection of its own.

    Attributes:
        name: Address of the file.
        n_bytes: Size of the file, bytes.
    """

    def __init__(self, source: str | OpenFile) -> None:
        """Open a file.

        Args:
            source: Address of the file, or what `fsspec.open` returned for it.

        Raises:
            StgvError: fsspec, or the package that it needs for this address, is not installed.
            ConfigError: there is no such scheme, or the file is to be decompressed.
            MissingFileError: there is no such file.
            InputVideoError: the file cannot be opened or has no ranges, or the server cannot be reached.
        """
        self._file: Any = None
        self._process_id = os.getpid()
        self.name = source if isinstance(source, str) else source.full_name
        self._source: OpenFile = open_address(source, "rb") if isinstance(source, str) else source
        if self._source.compression is not None:
            raise ConfigError(
                f"{self.name}: is to be decompressed by {self._source.compression}, but a decoder reads parts of the "
                "file as it is; leave the compression out"
            )
        self._position = 0
        self._process_id, self._file = os.getpid(), self._open()
        with self._named_errors():
            self.n_bytes = int(self._file.seek(0, io.SEEK_END))

    def seekable(self) -> bool:
        """Return True."""
        return True

    def readable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the position at which the next read begins; nothing is fetched."""
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.n_bytes}[whence]
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Fetch `size` bytes, or what there is, from the position on.

        Raises:
            InputVideoError: they cannot be fetched.
        """
        if self._process_id != os.getpid():
            # Connections, and the thread that serves them, do not survive a fork.
            self._process_id, self._file = os.getpid(), self._open()
        with self._named_errors():
            self._file.seek(self._position)
            data: bytes = self._file.read(size)
        self._position += len(data)
        return data

    def close(self) -> None:
        """Close the file."""
        if self._file is not None and not self.closed and self._process_id == os.getpid():
            self._file.close()
        super().close()

    def _open(self) -> Any:
        fs = self._source.fs
        if getattr(fs, "_pid", os.getpid()) != os.getpid():
            # File systems say that they do not survive a fork; this makes another one with the same arguments.
            fs = type(fs)(*fs.storage_args, **fs.storage_options)
        with self._named_errors():
            return fs.open(self._source.path, "rb", block_size=_READ_AHEAD_BYTES)

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        """Turn what goes wrong in fsspec, which may be an exception of any package, into this package's errors."""
        try:
            yield
        except FileNotFoundError as error:
            raise not_found(self.name, error, "a .stgv file") from error
        except Exception as error:
            what = " ".join(f"{type(error).__name__}: {error}".split())
            raise InputVideoError(
                f"{self.name}: cannot be read by ranges ({what}): check the address and the connection, or fetch the "
                "whole file first"
            ) from error
