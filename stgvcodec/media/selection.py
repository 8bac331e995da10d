"""Choice of frames and of a part of the picture: `--frames` or `--time`, `--crop`, `--resize`, applied in that order.

Which stream of a file is read, whether damage stops that, and what is left out beside the pictures is part of the
choice: `--stream`, `--keep-going`, `--no-audio`, `--no-subtitles`, `--no-metadata`.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from stgvcodec.errors import ConfigError
from stgvcodec.tracks import KINDS

MAX_SIDE = 16384
"""Largest width or height that `--resize` may ask for, pixels (what H.264 and swscale handle)."""

_FRAMES = re.compile(r"(\d*):(\d*)")
_SIZE = re.compile(r"(\d+)[xX](\d+)")
_CROP = re.compile(r"(\d+)[xX](\d+)(?:\+(\d+)\+(\d+))?")
_ROI = re.compile(r"(\d+),(\d+),(\d+),(\d+)")
_MOST_ASPECT = 65535
_TIME_ADVICE = "expected A:B in seconds, such as 1.5:4, or A-B with clock times, such as 0:59.5-1:02:00"


@dataclass(frozen=True)
class Crop:
    """A rectangle of the picture, pixels.

    Attributes:
        width: Number of columns kept, at least 1.
        height: Number of rows kept, at least 1.
        x: First column kept; None centres the rectangle, and then `y` is None too.
        y: First row kept.
    """

    width: int
    height: int
    x: int | None = None
    y: int | None = None

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise ConfigError(f"crop {self}: got size {self.width}x{self.height}, expected at least 1x1")
        if (self.x is None) != (self.y is None):
            raise ConfigError(f"crop {self}: give both offsets or neither")
        if (self.x or 0) < 0 or (self.y or 0) < 0:
            raise ConfigError(f"crop {self}: got a negative offset, expected 0 or more")

    def __str__(self) -> str:
        offset = "" if self.x is None else f"+{self.x}+{self.y}"
        return f"{self.width}x{self.height}{offset}"

    def place(self, width: int, height: int) -> tuple[int, int]:
        """Return the first column and the first row in a picture of `width` x `height` pixels.

        Raises:
            ConfigError: the rectangle is not inside the picture.
        """
        x = (width - self.width) // 2 if self.x is None else self.x
        y = (height - self.height) // 2 if self.y is None else self.y
        if x < 0 or y < 0 or x + self.width > width or y + self.height > height:
            raise ConfigError(
                f"crop {self} does not fit: got columns {x}:{x + self.width} and rows {y}:{y + self.height}, "
                f"expected them inside the picture of {width}x{height}; choose a smaller size or offset"
            )
        return x, y


@dataclass(frozen=True)
class Selection:
    """What is taken of a source: a stream, of that frames, of these a rectangle, and of that a size.

    Attributes:
        frames: Half-open range in presentation order; either end may be None. None takes every frame.
        crop: Rectangle of the source picture. None takes the whole picture.
        resize: Size (width, height) after the crop, pixels. None keeps the size.
        stream: Index of the video stream in its file, as ffprobe counts. None takes the one that ffmpeg would.
        square: Whether pixels that are not square are resampled in their width until they are. Otherwise their ratio is
            kept.
        keep_going: Whether to read on where a video file is damaged. What cannot be decoded is left out then, and what
            is not whole is taken as it is. Otherwise damage is an error.
        time: Half-open range in seconds from the first frame, in place of `frames`: those that begin to be shown in it.
            Either end may be None. Not every command takes it.
        audio: Whether sound is taken along with the pictures.
        subtitles: Whether subtitles are.
        metadata: Whether title, creation time and the like are.

    Examples:
        >>> from stgvcodec import Selection
        >>> Selection(frames=(0, 8), resize=(160, 90)).output_size(1280, 720)
        (160, 90)
    """

    frames: tuple[int | None, int | None] | None = None
    crop: Crop | None = None
    resize: tuple[int, int] | None = None
    stream: int | None = None
    square: bool = False
    keep_going: bool = False
    time: tuple[Fraction | None, Fraction | None] | None = None
    audio: bool = True
    subtitles: bool = True
    metadata: bool = True

    def __post_init__(self) -> None:
        start, stop = self.first_frame, self.end_frame
        if start < 0 or (stop is not None and stop <= start):
            raise ConfigError(f"frames {self.frames_text}: the range is empty; expected 0 <= A < B in A:B")
        if self.time is not None:
            begin, end = self.time
            if self.frames is not None:
                raise ConfigError("--frames and --time both choose frames; give one of them")
            if (begin or 0) < 0 or (end is not None and end <= (begin or 0)):
                raise ConfigError(f"time {self.time_text}: the range is empty; expected 0 <= A < B in A:B")
        if self.resize is not None and not all(1 <= side <= MAX_SIDE for side in self.resize):
            width, height = self.resize
            raise ConfigError(f"resize {width}x{height}: expected a width and a height from 1 to {MAX_SIDE}")
        if self.square and self.resize is not None:
            raise ConfigError("--square and --resize both choose a size; give one of them")

    @classmethod
    def parse(
        cls,
        *,
        frames: str | None = None,
        time: str | None = None,
        crop: str | None = None,
        resize: str | None = None,
        stream: int | None = None,
        square: bool = False,
        keep_going: bool = False,
        no_audio: bool = False,
        no_subtitles: bool = False,
        no_metadata: bool = False,
    ) -> Selection:
        """Read the texts of the command line: frames `A:B`, time `A:B`, crop `WxH[+X+Y]`, resize `WxH`.

        Raises:
            ConfigError: a text has another form, a range is empty, or a size is zero.

        Examples:
            >>> Selection.parse(frames="8:", crop="640x360+100+50").output_size(1280, 720)
            (640, 360)
        """
        return cls(
            frames=None if frames is None else parse_frames(frames),
            time=None if time is None else parse_time(time),
            crop=None if crop is None else parse_crop(crop),
            resize=None if resize is None else parse_size(resize),
            stream=stream,
            square=square,
            keep_going=keep_going,
            audio=not no_audio,
            subtitles=not no_subtitles,
            metadata=not no_metadata,
        )

    @property
    def pictures_only(self) -> Selection:
        """The selection without sound, subtitles and metadata.

        Examples:
            >>> Selection(frames=(0, 8)).pictures_only.audio
            False
        """
        return replace(self, audio=False, subtitles=False, metadata=False)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of tracks that are taken, names in `tracks.KINDS`.

        Examples:
            >>> Selection(subtitles=False).kinds
            ('audio',)
        """
        return tuple(kind for kind, taken in zip(KINDS, (self.audio, self.subtitles), strict=True) if taken)

    @property
    def is_cut_at_start(self) -> bool:
        """Whether frames may be left out before the first one taken.

        Examples:
            >>> Selection(frames=(8, None)).is_cut_at_start
            True
        """
        return self.first_frame > 0 or bool(self.time and self.time[0])

    @property
    def is_cut_at_end(self) -> bool:
        """Whether frames may be left out behind the last one taken.

        Examples:
            >>> Selection(frames=(8, None)).is_cut_at_end
            False
        """
        return self.end_frame is not None or (self.time is not None and self.time[1] is not None)

    @property
    def first_frame(self) -> int:
        """Index of the first frame taken.

        Examples:
            >>> Selection(frames=(8, None)).first_frame
            8
        """
        return (self.frames[0] or 0) if self.frames else 0

    @property
    def end_frame(self) -> int | None:
        """Index after the last frame taken; None if frames are read to the end.

        Examples:
            >>> Selection(frames=(0, 8)).end_frame
            8
        """
        return self.frames[1] if self.frames else None

    @property
    def frames_text(self) -> str:
        """The range of frames as it is typed after `--frames`.

        Examples:
            >>> Selection(frames=(8, None)).frames_text
            '8:'
        """
        start, stop = self.frames or (None, None)
        return f"{'' if start is None else start}:{'' if stop is None else stop}"

    @property
    def time_text(self) -> str:
        """The range of time in seconds, as it may be typed after `--time`.

        Examples:
            >>> Selection(time=(Fraction(1, 2), None)).time_text
            '0.5:'
        """
        return ":".join("" if end is None else f"{float(end):g}" for end in self.time or (None, None))

    def begins_before(self, index: int, seconds: Fraction) -> bool:
        """Return whether a frame comes before those taken, by its index and its time from the first frame.

        Examples:
            >>> Selection(frames=(8, None)).begins_before(7, Fraction(7, 25))
            True
        """
        return index < self.first_frame or (self.time is not None and seconds < (self.time[0] or 0))

    def ends_before(self, index: int, seconds: Fraction) -> bool:
        """Return whether a frame comes after those taken, by its index and its time from the first frame.

        Examples:
            >>> Selection(time=(None, Fraction(1))).ends_before(25, Fraction(1))
            True
        """
        if self.time is not None and self.time[1] is not None and seconds >= self.time[1]:
            return True
        return self.end_frame is not None and index >= self.end_frame

    def indices(self, pts: Sequence[int], time_base: Fraction) -> range:
        """Return the indices of the frames taken.

        Args:
            pts: Timestamps of all frames, rising.
            time_base: Unit of the timestamps, seconds.

        Examples:
            >>> Selection(time=(1, 2)).indices([0, 20, 25, 40, 50], Fraction(1, 25))
            range(2, 4)
        """
        if self.time is None or not pts:
            return range(len(pts))[self.first_frame : self.end_frame]
        begin, end = self.time
        first = pts[0]

        def seconds(each: int) -> Fraction:
            return (each - first) * time_base

        stop = len(pts) if end is None else bisect_left(pts, end, key=seconds)
        return range(bisect_left(pts, begin or 0, key=seconds), stop)

    def refuse_time(self, command: str) -> None:
        """Refuse a range of time.

        Raises:
            ConfigError: there is one.

        Examples:
            >>> Selection(frames=(0, 8)).refuse_time("rd")  # there is none
        """
        if self.time is not None:
            raise ConfigError(f"{command} takes a range of frames, got one of time; give --frames")

    def output_size(self, width: int, height: int) -> tuple[int, int]:
        """Return (width, height) of a picture of `width` x `height` pixels after crop and resize.

        Raises:
            ConfigError: the crop is not inside the picture.

        Examples:
            >>> Selection.parse(crop="640x360", resize="320x180").output_size(1280, 720)
            (320, 180)
        """
        if self.crop is not None:
            self.crop.place(width, height)
        if self.resize is not None:
            return self.resize
        return (width, height) if self.crop is None else (self.crop.width, self.crop.height)

    def squared(self, width: int, height: int, sample_aspect_ratio: Fraction) -> Selection:
        """Return the selection with the size at which pixels are square, if it asks for that.

        Args:
            width: Width of a picture, pixels.
            height: Height of a picture, pixels.
            sample_aspect_ratio: Width over height of its pixels.

        Raises:
            ConfigError: the crop is not inside the picture, or the size is beyond what pictures can have.

        Examples:
            >>> Selection(square=True).squared(720, 576, Fraction(16, 15)).resize
            (768, 576)
        """
        if not self.square or sample_aspect_ratio == 1:
            return self
        kept_width, kept_height = self.output_size(width, height)
        resize = (max(1, round(kept_width * sample_aspect_ratio)), kept_height)
        return replace(self, square=False, resize=resize)

    def count(self, n_frames: int) -> int:
        """Return how many of `n_frames` frames are taken.

        Examples:
            >>> Selection(frames=(8, 100)).count(24)
            16
        """
        stop = n_frames if self.end_frame is None else min(n_frames, self.end_frame)
        return max(0, stop - self.first_frame)


