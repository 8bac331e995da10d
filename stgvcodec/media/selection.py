"""Which frames and which part of the picture: `--frames`, `--crop`, `--resize`, applied in that order."""

from __future__ import annotations

import re
from dataclasses import dataclass

from stgvcodec.errors import ConfigError

MAX_SIDE = 16384
"""Largest width or height that `--resize` may ask for, pixels (what H.264 and swscale handle)."""

_FRAMES = re.compile(r"(\d*):(\d*)")
_SIZE = re.compile(r"(\d+)[xX](\d+)")
_CROP = re.compile(r"(\d+)[xX](\d+)(?:\+(\d+)\+(\d+))?")


@dataclass(frozen=True)
class Crop:
    """A rectangle of the picture, pixels.

    Attributes:
        width: Columns kept, at least 1.
        height: Rows kept, at least 1.
        x: First column kept; None centres, and then `y` is None too.
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
        """First column and row in a picture of `width` x `height` pixels.

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
    """Frames, then crop, then resize.

    Attributes:
        frames: Half-open range in presentation order; either end may be None. None takes every frame.
        crop: Rectangle of the source picture. None takes all of it.
        resize: (width, height) after the crop, pixels. None keeps the size.
    """

    frames: tuple[int | None, int | None] | None = None
    crop: Crop | None = None
    resize: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        start, stop = self.first_frame, self.end_frame
        if start < 0 or (stop is not None and stop <= start):
            raise ConfigError(f"frames {self.frames_text}: the range is empty; expected 0 <= A < B in A:B")
        if self.resize is not None and not all(1 <= side <= MAX_SIDE for side in self.resize):
            width, height = self.resize
            raise ConfigError(f"resize {width}x{height}: expected a width and a height from 1 to {MAX_SIDE}")

    @classmethod
    def parse(cls, *, frames: str | None = None, crop: str | None = None, resize: str | None = None) -> Selection:
        """From the command line's forms: `A:B`, `WxH[+X+Y]`, `WxH`.

        Raises:
            ConfigError: a text of another form, an empty range, or a size of zero.
        """
        return cls(
            frames=None if frames is None else parse_frames(frames),
            crop=None if crop is None else parse_crop(crop),
            resize=None if resize is None else parse_size(resize),
        )

    @property
    def first_frame(self) -> int:
        """Index of the first frame taken."""
        return (self.frames[0] or 0) if self.frames else 0

    @property
    def end_frame(self) -> int | None:
        """Index after the last frame taken; None reads to the end."""
        return self.frames[1] if self.frames else None

    @property
    def frames_text(self) -> str:
        """The range as it is typed."""
        start, stop = self.frames or (None, None)
        return f"{'' if start is None else start}:{'' if stop is None else stop}"

    def output_size(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) that a picture of `width` x `height` has after crop and resize.

        Raises:
            ConfigError: the crop is not inside the picture.
        """
        if self.crop is not None:
            self.crop.place(width, height)
        if self.resize is not None:
            return self.resize
        return (width, height) if self.crop is None else (self.crop.width, self.crop.height)

    def count(self, n_frames: int) -> int:
        """How many of `n_frames` frames are taken."""
        stop = n_frames if self.end_frame is None else min(n_frames, self.end_frame)
        return max(0, stop - self.first_frame)


def parse_frames(text: str) -> tuple[int | None, int | None]:
    """`A:B` (half-open; A or B may be missing) as a pair. Raises ConfigError."""
    match = _FRAMES.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f"frames '{text}': expected A:B, the first frame and the one after the last, such as 0:100")
    start, stop = (int(part) if part else None for part in match.groups())
    return Selection(frames=(start, stop)).frames or (None, None)


def parse_crop(text: str) -> Crop:
    """`WxH[+X+Y]` (centred without an offset). Raises ConfigError."""
    match = _CROP.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f"crop '{text}': expected WxH or WxH+X+Y in pixels, such as 1280x640 or 640x360+0+20")
    width, height, x, y = (None if part is None else int(part) for part in match.groups())
    return Crop(width or 0, height or 0, x, y)


def parse_size(text: str) -> tuple[int, int]:
    """`WxH` as (width, height). Raises ConfigError."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f"resize '{text}': expected WxH in pixels, such as 640x360")
    width, height = int(match[1]), int(match[2])
    return Selection(resize=(width, height)).resize or (width, height)
