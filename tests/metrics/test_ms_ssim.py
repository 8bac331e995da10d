"""MS-SSIM against a second implementation, written here from the paper in float64."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tolerances import approx

import stgvcodec
from stgvcodec.media import Selection, open_video
from stgvcodec.metrics import ms_ssim_rgb

# Wang, Simoncelli, Bovik: "Multiscale structural similarity for image quality assessment", 2003, section 3.2.
EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def smooth(plane: np.ndarray) -> np.ndarray:
    """11x11 Gaussian window of sigma 1.5, where it fits whole."""
    taps = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    taps /= taps.sum()
    rows = np.lib.stride_tricks.sliding_window_view(plane, 11, axis=0) @ taps
    return np.lib.stride_tricks.sliding_window_view(rows, 11, axis=1) @ taps


def halve(plane: np.ndarray) -> np.ndarray:
    """Mean of 2x2 pixels; an odd side starts with a row or column of zeros, as pytorch_msssim pads it."""
    padded = np.pad(plane, [(side % 2, side % 2) for side in plane.shape])
    height, width = (side // 2 * 2 for side in padded.shape)
    return padded[:height, :width].reshape(height // 2, 2, width // 2, 2).mean((1, 3))


def ms_ssim_plane(x: np.ndarray, y: np.ndarray) -> float:
    product = 1.0
    for scale, exponent in enumerate(EXPONENTS):
        mean_x, mean_y = smooth(x), smooth(y)
        variance_x, variance_y = smooth(x * x) - mean_x**2, smooth(y * y) - mean_y**2
        covariance = smooth(x * y) - mean_x * mean_y
        contrast_structure = (2 * covariance + C2) / (variance_x + variance_y + C2)
        luminance = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
        last = scale == len(EXPONENTS) - 1
        term = (luminance * contrast_structure).mean() if last else contrast_structure.mean()
        product *= max(term, 0.0) ** exponent
        x, y = halve(x), halve(y)
    return product


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """A piece of the shipped clip. [192, 256, 3] uint8."""
    clip = Path(stgvcodec.__file__).parent / "data" / "bunny.mp4"
    with open_video(clip, selection=Selection.parse(frames="60:61", crop="256x192")) as reader:
        (frame,) = reader
    return frame.rgb


def distorted_by(name: str, picture: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(0)
    values = picture.astype(np.float64)
    if name == "noise":
        values += rng.normal(0, 12, values.shape)
    elif name == "blur":
        values = (values + np.roll(values, 1, 0) + np.roll(values, 1, 1) + np.roll(values, 2, 1)) / 4
    elif name == "quantised":
        values = np.round(values / 40) * 40
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("distortion", ["noise", "blur", "quantised"])
@pytest.mark.parametrize(("height", "width"), [(192, 256), (161, 163), (177, 250)])
def test_equals_the_second_implementation(picture, distortion, height, width):
    reference = picture[:height, :width]
    distorted = distorted_by(distortion, picture)[:height, :width]
    planes = [(reference[..., c].astype(np.float64), distorted[..., c].astype(np.float64)) for c in range(3)]
    expected = np.mean([ms_ssim_plane(x, y) for x, y in planes])
    measured = ms_ssim_rgb(reference, distorted)
    assert measured is not None
    assert measured < 0.999
    assert measured == approx(expected, "MS-SSIM")


def test_identical_pictures_have_one(picture):
    assert ms_ssim_rgb(picture, picture.copy()) == approx(1.0, "MS-SSIM, equal pictures")


@pytest.mark.parametrize(("height", "width", "measurable"), [(160, 400, False), (400, 160, False), (161, 161, True)])
def test_a_short_side_of_160_or_less_has_none(height, width, measurable):
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    assert (ms_ssim_rgb(picture, picture) is not None) == measurable


def test_pictures_of_another_shape_are_refused(picture):
    with pytest.raises(ValueError, match="expected equal ones"):
        ms_ssim_rgb(picture, picture[1:])
    with pytest.raises(ValueError, match=r"expected \[H, W, 3\]"):
        ms_ssim_rgb(picture[..., 0], picture[..., 0])
