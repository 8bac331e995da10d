"""What a decoder is opened from: a path, bytes, or a file object."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import BinaryIO, TypeAlias

import torch
from torch import Tensor

from stgvcodec.errors import ConfigError

Source: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | Tensor | BinaryIO"
"""What a decoder opens: a path, the bytes of a file, these as a tensor [n] uint8, or a binary file that can seek."""


def open_source(source: Source) -> tuple[Path, str | os.PathLike[str] | BinaryIO]:
    """Return the path of a source, empty where it has none, and what `StgvReader` opens: a path or a file.

    Raises:
        ConfigError: the source is a tensor of something else than bytes.
    """
    if isinstance(source, str | os.PathLike):
        return Path(source), source
    if isinstance(source, Tensor):
        if source.dtype != torch.uint8 or source.dim() != 1:
            raise ConfigError(
                f"the source is a tensor of {source.dtype} {list(source.shape)}, expected a file's bytes: uint8 [n]"
            )
        return Path(), io.BytesIO(source.cpu().numpy().tobytes())
    if isinstance(source, bytes | bytearray):
        return Path(), io.BytesIO(source)
    return Path(), source


def is_reopened(source: Source) -> bool:
    """Tell whether a source can be opened anew, in another process too; a file object cannot."""
    return isinstance(source, str | os.PathLike | bytes | bytearray | Tensor)
