from __future__ import annotations

import numpy as np
import pytest
from tolerances import F64, approx

from stgvcodec.metrics import FrameMetrics, SequenceMetrics


def pair(difference: int, size: int = 16) -> tuple[np.ndarray, np.ndarray]:
    reference = np.full((size, size + 1, 3), 100, np.uint8)
    return reference, reference + np.uint8(difference)


def test_psnr_is_the_mean_over_the_frames_that_differ():
    metrics = SequenceMetrics()
    for difference in (1, 0, 10):
        metrics.add(*pair(difference))
    result = metrics.result()
    first, last = (approx(db, "PSNR, six digits in dB", F64) for db in (48.130804, 28.130804))
    assert result.psnr_db == approx((48.130804 + 28.130804) / 2, "PSNR, six digits in dB", F64)
    assert (result.n_frames, result.n_identical_frames) == (3, 1)
    assert [frame.psnr_db for frame in result.per_frame] == [first, None, last]


def test_identical_videos_have_no_psnr():
    metrics = SequenceMetrics()
    assert metrics.add(*pair(0)) == FrameMetrics(psnr_db=None, ms_ssim=None)
    result = metrics.result()
    assert (result.psnr_db, result.n_frames, result.n_identical_frames) == (None, 1, 1)


def test_small_frames_have_no_ms_ssim():
    metrics = SequenceMetrics()
    metrics.add(*pair(3, size=160))
    assert metrics.result().ms_ssim is None


def test_ms_ssim_is_the_mean_over_all_frames():
    rng = np.random.default_rng(0)
    reference = rng.integers(0, 256, (161, 170, 3), dtype=np.uint8)
    metrics = SequenceMetrics()
    for distorted in (reference, reference[::-1].copy()):
        metrics.add(reference, distorted)
    result = metrics.result()
    values = [frame.ms_ssim for frame in result.per_frame]
    assert values[0] == approx(1.0, "MS-SSIM, equal pictures")
    assert values[1] is not None
    assert values[1] < 0.5
    assert result.ms_ssim == pytest.approx(sum(value for value in values if value is not None) / 2)


def test_ms_ssim_can_be_left_out():
    metrics = SequenceMetrics(with_ms_ssim=False)
    metrics.add(*pair(3, size=200))
    result = metrics.result()
    assert result.ms_ssim is None
    assert result.psnr_db is not None


def test_an_empty_video_has_no_figures():
    result = SequenceMetrics().result()
    assert (result.psnr_db, result.ms_ssim, result.n_frames, result.per_frame) == (None, None, 0, ())
