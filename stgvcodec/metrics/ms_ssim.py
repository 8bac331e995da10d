"""Multi-scale structural similarity (Wang, Simoncelli and Bovik 2003) of 8-bit RGB pictures."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from pytorch_msssim import ms_ssim

from stgvcodec.metrics.psnr import check_pair

MIN_SHORT_SIDE = 161
"""Five scales of an 11-pixel window need a short side above 160 pixels."""


def ms_ssim_rgb(reference: npt.NDArray[np.uint8], distorted: npt.NDArray[np.uint8]) -> float | None:
    """Measure MS-SSIM by pytorch_msssim: five scales, 11-pixel Gaussian window of sigma 1.5, mean over R, G and B.

    Args:
        reference: Original RGB picture. [H, W, 3] uint8.
        distorted: Decoded RGB picture. [H, W, 3] uint8.

    Returns:
        1 for identical pictures, less otherwise; None if the short side is 160 pixels or less.

    Raises:
        ValueError: shapes or dtypes differ from the above.
    """
    check_pair(reference, distorted)
    if reference.ndim != 3 or reference.shape[2] != 3:
        raise ValueError(f"pictures: got shape {list(reference.shape)}, expected [H, W, 3]")
    if min(reference.shape[:2]) < MIN_SHORT_SIDE:
        return None
    with torch.inference_mode():
        return float(ms_ssim(_planes(reference), _planes(distorted), data_range=255.0, size_average=True))


def _planes(rgb: npt.NDArray[np.uint8]) -> torch.Tensor:
    # The memory stays channels-last, on which torch's depthwise convolution is several times faster than on planes. The
    # batch dimension is added before the permutation: if it were added last, its stride of one would hide the layout.
    return torch.from_numpy(rgb.astype(np.float32)).unsqueeze(0).permute(0, 3, 1, 2)  # [1, 3, H, W]
