"""A file that grows piece by piece, each flushed to the disk, and that one process alone writes."""

from __future__ import annotations

import errno
import hashlib
import io
import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from stgvcodec.errors import OutputError
from stgvcodec.media.atomic import MOST_NAME_BYTES, PathLike, os_errors, sync_folder

try:
    import fcntl
except ImportError:  # There is none on Windows, where a file that is being written cannot be removed anyway.
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

_BLOCK_BYTES = 1 << 20


class DurableFile:
    """A file that `append` makes and lengthens; after a crash it has every piece whose `append` came back.

    It is not for several threads at once.

    Args:
        path: The file.
        destination: Name of the output in messages.

    Attributes:
        n_bytes: Size of what is kept; what lies behind it in the file goes with the next `append`.
    """

    def __init__(self, path: Path, destination: PathLike) -> None:
        self.path = path
        self.n_bytes = 0
        self._destination = destination
        self._file: io.FileIO | None = None

    def open(self) -> bool:
        """Open the file if it is there, and tell whether it is; until `close` no other process can open it.

        Raises:
            OutputError: another process has it open, it is no regular file, or the file system refuses.
        """
        if not os.path.lexists(self.path):
            return False
        if not self.path.is_file():
            raise OutputError(f"{self.path}: is in the way of what is written there; move it")
        with os_errors(self._destination):
            self._file = io.FileIO(self.path, "r+b")
        self._lock(self._file)
        self.n_bytes = os.fstat(self._file.fileno()).st_size
        return True

    def append(self, data: bytes) -> int:
        """Write behind what is kept, and flush it to the disk.

        With nothing kept, the file is made, or what is there under its name is replaced. A file that was removed since
        the last time is put back, with its folder.

        Returns:
            The offset at which the data begin.

        Raises:
            OutputError: the file was moved or is written by another process, or the file system refuses.
        """
        with os_errors(self._destination):
            self.make_sure_it_is_there()
            file = self._file
            if file is None or self.n_bytes == 0:
                file = self._make()
            start = self.n_bytes
            # What an interrupted call has left goes. Otherwise the file only grows: a reader would take it for another
            # one if its time changed and its size did not.
            if os.fstat(file.fileno()).st_size > start:
                file.truncate(start)
            file.seek(start)
            _write_all(file, data)
            os.fsync(file.fileno())
            if start == 0:
                sync_folder(self.path.parent)
        self.n_bytes += len(data)
        return start

    def blocks(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield the bytes from one offset to another, a block at a time."""
        assert self._file is not None
        while start < stop:
            self._file.seek(start)
            data = self._file.read(min(_BLOCK_BYTES, stop - start))
            if not data:
                raise OutputError(f"{self.path}: was cut short while it was written")
            yield data
            start += len(data)

    def make_sure_it_is_there(self) -> None:
        """Put back the folder and the file if they were removed.

        Raises:
            OutputError: the file was moved, or the file system refuses.
        """
        if not self.path.parent.is_dir():
            logger.warning("%s: was removed while it was written to: it is made again", self.path.parent)
            self.path.parent.mkdir(parents=True)
        if self._file is None or self.n_bytes == 0:
            return
        status = os.fstat(self._file.fileno())
        with suppress(FileNotFoundError):
            if os.path.samestat(self.path.stat(), status):
                return
        if status.st_nlink:
            raise OutputError(f"{self.path}: was moved while it was written; move it back and continue with --resume")
        logger.warning("%s: was removed while it was written: it is put back", self.path)
        with self._file as removed:
            self._file = self._created()
            removed.seek(0)
            while self._file.tell() < self.n_bytes:
                _write_all(self._file, removed.read(min(_BLOCK_BYTES, self.n_bytes - self._file.tell())))
        os.fsync(self._file.fileno())
        sync_folder(self.path.parent)

    def close(self) -> None:
        """Close the file; other processes can open it then."""
        if self._file is not None:
            self._file.close()
        self._file, self.n_bytes = None, 0

    def remove(self) -> None:
        """Remove the file and close it."""
        if self._file is None:
            return
        with suppress(OSError):
            if os.path.samestat(self.path.stat(), os.fstat(self._file.fileno())):
                self.path.unlink()
        self.close()

    def _make(self) -> io.FileIO:
        """Make the file, in place of the one that was opened."""
        if self._file is not None:
            self.remove()
        self._file = self._created()
        return self._file

    def _created(self) -> io.FileIO:
        try:
            file = io.FileIO(self.path, "x+b")
        except FileExistsError as error:
            raise OutputError(f"{self.path}: another process has made it meanwhile; choose another output") from error
        self._lock(file)
        return file

    def _lock(self, file: io.FileIO) -> None:
        if fcntl is None:
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            # Some file systems know no locks.
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                file.close()
                self._file = None
                raise OutputError(f"{self.path}: another process is writing it; wait for it to end") from error


def part_path(destination: PathLike) -> Path:
    """Return the name of the part file of an encode to a destination, symbolic links followed."""
    return path_with_ending(Path(os.path.realpath(destination)), ".part")


def path_with_ending(path: Path, ending: str) -> Path:
    """Return the path with an ending; a name that becomes too long is cut and told apart by a digest."""
    name = os.fsencode(path.name)
    if len(name) + len(ending) > MOST_NAME_BYTES:
        ending = f"-{hashlib.sha256(name).hexdigest()[:8]}{ending}"
        name = name[: MOST_NAME_BYTES - len(ending)]
    return path.with_name(os.fsdecode(name) + ending)


def is_written(descriptor: int) -> bool:
    """Tell whether another process has a `DurableFile` open, by a descriptor of the file; True where none can tell."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False


def _write_all(file: io.FileIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
