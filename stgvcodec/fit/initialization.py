"""Initialisation of the canonical Gaussians: from the key frame's content, or at random as in the paper."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from stgvcodec.fit.paths import Border
from stgvcodec.model.gaussians import MIN_DIAGONAL_PX, CanonicalGaussians, bounded_cholesky
from stgvcodec.model.spaces import MeansSpace
from stgvcodec.ops.rasterize import rasterize

# This share of the Gaussians is spread evenly; the rest follows local detail. It was chosen on Bunny's first frame
# (benchmarks/initialization.py).
_UNIFORM_SHARE = 0.3
# Ratio of a Gaussian's standard deviation to the local spacing of the Gaussians.
_SIGMA_OVER_SPACING = 0.6
_MIN_OVERLAP = 0.1
_COLOR_ITERATIONS = 16
# Weight of the detail beside the key frame's picture, which is in view for only a part of the GoP.
_BESIDE_SHARE = 0.4


def initial_gaussians(
    key_frame: Tensor,
    n_gaussians: int,
    *,
    method: str,
    rng: np.random.Generator,
    means_space: MeansSpace,
    backend: str,
    beside: Sequence[Border] = (),
) -> CanonicalGaussians:
    """Return the canonical Gaussians from which training starts.

    Args:
        key_frame: RGB in [0, 1]. [H, W, 3] float32.
        n_gaussians: Number of Gaussians, N >= 1.
        method: "content" (positions follow local detail, colours the pixels, sizes the local density) or "random"
            (uniform positions, factors and colours, as in the paper).
        rng: Generator of everything random.
        means_space: Training space of the means.
        backend: Back end of the rasteriser.
        beside: Parts of other frames that lie beside the key frame's picture; "content" puts Gaussians there too.

    Returns:
        N Gaussians on the key frame's device.
    """
    height, width, _ = key_frame.shape
    if method == "content":
        means, cholesky, colors = _from_content(key_frame, n_gaussians, rng, backend, beside)
    else:
        assert method == "random"
        uniform = torch.from_numpy(rng.random((n_gaussians, 8), dtype=np.float32)).to(key_frame.device)
        means, cholesky, colors = uniform[:, :2] * 2.0 - 1.0, uniform[:, 2:5], uniform[:, 5:]
    return CanonicalGaussians(means, cholesky, colors, width=width, height=height, means_space=means_space)


def detail_density(frame: Tensor) -> Tensor:
    """Probability per pixel that a Gaussian is put there, from the local gradients. [H, W, 3] -> [H, W]."""
    luma = frame.mean(dim=2)[None, None]  # [1, 1, H, W]
    padded = torch.nn.functional.pad(luma, (1, 1, 1, 1), mode="replicate")
    dx = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    dy = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    magnitude = avg_pool2d(torch.sqrt(dx * dx + dy * dy), 5, stride=1, padding=2, count_include_pad=False)[0, 0]
    total = magnitude.sum()
    uniform = torch.full_like(magnitude, 1.0 / magnitude.numel())
    if not total > 0:
        return uniform
    return _UNIFORM_SHARE * uniform + (1.0 - _UNIFORM_SHARE) * magnitude / total


def _from_content(
    frame: Tensor, n_gaussians: int, rng: np.random.Generator, backend: str, beside: Sequence[Border]
) -> tuple[Tensor, Tensor, Tensor]:
    height, width, _ = frame.shape
    size_px = torch.tensor([width, height], dtype=torch.float32, device=frame.device)
    densities = [detail_density(frame).reshape(-1)]
    densities += [_BESIDE_SHARE * detail_density(border.picture).reshape(-1)[border.pixels] for border in beside]
    density = torch.cat(densities).double().cpu().numpy()
    # The pixels beside the picture come behind those in it, row by row.
    order = np.concatenate([morton_order(height, width), np.arange(height * width, len(density))])
    chosen = systematic_sample(density[order], n_gaussians, rng)
    places = order[chosen]
    picked = torch.from_numpy(places).to(frame.device)
    offset = torch.from_numpy(rng.random((n_gaussians, 2)).astype(np.float32)).to(frame.device)
    cholesky = round_factors(density[places] * (n_gaussians / density.sum()), frame.device)
    factors = bounded_cholesky(cholesky)

    def corners(pixels: Tensor) -> Tensor:
        return torch.stack((pixels % width, pixels // width), dim=1).float()

    # For pixels beside the picture these positions mean nothing; the loop below sets them.
    means_px = corners(picked) + offset
    is_inside = picked < height * width
    means_px[~is_inside] = -2.0 * size_px
    colors = _solved_colors(frame, means_px, factors, backend)
    first = height * width
    for border in beside:
        own = (picked >= first) & (picked < first + len(border.pixels))
        rank = picked[own] - first
        there_px = corners(border.pixels[rank]) + offset[own]
        means_px[own] = border.here_px[rank] + offset[own] - 0.5
        colors[own] = _solved_colors(border.picture, there_px, factors[own], backend)
        first += len(border.pixels)
    return means_px / size_px * 2.0 - 1.0, cholesky, colors


def round_factors(density: npt.NDArray[np.float64], device: torch.device) -> Tensor:
    """Unbounded Cholesky factors of round Gaussians, sized for `density` Gaussians a pixel. [N] -> [N, 3]."""
    spacing = 1.0 / np.sqrt(density)  # pixels
    diagonal = np.maximum(_SIGMA_OVER_SPACING * spacing - MIN_DIAGONAL_PX, 0.0).astype(np.float32)
    cholesky = torch.zeros(len(density), 3)
    cholesky[:, 0] = cholesky[:, 2] = torch.from_numpy(diagonal)
    return cholesky.to(device)


def _solved_colors(frame: Tensor, means_px: Tensor, factors: Tensor, backend: str) -> Tensor:
    """Solve for colours whose sum of splats comes close to the picture; the sum is linear in them.

    The method is SIRT (Gilbert 1972), c <- c + G^T (frame - G c) / G^T G 1; the rasteriser is G, its gradient G^T.
    """
    height, width, _ = frame.shape
    colors = torch.zeros(1, means_px.shape[0], 3, device=frame.device, requires_grad=True)

    def splat(values: Tensor) -> Tensor:
        return rasterize(means_px[None], factors, values, height=height, width=width, backend=backend)

    def gathered(image: Tensor, weight: Tensor) -> Tensor:
        # The same bits as by `grad_outputs=weight`, for which torch imports sympy, which takes a second.
        return torch.autograd.grad((image * weight).sum(), colors)[0]

    with torch.enable_grad():
        overlap = splat(colors + 1.0)
        share = gathered(overlap, overlap.detach()).clamp_min(_MIN_OVERLAP)  # [1, N, 3]
        for _ in range(_COLOR_ITERATIONS):
            image = splat(colors)
            colors.data += gathered(image, frame[None] - image.detach()) / share
    return colors.detach()[0]


def systematic_sample(
    density: npt.NDArray[np.float64], n_samples: int, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Draw indices into a density [P] at equal steps of its cumulative sum.

    If the density is ordered along a curve that stays among neighbouring pixels, the samples keep their distance, where
    independent draws would clump.
    """
    cumulative = np.cumsum(density)
    targets = (np.arange(n_samples) + rng.random()) * (cumulative[-1] / n_samples)
    chosen: npt.NDArray[np.int64] = np.minimum(np.searchsorted(cumulative, targets), len(density) - 1)
    return chosen


# The GoPs of a video share two cached orders: that of the pictures, which takes 64 MiB at 2160p, and that of the cells
# of densification.
@lru_cache(maxsize=2)
def morton_order(height: int, width: int) -> npt.NDArray[np.int64]:
    """Pixels of a picture, numbered row by row, in the order of a Morton curve. [H * W]."""
    rows, columns = np.mgrid[0:height, 0:width]
    n_bits = max(1, math.ceil(math.log2(max(height, width, 2))))
    code = np.zeros(height * width, dtype=np.int64)
    for bit in range(n_bits):
        code |= ((columns.ravel() >> bit) & 1) << (2 * bit) | ((rows.ravel() >> bit) & 1) << (2 * bit + 1)
    return np.argsort(code)
