"""What a decoder is opened from: a path, an address, bytes, or a file object."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeAlias, TypeGuard, cast

from stgvcodec.bitstream.container.reader import StgvReader
from stgvcodec.decoder.growing_file import GrowingReader
from stgvcodec.decoder.remote import RemoteFile, is_open_file
from stgvcodec.errors import ConfigError
from stgvcodec.media.addresses import is_url

if TYPE_CHECKING:
    from fsspec.core import OpenFile
    from torch import Tensor

Source: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | Tensor | BinaryIO | OpenFile"
"""What a decoder opens: a path, an address such as "https://...", what `fsspec.open` returns, the bytes of a file, also
as a tensor [n] uint8, or a binary file that can seek."""


def open_source(source: Source, *, keep_going: bool = False, follow: bool = False) -> tuple[Path, StgvReader]:
    """Open a source and read its index.

    Args:
        source: What holds a `.stgv` file.
        keep_going: Whether to take every intact GoP of a damaged file.
        follow: Whether the file is still being written.

    Returns:
        The path of the file, empty where it has none, and the reader.

    Raises:
        ConfigError: the source is of another kind, a tensor of something else than bytes, or an address that means
            nothing.
        StgvError: a package that is needed for the address is not installed.
        MissingFileError: there is no such file.
        InputVideoError: the file cannot be opened.
        BitstreamError: the file is no `.stgv` file, or is damaged.
    """
    if follow:
        if keep_going:
            raise ConfigError(
                "--follow takes a file that is being written from its beginning, and --keep-going what is left of one; "
                "leave out one of them"
            )
        if is_url(source) or not isinstance(source, str | os.PathLike):
            what = "an address" if is_url(source) else type(source).__name__
            raise ConfigError(f"to follow a file that is being written takes its path alone, got {what}")
        return Path(source), GrowingReader(source)
    if is_url(source) or is_open_file(source):
        remote = RemoteFile(source)
        # Python's own raw files are no `BinaryIO` by their types either.
        return Path(), StgvReader(cast(BinaryIO, remote), keep_going=keep_going, name=remote.name, owned=True)
    if isinstance(source, str | os.PathLike):
        return Path(source), StgvReader(source, keep_going=keep_going)
    if _is_tensor(source):
        if str(source.dtype) != "torch.uint8" or source.dim() != 1:
            raise ConfigError(
                f"the source is a tensor of {source.dtype} {list(source.shape)}, expected a file's bytes: uint8 [n]"
            )
        source = source.cpu().numpy().tobytes()
    if not isinstance(source, bytes | bytearray) and not hasattr(source, "read"):
        raise ConfigError(
            f"the source is a {type(source).__name__}, expected a path, an address, a file's bytes, or a binary file"
        )
    file = io.BytesIO(source) if isinstance(source, bytes | bytearray) else cast(BinaryIO, source)
    return Path(), StgvReader(file, keep_going=keep_going)


def is_reopened(source: Source) -> bool:
    """Tell whether a source can be opened anew, in another process too; a file object cannot."""
    return isinstance(source, str | os.PathLike | bytes | bytearray) or _is_tensor(source) or is_open_file(source)


def _is_tensor(source: object) -> TypeGuard[Tensor]:
    # Who has a tensor has imported torch; `stgvcodec info` does without.
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(source, torch.Tensor)
