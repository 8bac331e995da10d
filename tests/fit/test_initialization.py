from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from clips import moving_clip
from tolerances import approx, assert_close

from stgvcodec.fit.initialization import detail_density, initial_gaussians
from stgvcodec.model.gaussians import CanonicalGaussians, bounded_cholesky
from stgvcodec.ops.rasterize import rasterize


def picture(width: int = 48, height: int = 32) -> torch.Tensor:
    return torch.from_numpy(moving_clip(1, width, height)[0]).float() / 255


def initialize(frame: torch.Tensor, n: int, method: str = "content", seed: int = 0) -> CanonicalGaussians:
    rng = np.random.default_rng(seed)
    return initial_gaussians(frame, n, method=method, rng=rng, means_space="pixels", backend="reference")


def rendered(gaussians: CanonicalGaussians) -> torch.Tensor:
    """The picture, of 48x32 pixels. [32, 48, 3]."""
    means_px = (gaussians.means[None] + 1) / 2 * torch.tensor([48, 32])
    factors = bounded_cholesky(gaussians.cholesky)
    return rasterize(means_px, factors, gaussians.colors[None], height=32, width=48, backend="reference")[0]


def rendered_psnr_db(gaussians: CanonicalGaussians, frame: torch.Tensor) -> float:
    return -10 * math.log10(float(((rendered(gaussians).detach().clamp(0, 1) - frame) ** 2).mean()))


@pytest.mark.parametrize("method", ["content", "random"])
def test_same_seed_same_gaussians(method):
    first, again, other = (initialize(picture(), 50, method, seed) for seed in (7, 7, 8))

    for a, b in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first.raw_means, other.raw_means)


def test_content_is_a_better_start_than_random():
    frame = picture()

    content, random = (rendered_psnr_db(initialize(frame, 150, method), frame) for method in ("content", "random"))

    assert content > random + 5
    assert content > 15


def test_positions_follow_detail():
    """The left half of the picture is flat, and the right half is a fine pattern."""
    frame = torch.full((32, 48, 3), 0.5)
    frame[:, 24:] = (torch.rand(32, 24, 1, generator=torch.Generator().manual_seed(0)) > 0.5).float()

    means = initialize(frame, 200).means.detach()
    widths = initialize(frame, 200).cholesky.detach()[:, 0]

    on_detail = means[:, 0] > 0
    assert on_detail.float().mean() > 0.7
    # Some remain for the flat half, larger ones.
    assert (~on_detail).sum() > 10
    assert widths[~on_detail].mean() > 1.5 * widths[on_detail].mean()


def test_positions_lie_inside_the_picture():
    means = initialize(picture(63, 37), 500).means.detach()

    assert means.min() >= -1
    assert means.max() <= 1


@pytest.mark.parametrize("colour", [(0.0, 0.0, 0.0), (0.2, 0.5, 0.9), (1.0, 1.0, 1.0)])
def test_a_flat_picture_starts_near_its_colour(colour):
    image = rendered(initialize(torch.tensor(colour).expand(32, 48, 3).contiguous(), 100))

    assert_close(image[4:-4, 4:-4].mean(dim=(0, 1)), torch.tensor(colour), "colour of a start")


def test_random_covers_the_ranges_of_the_paper():
    gaussians = initialize(picture(), 2000, "random")
    means, cholesky, colors = (tensor.detach() for tensor in (gaussians.means, gaussians.cholesky, gaussians.colors))

    for tensor, low, high in ((means, -1, 1), (cholesky, 0, 1), (colors, 0, 1)):
        assert low <= tensor.min() < low + 0.05
        assert high - 0.05 < tensor.max() <= high


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 9), (17, 9), (63, 37)])
@pytest.mark.parametrize("n_gaussians", [1, 33])
@pytest.mark.parametrize("method", ["content", "random"])
def test_any_size_and_number(width, height, n_gaussians, method):
    gaussians = initialize(picture(width, height), n_gaussians, method)

    assert gaussians.raw_means.shape == (n_gaussians, 2)
    for parameter in gaussians.parameters():
        assert torch.isfinite(parameter).all()


def test_means_space_is_as_asked():
    rng = np.random.default_rng(0)
    gaussians = initial_gaussians(picture(), 20, method="content", rng=rng, means_space="tanh", backend="reference")

    assert gaussians.means_space == "tanh"
    assert_close(gaussians.means, initialize(picture(), 20).means, "means, moved")


def test_detail_density_is_a_distribution_that_is_nowhere_zero():
    density = detail_density(picture())

    assert density.shape == (32, 48)
    assert float(density.sum()) == approx(1.0, "density, sum")
    assert density.min() > 0


def test_detail_density_of_a_flat_picture_is_uniform():
    density = detail_density(torch.full((5, 7, 3), 0.3))

    torch.testing.assert_close(density, torch.full((5, 7), 1 / 35))
