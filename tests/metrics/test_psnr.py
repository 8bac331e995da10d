from __future__ import annotations

import math

import numpy as np
import pytest
from tolerances import F64, approx

from stgvcodec.metrics import mean_psnr_db, psnr_db


@pytest.mark.parametrize(
    ("difference", "expected"), [(1, 48.130804), (2, 42.110204), (5, 34.151404), (10, 28.130804), (255, 0.0)]
)
def test_a_constant_difference_by_hand(difference, expected):
    # 20 log10(255 / difference)
    dark = np.zeros((7, 5, 3), np.uint8)
    bright = dark + np.uint8(difference)
    assert psnr_db(dark, bright) == psnr_db(bright, dark) == approx(expected, "PSNR, six digits in dB", F64)


def test_one_sample_of_twelve_by_hand():
    reference = np.full((2, 2, 3), 100, np.uint8)
    distorted = reference.copy()
    distorted[1, 0, 2] = 106
    # The mean over all channels together: 36 / 12 = 3.
    assert psnr_db(reference, distorted) == pytest.approx(10 * math.log10(255**2 / 3))


def test_identical_pictures_are_infinitely_close():
    picture = np.random.default_rng(0).integers(0, 256, (9, 8, 3), dtype=np.uint8)
    assert psnr_db(picture, picture.copy()) == math.inf


def test_the_mean_is_over_frames_that_differ():
    assert mean_psnr_db([30.0, math.inf, 40.0]) == 35.0
    assert mean_psnr_db([math.inf]) is None
    assert mean_psnr_db([]) is None


def test_the_formula_on_noise():
    reference, distorted = np.random.default_rng(1).integers(0, 256, (2, 63, 100, 3), dtype=np.uint8)
    mse = np.mean((reference.astype(np.float64) - distorted) ** 2)
    assert psnr_db(reference, distorted) == approx(20 * np.log10(255 / np.sqrt(mse)), "PSNR, formula in dB", F64)


@pytest.mark.parametrize(
    ("height", "other", "message"),
    [
        (4, np.zeros((4, 5, 3), np.uint8), r"got shapes \[4, 4, 3\] and \[4, 5, 3\], expected equal ones"),
        (4, np.zeros((4, 4, 3), np.float32), "distorted: got dtype float32, expected uint8"),
        (0, np.zeros((0, 4, 3), np.uint8), "not empty"),
    ],
    ids=["shape", "dtype", "empty"],
)
def test_pictures_that_cannot_be_compared_are_refused(height, other, message):
    with pytest.raises(ValueError, match=message):
        psnr_db(np.zeros((height, 4, 3), np.uint8), other)
