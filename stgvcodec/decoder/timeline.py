"""`Timeline`: when each frame of a video is on the screen."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from stgvcodec.bitstream.container.file_header import StreamHeader
from stgvcodec.decoder.stream_info import last_frame_seconds
from stgvcodec.errors import ConfigError


class Timeline:
    """Times of the frames of a video, seconds.

    Attributes:
        pts: Timestamp of each frame, units of the header's time base.
        begin: When the first frame begins to be shown; 0 where there is no frame.
        end: When the last frame ends.
    """

    def __init__(self, pts: Sequence[int], header: StreamHeader) -> None:
        """Take the timestamps, which rise, and the header, which says their unit and how long the last frame lasts."""
        self.pts = pts
        self._header = header
        self.begin = self.seconds(0) if pts else 0.0
        self.end = self.seconds(len(pts) - 1) + self.duration(len(pts) - 1) if pts else 0.0

    def seconds(self, index: int) -> float:
        """Return when a frame begins to be shown."""
        return float(self.pts[index] * self._header.time_base)

    def duration(self, index: int) -> float:
        """Return how long a frame is shown."""
        if index + 1 < len(self.pts):
            return float((self.pts[index + 1] - self.pts[index]) * self._header.time_base)
        return last_frame_seconds(self._header)

    def share(self, index: int, seconds: float) -> float:
        """Return which share of a frame's time is over, 0 as it begins; the last frame has no next one to go to."""
        start = self.seconds(index)
        return (seconds - start) / (self.seconds(index + 1) - start) if index + 1 < len(self.pts) else 0.0

    def index_at(self, seconds: float) -> int:
        """Return the frame that is on the screen at a time.

        Raises:
            IndexError: the time is before the first frame or after the end of the last.
        """
        if not self.begin <= seconds < self.end:
            raise IndexError(f"no frame is played at {seconds} s; the video runs from {self.begin} s to {self.end} s")
        # The times compared are those of `Frame.pts_seconds`, so that a frame is played at its own time, however that
        # rounds.
        return bisect_right(range(len(self.pts)), seconds, key=self.seconds) - 1

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
        first, behind = self.index_at(start), bisect_left(range(len(self.pts)), stop, key=self.seconds)
        return range(first, max(behind, first + (stop > start)))
