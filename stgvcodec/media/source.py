"""What every kind of source gives the reader: decoded pictures in presentation order, each with a timestamp."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

import av
import numpy as np
import numpy.typing as npt

from stgvcodec.errors import InputVideoError
from stgvcodec.media.colour import ColorTags

_ONE = 1 << 16


@dataclass(frozen=True)
class DecodedPicture:
    """One picture before any conversion.

    Attributes:
        picture: As the decoder made it.
        pts: Timestamp in the source's time base.
        tags: The stream's colour tags, before the rules for untagged sources.
        name: What the picture is called in an error.
    """

    picture: av.VideoFrame
    pts: int
    tags: ColorTags
    name: str


class FrameSource(Protocol):
    """A video file or a folder of images.

    Attributes:
        name: What the source is called in an error.
        frame_rate: Nominal frames per second.
        time_base: Seconds per unit of the timestamps.
        n_frames: How many pictures there should be; None if that is not known before reading.
        alpha_allowed: Whether a picture with an alpha channel is taken where it is opaque everywhere.
    """

    name: str
    frame_rate: Fraction
    time_base: Fraction
    n_frames: int | None
    alpha_allowed: bool

    def pictures(self) -> Generator[DecodedPicture, None, None]:
        """Decode from the beginning. Raises InputVideoError where the source is damaged or of an unsupported kind."""


@dataclass(frozen=True)
class Orientation:
    """How a decoded picture is turned for display.

    Attributes:
        transpose: Rows become columns, before the flips.
        flip_rows: Upside down.
        flip_columns: Left to right.
    """

    transpose: bool = False
    flip_rows: bool = False
    flip_columns: bool = False

    def size(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) on display of a decoded picture of `width` x `height`."""
        return (height, width) if self.transpose else (width, height)

    def apply(self, rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The picture as displayed. [H, W, 3] -> [H, W, 3] or [W, H, 3], a view."""
        turned = rgb.transpose(1, 0, 2) if self.transpose else rgb
        return turned[:: -1 if self.flip_rows else 1, :: -1 if self.flip_columns else 1]


UPRIGHT = Orientation()


def orientation_of(picture: av.VideoFrame, name: str) -> Orientation:
    """Read a picture's display matrix (a phone held sideways, EXIF orientation).

    Raises:
        InputVideoError: a rotation that is not a multiple of 90 degrees.
    """
    side_data: Any = picture.side_data.get("DISPLAYMATRIX")
    if side_data is None:
        return UPRIGHT
    # x' = a x + c y, y' = b x + d y, in 16.16 fixed point (ISO/IEC 14496-12, 6.2.2).
    a, b, _, c, d = (int(value) for value in np.frombuffer(side_data, dtype=np.int32)[:5])
    if (abs(a), abs(b), abs(c), abs(d)) == (_ONE, 0, 0, _ONE):
        return Orientation(False, flip_rows=d < 0, flip_columns=a < 0)
    if (abs(a), abs(b), abs(c), abs(d)) == (0, _ONE, _ONE, 0):
        return Orientation(True, flip_rows=b < 0, flip_columns=c < 0)
    values = ", ".join(f"{value / _ONE:.3g}" for value in (a, b, c, d))
    raise InputVideoError(
        f"{name}: got the display matrix ({values}), expected a turn by a multiple of 90 degrees; "
        "turn the picture first, with ffmpeg's filter rotate"
    )
