"""Pictures that are turned for display: a phone held sideways, EXIF orientation."""

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
_HALF_TURN = Orientation(False, flip_rows=True, flip_columns=True)
# Counterclockwise, as av_display_rotation_get tells it.
_BY_ANGLE = {
    0: UPRIGHT,
    90: Orientation(True, flip_rows=True),
    -90: Orientation(True, flip_columns=True),
    180: _HALF_TURN,
    -180: _HALF_TURN,
}


def orientation_by_matrix(picture: av.VideoFrame, name: str) -> Orientation:
    """Read a picture's display matrix.

    PyAV's `side_data` and its picture then refer to each other until the garbage collector comes by, so this is for the
    first picture of a stream, not for each.

    Raises:
        InputVideoError: a rotation that is not a multiple of 90 degrees.
    """
    try:
        side_data: Any = picture.side_data.get("DISPLAYMATRIX")
    except ValueError:
        # PyAV gives up where any entry is newer than its list of kinds, as EXIF is.
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
    """Read the angle of a picture's display matrix; whether it is mirrored too is not told (cameras don't do that).

    Raises:
        InputVideoError: a rotation that is not a multiple of 90 degrees.
    """
    # The first PyAV with FFmpeg 8, which reads EXIF orientation, has the attribute too.
    angle = int(getattr(picture, "rotation", 0))
    if angle not in _BY_ANGLE:
        raise _unsupported(name, f"a rotation of {angle} degrees")
    return _BY_ANGLE[angle]


def _unsupported(name: str, got: str) -> InputVideoError:
    return InputVideoError(
        f"{name}: got {got}, expected a turn by a multiple of 90 degrees; turn it first, with ffmpeg's filter rotate"
    )
