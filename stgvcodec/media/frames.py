"""Frames that a caller has in memory, or makes one after the other, as a source like a video file."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Generator, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

import av
import numpy as np
import numpy.typing as npt
from torch import Tensor

from stgvcodec.errors import ConfigError, InputVideoError
from stgvcodec.media.colour import ColorTags, RgbImage
from stgvcodec.media.matroska import Cropping
from stgvcodec.media.orientation import UPRIGHT
from stgvcodec.media.source import DecodedPicture

Pixels: TypeAlias = "npt.NDArray[np.uint8] | Tensor"
"""One picture, [H, W, 3] or [3, H, W], or several, with one dimension more in front."""

DimensionOrder: TypeAlias = Literal["NCHW", "NHWC"]

# Frames of an iterable are kept in memory up to this size, and in a file beyond, bytes.
_SPOOL_BYTES = 64 << 20
_MOST_RATE_DENOMINATOR = 1001
# Times in seconds become ticks, a whole number of them a frame interval, so that even times stay even. A tick is a
# microsecond at most, unless the file header has no room for its denominator.
_TICKS_PER_SECOND = 1_000_000
_MOST_TICKS = 2**32 - 1
_MOST_RATE = 65535
_FALLBACK_RATE = Fraction(24)


@runtime_checkable
class TimedPixels(Protocol):
    """A frame or a batch with its times, seconds: `Frame` and `FrameBatch`, of this package or of torchcodec."""

    @property
    def data(self) -> Any:
        """Picture or pictures."""

    @property
    def pts_seconds(self) -> Any:
        """Time or times at which they begin to be shown, seconds."""

    @property
    def duration_seconds(self) -> Any:
        """How long they are shown, seconds."""


@runtime_checkable
class FrameDecoder(Protocol):
    """A decoder whose frames have times: `VideoDecoder`, of this package or of torchcodec."""

    def __len__(self) -> int:
        """Number of frames."""

    def get_frame_at(self, index: int) -> TimedPixels:
        """Return a frame with its times."""


Frames: TypeAlias = "Pixels | TimedPixels | FrameDecoder | Iterable[Pixels | TimedPixels]"
"""Pictures in one array or tensor, a batch with times, a decoder, or an iterable of pictures with times or without."""


class _Timed(NamedTuple):
    """A picture [H, W, 3] uint8 with its time and duration, seconds; None where nothing is known."""

    rgb: RgbImage
    seconds: float | None
    duration: float | None = None


class FramesSource:
    """Frames as a source. It is a context manager, which removes the file that holds frames of an iterable.

    An encoder reads its source more than once. What an iterable gives is therefore kept as it comes: in memory, beyond
    64 MiB in a temporary file.

    Attributes:
        name: Name of the source in error messages.
        frame_rate: Nominal frames per second.
        time_base: Seconds per unit of the timestamps.
        sample_aspect_ratio: 1.
        cropping: Nothing.
        n_frames: How many frames there are; None for an iterable.
        file: None, since frames bring no sound or subtitles along.
    """

    name = "frames"
    sample_aspect_ratio = Fraction(1)
    cropping = Cropping()
    file: Path | None = None

    def __init__(
        self,
        frames: Frames,
        *,
        fps: float | Fraction | None = None,
        timestamps: Sequence[float] | npt.NDArray[np.floating[Any]] | Tensor | None = None,
        dimension_order: DimensionOrder | None = None,
    ) -> None:
        """Take frames; of an iterable the first two are read.

        Args:
            frames: Pictures, uint8: see `Frames`.
            fps: Frames a second.
            timestamps: Times at which the frames begin to be shown, seconds. [T].
            dimension_order: "NCHW" if the channels come before rows and columns, "NHWC" if they come last; by default
                they are where the shape has a 3.

        Raises:
            ConfigError: the frames have no times, or times and frames differ in number, or the order is another.
            InputVideoError: there is no frame, or the first is no RGB picture of 8 bits.
        """
        if dimension_order not in (None, "NCHW", "NHWC"):
            raise ConfigError(f"dimension_order is '{dimension_order}', expected 'NCHW' or 'NHWC'")
        if fps is not None and timestamps is not None:
            raise ConfigError("fps and timestamps are both given; give one of them")
        self._order = dimension_order
        self._times = None if timestamps is None else [float(time) for time in timestamps]
        self._spool = tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES)  # noqa: SIM115
        self._spooled: list[tuple[int, tuple[int, ...], float | None, float | None]] = []
        self._coming: Iterator[_Timed] | None = None
        self._held: Pixels | Sequence[Any] = ()
        if isinstance(frames, TimedPixels) and not isinstance(frames, np.ndarray | Tensor):
            pixels, seconds, durations = frames.data, frames.pts_seconds, frames.duration_seconds
            if pixels.ndim == 3:
                pixels, seconds, durations = pixels[None], [seconds], [durations]
            self._held = pixels
            self._own_times = [float(time) for time in seconds]
            self._durations = [float(time) for time in durations]
        elif isinstance(frames, np.ndarray | Tensor | list | tuple):
            self._held, self._own_times, self._durations = frames, [], []
        else:
            self._coming = map(self._timed, _in_order(frames))
        if isinstance(self._held, np.ndarray | Tensor):
            self._order = _order_of(self._held.shape, self._order, n_dimensions=4)
        self.n_frames = None if self._coming is not None else len(self._held)
        if self._times is not None and self.n_frames not in (None, len(self._times)):
            raise ConfigError(f"timestamps are {len(self._times)}, expected one for each of the {self.n_frames} frames")
        self.frame_rate, self.time_base = self._clock(fps)

    def __enter__(self) -> FramesSource:
        return self

    def __exit__(self, *_: object) -> None:
        self._spool.close()

    def last_frame_duration(self) -> int:
        """Return how long the last frame is shown, time base units; 0 where that is not known."""
        durations = [] if self._coming is not None or self._ticks_are_frames else self._durations
        return round(durations[-1] / self.time_base) if durations and durations[-1] > 0 else 0

    def pictures(self, start: int | None = None) -> Generator[DecodedPicture, None, None]:
        """Yield the frames from the first, or from a timestamp on.

        Raises:
            ConfigError: there are more frames than timestamps, or a frame does not come after the one before.
            InputVideoError: a frame is no RGB picture of 8 bits.
        """
        before: int | None = None
        for index, frame in enumerate(self._frames()):
            pts = self._pts(index, frame)
            if before is not None and pts <= before:
                raise ConfigError(
                    f"frame {index} is at {float(pts * self.time_base):g} s, expected a time after that of the one "
                    f"before, {float(before * self.time_base):g} s"
                )
            before = pts
            if start is not None and pts < start:
                continue
            picture = av.VideoFrame.from_ndarray(frame.rgb, format="rgb24")
            yield DecodedPicture(picture, pts, ColorTags(), UPRIGHT, f"frame {index}")
        if before is None:
            raise InputVideoError("the source has no frames, expected at least one")

    def _clock(self, fps: float | Fraction | None) -> tuple[Fraction, Fraction]:
        """Return the nominal rate and the time base."""
        self._ticks_are_frames = fps is not None
        if fps is not None:
            if not (math.isfinite(fps) and 0 < fps <= _MOST_RATE):
                raise ConfigError(f"fps is {fps}, expected more than 0 and at most {_MOST_RATE}")
            rate = _as_rate(fps)
            return rate, 1 / rate
        rate = self._rate_of_times()
        n_ticks = min(math.ceil(_TICKS_PER_SECOND / rate), _MOST_TICKS // rate.numerator)
        return rate, 1 / (rate * n_ticks)

    def _rate_of_times(self) -> Fraction:
        first = self._first_two()
        times = self._times if self._times is not None else self._known_times(first)
        if any(not math.isfinite(time) for time in times):
            raise ConfigError("timestamps are not all finite numbers, expected seconds")
        if len(times) > 1 and times[-1] > times[0]:
            return _as_rate(min((len(times) - 1) / (times[-1] - times[0]), _MOST_RATE))
        duration = first[0].duration if first else None
        return _as_rate(min(1 / duration, _MOST_RATE)) if duration is not None and duration > 0 else _FALLBACK_RATE

    def _first_two(self) -> list[_Timed]:
        first: list[_Timed] = []
        for frame in self._frames():
            first.append(frame)
            if len(first) == 2:
                break
        return first

    def _known_times(self, first: list[_Timed]) -> list[float]:
        """Return the times of frames that have some: of all, or of the first two where more are not at hand."""
        if self._coming is None and self._own_times:
            return self._own_times
        times = [frame.seconds for frame in first]
        if None in times:
            raise ConfigError("the frames have no times; give fps=, or timestamps= in seconds")
        return [time for time in times if time is not None]

    def _pts(self, index: int, frame: _Timed) -> int:
        if self._ticks_are_frames:
            return index
        seconds = frame.seconds
        if self._times is not None:
            if index >= len(self._times):
                raise ConfigError(f"timestamps are {len(self._times)}, expected one for each frame; there are more")
            seconds = self._times[index]
        if seconds is None:
            raise ConfigError(f"frame {index} has no time, expected one as the frames before have")
        # The product is exact; a time that was rounded to a float comes back to its tick.
        return round(Fraction(seconds) / self.time_base)

    def _frames(self) -> Iterator[_Timed]:
        if self._coming is None:
            for index in range(len(self._held)):
                frame = self._timed(self._held[index])
                own = (self._own_times[index], self._durations[index]) if self._own_times else frame[1:]
                yield _Timed(frame.rgb, *own)
            return
        index = 0
        while index < len(self._spooled) or self._read_one():
            yield self._from_spool(index)
            index += 1

    def _read_one(self) -> bool:
        """Keep the next frame of the iterable; tell whether there was one."""
        assert self._coming is not None
        frame = next(self._coming, None)
        if frame is None:
            return False
        offset = self._spool.seek(0, 2)
        self._spool.write(frame.rgb.tobytes())
        self._spooled.append((offset, frame.rgb.shape, frame.seconds, frame.duration))
        return True

    def _from_spool(self, index: int) -> _Timed:
        offset, shape, seconds, duration = self._spooled[index]
        self._spool.seek(offset)
        data = self._spool.read(math.prod(shape))
        return _Timed(np.frombuffer(data, np.uint8).reshape(shape), seconds, duration)

    def _timed(self, frame: Pixels | TimedPixels) -> _Timed:
        if isinstance(frame, np.ndarray | Tensor):
            return _Timed(self._rgb(frame), None)
        if isinstance(frame, TimedPixels):
            return _Timed(self._rgb(frame.data), float(frame.pts_seconds), float(frame.duration_seconds))
        raise InputVideoError(f"a frame is a {type(frame).__name__}, expected an array or a tensor, uint8 [H, W, 3]")

    def _rgb(self, pixels: Pixels) -> RgbImage:
        array = pixels.detach().cpu().numpy() if isinstance(pixels, Tensor) else pixels
        if array.dtype != np.uint8:
            raise InputVideoError(f"a frame has values of {array.dtype}, expected uint8, 0 to 255")
        # Frames of one source have one order: a picture of three rows decides nothing.
        self._order = _order_of(array.shape, self._order, n_dimensions=3)
        return np.ascontiguousarray(array.transpose(1, 2, 0) if self._order == "NCHW" else array)


def _in_order(frames: FrameDecoder | Iterable[Pixels | TimedPixels]) -> Iterator[Pixels | TimedPixels]:
    if isinstance(frames, FrameDecoder):
        return map(frames.get_frame_at, range(len(frames)))
    try:
        return iter(frames)
    except TypeError as error:
        raise ConfigError(
            f"the source is a {type(frames).__name__}, expected a path, a file, an array or a tensor of frames, a "
            "decoder, or an iterable of frames"
        ) from error


def _order_of(shape: Sequence[int], order: DimensionOrder | None, *, n_dimensions: int) -> DimensionOrder:
    """Return where the channels are, by what was asked for or by where the shape has a 3."""
    if len(shape) != n_dimensions or 0 in shape[-3:]:
        expected = "[T, H, W, 3] or [T, 3, H, W]" if n_dimensions == 4 else "[H, W, 3] or [3, H, W]"
        raise InputVideoError(f"frames have the shape {list(shape)}, expected {expected}")
    first, last = shape[-3] == 3, shape[-1] == 3
    if order is None:
        if first and last:
            raise ConfigError(f"frames of the shape {list(shape)} have two sides of 3; give dimension_order=")
        order = "NCHW" if first else "NHWC"
    if not (first if order == "NCHW" else last):
        raise InputVideoError(f"frames have the shape {list(shape)} in the order {order}, expected three channels, RGB")
    return order


def _as_rate(fps: float | Fraction) -> Fraction:
    return Fraction(fps).limit_denominator(_MOST_RATE_DENOMINATOR) or Fraction(1, _MOST_RATE_DENOMINATOR)
