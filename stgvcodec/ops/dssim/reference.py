"""D-SSIM in plain torch, on any device, in float32 or float64: the reference that the kernel is tested against."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from stgvcodec.ops.dssim import C1, C2, WINDOW


def dssim(image: Tensor, frames: Tensor, picked: Tensor) -> Tensor:
    """Twin of `stgvcodec.ops.dssim.dssim`, for checked inputs."""
    x = _planes(image)
    y = _planes(frames.index_select(0, picked).to(image.dtype) / 255)
    mean_x, mean_y = _blur(x), _blur(y)  # each [B, 3, H - 10, W - 10]
    variances = _blur(x * x + y * y) - (mean_x * mean_x + mean_y * mean_y)
    covariance = _blur(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + C1) / (mean_x * mean_x + mean_y * mean_y + C1)
    structure = (2 * covariance + C2) / (variances + C2)
    return (1 - luminance * structure).mean()


def _planes(pictures: Tensor) -> Tensor:
    """Reorder pictures [B, H, W, 3] to planes [B, 3, H, W]."""
    planes = pictures.permute(0, 3, 1, 2)
    # The permutation leaves the memory channels-last, which is several times faster on a CPU. On CUDA it would go to
    # cuDNN and its TF32, while contiguous planes are convolved in float32.
    return planes if planes.device.type == "cpu" else planes.contiguous()


def _blur(planes: Tensor) -> Tensor:
    """Compute the weighted mean of each valid window. [B, 3, H, W] -> [B, 3, H - 10, W - 10]."""
    window = planes.new_tensor(WINDOW).expand(3, 1, -1)
    rows = F.conv2d(planes, window[:, :, :, None], groups=3)
    return F.conv2d(rows, window[:, :, None, :], groups=3)
