"""Turning of pictures for display, as a phone held sideways or an EXIF orientation asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from stgvcodec.errors import InputVideoError

_ONE = 1 << 16


@dataclass(frozen=True)
class Orientation:
    """How a decoded picture is turned for display.

    Attributes:
        transpose: Whether rows become columns, before the flips.
        flip_rows: Whether the order of the rows is reversed.
        flip_columns: Whether the order of the columns is reversed.
    """

    transpose: bool = False
    flip_rows: bool = False
    flip_columns: bool = False

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Return (width, height) on display of a decoded picture of `width` x `height` pixels."""
        return (height, width) if self.transpose else (width, height)

    def apply(self, rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Turn a picture for display. [H, W, 3] -> [H, W, 3] or [W, H, 3], a view."""
        turned = rgb.transpose(1, 0, 2) if self.transpose else rgb
        return turned[:: -1 if self.flip_rows else 1, :: -1 if self.flip_columns else 1]


UPRIGHT = Orientation()
_HALF_TURN = Orientation(False, flip_rows=True, flip_columns=True)
# Angles are in degrees counterclockwise, as FFmpeg's av_display_rotation_get returns them.
_BY_ANGLE = {
    0: UPRIGHT,
    90: Orientation(True, flip_rows=True),
    -90: Orientation(True, flip_columns=True),
    180: _HALF_TURN,
    -180: _HALF_TURN,
}


# The keys are values of the EXIF tag Orientation, which says where the first row and column of the stored picture lie.
_BY_EXIF = {
    1: UPRIGHT,
    2: Orientation(False, flip_columns=True),
    3: _HALF_TURN,
    4: Orientation(False, flip_rows=True),
    5: Orientation(True),
    6: Orientation(True, flip_columns=True),
    7: Orientation(True, flip_rows=True, flip_columns=True),
    8: Orientation(True, flip_rows=True),
}


def orientation_by_exif(value: object) -> Orientation:
    """Return what the EXIF tag Orientation says; a value that the tag does not have says nothing."""
    return _BY_EXIF.get(value, UPRIGHT) if isinstance(value, int) else UPRIGHT


def orientation_by_matrix(picture: av.VideoFrame, name: str) -> Orientation:
    """Read a picture's display matrix.

    PyAV's `side_data` and its picture then refer to each other until the garbage collector runs, so this function is
    called for the first picture of a stream, not for each.

    Raises:
        InputVideoError: the rotation is not a multiple of 90 degrees.
    """
    try:
        side_data: Any = picture.side_data.get("DISPLAYMATRIX")
    except ValueError:
        # PyAV fails if any entry is of a kind newer than its list, as EXIF is.
        return orientation_by_angle(picture, name)
    if side_data is None:
        return UPRIGHT
    # x' = a x + c y, y' = b x + d y, in 16.16 fixed point (ISO/IEC 14496-12, 6.2.2).
    a, b, _, c, d = (int(value) for value in np.frombuffer(side_data, dtype=np.int32)[:5])
    if (abs(a), abs(b), abs(c), abs(d)) == (_ONE, 0, 0, _ONE):
        return Orientation(False, flip_rows=d < 0, flip_columns=a < 0)
    if (abs(a), abs(b), abs(c), abs(d)) == (0, _ONE, _ONE, 0):
        return Orientation(True, flip_rows=b < 0, flip_columns=c < 0)
    values = ", ".join(f"{value / _ONE:.3g}" for value in (a, b, c, d))
    raise _unsupported(name, f"the display matrix ({values})")


def orientation_by_angle(picture: av.VideoFrame, name: str) -> Orientation:
    """Read the angle of a picture's display matrix. The angle does not tell mirroring, which cameras do not use.

    Raises:
        InputVideoError: the rotation is not a multiple of 90 degrees.
    """
    # A PyAV without the attribute has an FFmpeg before 8, which does not read EXIF orientation either.
    angle = int(getattr(picture, "rotation", 0))
    if angle not in _BY_ANGLE:
        raise _unsupported(name, f"a rotation of {angle} degrees")
    return _BY_ANGLE[angle]


def _unsupported(name: str, got: str) -> InputVideoError:
    return InputVideoError(
        f"{name}: got {got}, expected a turn by a multiple of 90 degrees; turn it first, as ffmpeg -i IN OUT.mp4 does"
    )
