"""PSNR and MS-SSIM of a whole video, gathered frame by frame."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from stgvcodec.metrics.ms_ssim import ms_ssim_rgb
from stgvcodec.metrics.psnr import mean_psnr_db, psnr_db


@dataclass(frozen=True)
class FrameMetrics:
    """Figures of one frame.

    Attributes:
        psnr_db: PSNR over R, G and B together, dB; None if the frames are identical.
        ms_ssim: MS-SSIM, at most 1; None if the short side is 160 pixels or less, or MS-SSIM was not asked for.
    """

    psnr_db: float | None
    ms_ssim: float | None


@dataclass(frozen=True)
class SequenceResult:
    """Figures of a video.

    Attributes:
        psnr_db: Mean of the frames' PSNR, dB, identical frames left out; None if all are identical.
        ms_ssim: Mean of the frames' MS-SSIM; None if no frame has any.
        n_frames: Number of frames compared.
        n_identical_frames: Number of frames without any difference.
        per_frame: Figures of each frame, in order.
    """

    psnr_db: float | None
    ms_ssim: float | None
    n_frames: int
    n_identical_frames: int
    per_frame: tuple[FrameMetrics, ...] = field(repr=False)


class SequenceMetrics:
    """Takes pairs of frames one at a time and holds only their figures.

    Args:
        with_ms_ssim: Whether to measure MS-SSIM, which takes most of the time.
    """

    def __init__(self, *, with_ms_ssim: bool = True) -> None:
        self._with_ms_ssim = with_ms_ssim
        self._frames: list[FrameMetrics] = []

    def add(self, reference: npt.NDArray[np.uint8], distorted: npt.NDArray[np.uint8]) -> FrameMetrics:
        """Measure one frame.

        Args:
            reference: Original RGB frame. [H, W, 3] uint8.
            distorted: Decoded RGB frame. [H, W, 3] uint8.

        Returns:
            The frame's figures, which `result` will hold too.

        Raises:
            ValueError: shapes or dtypes differ from the above.
        """
        psnr = psnr_db(reference, distorted)
        similarity = ms_ssim_rgb(reference, distorted) if self._with_ms_ssim else None
        frame = FrameMetrics(psnr if math.isfinite(psnr) else None, similarity)
        self._frames.append(frame)
        return frame

    def result(self) -> SequenceResult:
        """Return the figures of the frames that were added so far."""
        psnrs = [frame.psnr_db for frame in self._frames if frame.psnr_db is not None]
        similarities = [frame.ms_ssim for frame in self._frames if frame.ms_ssim is not None]
        return SequenceResult(
            psnr_db=mean_psnr_db(psnrs),
            ms_ssim=math.fsum(similarities) / len(similarities) if similarities else None,
            n_frames=len(self._frames),
            n_identical_frames=len(self._frames) - len(psnrs),
            per_frame=tuple(self._frames),
        )
