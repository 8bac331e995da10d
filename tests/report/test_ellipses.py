from __future__ import annotations

import numpy as np
import pytest

from stgvcodec.report.ellipses import draw_ellipses


def black(height: int, width: int) -> np.ndarray:
    return np.zeros((height, width, 3), dtype=np.uint8)


def draw(canvas: np.ndarray, *gaussians: tuple[tuple[float, ...], tuple[float, ...]], **options: float) -> np.ndarray:
    means = np.array([g[0] for g in gaussians], dtype=np.float32).reshape(-1, 2)
    factors = np.array([g[1] for g in gaussians], dtype=np.float32).reshape(-1, 3)
    return draw_ellipses(canvas, means, factors, np.ones((len(gaussians), 3)), **options)


def test_lit_pixels_lie_on_the_one_sigma_ellipse():
    mean, (l1, l2, l3) = np.array([31.2, 27.9]), (14.0, 6.0, 9.0)
    drawn = draw(black(63, 64), ((31.2, 27.9), (l1, l2, l3)))
    ys, xs = np.nonzero(drawn[..., 0] > 100)
    assert len(xs) > 50
    d = np.stack([xs + 0.5, ys + 0.5], axis=1) - mean
    u1 = d[:, 0] / l1
    u2 = (d[:, 1] - l2 * u1) / l3
    # Distance to the curve by the first order: (|u| - 1) over the gradient of |u|, below a pixel for what is lit.
    radius = np.hypot(u1, u2)
    gradient = np.hypot((u1 - u2 * l2 / l3) / (radius * l1), u2 / (radius * l3))
    assert np.abs((radius - 1) / gradient).max() < 1.0


def test_two_sigma_is_twice_as_wide():
    drawn = draw(black(63, 63), ((31.5, 31.5), (10.0, 0.0, 5.0)), n_sigma=2.0)
    ys, xs = np.nonzero(drawn[..., 1] > 60)
    assert (xs.min(), xs.max(), ys.min(), ys.max()) == (11, 51, 21, 41)


def test_a_straight_stretch_is_bright_and_one_pixel_wide():
    drawn = draw(black(40, 100), ((50.0, 20.5), (1000.0, 0.0, 10.0)))
    assert drawn[10, 45:55].min() >= 240
    assert drawn[[8, 12], 45:55].max() == 0


def test_colors_are_clipped_and_blended_over_the_canvas():
    canvas = np.full((20, 40, 3), 80, dtype=np.uint8)
    drawn = draw_ellipses(canvas, [[20.0, 10.5]], [[1000.0, 0.0, 5.0]], [[1.7, -0.3, 0.5]])
    assert np.abs(drawn[5, 20] - np.array([255, 0, 128])).max() <= 12
    assert drawn[10, 20].tolist() == [80, 80, 80]


def test_the_canvas_is_left_as_it_is():
    canvas = black(30, 30)
    draw(canvas, ((15.0, 15.0), (5.0, 0.0, 5.0)))
    assert not canvas.any()


def test_order_does_not_matter():
    rng = np.random.default_rng(0)
    means, factors, colors = rng.uniform(-5, 50, (40, 2)), rng.uniform(0.5, 9, (40, 3)), rng.uniform(0, 1, (40, 3))
    order = rng.permutation(40)
    forwards = draw_ellipses(black(41, 47), means, factors, colors)
    backwards = draw_ellipses(black(41, 47), means[order], factors[order], colors[order])
    assert np.abs(forwards.astype(int) - backwards).max() <= 1


@pytest.mark.parametrize(
    ("mean", "factors"),
    [
        ((-30.0, 5.0), (5.0, 0.0, 5.0)),
        ((5.0, 900.0), (5.0, 0.0, 5.0)),
        ((np.nan, 5.0), (5.0, 0.0, 5.0)),
        ((5.0, 5.0), (np.inf, 0.0, 5.0)),
        ((1e30, 1e30), (5.0, 0.0, 5.0)),
    ],
    ids=["left of it", "below it", "NaN mean", "infinite factor", "far away"],
)
def test_what_cannot_be_seen_draws_nothing(mean, factors):
    assert not draw(black(17, 23), (mean, factors)).any()


def test_partly_outside_is_cut_at_the_border():
    drawn = draw(black(1, 1), ((0.5, 5.5), (50.0, 0.0, 5.0)))
    assert drawn[0, 0].tolist() == [255, 255, 255]


def test_no_gaussians_give_the_canvas_back():
    canvas = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
    assert np.array_equal(draw(canvas), canvas)


def test_a_degenerate_factor_is_a_line():
    drawn = draw(black(21, 21), ((10.5, 10.5), (0.0, 0.0, 5.0)))
    ys, xs = np.nonzero(drawn[..., 0])
    assert set(xs) == {10}
    assert (ys.min(), ys.max()) == (5, 15)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("canvas", (np.zeros((4, 4)), np.zeros((1, 2)), np.zeros((1, 3)), np.zeros((1, 3)))),
        ("means_px", (black(4, 4), np.zeros((1, 3)), np.zeros((1, 3)), np.zeros((1, 3)))),
        ("cholesky_px", (black(4, 4), np.zeros((2, 2)), np.zeros((1, 3)), np.zeros((2, 3)))),
        ("colors", (black(4, 4), np.zeros((2, 2)), np.zeros((2, 3)), np.zeros((2, 4)))),
    ],
    ids=["canvas", "means", "cholesky", "colors"],
)
def test_wrong_shapes_are_refused_by_name(name, arguments):
    with pytest.raises(ValueError, match=f"{name} is .*expected"):
        draw_ellipses(*arguments)


@pytest.mark.parametrize("n_sigma", [0.0, -1.0, float("nan")])
def test_a_radius_not_above_zero_is_refused(n_sigma):
    with pytest.raises(ValueError, match=r"n_sigma is .*above 0"):
        draw(black(4, 4), ((2.0, 2.0), (1.0, 0.0, 1.0)), n_sigma=n_sigma)
