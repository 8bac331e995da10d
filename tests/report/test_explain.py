from __future__ import annotations

import numpy as np
import pytest

from stgvcodec.report.explain import error_image, explain_frame


def test_error_is_signed_amplified_and_clipped():
    source = np.array([[[10, 10, 10], [200, 0, 255]]], dtype=np.uint8)
    decoded = np.array([[[10, 11, 8], [0, 255, 255]]], dtype=np.uint8)
    assert error_image(source, decoded).tolist() == [[[128, 136, 112], [0, 255, 128]]]


def test_pictures_of_two_sizes_are_refused():
    with pytest.raises(ValueError, match=r"\[2, 2, 3\].*\[2, 3, 3\].*one shape"):
        error_image(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 3, 3), np.uint8))


def test_four_panels_two_by_two():
    rng = np.random.default_rng(1)
    source = rng.integers(0, 256, (37, 61, 3), dtype=np.uint8)
    decoded = np.full_like(source, 100)
    means, factors = np.array([[30.0, 18.0], [-900.0, np.nan]]), np.array([[8.0, 2.0, 5.0], [1.0, 0.0, 1.0]])
    sheet = explain_frame(source, decoded, means, factors, magnification=2)
    h, w = 74, 122
    assert sheet.shape[1] == 4 + 2 * (w + 4)
    panels = [
        row[row.shape[0] - 4 - h : row.shape[0] - 4, 4 + i * (w + 4) : 4 + i * (w + 4) + w]
        for row in np.split(sheet, 2)
        for i in range(2)
    ]
    assert np.array_equal(panels[0][::2, 1::2], source)
    assert np.array_equal(panels[1][::2, 1::2], decoded)
    assert np.array_equal(panels[2][1::2, ::2], error_image(source, decoded))
    assert panels[3].min() == 25
    assert 80 <= panels[3].max() <= 100
    # The ellipse, enlarged, is 32 pixels wide around x = 60, and nothing else is drawn.
    columns = np.flatnonzero((panels[3] > 25).any(axis=(0, 2)))
    assert 42 <= columns.min() <= 44
    assert 75 <= columns.max() <= 77
