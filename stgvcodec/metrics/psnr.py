"""Peak signal-to-noise ratio of 8-bit pictures."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

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
    return _of_sum(squares, reference.size)


def psnr_of_frames_db(reference: Tensor, distorted: Tensor, known: Tensor | None = None) -> tuple[float, ...]:
    """Measure the PSNR of frames on their device, exactly as `psnr_db` does; it waits for the device once.

    Args:
        reference: Original frames. [B, H, W, 3] uint8.
        distorted: Decoded frames, of the same shape, on the same device. [B, H, W, 3] uint8.
        known: Pixels that count; None: all. [B, H, W] bool.

    Returns:
        PSNR of each frame in dB; inf where it is identical to its original, or no pixel counts.
    """
    differences = [(a.to(torch.int16) - b).to(torch.int32) for a, b in zip(reference, distorted, strict=True)]
    counts = [reference[0].numel()] * len(differences)
    if known is not None:
        differences = [each * counted[..., None] for each, counted in zip(differences, known, strict=True)]
        counts = (3 * known.sum(dim=(1, 2))).tolist()
    sums = torch.stack([each.square().sum() for each in differences]).tolist()
    return tuple(map(_of_sum, sums, counts))


def _of_sum(squares: int, n_samples: int) -> float:
    return math.inf if squares == 0 else 10.0 * math.log10(PEAK * PEAK * n_samples / squares)


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
