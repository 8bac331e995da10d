"""Files that come or go through a pipe; `-` and what is no regular file, such as a named pipe, stand for one."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from stgvcodec.errors import ConfigError, InputVideoError, OutputError

STANDARD_STREAM = "-"
STANDARD_OUTPUTS = (STANDARD_STREAM, "/dev/stdout", "/dev/fd/1")
"""Names of the standard output."""

_COPY_BYTES = 1 << 20


@contextmanager
def spooled(source: Path) -> Iterator[Path]:
    """Give a path that can be read as often as needed: the source itself, or a copy of what a pipe holds.

    An encoder reads its source twice, and a decoder seeks. The copy lies in the folder for temporary files (TMPDIR) and
    is removed when the block ends.

    Raises:
        ConfigError: the source is the standard input, and that is closed or a terminal.
        InputVideoError: nothing comes through the pipe, or it cannot be read.
    """
    if os.fspath(source) != STANDARD_STREAM and not is_pipe(source):
        yield source
        return
    with tempfile.TemporaryDirectory(prefix="stgvcodec-") as folder:
        if os.fspath(source) == STANDARD_STREAM:
            if sys.stdin is None or sys.stdin.isatty():
                what = "closed" if sys.stdin is None else "a terminal"
                raise ConfigError(f"-: the standard input is {what}, expected a pipe or a file; name a file")
            yield _copied(sys.stdin.buffer, Path(folder), "standard input")
            return
        try:
            file = source.open("rb")
        except OSError as error:
            raise InputVideoError(f"{source}: cannot be opened ({error.strerror})") from error
        with file:
            copy = _copied(file, Path(folder), source.name)
        yield copy


@contextmanager
def piped_out(destination: Path) -> Iterator[Path]:
    """Give a path for a file that cannot be written from its beginning to its end: the destination itself, or a copy.

    Where the destination is a pipe the copy, in the folder for temporary files (TMPDIR), goes through it when the block
    ends without an error.

    Raises:
        ConfigError: the destination is the standard output, and that is a terminal.
        OutputError: the pipe cannot be written.
    """
    if os.fspath(destination) != STANDARD_STREAM and not is_pipe(destination):
        yield destination
        return
    if os.fspath(destination) == STANDARD_STREAM and sys.stdout.isatty():
        raise ConfigError("-: the standard output is a terminal, expected a pipe or a file; name a file")
    with tempfile.TemporaryDirectory(prefix="stgvcodec-") as folder:
        copy = Path(folder) / "standard output"
        yield copy
        with copy.open("rb") as file:
            if os.fspath(destination) == STANDARD_STREAM:
                shutil.copyfileobj(file, sys.stdout.buffer, _COPY_BYTES)
                sys.stdout.buffer.flush()
                return
            try:
                with destination.open("wb") as pipe:
                    shutil.copyfileobj(file, pipe, _COPY_BYTES)
            except OSError as error:
                raise OutputError(f"{destination}: cannot be written: {error.strerror}") from error


def _copied(file: BinaryIO, folder: Path, name: str) -> Path:
    from stgvcodec.bitstream.container.chunks import MAGIC

    start = file.read(_COPY_BYTES)
    if not start:
        raise InputVideoError(f"{name}: is empty (0 bytes); expected a video")
    # Commands tell their own files by the suffix.
    path = folder / (f"{name}.stgv" if start.startswith(MAGIC) else name)
    with path.open("wb") as copy:
        copy.write(start)
        shutil.copyfileobj(file, copy, _COPY_BYTES)
    return path


def is_pipe(path: Path) -> bool:
    """Tell whether a path is that of a named pipe or a socket."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
