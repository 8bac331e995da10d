"""`Timeline`: when each frame of a video is on the screen, computed from the index when it is asked for."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from operator import attrgetter
from typing import overload

from stgvcodec.bitstream.container.file_header import StreamHeader
from stgvcodec.bitstream.container.index import GopEntry, GopTiming
from stgvcodec.errors import ConfigError


class Timestamps(Sequence[int]):
    """Timestamps of all frames of some GoPs, units of the time base. None is kept: a small file may have millions.

    Where frames are missing between the GoPs, each is represented by the nearest one that is there.

    Attributes:
        timings: Frames of each GoP and of each gap, in order.
        starts: Number of the first frame of each of them, and the number of frames behind them.
    """

    def __init__(self, gops: Sequence[GopEntry], gaps: Sequence[GopTiming] = ()) -> None:
        """Count frames over the GoPs and gaps that are given, which in a damaged file are not all of it."""
        self.timings = [gop.timing for gop in gops]
        # Place of each GoP in `timings`.
        self._places: Sequence[int] = range(len(gops))
        if gaps:
            of_gops = {timing.first_frame for timing in self.timings}
            self.timings = sorted([*self.timings, *gaps], key=attrgetter("first_frame"))
            self._places = [at for at, timing in enumerate(self.timings) if timing.first_frame in of_gops]
        self.starts = list(accumulate((timing.n_frames for timing in self.timings), initial=0))

    def __len__(self) -> int:
        """Number of frames."""
        return self.starts[-1]

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[int]: ...
    def __getitem__(self, index: int | slice) -> int | Sequence[int]:
        """Return the timestamp of a frame, or those of several."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        at = bisect_right(self.starts, index) - 1
        return self.timings[at].pts_of(index - self.starts[at])

    def place(self, index: int) -> tuple[int, int]:
        """Return the GoP in which a frame lies, and its place there; the index is from 0 to `len` - 1.

        For a frame that is missing it is the place of the nearest one, of two that are as near the earlier.
        """
        at = bisect_right(self.starts, index) - 1
        gop = bisect_left(self._places, at)
        n_gops = len(self._places)
        if gop < n_gops and self._places[gop] == at:
            return gop, index - self.starts[at]
        # The gap is before that GoP.
        to_next = self.starts[self._places[gop]] - index if gop < n_gops else math.inf
        to_last = index - self.starts[self._places[gop - 1] + 1] + 1 if gop > 0 else math.inf
        return (gop - 1, self.timings[self._places[gop - 1]].n_frames - 1) if to_last <= to_next else (gop, 0)

    def is_missing(self, index: int) -> bool:
        """Tell whether a frame lies in no GoP."""
        at = bisect_right(self.starts, index) - 1
        gop = bisect_left(self._places, at)
        return gop == len(self._places) or self._places[gop] != at

    def is_uneven(self) -> bool:
        """Tell whether frames are shown for different times, the last one left out."""
        steps: set[int] = set()
        for before, timing in zip((None, *self.timings), self.timings, strict=False):
            if before is not None:
                steps.add(timing.pts_first - before.pts_last)
            steps.update(timing.pts_deltas)
            if timing.pts_step and timing.n_frames > 1:
                steps.add(timing.pts_step)
            if len(steps) > 1:
                return True
        return False


class Timeline:
    """Times of the frames of a video, seconds.

    Attributes:
        pts: Timestamp of each frame, units of the header's time base.
        begin: When the first frame begins to be shown; 0 where there is no frame.
        end: When the last frame ends.
        length: Time from the start of the first frame to the end of the last.
    """

    def __init__(self, gops: Sequence[GopEntry], header: StreamHeader, gaps: Sequence[GopTiming] = ()) -> None:
        """Take the GoPs, the gaps between them, and the header, which says the unit of time and the last duration."""
        self.pts = Timestamps(gops, gaps)
        self._header = header
        n = len(self.pts)
        self.begin = self.seconds(0) if n else 0.0
        self.end = self.seconds(n - 1) + self.duration(n - 1) if n else 0.0
        self.length = self._seconds_of(self.pts[n - 1] - self.pts[0]) + self.duration(n - 1) if n else 0.0

    def seconds(self, index: int) -> float:
        """Return when a frame begins to be shown."""
        return self._seconds_of(self.pts[index])

    def duration(self, index: int) -> float:
        """Return how long a frame is shown; the last one as the header says, else one nominal frame interval."""
        header = self._header
        if index + 1 < len(self.pts):
            return self._seconds_of(self.pts[index + 1] - self.pts[index])
        return float(header.last_frame_duration * header.time_base or 1 / header.frame_rate)

    def share(self, index: int, seconds: float) -> float:
        """Return which share of a frame's time is over, 0 as it begins.

        The last frame has no next one to go to, nor has one that is missing.
        """
        if self.pts.is_missing(index):
            return 0.0
        start = self.seconds(index)
        return (seconds - start) / (self.seconds(index + 1) - start) if index + 1 < len(self.pts) else 0.0

    def index_at(self, seconds: float) -> int:
        """Return the frame that is on the screen at a time.

        Raises:
            IndexError: the time is before the first frame or after the end of the last.
        """
        if not self.begin <= seconds < self.end:
            raise IndexError(f"no frame is played at {seconds} s; the video runs from {self.begin} s to {self.end} s")
        return self._n_up_to(seconds, bisect_right) - 1

    def indices_within(self, start: float, stop: float) -> range:
        """Return the frames that are on the screen from one time on and before another.

        Raises:
            ConfigError: the stop is before the start, or the range is not within the video.
        """
        if stop < start:
            raise ConfigError(f"the range of time ends at {stop} s, before it begins at {start} s")
        if not (self.begin <= start < self.end and stop <= self.end):
            raise ConfigError(
                f"the range of time is {start} s to {stop} s, expected one within the video, which runs from "
                f"{self.begin} s to {self.end} s"
            )
        first, behind = self.index_at(start), self._n_up_to(stop, bisect_left)
        return range(first, max(behind, first + (stop > start)))

    def _seconds_of(self, pts: int) -> float:
        return float(pts * self._header.time_base)

    def _n_up_to(self, seconds: float, bisect: Callable[..., int]) -> int:
        """Count the frames that begin before a time, or with `bisect_right` then at the latest."""
        # The times compared are those of `Frame.pts_seconds`, so that a frame is played at its own time, however that
        # rounds.
        timings = self.pts.timings
        at = bisect(timings, seconds, key=lambda timing: self._seconds_of(timing.pts_first)) - 1
        if at < 0:
            return 0
        return self.pts.starts[at] + bisect(timings[at].pts, seconds, key=self._seconds_of)
