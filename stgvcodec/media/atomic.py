"""Output that is complete or not there: it is written beside its destination and renamed at the end."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stgvcodec.errors import ConfigError, OutputError

MOST_NAME_BYTES = 255
"""File systems take names of this many bytes, so that a name may be too long to be put into another."""

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

PathLike = str | os.PathLike[str]


def check_output_file(destination: PathLike) -> Path:
    """Refuse, before any work, a file that could not be written.

    Args:
        destination: Name of the file. An existing file will be replaced when the new one is complete.

    Returns:
        The path with symbolic links followed.

    Raises:
        OutputError: the name is that of a folder, a device or the like, or the parent is missing or read-only.
    """
    with os_errors(destination):
        path = Path(os.path.realpath(destination))
        if path.is_dir():
            raise OutputError(f"{destination}: is a folder, expected the name of a file; add a file name")
        if path.exists() and not path.is_file():
            raise OutputError(f"{destination}: is not a regular file; choose another name")
        _check_parent(destination, path)
    return path


def check_output_folder(destination: PathLike) -> Path:
    """Refuse, before any work, a folder that could not be written.

    Args:
        destination: Name of the folder, which does not exist yet or is empty.

    Returns:
        The path with symbolic links followed.

    Raises:
        OutputError: the name is that of a file or of a folder that is not empty, or the parent is missing or read-only.
    """
    with os_errors(destination):
        path = Path(os.path.realpath(destination))
        if path.is_dir():
            if any(path.iterdir()):
                raise OutputError(f"{destination}: is a folder that is not empty; choose a new one, or empty it first")
        elif path.exists():
            raise OutputError(f"{destination}: is a file, expected the name of a folder; choose another name")
        _check_parent(destination, path)
    return path


def check_output_files(destination: PathLike) -> None:
    """Refuse, before any work, a folder into which no files could be written.

    Raises:
        OutputError: the parent of `destination` is missing or read-only.
    """
    with os_errors(destination):
        _check_parent(destination, Path(os.path.realpath(destination)))


def refuse_same_file(source: PathLike, destination: PathLike) -> None:
    """Refuse a destination that would overwrite the source.

    Raises:
        ConfigError: both names are one file or folder, or the destination lies in the source folder.
    """
    source_path, destination_path = Path(os.path.realpath(source)), Path(os.path.realpath(destination))
    same = source_path == destination_path or (
        source_path.exists() and destination_path.exists() and source_path.samefile(destination_path)
    )
    if source_path in destination_path.parents:
        raise ConfigError(
            f"{destination}: lies in the folder {source}, which is the input; choose an output outside of it"
        )
    if same:
        raise ConfigError(f"{destination}: would overwrite the input {source}; choose another output")


@contextmanager
def atomic_output(destination: PathLike) -> Iterator[Path]:
    """Give a `with` block a temporary path beside `destination`, and rename it when the block ends without an error.

    On any exception, KeyboardInterrupt included, the temporary file is removed and what was under the final name stays.

    Args:
        destination: Name of the file, which `check_output_file` checks.

    Yields:
        A path that does not exist yet, `.NAME.part-XXXXXXXX`; the block creates the file.

    Raises:
        OutputError: `check_output_file` or the file system refuses.
    """
    path = check_output_file(destination)
    part = _part_name(path)
    try:
        with os_errors(destination, part):
            yield part
        with os_errors(destination):
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def atomic_folder(destination: PathLike) -> Iterator[Path]:
    """Give a `with` block a temporary folder beside `destination`, and rename it when the block ends without an error.

    On any exception the temporary folder is removed.

    Args:
        destination: Name of the folder, which `check_output_folder` checks.

    Yields:
        An empty folder.

    Raises:
        OutputError: `check_output_folder` or the file system refuses.
    """
    path = check_output_folder(destination)

    def put_in_place(part: Path) -> None:
        if path.is_dir():
            path.rmdir()
        part.rename(path)

    with _part_folder(destination, path, put_in_place) as part:
        yield part


@contextmanager
def atomic_files(destination: PathLike) -> Iterator[Path]:
    """Give a `with` block a temporary folder, and move its files beside `destination` when the block ends well.

    On any exception the temporary folder is removed. Files of the same names are replaced, others are left.

    Args:
        destination: Name of one of the files, or of them all.

    Yields:
        An empty folder.

    Raises:
        OutputError: the folder of the destination cannot be written, or the file system refuses.
    """
    check_output_files(destination)
    path = Path(os.path.realpath(destination))

    def put_in_place(part: Path) -> None:
        for file in sorted(part.iterdir()):
            file.replace(path.with_name(file.name))

    with _part_folder(destination, path, put_in_place) as part:
        yield part


@contextmanager
def _part_folder(destination: PathLike, path: Path, put_in_place: Callable[[Path], None]) -> Iterator[Path]:
    """Give a block an empty folder beside `path`, which `put_in_place` moves if the block ends well; then remove it."""
    part = _part_name(path)
    try:
        with os_errors(destination):
            part.mkdir()
        with os_errors(destination, part):
            yield part
        with os_errors(destination):
            put_in_place(part)
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextmanager
def os_errors(destination: PathLike, part: Path | None = None) -> Iterator[None]:
    """Turn the file system's refusals into OutputError; with `part`, only those that concern it or a full disk."""
    try:
        yield
    except OSError as error:
        concerns_output = part is None or error.errno in _DISK_FULL or str(error.filename or "").startswith(str(part))
        if not concerns_output:
            raise
        raise OutputError(f"{destination}: cannot be written: {error.strerror or error}") from error


def sync_folder(folder: Path) -> None:
    """Flush the names of a folder's files to the disk, where the system can do that."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _part_name(path: Path) -> Path:
    ending = f".part-{secrets.token_hex(4)}"
    name = os.fsencode(f".{path.name}")[: MOST_NAME_BYTES - len(ending)]
    return path.with_name(os.fsdecode(name) + ending)


def _check_parent(destination: PathLike, path: Path) -> None:
    if not path.parent.is_dir():
        raise OutputError(f"{destination}: the folder {path.parent} does not exist; create it first")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise OutputError(f"{destination}: the folder {path.parent} is not writable; choose another place")
