from __future__ import annotations

import numpy as np
import pytest
import torch
from clips import texture
from tolerances import approx, assert_close

from stgvcodec.fit.optical_flow import optical_flow


def picture(x: np.ndarray, y: np.ndarray) -> torch.Tensor:
    """[1, 1, h, w] float32."""
    return torch.from_numpy(texture(x, y))[None, None]


def positions(width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.meshgrid(np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64))
    return x, y


@pytest.mark.parametrize("shift", [(0.4, -0.3), (5.3, -2.7), (-24.0, 11.0)])
def test_a_shift_is_found_to_a_fraction_of_a_pixel(shift):
    x, y = positions(200, 120)

    flow = optical_flow(picture(x, y), picture(x - shift[0], y - shift[1]))

    assert flow.shape == (1, 2, 120, 200)
    inside = flow[0, :, 30:-30, 40:-40].reshape(2, -1)
    assert inside.median(dim=1).values.tolist() == approx(shift, "flow, median in pixels")
    assert float((inside - torch.tensor(shift)[:, None]).norm(dim=0).quantile(0.9)) < 0.3


def test_a_zoom_is_found():
    x, y = positions(160, 120)
    grown = 1.06

    flow = optical_flow(picture(x, y), picture(80 + (x - 80) / grown, 60 + (y - 60) / grown))[0]

    expected = torch.from_numpy(np.stack([(x - 80) * (grown - 1), (y - 60) * (grown - 1)])).float()
    assert float((flow - expected)[:, 20:-20, 20:-20].norm(dim=0).median()) < 0.1


def test_pairs_do_not_see_each_other():
    x, y = positions(60, 40)
    pictures = torch.cat([picture(x, y), picture(x + 2, y), picture(x, y - 3)])

    together = optical_flow(pictures[:-1], pictures[1:])

    apart = torch.cat([optical_flow(pictures[i : i + 1], pictures[i + 1 : i + 2]) for i in range(2)])
    assert_close(together, apart, "flow, pairs")


@pytest.mark.parametrize(("width", "height"), [(1, 1), (3, 2), (25, 24), (200, 1)])
def test_a_flat_picture_of_any_size_stays_where_it_is(width, height):
    flat = torch.full((2, 1, height, width), 0.3)

    flow = optical_flow(flat, flat)

    assert flow.shape == (2, 2, height, width)
    assert float(flow.abs().max()) < 1e-3


def test_what_is_not_known_moves_as_what_is_around_it():
    x, y = positions(120, 80)
    shift = (3.0, -2.0)
    before, after = picture(x, y), picture(x - shift[0], y - shift[1])
    shares = torch.ones(2, 1, 1, 80, 120)
    # Each picture has a hole of its own, with a mean of the picture in it.
    for each, share, left in ((before, shares[0], 40), (after, shares[1], 52)):
        hole = (..., slice(30, 50), slice(left, left + 20))
        each[hole], share[hole] = each.mean(), 0.0
    expected = torch.tensor(shift)[:, None, None]

    errors = [
        float((optical_flow(before, after, known)[0] - expected)[:, 30:50, 40:72].norm(dim=0).mean())
        for known in (None, (shares[0], shares[1]))
    ]

    assert errors[0] > 1.5
    assert errors[1] < 0.5, errors
