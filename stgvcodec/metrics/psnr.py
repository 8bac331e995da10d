"""Peak signal-to-noise ratio of 8-bit pictures."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

PEAK = 255.0


def psnr_db(reference: npt.NDArray[np.uint8], distorted: npt.NDArray[np.uint8]) -> float:
    """Measure PSNR, 10 log10(255^2 / MSE), with the mean over all samples of all channels together.

    Args:
        reference: Original picture, uint8. [H, W, 3], or any other shape.
        distorted: Decoded picture, uint8, of the shape of `reference`.

    Returns:
        PSNR in dB; inf if the pictures are identical.

    Raises:
        ValueError: shapes or dtypes differ from the above, or the pictures are empty.
    """
    check_pair(reference, distorted)
    difference = reference.astype(np.int16) - distorted
    # The sum is of integers, so that it is exact in any order.
    squares = int(np.square(difference, dtype=np.int32).sum(dtype=np.int64))
    if squares == 0:
        return math.inf
    return 10.0 * math.log10(PEAK * PEAK * reference.size / squares)


def check_pair(reference: npt.NDArray[np.uint8], distorted: npt.NDArray[np.uint8]) -> None:
    """Raise ValueError for two pictures that cannot be compared."""
    for name, picture in (("reference", reference), ("distorted", distorted)):
        if picture.dtype != np.uint8:
            raise ValueError(f"{name}: got dtype {picture.dtype}, expected uint8")
    if reference.shape != distorted.shape or reference.size == 0:
        raise ValueError(
            f"pictures: got shapes {list(reference.shape)} and {list(distorted.shape)}, expected equal ones, not empty"
        )


def mean_psnr_db(psnrs: Iterable[float]) -> float | None:
    """Return the mean PSNR of those frames that differ from their source.

    Args:
        psnrs: PSNR of each frame, dB; inf where it is identical to its source.

    Returns:
        The mean, dB; None if all frames are identical to their source, or there are none.
    """
    finite = [psnr for psnr in psnrs if math.isfinite(psnr)]
    return math.fsum(finite) / len(finite) if finite else None
