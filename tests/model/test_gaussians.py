from __future__ import annotations

import pytest
import torch
from tolerances import F64, approx, assert_close

from stgvcodec.model.gaussians import MIN_DIAGONAL_PX, CanonicalGaussians, axis_scales, bounded_cholesky, scale_splats
from stgvcodec.ops.rasterize import rasterize


def covariance(cholesky: torch.Tensor) -> torch.Tensor:
    """Sigma = L L^T, Eq. (1). [N, 3] -> [N, 2, 2]."""
    l1, l2, l3 = cholesky.unbind(1)
    factor = torch.stack((torch.stack((l1, torch.zeros_like(l1)), 1), torch.stack((l2, l3), 1)), 1)
    return factor @ factor.transpose(1, 2)


RAW = torch.tensor(
    [[2.0, -1.0, 3.0], [0.0, 0.7, 0.0], [-4.0, 5.0, -0.1], [1e4, -1e4, 1e-6], [-0.0, 0.0, 0.25]], dtype=torch.float64
)


def test_diagonal_is_half_a_pixel_plus_the_positive_part():
    bounded = bounded_cholesky(RAW)

    assert torch.equal(bounded[:, 0], 0.5 + RAW[:, 0].clamp_min(0))
    assert torch.equal(bounded[:, 1], RAW[:, 1])
    assert torch.equal(bounded[:, 2], 0.5 + RAW[:, 2].clamp_min(0))
    assert bounded[:, [0, 2]].min() == MIN_DIAGONAL_PX


@pytest.mark.parametrize("low_pass", [0.0, 0.3, 7.0])
def test_low_pass_adds_s_times_the_identity(low_pass):
    expected = covariance(bounded_cholesky(RAW)) + low_pass * torch.eye(2, dtype=torch.float64)

    assert_close(covariance(bounded_cholesky(RAW, low_pass)), expected, "covariance")


@pytest.mark.parametrize(
    ("raw", "upstream", "expected"),
    [
        pytest.param(1.0, 2.0, 2.0, id="above the bound, shrinking"),
        pytest.param(1.0, -2.0, -2.0, id="above the bound, growing"),
        pytest.param(-1.0, -2.0, -2.0, id="below the bound, lifted back"),
        pytest.param(-1.0, 2.0, 0.0, id="below the bound, not pushed further"),
    ],
)
def test_gradient_of_the_bound(raw, upstream, expected):
    cholesky = torch.tensor([[raw, 0.0, raw]], requires_grad=True)

    bounded_cholesky(cholesky).backward(torch.tensor([[upstream, 1.0, upstream]]))

    assert cholesky.grad.tolist() == [[expected, 1.0, expected]]


def test_descent_brings_a_value_back_over_the_bound():
    cholesky = torch.tensor([[-0.5, 0.0, 1.0]], requires_grad=True)
    optimizer = torch.optim.SGD([cholesky], lr=0.2)
    for _ in range(60):
        optimizer.zero_grad()
        (bounded_cholesky(cholesky)[0, 0] - 2.0).square().backward()
        optimizer.step()

    assert bounded_cholesky(cholesky)[0, 0].item() == approx(2.0, "bound, after descent")


@pytest.mark.parametrize("scale", [1.0, 1.5, 4.0, (1.0, 3.0), (2.5, 1.5)])
def test_enlarging_scales_factors_and_keeps_colours(scale):
    cholesky, colors = torch.tensor([[2.0, -1.0, 3.0]]), torch.randn(2, 1, 3)

    scaled, scaled_colors = scale_splats(cholesky, colors, scale)

    x, y = axis_scales(scale)
    assert torch.equal(scaled, cholesky * torch.tensor([x, y, y]))
    assert torch.equal(scaled_colors, colors)


def test_an_enlarged_picture_is_the_same_picture_sampled_more_finely():
    """At scale 3 the centre of every third pixel is a centre of the original."""
    generator = torch.Generator().manual_seed(0)
    means = torch.rand(1, 9, 2, generator=generator) * torch.tensor([20.0, 14.0])
    cholesky = bounded_cholesky(torch.rand(9, 3, generator=generator) * 2)
    colors = torch.randn(1, 9, 3, generator=generator)

    image = rasterize(means, cholesky, colors, height=14, width=20, backend="reference")
    large_cholesky, large_colors = scale_splats(cholesky, colors, 3.0)
    large = rasterize(means * 3, large_cholesky, large_colors, height=42, width=60, backend="reference")

    assert_close(large[:, 1::3, 1::3], image, "picture, enlarged")


@pytest.mark.parametrize("scale", [0.9, 0.5, 0.1, (0.5, 2.0), (1.0, 0.25)])
def test_reducing_conserves_each_integral(scale):
    """Integral = 2 pi det(L) c: in output pixels it falls with the area of a pixel and with nothing else."""
    cholesky = torch.tensor([[2.0, -1.0, 3.0], [0.5, 0.0, 0.5], [0.5, 9.0, 0.6]], dtype=torch.float64)
    colors = torch.randn(2, 3, 3, dtype=torch.float64)

    reduced, reduced_colors = scale_splats(cholesky, colors, scale)

    area = cholesky[:, 0] * cholesky[:, 2]
    reduced_area = reduced[:, 0] * reduced[:, 2]
    axes = torch.tensor(axis_scales(scale), dtype=torch.float64)
    torch.testing.assert_close(reduced_colors * reduced_area[:, None], colors * (area * axes.prod())[:, None])
    # Widened along each axis that is reduced, so that the narrowest still spans its output pixel.
    widening = covariance(reduced) - covariance(cholesky) * torch.outer(axes, axes)
    expected = torch.diag(MIN_DIAGONAL_PX**2 * (1 - axes**2).clamp_min(0))
    assert_close(widening, expected.expand(3, 2, 2), "covariance, reduced")


@pytest.mark.parametrize("means_space", ["pixels", "tanh"])
def test_means_come_back_from_either_training_space(means_space):
    means = torch.tensor([[-0.99, 0.99], [0.0, 0.0], [0.25, -0.7]])
    gaussians = CanonicalGaussians(
        means, torch.zeros(3, 3), torch.zeros(3, 3), width=63, height=37, means_space=means_space
    )

    assert_close(gaussians.means, means, "means")


def test_raw_means_in_pixels_are_pixels():
    means = torch.tensor([[-1.0, -1.0], [1.0, 1.0], [0.0, 0.5], [1.5, -2.0]])
    gaussians = CanonicalGaussians(means, torch.zeros(4, 3), torch.zeros(4, 3), width=64, height=48)

    expected = torch.tensor([[0, 0], [64, 48], [32, 36], [80, -24]], dtype=F64)  # outside the picture too
    assert_close(gaussians.raw_means, expected, "means, raw")


def test_parameters_are_copies_of_what_was_given():
    means, cholesky, colors = torch.zeros(2, 2), torch.ones(2, 3), torch.ones(2, 3)
    gaussians = CanonicalGaussians(means, cholesky, colors, width=8, height=8)
    with torch.no_grad():
        gaussians.cholesky.add_(1)
        gaussians.colors.add_(1)

    assert torch.equal(cholesky, torch.ones(2, 3))
    assert torch.equal(colors, torch.ones(2, 3))
