"""The frames that a damaged file has lost between the GoPs that are intact, and when they would be shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from stgvcodec.bitstream.container.index import GopEntry, GopTiming

# A hostile file of a few bytes may say that more frames are missing than anybody can watch.
_MOST_FRAMES = 100_000
# Differences of timestamps are kept in 64 bits.
_MOST_TIME = 2**62


@dataclass
class Gaps:
    """What is missing.

    Attributes:
        timings: Frames that are missing and their timestamps, in order; none overlaps a GoP that is intact.
        notes: Descriptions of all frames that are missing, also of those of which nothing else is known.
    """

    timings: list[GopTiming] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def find_gaps(gops: Sequence[GopEntry], index: Sequence[GopTiming], n_frames: int | None, interval: int) -> Gaps:
    """Find the frames that no intact GoP has.

    Where the index of the file is intact, it says when they are shown. Elsewhere they are spread evenly between their
    neighbours; those before the first GoP are an interval apart.

    Args:
        gops: GoPs that are intact, in order, one at least.
        index: Frames of all GoPs by the index of the file; empty where it is damaged.
        n_frames: Number of frames by the index; None where that is damaged.
        interval: Nominal frame interval, time base units.
    """
    gaps = Gaps()
    kept = {gop.first_frame: gop.timing for gop in gops}
    lost = [timing for timing in index if kept.get(timing.first_frame) != timing]
    if len(index) - len(lost) == len(gops):
        gaps.timings = lost
        gaps.notes = [_note(start, stop, "") for start, stop in _runs(lost)]
        return gaps
    next_frame, before = 0, None
    for gop in gops:
        timing = gop.timing
        if timing.first_frame > next_frame:
            n = timing.first_frame - next_frame
            spread, why_not = _spread(next_frame, n, before, timing, interval)
            gaps.timings += spread
            gaps.notes.append(_note(next_frame, timing.first_frame, why_not))
        next_frame, before = timing.first_frame + timing.n_frames, timing
    if n_frames is not None and n_frames > next_frame:
        gaps.notes.append(_note(next_frame, n_frames, "nothing says when they are shown"))
    return gaps


def _spread(
    first_frame: int, n: int, before: GopTiming | None, after: GopTiming, interval: int
) -> tuple[list[GopTiming], str]:
    """Return timestamps of the n frames before a GoP, or none and the reason."""
    if n > _MOST_FRAMES:
        return [], "they are too many"
    stop = after.pts_first
    start = stop - (n + 1) * interval if before is None else before.pts_last
    if not n < stop - start < _MOST_TIME:
        return [], "their neighbours leave no times for them"
    pts = [start + (stop - start) * (k + 1) // (n + 1) for k in range(n)]
    return [GopTiming.from_pts(first_frame, pts)], ""


def _runs(timings: Sequence[GopTiming]) -> Iterator[tuple[int, int]]:
    """Yield the half-open ranges of frames that some timings cover, those that touch as one."""
    start = stop = None
    for timing in timings:
        if start is not None and stop == timing.first_frame:
            stop += timing.n_frames
            continue
        if start is not None and stop is not None:
            yield start, stop
        start, stop = timing.first_frame, timing.first_frame + timing.n_frames
    if start is not None and stop is not None:
        yield start, stop


def _note(start: int, stop: int, why_not: str) -> str:
    what = f"frame {start} is missing" if stop - start == 1 else f"frames {start} to {stop - 1} are missing"
    return f"{what} and left out: {why_not}" if why_not else f"{what}: the nearest frame that is intact is shown"
