"""Division of a stream of frames into closed GoPs, one of them in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stgvcodec.encoder.lookahead.scene_cuts import scene_cuts
from stgvcodec.media.reader import VideoFrame


@dataclass(frozen=True)
class Gop:
    """Frames that are coded together.

    Attributes:
        frames: RGB frames. [T, H, W, 3] uint8.
        pts: Timestamp of each frame, in the source's time base.
        known: Pixels that no mask tells to ignore; None: all. [T, H, W] bool.
    """

    frames: npt.NDArray[np.uint8]
    pts: tuple[int, ...]
    known: npt.NDArray[np.bool_] | None = None


def split_gops(frames: Iterable[VideoFrame], gop_length: Callable[[], int], *, scene_cut: bool) -> Iterator[Gop]:
    """Group frames into GoPs.

    Args:
        frames: Frames in presentation order.
        gop_length: Returns the most frames of the next GoP; called once a GoP, so that rate control may change it.
        scene_cut: Whether a scene cut ends a GoP early.

    Yields:
        GoPs in order; the last may be shorter.
    """
    pending: list[VideoFrame] = []
    limit = gop_length()
    for frame, is_cut in scene_cuts(frames) if scene_cut else ((frame, False) for frame in frames):
        if pending and (len(pending) >= limit or is_cut):
            yield _taken(pending)
            limit = gop_length()
        pending.append(frame)
    if pending:
        yield _taken(pending)


def _taken(frames: list[VideoFrame]) -> Gop:
    """Return a GoP of these frames; the list is emptied, so that they are not in memory twice while it is fitted."""
    masks = [frame.known for frame in frames if frame.known is not None]
    gop = Gop(
        np.stack([frame.rgb for frame in frames]),
        tuple(frame.pts for frame in frames),
        np.stack(masks) if masks else None,
    )
    frames.clear()
    return gop
