"""gsplat's kernels as an outside truth: which tiles a Gaussian touches, and the picture of one that overlaps no other.

gsplat composites by alpha, so only where Gaussians don't overlap is its picture the plain sum: colour times
opacity * exp(-sigma) wherever that is 1/255 or more, without our support's offset of exp(-SIGMA_MAX).
"""

from __future__ import annotations

import math

import pytest
import torch
from tolerances import assert_close
from torch import Tensor

from stgvcodec.ops.rasterize import SIGMA_MAX, rasterize

pytestmark = pytest.mark.gpu

TILE, WIDTH, HEIGHT = 16, 1280, 640
OPACITY = 0.9  # exp(-SIGMA_MAX) * 0.9 is above 1/255, so that gsplat draws all of our support.


@pytest.fixture(scope="module")
def gsplat():
    module = pytest.importorskip("gsplat", reason="gsplat is not installed")
    try:
        isect_tiles_of(module, *grid_of_gaussians()[:2])
    except Exception as error:  # It builds with nvcc at its first use; where that fails there is nothing to compare.
        pytest.skip(f"gsplat does not build here: {type(error).__name__}")
    return module


def grid_of_gaussians() -> tuple[Tensor, Tensor, Tensor]:
    """Gaussians on a 40-pixel grid whose supports end within 19 px of their centres: means, cholesky, colors."""
    generator = torch.Generator().manual_seed(5)
    y, x = torch.meshgrid(torch.arange(20.0, HEIGHT, 40), torch.arange(20.0, WIDTH, 40), indexing="ij")
    means = torch.stack((x, y), dim=2).reshape(-1, 2)
    means = means + torch.rand(means.shape, generator=generator) - 0.5
    n = means.shape[0]
    l1, angle, l3 = torch.rand(3, n, generator=generator)
    cholesky = torch.stack((1 + 5 * l1, 6 * angle - 3, 1 + 4 * l3), dim=1)
    colors = torch.rand(n, 3, generator=generator)
    return means.cuda(), cholesky.cuda(), colors.cuda()


def reaches(cholesky: Tensor) -> Tensor:
    """Half width and half height of each support, pixels. [N, 2]."""
    l1, l2, l3 = cholesky.unbind(1)
    return math.sqrt(2 * SIGMA_MAX) * torch.stack((l1, torch.hypot(l2, l3)), dim=1)


def isect_tiles_of(gsplat, means: Tensor, cholesky: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    radii = reaches(cholesky).ceil().int()
    depths = torch.ones(1, means.shape[0], device=means.device)
    tiles = (-(-WIDTH // TILE), -(-HEIGHT // TILE))
    return gsplat.isect_tiles(means[None], radii[None], depths, TILE, *tiles)


def conics_of(cholesky: Tensor) -> Tensor:
    """Upper triangle of the inverse covariance. [N, 3]."""
    l1, l2, l3 = cholesky.unbind(1)
    sxx, sxy, syy = l1 * l1, l1 * l2, l2 * l2 + l3 * l3
    determinant = (l1 * l3) ** 2
    return torch.stack((syy / determinant, -sxy / determinant, sxx / determinant), dim=1)


def test_pictures_agree_where_nothing_overlaps(gsplat):
    means, cholesky, colors = grid_of_gaussians()
    _, ids, flat = isect_tiles_of(gsplat, means, cholesky)
    offsets = gsplat.isect_offset_encode(ids, 1, -(-WIDTH // TILE), -(-HEIGHT // TILE))
    opacities = torch.full((1, means.shape[0]), OPACITY, device=means.device)
    theirs, _ = gsplat.rasterize_to_pixels(
        means[None], conics_of(cholesky)[None], colors[None], opacities, WIDTH, HEIGHT, TILE, offsets, flat
    )
    ours = rasterize(means[None], cholesky, colors[None], height=HEIGHT, width=WIDTH, backend="triton")
    share = rasterize(means[None], cholesky, torch.ones_like(colors)[None], height=HEIGHT, width=WIDTH)
    inside = share > 1e-3
    # Our weight is exp(-sigma) less the offset; of a single Gaussian, ours / share is its colour.
    expected = torch.where(inside, ours + math.exp(-SIGMA_MAX) * ours / share, 0.0)

    assert inside.float().mean() > 0.1
    assert_close(torch.where(inside, theirs / OPACITY, 0.0), expected, "picture, gsplat")


def test_tiles_are_among_those_of_the_bounding_boxes(gsplat):
    """Every tile in which our picture of a Gaussian is not black is one that gsplat lists for it."""
    means, cholesky, _ = grid_of_gaussians()
    _, ids, flat = isect_tiles_of(gsplat, means, cholesky)
    n_x = -(-WIDTH // TILE)
    n_tile_bits = (n_x * -(-HEIGHT // TILE)).bit_length()
    listed = {(int(g), int(t)) for g, t in zip(flat, (ids >> 32) & ((1 << n_tile_bits) - 1), strict=True)}
    picked = torch.arange(0, means.shape[0], 37)
    for g in picked.tolist():
        one = (means[None, g : g + 1], cholesky[g : g + 1], torch.ones(1, 1, 3, device=means.device))
        image = rasterize(*one, height=HEIGHT, width=WIDTH, backend="triton")[0, :, :, 0]
        rows, columns = torch.nonzero(image, as_tuple=True)
        touched = {(g, int(r) // TILE * n_x + int(c) // TILE) for r, c in zip(rows, columns, strict=True)}
        assert touched
        assert touched <= listed
