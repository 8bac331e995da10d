"""The frames of a file and of its source, GoP by GoP, and the pictures that a page shows of them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stgvcodec.bitstream.container.index import GopEntry
from stgvcodec.decoder.video_decoder import VideoDecoder
from stgvcodec.errors import ConfigError
from stgvcodec.evaluation.inspection.packing import picture_url, rounded
from stgvcodec.evaluation.side import Frames, Side
from stgvcodec.media.selection import Selection
from stgvcodec.metrics import psnr_db
from stgvcodec.report.explain import error_image

ERROR_GAIN = 8
"""Levels shown per level of error."""

_Frame = npt.NDArray[np.uint8]


@dataclass
class ShownFrame:
    """A frame that a page shows.

    Attributes:
        k: Its index in its GoP.
        decoded: The decoded frame. [H, W, 3] uint8.
        source: The frame of the source; None where there is none.
    """

    k: int
    decoded: _Frame
    source: _Frame | None

    def urls(self) -> dict[str, str]:
        """Return the frame, its source and the error as data URLs."""
        urls = {"decoded": picture_url(self.decoded)}
        if self.source is not None:
            urls["source"] = picture_url(self.source)
            urls["error"] = picture_url(error_image(self.source, self.decoded, gain=ERROR_GAIN))
        return urls

    @property
    def psnr_db(self) -> float | None:
        """PSNR against the source, dB; None without one, or where both are the same."""
        return None if self.source is None else rounded(psnr_db(self.source, self.decoded), 3)


class SourceFrames:
    """The frames of the source, which are asked for in rising order of their numbers."""

    def __init__(self, frames: Frames) -> None:
        self._frames = frames
        self._next = 0

    def at(self, number: int) -> _Frame | None:
        """Return the frame with a number; None where the source has ended before."""
        frame: _Frame | None = None
        while self._next <= number:
            frame = next(self._frames, None)
            if frame is None:
                return None
            self._next += 1
        return frame

    @property
    def goes_on(self) -> bool:
        """Whether there are frames that were not asked for; it takes one."""
        return next(self._frames, None) is not None


def open_source_frames(
    path: Path,
    stack: ExitStack,
    decoder: VideoDecoder,
    *,
    file: Path,
    selection: Selection,
    matrix: str | None,
    device: str,
    backend: str,
) -> SourceFrames:
    """Open the source of a file.

    Args:
        path: The source: a video file, a folder of images or a `.stgv` file.
        stack: What closes it.
        decoder: Decoder of the file that is inspected.
        file: That file, for messages.
        selection: Frames and part of the pictures that were encoded.
        matrix: Colour matrix in place of the one that the source is tagged with.
        device: Device for a source that is a `.stgv` file.
        backend: Back end for such a source.

    Raises:
        ConfigError: pictures differ in size.
        InputVideoError: the source cannot be read.
    """

    def opened(other: str | Path) -> VideoDecoder:
        return stack.enter_context(VideoDecoder(other, device=device, backend=backend))

    side = Side(path, selection, matrix, opened, stack)
    counts = [selection.count(n) for n in (side.n_frames, len(decoder)) if n is not None]
    size, frames = side.frames(selection, max(counts, default=None))
    own = (decoder.header.width, decoder.header.height)
    if size != own:
        raise ConfigError(
            f"{path} is {size[0]}x{size[1]} and {file} is {own[0]}x{own[1]}, expected the same size; give "
            "the --frames, --crop and --resize with which it was encoded"
        )
    return SourceFrames(frames)


def decoded_frames(decoder: VideoDecoder, entry: GopEntry, frames: Sequence[int]) -> Iterator[_Frame]:
    """Decode frames of a GoP.

    Args:
        decoder: Decoder of the file; where frames are missing before the GoP, its indices are not those of the file.
        entry: The GoP.
        frames: Frames, counted within the GoP.

    Raises:
        BitstreamError: the GoP is malformed, although its CRC-32 holds.
        BudgetError: it needs more memory or work than is allowed.
    """
    begin = bisect_left(decoder.timestamps, entry.timing.pts_first)
    for frame in decoder.iter_frames([begin + k for k in frames]):
        yield frame.cpu().numpy()
