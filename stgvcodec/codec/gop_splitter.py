"""Cutting a stream of frames into closed GoPs, one of them in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stgvcodec.media.reader import VideoFrame

# A cut: the thumbnails differ by this much on average (8-bit levels), and by this many times the recent average.
_CUT_LEVELS = 18.0
_CUT_RATIO = 3.5
# Weight of the newest difference in the running average.
_CUT_MEMORY = 0.25
_THUMBNAIL_SIDE = 32


@dataclass(frozen=True)
class Gop:
    """Frames that are coded together.

    Attributes:
        frames: RGB. [T, H, W, 3] uint8.
        pts: Timestamp of each, in the source's time base.
    """

    frames: npt.NDArray[np.uint8]
    pts: tuple[int, ...]


def split_gops(frames: Iterable[VideoFrame], gop_length: Callable[[], int], *, scene_cut: bool) -> Iterator[Gop]:
    """Group frames into GoPs.

    Args:
        frames: In presentation order.
        gop_length: Most frames of the next GoP; asked once a GoP, so that rate control may change it.
        scene_cut: Whether a scene cut ends a GoP early.

    Yields:
        GoPs in order; the last may be shorter.
    """
    detector = SceneCutDetector()
    pending: list[VideoFrame] = []
    limit = gop_length()
    for frame in frames:
        is_cut = detector.is_cut(frame.rgb)
        if pending and (len(pending) >= limit or (scene_cut and is_cut)):
            yield _gop(pending)
            pending = []
            limit = gop_length()
        pending.append(frame)
    if pending:
        yield _gop(pending)


def _gop(frames: list[VideoFrame]) -> Gop:
    return Gop(np.stack([frame.rgb for frame in frames]), tuple(frame.pts for frame in frames))


class SceneCutDetector:
    """Tells whether a frame starts a new scene, from thumbnails of it and of the frame before.

    A cut is a difference that is large in itself and large against the differences just before it, so that neither
    fast motion nor a cut within a fast scene misleads it much.
    """

    def __init__(self) -> None:
        """Start before the first frame."""
        self._thumbnail: npt.NDArray[np.float32] | None = None
        self._usual: float | None = None

    def is_cut(self, rgb: npt.NDArray[np.uint8]) -> bool:
        """Take the next frame [H, W, 3]; True where a scene starts with it (never for the first)."""
        thumbnail = _thumbnail(rgb)
        before, self._thumbnail = self._thumbnail, thumbnail
        if before is None:
            return False
        difference = float(np.abs(thumbnail - before).mean())
        is_cut = difference > _CUT_LEVELS and difference > _CUT_RATIO * (self._usual or 0.0)
        if is_cut:
            self._usual = None
        else:
            usual = difference if self._usual is None else self._usual
            self._usual = (1.0 - _CUT_MEMORY) * usual + _CUT_MEMORY * difference
        return is_cut


def _thumbnail(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Block means of the green channel, at most 32x32; small motion leaves them nearly unchanged."""
    height, width, _ = rgb.shape
    row_edges = np.linspace(0, height, min(_THUMBNAIL_SIDE, height), endpoint=False).astype(np.int64)
    column_edges = np.linspace(0, width, min(_THUMBNAIL_SIDE, width), endpoint=False).astype(np.int64)
    sums = np.add.reduceat(np.add.reduceat(rgb[:, :, 1].astype(np.float32), row_edges, 0), column_edges, 1)
    heights = np.diff(row_edges, append=height)
    widths = np.diff(column_edges, append=width)
    return np.asarray(sums / (heights[:, None] * widths[None, :]), dtype=np.float32)