def parse_frames(text: str) -> tuple[int | None, int | None]:
    """Read `A:B` (half-open; A or B may be missing) as a pair. Raises ConfigError."""
    match = _FRAMES.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f"frames '{text}': expected A:B, the first frame and the one after the last, such as 0:100")
    start, stop = (int(part) if part else None for part in match.groups())
    return Selection(frames=(start, stop)).frames or (None, None)


def parse_time(text: str) -> tuple[Fraction | None, Fraction | None]:
    """Read `A:B` in seconds, or `A-B` where each end may be a clock time `[HH:]MM:SS`, as a pair. Raises ConfigError.

    With colons alone both ends have the same form, `1:30:2:00`, or one is left out, `1:30:`.
    """
    if "-" in text:
        ends = text.split("-")
    else:
        parts = text.split(":")
        is_open = len(parts) > 2 and "" in (parts[0], parts[-1])
        middle = (len(parts) - 1 if parts[-1] == "" else 1) if is_open else len(parts) // 2
        ends = [":".join(parts[:middle]), ":".join(parts[middle:])] if is_open or len(parts) % 2 == 0 else []
    if len(ends) != 2:
        raise ConfigError(f"time '{text}': {_TIME_ADVICE}")
    begin, end = (_seconds(part.strip(), text) if part.strip() else None for part in ends)
    return Selection(time=(begin, end)).time or (None, None)


