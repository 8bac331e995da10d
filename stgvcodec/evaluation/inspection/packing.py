"""Arrays and pictures as texts, as they are put into a page: little-endian numbers in base64, pictures as data URLs."""

from __future__ import annotations

import base64
import io
import math
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

# Pictures of fewer pixels are kept exactly.
_LOSSLESS_PIXELS = 1 << 16
QUALITY = 90
"""WebP quality of larger pictures."""

# Places and sizes beyond this are not drawn, pixels.
_FARTHEST_PX = 2.0**20
_ABSENT = 0xFFFF


def packed(array: npt.NDArray[Any]) -> str:
    """Return the numbers of an array, little-endian, in base64."""
    return base64.b64encode(array.astype(array.dtype.newbyteorder("<")).tobytes()).decode("ascii")


def quantised(array: npt.NDArray[np.float32]) -> dict[str, object]:
    """Return numbers in 16 bits each, evenly between the least and the greatest of a column.

    Args:
        array: The numbers. [n, columns] float32.

    Returns:
        `low` and `step` of each column, and `data`, column after column: uint16, of which 65535 stands for a number
        that is not finite or out of sight.
    """
    seen = np.isfinite(array) & (np.abs(array) < _FARTHEST_PX)
    low = np.where(seen, array, np.inf).min(axis=0, initial=np.inf)
    high = np.where(seen, array, -np.inf).max(axis=0, initial=-np.inf)
    low, high = (np.where(np.isfinite(edge), edge, 0.0).astype(np.float64) for edge in (low, high))
    step = np.maximum(high - low, 1e-9) / (_ABSENT - 1)
    codes = np.where(seen, np.rint((np.where(seen, array, 0.0) - low) / step), _ABSENT)
    return {"low": low.tolist(), "step": step.tolist(), "data": packed(codes.T.astype(np.uint16))}


def picture_url(rgb: npt.NDArray[np.uint8]) -> str:
    """Return a picture [H, W, 3] uint8 as a data URL: WebP, without loss where it is small."""
    file = io.BytesIO()
    is_small = rgb.shape[0] * rgb.shape[1] <= _LOSSLESS_PIXELS
    Image.fromarray(np.ascontiguousarray(rgb)).save(file, "WebP", lossless=is_small, quality=QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def is_lossless(width: int, height: int) -> bool:
    """Tell whether pictures of a size are kept exactly."""
    return width * height <= _LOSSLESS_PIXELS


def rounded(number: float, n_digits: int = 4) -> float | None:
    """Return a number with so many digits behind the point; None where it is not finite, which JSON cannot say."""
    return round(float(number), n_digits) if math.isfinite(number) else None
