"""What `decode` writes: frames at their own times, or pictures at a steady rate, also of a file that still grows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, tee

from stgvcodec.decoder.growing_file import POLL_SECONDS
from stgvcodec.decoder.video_decoder import VideoDecoder
from stgvcodec.errors import ConfigError
from stgvcodec.media.selection import Selection
from stgvcodec.progress import CancelToken, raise_if_set

# 29.97 is meant as 2997/100, and not as the nearest number of 53 bits.
_MOST_RATE_DENOMINATOR = 100_000


@dataclass(frozen=True)
class Shown:
    """Which pictures are written, and when each is shown; one may be shown several times in a row.

    What is written is not kept: a small file may ask for pictures without end.

    Attributes:
        n_frames: Number of pictures written; None where nobody knows it yet.
        rendered: Frames that are rendered, each once, in batches that are there.
        frames: Number and timestamp of each picture that is written; the same number in a row is the same picture.
        time_base: Unit of these timestamps, seconds.
        frame_rate: Nominal frames a second.
        last_frame_duration: How long the last one is shown, units of the time base; 0 is a nominal interval.
        times: Times that are rendered in place of frames, seconds; None where frames are.
    """

    n_frames: int | None
    rendered: Iterable[Sequence[int]]
    frames: Iterable[tuple[int, int]]
    time_base: Fraction
    frame_rate: Fraction
    last_frame_duration: int
    times: Iterable[Fraction] | None = None


def as_they_come(decoder: VideoDecoder, selection: Selection, cancel: CancelToken | None) -> Iterator[range]:
    """Yield the frames that are selected: all of them at once, or those that are there of a file that is followed."""
    stop = 0
    while True:
        indices = selection.indices(decoder.timestamps, decoder.header.time_base)
        if indices.stop > max(stop, indices.start):
            yield range(max(stop, indices.start), indices.stop)
            stop = indices.stop
        is_over = stop < len(decoder) and selection.is_cut_at_end and bool(indices)
        if is_over or stop == selection.end_frame:
            return
        while not decoder.wait_for_frames(POLL_SECONDS):
            if decoder.is_complete:
                return
            raise_if_set(cancel)


def as_they_are(decoder: VideoDecoder, selection: Selection, batch: range, batches: Iterator[range]) -> Shown:
    """Show each frame once, at its own time.

    Args:
        decoder: Decoder of the file.
        selection: Which frames are taken.
        batch: The first of them, and
        batches: those that follow, from `as_they_come`.
    """
    header = decoder.header
    if decoder.is_complete:
        n_frames = len(batch)
        last = header.last_frame_duration if batch[-1] == len(decoder) - 1 else 0
    else:
        n_frames = None
        last = 0 if selection.is_cut_at_end else header.last_frame_duration
    # The first of the two waits for frames, so that the second one need not.
    written, rendered = tee(chain([batch], batches))
    frames = ((index, decoder.pts(index)) for indices in written for index in indices)
    return Shown(n_frames, rendered, frames, header.time_base, header.frame_rate, last)


def at_rate(decoder: VideoDecoder, indices: range, rate: Fraction | float, *, repeat: bool) -> Shown:
    """Show pictures at a steady rate, from the first frame on.

    Args:
        decoder: Decoder of the file.
        indices: Frames that are taken.
        rate: Frames a second.
        repeat: Whether the frame is shown that is on the screen at each time; otherwise what lies between two frames of
            a GoP is rendered for that time.

    Raises:
        ConfigError: the rate is not above 0.
    """
    if not 0 < rate < math.inf:
        raise ConfigError(f"fps is {rate}, expected more than 0")
    fps = Fraction(rate).limit_denominator(_MOST_RATE_DENOMINATOR)
    header, time_base = decoder.header, decoder.header.time_base
    begin = decoder.pts(indices[0]) * header.time_base
    if indices.stop < len(decoder):
        end = decoder.pts(indices.stop) * header.time_base
    else:
        held = header.last_frame_duration * header.time_base
        end = decoder.pts(indices[-1]) * header.time_base + (held or 1 / header.frame_rate)
    # As many as `VideoDecoder.get_frames_played_in_range` gives: the length of the video, rounded.
    n_times = max(1, math.floor((end - begin) * fps + Fraction(1, 2)))
    # The unit divides both the time of the first frame and the distance of two.
    unit = Fraction(1) / fps
    if begin:
        first, step = begin, unit
        numerator = math.gcd(first.numerator * step.denominator, step.numerator * first.denominator)
        unit = Fraction(numerator, first.denominator * step.denominator)

    pts = (int((begin + k / fps) / unit) for k in range(n_times))
    if not repeat:
        times = (begin + k / fps for k in range(n_times))
        return Shown(n_times, (), enumerate(pts), unit, fps, 0, times)

    def repeats() -> Iterator[tuple[int, int]]:
        """Yield each frame with the number of times at which it is on the screen."""
        n_done = 0
        for index in indices:
            n_begun = n_times
            if index + 1 < indices.stop:
                n_begun = min(n_times, math.ceil((decoder.pts(index + 1) * time_base - begin) * fps))
            yield index, n_begun - n_done
            n_done = n_begun

    return Shown(
        n_times,
        [[index for index, n in repeats() if n]],
        zip((index for index, n in repeats() for _ in range(n)), pts, strict=True),
        unit,
        fps,
        0,
    )
