"""Every error a user can cause. The command line turns each into one line and its exit code."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class StgvError(Exception):
    """Base of all errors of this package.

    Messages name the thing, what was got, what was expected and what to do. They name options as the command line
    spells them: `--device cpu` is `device="cpu"` in Python.

    Examples:
        >>> from stgvcodec import StgvError, VideoDecoder
        >>> try:
        ...     VideoDecoder("missing.stgv")
        ... except StgvError as error:
        ...     print(error)
        missing.stgv: does not exist, expected a .stgv file: check the path
    """

    exit_code = 1


class ConfigError(StgvError, ValueError):
    """An option or a combination of options that cannot be met; a `ValueError` too."""

    exit_code = 2


class InputVideoError(StgvError):
    """A source that is empty, damaged, or of a kind that is not supported."""

    exit_code = 3


class MissingFileError(InputVideoError, FileNotFoundError):
    """A source that is not there; a `FileNotFoundError` too."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.errno = errno.ENOENT


class ClosedDecoderError(StgvError, ValueError):
    """A decoder that was closed before it was asked for a frame; a `ValueError` too, as of a closed file."""


class BitstreamError(StgvError):
    """A `.stgv` file that is not one, is cut short, or is damaged.

    Attributes:
        section: The part of the file that is wrong, e.g. "file header" or "GoP 3, means".
        offset: Byte offset in the file (in the payload, where the file is not at hand); None if unknown.
        path: The file, where it is known.
    """

    exit_code = 4

    def __init__(self, message: str, *, section: str, offset: int | None = None, path: str | None = None) -> None:
        where = section if offset is None else f"{section}, at byte {offset}"
        super().__init__(f"{where}: {message}" if path is None else f"{path}: {where}: {message}")
        self.section = section
        self.offset = offset
        self.path = path
        self._message = message

    def __reduce__(self) -> tuple[Callable[..., BitstreamError], tuple[object, ...], dict[str, object]]:
        """Pickle what the error was made of, with its notes, for the parent of a process that raised it."""
        return _bitstream_error, (self._message, self.section, self.offset, self.path), self.__dict__

    def in_file(self, path: str | None, *, base_offset: int = 0) -> BitstreamError:
        """Return the same error with the name of the file in front, and `base_offset` added to the byte offset."""
        offset = None if self.offset is None else self.offset + base_offset
        return BitstreamError(self._message, section=self.section, offset=offset, path=path)


def _bitstream_error(message: str, section: str, offset: int | None, path: str | None) -> BitstreamError:
    return BitstreamError(message, section=section, offset=offset, path=path)


@contextmanager
def naming_file(path: str | None, *, base_offset: int = 0) -> Iterator[None]:
    """Make a `BitstreamError` raised in the block one of the file, unless it names a file already.

    Args:
        path: Name of the file, put in front of the message; None where it is not known.
        base_offset: Place in the file of what the block reads, bytes; it is added to the error's offset.
    """
    try:
        yield
    except BitstreamError as error:
        if error.path is not None or (path is None and not base_offset):
            raise
        raise error.in_file(path, base_offset=base_offset) from error


# What torch says where the memory of a CPU is used up, on Linux and on Windows, and what Python says of a thread for
# whose stack there is none left. The errors of numpy and numba are MemoryErrors.
_OUT_OF_MEMORY = ("DefaultCPUAllocator", "can't allocate memory", "not enough memory", "can't start new thread")


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error of any package says that the memory of a CPU or of a GPU is used up."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    # This module does without torch, whose OutOfMemoryError of a GPU is a RuntimeError.
    is_torchs = isinstance(error, RuntimeError) and (
        type(error).__name__ == "OutOfMemoryError" or any(text in str(error) for text in _OUT_OF_MEMORY)
    )
    return is_torchs or isinstance(error, MemoryError)


@contextmanager
def naming_memory(what: str, remedy: str) -> Iterator[None]:
    """Turn errors in the block that say that memory is used up into one that says while doing what, and a remedy.

    Raises:
        StgvError: memory is used up.
    """
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if isinstance(error, StgvError) or not is_out_of_memory(error):
            raise
        named = StgvError(f"out of memory while {what}: close other programs, or {remedy}")
        for note in getattr(error, "__notes__", []):
            named.add_note(note)
        raise named from error


class CancelledError(StgvError):
    """An encode or a decode that its caller ended."""


class OutputError(StgvError):
    """A destination that cannot be written."""

    exit_code = 5


class BackendUnavailableError(StgvError):
    """A device or back end that was asked for by name and is not there."""

    exit_code = 6


class BudgetError(StgvError):
    """A `.stgv` file that asks for more memory or work than a decoder was allowed; it may be intact."""

    exit_code = 7
