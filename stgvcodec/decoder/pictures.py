"""The pictures of frames that are shown, rendered one after the other."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stgvcodec.decoder.arguments import chosen_scale
from stgvcodec.decoder.shown_frames import Shown
from stgvcodec.decoder.video_decoder import VideoDecoder
from stgvcodec.media.selection import Crop, Selection
from stgvcodec.model.gop_model import scaled_size


class Pictures:
    """Renders what is shown, one picture after the other, and counts the seconds that this takes.

    `size` is the width and height of what is kept of each, which is known before any is rendered.
    """

    def __init__(
        self,
        decoder: VideoDecoder,
        shown: Shown,
        *,
        scale: float,
        size: tuple[int, int] | None,
        roi: Crop | None,
    ) -> None:
        self.seconds = 0.0
        height_width = None if size is None else (size[1], size[0])
        if shown.times is not None:
            self._frames = decoder.iter_pictures(map(float, shown.times), scale=scale, size=height_width)
        else:
            self._frames = (
                frame
                for batch in shown.rendered
                for frame in decoder.iter_frames(batch, scale=scale, size=height_width)
            )
        self._roi = roi
        header = decoder.header
        self.size = scaled_size(header.width, header.height, chosen_scale(scale, height_width, header))
        if roi is not None:
            roi.place(*self.size)
            self.size = roi.width, roi.height

    def next(self) -> npt.NDArray[np.uint8]:
        """Return the next frame. [H, W, 3] uint8."""
        before = time.perf_counter()
        rgb: npt.NDArray[np.uint8] = next(self._frames).cpu().numpy()
        self.seconds += time.perf_counter() - before
        if self._roi is None:
            return rgb
        x, y = self._roi.place(rgb.shape[1], rgb.shape[0])
        return np.ascontiguousarray(rgb[y : y + self._roi.height, x : x + self._roi.width])


def nothing_taken(source: str | Path, selection: Selection, decoder: VideoDecoder) -> str:
    """Say why a selection takes none of a video's frames."""
    if selection.time is None:
        return f"frames {selection.frames_text}: {source} has only {len(decoder)} frames"
    last = (decoder.pts(len(decoder) - 1) - decoder.pts(0)) * decoder.header.time_base
    return (
        f"time {selection.time_text}: no frame of {source} begins in that range; its last one begins {float(last):g} s "
        "after its first, or the range lies between two frames"
    )