def _seconds(clock: str, text: str) -> Fraction:
    parts = clock.split(":")
    if not (1 <= len(parts) <= 3 and re.fullmatch(r"(\d+:)*\d*\.?\d+|(\d+:)*\d+\.", clock)):
        raise ConfigError(f"time '{text}': {_TIME_ADVICE}")
    seconds = Fraction(0)
    for part in parts:
        seconds = 60 * seconds + Fraction(part)
    return seconds


def parse_roi(text: str) -> Crop:
    """Read `X,Y,W,H` as a rectangle. Raises ConfigError."""
    match = _ROI.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f"roi '{text}': expected X,Y,W,H in pixels, such as 100,50,640,360")
    x, y, width, height = (int(part) for part in match.groups())
    return Crop(width, height, x, y)


def parse_rate(text: str) -> Fraction:
    """Read frames a second: `25`, `29.97` or `30000/1001`. Raises ConfigError."""
    try:
        rate = Fraction(text.strip())
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if rate <= 0:
        raise ConfigError(f"fps '{text}': expected a number above 0, such as 25, 29.97 or 30000/1001")
    return rate


def resized_aspect(sample_aspect_ratio: Fraction, size: tuple[int, int], new_size: tuple[int, int]) -> Fraction:
    """Return the ratio of pixels with which a picture of a new size is displayed as wide and as high as before.

    Square pixels stay square: who resizes a picture of them by different factors means to.

    Args:
        sample_aspect_ratio: Width over height of a pixel before.
        size: Width and height before, pixels.
        new_size: Width and height now, pixels.
    """
    if sample_aspect_ratio == 1:
        return sample_aspect_ratio
    (width, height), (new_width, new_height) = size, new_size
    ratio = sample_aspect_ratio * Fraction(width * new_height, height * new_width)
    # A width is a whole number of pixels; what it lacks for an exact ratio is below the next whole one.
    is_square = abs(ratio - 1) * new_width <= Fraction(1, 2)
    return Fraction(1) if is_square else ratio.limit_denominator(_MOST_ASPECT) or Fraction(1)


def parse_crop(text: str) -> Crop:
    """Read `WxH[+X+Y]` (centred without an offset). Raises ConfigError."""
    match = _CROP.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f"crop '{text}': expected WxH or WxH+X+Y in pixels, such as 1280x640 or 640x360+0+20")
    width, height, x, y = (None if part is None else int(part) for part in match.groups())
    return Crop(width or 0, height or 0, x, y)


def parse_size(text: str, name: str = "resize") -> tuple[int, int]:
    """Read `WxH` as (width, height); `name` is the option's. Raises ConfigError."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f"{name} '{text}': expected WxH in pixels, such as 640x360")
    width, height = int(match[1]), int(match[2])
    return Selection(resize=(width, height)).resize or (width, height)
