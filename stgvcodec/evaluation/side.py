"""One of the videos that are compared: a video file, a folder of images or a `.stgv` file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stgvcodec.decoder.video_decoder import VideoDecoder
from stgvcodec.media.colour import ColorConverter
from stgvcodec.media.reader import crop_and_resize, open_video
from stgvcodec.media.selection import Selection

_STGV_SUFFIX = ".stgv"

Frames = Iterator[npt.NDArray[np.uint8]]


class Side:
    """One side of a comparison, before it is known which part of it is compared.

    Attributes:
        size: (width, height) of its pictures, pixels.
        n_frames: Number of its frames; None while it is not known.
    """

    def __init__(
        self,
        path: str | Path,
        selection: Selection,
        matrix: str | None,
        opened: Callable[[str | Path], VideoDecoder],
        stack: ExitStack,
    ) -> None:
        """Look at a video.

        Args:
            path: A video file, a folder of images, or a `.stgv` file.
            selection: Selection as the user gave it.
            matrix: Colour matrix in place of the one that a video is tagged with.
            opened: Function that opens a decoder for a `.stgv` file.
            stack: What closes the video.
        """
        # What is to be taken of the frames is decided by `frames`; how a file is read holds from the beginning.
        self._reading = replace(selection, frames=None, crop=None, resize=None)
        self._path, self._matrix, self._stack = path, matrix, stack
        self._decoder: VideoDecoder | None = None
        self.n_frames: int | None
        if Path(path).suffix.lower() == _STGV_SUFFIX:
            self._decoder = opened(path)
            self.size = (self._decoder.header.width, self._decoder.header.height)
            self.n_frames = len(self._decoder)
        else:
            with open_video(path, selection=self._reading, matrix=matrix) as video:
                self.size, self.n_frames = (video.width, video.height), video.n_frames

    def frames(self, selection: Selection, n_selected: int | None) -> tuple[tuple[int, int], Frames]:
        """Return the size and the frames of the part that is compared.

        Args:
            selection: Selection as the user gave it.
            n_selected: Frames that the selection leaves of the longer side; a side that has as many is taken whole.
        """
        wanted = selection.resize
        if wanted is None and selection.crop is not None:
            wanted = (selection.crop.width, selection.crop.height)
        keeps_picture = wanted is None or wanted == self.size
        keeps_frames = selection.frames is None or (n_selected is not None and self.n_frames == n_selected)
        own = replace(
            self._reading,
            frames=None if keeps_frames else selection.frames,
            crop=None if keeps_picture else selection.crop,
            resize=None if keeps_picture else selection.resize,
        )
        if self._decoder is None:
            video = self._stack.enter_context(open_video(self._path, selection=own, matrix=self._matrix))
            return (video.width, video.height), (frame.rgb for frame in video)
        indices = range(len(self._decoder))[own.first_frame : own.end_frame]
        converter = ColorConverter()
        frames = self._decoder.iter_frames(indices)
        return own.output_size(*self.size), (crop_and_resize(frame.cpu().numpy(), own, converter) for frame in frames)
