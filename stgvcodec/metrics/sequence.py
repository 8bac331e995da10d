"""Figures of a whole video, gathered frame by frame."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from stgvcodec.metrics.ms_ssim import ms_ssim_rgb
from stgvcodec.metrics.psnr import psnr_db


@dataclass(frozen=True)
class FrameMetrics:
    """One frame.

    Attributes:
        psnr_db: PSNR over R, G and B together; None where the frames are identical.
        ms_ssim: MS-SSIM; None where the short side is 160 pixels or less, or it was not asked for.
    """

    psnr_db: float | None
    ms_ssim: float | None


@dataclass(frozen=True)
class SequenceResult:
    """A video.

    Attributes:
        psnr_db: Mean of the frames' PSNR, identical frames left out; None where all are identical.
        ms_ssim: Mean of the frames' MS-SSIM; None where they have none.
        n_frames: Frames compared.
        n_identical_frames: Frames without any difference.
        per_frame: The frames, in order.
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
            reference: [H, W, 3] uint8.
            distorted: [H, W, 3] uint8.

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
        """Figures of the frames so far."""
        psnrs = [frame.psnr_db for frame in self._frames if frame.psnr_db is not None]
        similarities = [frame.ms_ssim for frame in self._frames if frame.ms_ssim is not None]
        return SequenceResult(
            psnr_db=math.fsum(psnrs) / len(psnrs) if psnrs else None,
            ms_ssim=math.fsum(similarities) / len(similarities) if similarities else None,
            n_frames=len(self._frames),
            n_identical_frames=len(self._frames) - len(psnrs),
            per_frame=tuple(self._frames),
        )
