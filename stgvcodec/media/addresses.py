"""Addresses that the package fsspec opens, such as s3://bucket/in.mp4: told from paths, fetched, and sent to."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeGuard

from stgvcodec.errors import ConfigError, InputVideoError, MissingFileError, OutputError, StgvError

if TYPE_CHECKING:
    from fsspec.core import OpenFile

# A scheme such as "https:", or the first of several file systems in a chain, as in "simplecache::https://...".
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(://|::)")
# The last of a chain is where the bytes would end up.
_READ_ONLY = re.compile(r"(.*::)?https?://", re.IGNORECASE)
# What fsspec says where a package is missing: "Install s3fs to access S3".
_NAMED_PACKAGE = re.compile(r"[Ii]nstall ([\w-]+) to access ")
_COPY_BYTES = 1 << 20


def is_url(source: object) -> TypeGuard[str]:
    """Tell whether a source is a text with a scheme, such as "https://..."."""
    return isinstance(source, str) and _URL.match(source) is not None


def is_known(url: str) -> bool:
    """Tell whether fsspec is installed and knows the scheme of an address; it may need one more package for it."""
    try:
        from fsspec.registry import known_implementations, registry
    except ImportError:
        return False
    scheme = re.split("://|::", url)[0]
    return scheme in known_implementations or scheme in registry


def check_writable(url: str) -> None:
    """Refuse an address as a destination whose file system can only be read.

    Raises:
        OutputError: it can only be read.
    """
    if _READ_ONLY.match(url):
        raise OutputError(f"{url}: can only be read; choose another output")


def open_address(url: str, mode: str) -> OpenFile:
    """Return the file of an address, which a `with` block opens.

    Raises:
        StgvError: fsspec, or the package that it needs for this address, is not installed.
        ConfigError: there is no such scheme.
    """
    try:
        import fsspec
    except ImportError as error:
        raise StgvError(
            f"{url}: needs the package fsspec ({error}); install it with: pip install 'stgvcodec[remote]'"
        ) from error
    try:
        return fsspec.open(url, mode)
    except ImportError as error:
        named = _NAMED_PACKAGE.search(str(error))
        package = "'stgvcodec[remote]'" if url.startswith("http") else named and named[1]
        remedy = f"it with: pip install {package}" if package else "that"
        raise StgvError(f"{url}: fsspec needs one more package for it ({error}); install {remedy}") from error
    except ValueError as error:
        raise ConfigError(f"{url}: is no path and no address that fsspec knows ({error}); check the scheme") from error


class FileAtAddress:
    """The file of an address, of which is fetched what is read, where its file system can do that.

    Args:
        url: The address.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def __str__(self) -> str:
        return self._url

    @contextmanager
    def open(self, mode: str = "rb") -> Iterator[BinaryIO]:
        """Open it for a `with` block. Raises OSError, whatever its file system raises."""
        source = open_address(self._url, mode)
        try:
            file = source.open()
        except Exception as error:  # It may be of any package.
            raise OSError(_told(error)) from error
        with file:
            yield file


def not_found(url: str, error: FileNotFoundError, expected: str) -> InputVideoError:
    """Return the error to raise for an address behind which no file was found.

    Args:
        url: The address.
        error: What its file system raised.
        expected: What the file should have been.
    """
    cause = error.__cause__
    # fsspec says that a file is not found where no connection came about, too.
    if isinstance(cause, OSError) and not isinstance(cause, FileNotFoundError):
        return InputVideoError(
            f"{url}: the server cannot be reached ({_told(cause)}): check the address and the connection"
        )
    return MissingFileError(f"{url}: does not exist, expected {expected}: check the address")


@contextmanager
def fetched(url: str) -> Iterator[Path]:
    """Give a copy of the file of an address, in the folder for temporary files (TMPDIR) until the block ends.

    An encoder reads its source twice, and each time from the first frame to the last.

    Raises:
        MissingFileError: there is no such file.
        InputVideoError: it cannot be fetched, or the server cannot be reached.
    """
    source = open_address(url, "rb")
    with tempfile.TemporaryDirectory(prefix="stgvcodec-") as folder:
        path = Path(folder) / file_name(url, "video")
        try:
            with source as remote, path.open("wb") as copy:
                shutil.copyfileobj(remote, copy, _COPY_BYTES)
        except FileNotFoundError as error:
            raise not_found(url, error, "a video") from error
        except Exception as error:  # It may be of any package.
            raise InputVideoError(
                f"{url}: cannot be fetched ({_told(error)}): check the address and the connection"
            ) from error
        yield path


@contextmanager
def sent(url: str) -> Iterator[Path]:
    """Give a path in the folder for temporary files (TMPDIR), and send the file to an address when the block ends.

    Raises:
        OutputError: it can only be read, or it cannot be sent. The file stays in the second case.
    """
    check_writable(url)
    try:
        destination = open_address(url, "wb")
    except OSError as error:
        raise OutputError(f"{url}: cannot be written ({_told(error)}); check the address") from error
    folder = Path(tempfile.mkdtemp(prefix="stgvcodec-"))
    path = folder / file_name(url, "file")
    is_kept = False
    try:
        yield path
        try:
            with path.open("rb") as file, destination as remote:
                shutil.copyfileobj(file, remote, _COPY_BYTES)
        except Exception as error:
            is_kept = True
            raise OutputError(f"{url}: cannot be written ({_told(error)}); the complete file is {path}") from error
    finally:
        if not is_kept:
            shutil.rmtree(folder, ignore_errors=True)


def file_name(url: str, otherwise: str = "") -> str:
    """Return the last part of an address, without what may follow it behind a question mark."""
    return re.split("[?#]", url)[0].rpartition("/")[2] or otherwise


def _told(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
