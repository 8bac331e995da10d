"""`SharedSource`: a source by a name that may mean the same on another machine, so that it can be read there too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction

from stgvcodec.media.addresses import FileAtAddress, is_url
from stgvcodec.media.colour import check_matrix_option
from stgvcodec.media.opening import VideoSource, opened
from stgvcodec.media.reader import VideoReader
from stgvcodec.media.selection import Selection
from stgvcodec.media.video_file import VideoFileSource


@dataclass(frozen=True)
class SharedSource:
    """A source with what is taken of it, as a value that can be sent to another machine.

    Attributes:
        name: Absolute path, or an address.
        selection: Frames, crop and resize.
        matrix: Colour matrix in place of the one that the source is tagged with.
        fps: Frames a second, of a folder of images.
    """

    name: str
    selection: Selection
    matrix: str | None = None
    fps: float | Fraction | None = None

    @contextmanager
    def opened(self) -> Iterator[VideoReader]:
        """Open it for a `with` block. Of what is behind an address no copy is made: what is read is fetched.

        Raises:
            InputVideoError: there is no such source here, or it cannot be read.
        """
        if not is_url(self.name):
            with opened(self.name, selection=self.selection, matrix=self.matrix, fps=self.fps) as video:
                yield video
            return
        file = VideoFileSource(
            FileAtAddress(self.name), stream=self.selection.stream, keep_going=self.selection.keep_going
        )
        with VideoReader(file, self.selection, check_matrix_option(self.matrix)) as video:
            yield video


def shared_source(
    source: VideoSource, selection: Selection, matrix: str | None, fps: float | Fraction | None
) -> SharedSource | None:
    """Return a source that another machine may see too; None for what only this process has."""
    if not isinstance(source, str | os.PathLike):
        return None
    # A link is not followed: what it means may be found by another way elsewhere.
    name = source if is_url(source) else os.path.abspath(source)  # noqa: PTH100
    return SharedSource(name, selection, matrix, fps)
