"""Detection of scene cuts by comparing thumbnails of the frames."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from stgvcodec.media.reader import VideoFrame

# At a cut the thumbnails differ by more than this on average (8-bit levels), and by more than this many times the
# recent average.
_CUT_LEVELS = 18.0
_CUT_RATIO = 3.5
# Weight of the newest difference in the running average.
_CUT_MEMORY = 0.25
_THUMBNAIL_SIDE = 32

_Thumbnail = npt.NDArray[np.float32]


def scene_cuts(frames: Iterable[VideoFrame]) -> Iterator[tuple[VideoFrame, bool]]:
    """Say for each frame whether a new scene starts with it; one frame is read ahead.

    A cut is a difference between thumbnails that is large in itself and large against the differences just before it,
    so that neither fast motion nor a cut within a fast scene misleads the detection much. A cut also lasts: a flash,
    after which the picture is as it was before, is not one.

    Args:
        frames: Frames in presentation order.

    Yields:
        Each frame, and whether it starts a scene (never the first).
    """
    thumbnails: deque[_Thumbnail] = deque(maxlen=4)  # thumbnails of frames k - 2 to k + 1
    waiting: VideoFrame | None = None
    usual: float | None = None

    def starts_scene(earlier: Sequence[_Thumbnail], now: _Thumbnail, later: _Thumbnail | None) -> bool:
        nonlocal usual
        if not earlier:
            return False
        threshold = max(_CUT_LEVELS, _CUT_RATIO * (usual or 0.0))
        difference = _difference(now, earlier[-1])
        if difference <= threshold:
            usual = difference if usual is None else (1.0 - _CUT_MEMORY) * usual + _CUT_MEMORY * difference
            return False
        lasts = later is None or _difference(later, earlier[-1]) > threshold
        is_new = all(_difference(now, thumbnail) > threshold for thumbnail in earlier)
        if lasts and is_new:
            usual = None
        return lasts and is_new

    for frame in frames:
        thumbnails.append(_thumbnail(frame.rgb))
        if waiting is not None:
            *earlier, now, later = thumbnails
            yield waiting, starts_scene(earlier, now, later)
        waiting = frame
    if waiting is not None:
        *earlier, now = list(thumbnails)[-3:]
        yield waiting, starts_scene(earlier, now, None)


def _difference(a: _Thumbnail, b: _Thumbnail) -> float:
    return float(np.abs(a - b).mean())


def _thumbnail(rgb: npt.NDArray[np.uint8]) -> _Thumbnail:
    """Return block means of the green channel, at most 32x32; small motion leaves them nearly unchanged."""
    height, width, _ = rgb.shape
    row_edges = np.linspace(0, height, min(_THUMBNAIL_SIDE, height), endpoint=False).astype(np.int64)
    column_edges = np.linspace(0, width, min(_THUMBNAIL_SIDE, width), endpoint=False).astype(np.int64)
    sums = np.add.reduceat(np.add.reduceat(rgb[:, :, 1].astype(np.float32), row_edges, 0), column_edges, 1)
    heights = np.diff(row_edges, append=height)
    widths = np.diff(column_edges, append=width)
    return np.asarray(sums / (heights[:, None] * widths[None, :]), dtype=np.float32)
