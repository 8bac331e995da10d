"""PSNR and MS-SSIM of 8-bit RGB frames, one by one and over a video."""

from __future__ import annotations

from stgvcodec.metrics.ms_ssim import ms_ssim_rgb
from stgvcodec.metrics.psnr import mean_psnr_db, psnr_db
from stgvcodec.metrics.sequence import FrameMetrics, SequenceMetrics, SequenceResult

__all__ = ["FrameMetrics", "SequenceMetrics", "SequenceResult", "mean_psnr_db", "ms_ssim_rgb", "psnr_db"]
