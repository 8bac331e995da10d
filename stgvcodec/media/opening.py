"""What an encoder reads: a path, a video file in memory or behind a file object, or frames."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, cast

import numpy as np
import numpy.typing as npt
from torch import Tensor

from stgvcodec.errors import ConfigError, InputVideoError
from stgvcodec.media.addresses import fetched, is_url
from stgvcodec.media.colour import check_matrix_option
from stgvcodec.media.frames import DimensionOrder, Frames, FramesSource
from stgvcodec.media.image_folder import are_images
from stgvcodec.media.reader import VideoReader, open_video
from stgvcodec.media.selection import Selection

VideoSource: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | BinaryIO | Frames"
"""A path of a video file or a folder of images, an address such as "s3://...", the bytes of a video file, a binary file
of one, or frames."""

Times: TypeAlias = "Sequence[float] | npt.NDArray[np.floating[Any]] | Tensor"
"""Times of frames, seconds. [T]."""

_COPY_BYTES = 1 << 20


@contextmanager
def opened(
    source: VideoSource,
    *,
    selection: Selection,
    matrix: str | None = None,
    fps: float | Fraction | None = None,
    timestamps: Times | None = None,
    dimension_order: DimensionOrder | None = None,
) -> Iterator[VideoReader]:
    """Open any source for a `with` block.

    A file object, the bytes of a video and what is behind an address are copied to a temporary file, since an encoder
    reads its source more than once; it lies in the folder for temporary files (TMPDIR) and is removed when the block
    ends.

    Args:
        source: What to read.
        selection: Frames, crop and resize.
        matrix: Colour matrix in place of the one that the source is tagged with; frames are RGB and have none.
        fps: Frames a second, of frames and folders of images, which have no times.
        timestamps: Times of frames, seconds. [T].
        dimension_order: Order of frames, where their shape does not tell it.

    Raises:
        ConfigError: an option is impossible, or does not go with this kind of source.
        InputVideoError: the source cannot be read, or is empty.
    """
    if is_url(source):
        with (
            fetched(source) as copy,
            opened(
                copy,
                selection=selection,
                matrix=matrix,
                fps=fps,
                timestamps=timestamps,
                dimension_order=dimension_order,
            ) as video,
        ):
            yield video
        return
    is_path, is_file = isinstance(source, str | os.PathLike), isinstance(source, bytes | bytearray)
    is_file = is_file or hasattr(source, "read")
    if is_path or is_file:
        for name, value in (("timestamps", timestamps), ("dimension_order", dimension_order)):
            if value is not None:
                raise ConfigError(f"{name} is given for a video file, expected frames; leave it out")
        if fps is not None and not (is_path and are_images(Path(cast(str, source)))):
            raise ConfigError("fps is given for a video file, which has times of its own; leave it out")
    if is_path:
        rate = None if fps is None else Fraction(fps)
        with open_video(cast(str, source), selection=selection, matrix=matrix, frame_rate=rate) as video:
            yield video
    elif is_file:
        with (
            tempfile.TemporaryDirectory(prefix="stgvcodec-") as folder,
            open_video(_copied(cast(BinaryIO, source), Path(folder)), selection=selection, matrix=matrix) as video,
        ):
            yield video
    else:
        override = check_matrix_option(matrix)
        with (
            FramesSource(
                cast(Frames, source), fps=fps, timestamps=timestamps, dimension_order=dimension_order
            ) as frames,
            VideoReader(frames, selection, override) as video,
        ):
            yield video


def _copied(source: bytes | bytearray | BinaryIO, folder: Path) -> Path:
    """Copy a file from where it stands to its end."""
    name = getattr(source, "name", None)
    path = folder / (Path(name).name if isinstance(name, str) and Path(name).name else "video")
    with path.open("wb") as copy:
        if isinstance(source, bytes | bytearray):
            copy.write(source)
            return path
        try:
            shutil.copyfileobj(source, copy, _COPY_BYTES)
        except TypeError as error:
            raise InputVideoError(f"{path.name}: gives text, expected bytes; open the file in binary mode") from error
    return path
