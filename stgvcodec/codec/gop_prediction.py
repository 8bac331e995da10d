"""GoPs predicted from the one before: what goes from one to the next, and whether it helps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from stgvcodec.fit.paths import follow_paths
from stgvcodec.model.gaussians import bounded_cholesky
from stgvcodec.ops.deform import to_pixels
from stgvcodec.ops.rasterize import rasterize
from stgvcodec.quant import Gaussians, ResidualQuantizer

# A GoP goes on from the frame before where this share of its first frame's blocks, so many pixels wide and high, is at
# most so many times as far from the Gaussians as they were there.
_LEAST_EXPLAINED = 0.5
_AS_CLOSE = 2.0
_BLOCK = 8


@dataclass(frozen=True)
class Predecessor:
    """What a predicted GoP has of the one before it.

    Attributes:
        gaussians: Those of its last frame, as decoded.
        point_scale: Step of the means, with which residuals begin; likewise the others. [2] float32.
        shape_scale: [3] float32.
        color_scale: [3] float32.
        last_frame: The source's frame that they stand for. RGB. [H, W, 3] uint8.
        bit_weight: Squared error that a bit was held worth.
    """

    gaussians: Gaussians
    point_scale: npt.NDArray[np.float32]
    shape_scale: npt.NDArray[np.float32]
    color_scale: npt.NDArray[np.float32]
    last_frame: npt.NDArray[np.uint8]
    bit_weight: float

    @property
    def n_gaussians(self) -> int:
        """How many there are, also in the GoP that is predicted."""
        return int(self.gaussians.means.shape[0])

    def quantizer(self) -> ResidualQuantizer:
        """A quantiser of what is added to the Gaussians."""
        return ResidualQuantizer(
            self.gaussians,
            point_scale=self.point_scale,
            shape_scale=self.shape_scale,
            color_scale=self.color_scale,
        )

    def explains(self, frames: npt.NDArray[np.uint8], *, backend: str) -> bool:
        """Whether a GoP should be predicted: it goes on from the frame before, and most of it hardly moves.

        Args:
            frames: RGB. [T, H, W, 3] uint8.
            backend: Of the rasteriser.
        """
        if self.share_explained(frames[0], backend=backend) < _LEAST_EXPLAINED:
            return False
        _, height, width, _ = frames.shape
        paths = follow_paths(torch.from_numpy(frames).to(self.gaussians.means.device), 0)
        return not paths.lead_away(0, math.sqrt(width * height / self.n_gaussians))

    def share_explained(self, frame: npt.NDArray[np.uint8], *, backend: str) -> float:
        """Share of a frame's blocks to which the Gaussians, as they are, are about as close as to the frame before."""
        height, width, _ = frame.shape
        gaussians = self.gaussians
        with torch.no_grad():
            picture = rasterize(
                to_pixels(gaussians.means[None], (width, height)),
                bounded_cholesky(gaussians.cholesky),
                gaussians.colors[None],
                height=height,
                width=width,
                backend=backend,
            )[0].clamp_(0.0, 1.0)
            here, before = (_block_errors(picture, shown) for shown in (frame, self.last_frame))
            return float((here <= _AS_CLOSE * before).float().mean())


def _block_errors(picture: Tensor, frame: npt.NDArray[np.uint8]) -> Tensor:
    """Squared errors, means over blocks. [H, W, 3] to [h, w]."""
    errors = (torch.from_numpy(frame).to(picture.device) / 255.0 - picture).square().mean(dim=2)
    return avg_pool2d(errors[None], _BLOCK, ceil_mode=True, count_include_pad=False)[0]


def mean_mse(psnrs_db: Sequence[float]) -> float:
    """Mean squared error, on a [0, 1] scale, of frames by their PSNR."""
    return math.fsum(10.0 ** (-psnr / 10.0) for psnr in psnrs_db) / len(psnrs_db)
