"""Densification: in training, Gaussians are added where the error stays when all frames are looked at together.

The canonical plane is divided into cells. The field takes each cell to its place in every frame; the residuals that it
meets there have a mean, which is what one more Gaussian in that cell could take off all frames alike.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample

from stgvcodec.fit.initialization import morton_order, systematic_sample
from stgvcodec.model.gaussians import MIN_DIAGONAL_PX, CanonicalGaussians
from stgvcodec.model.gop_model import Clock, GopParameters, GopSpec, deformed_px, frame_time, render

# The cells reach beyond the picture by this share of its size on each side: what comes into view later lies there.
_MARGIN = 0.2
# Width of a cell, pixels, where that makes no more cells than this.
_CELL_PX = 2.0
_MOST_CELLS = 1 << 20
# New Gaussians are spread by the energy of the mean residual to this power, are this wide, and take this share of it.
_ENERGY_EXPONENT = 0.75
_SIGMA_PX = 1.25
_COLOR_SHARE = 1.0 / 3.0


def mean_residual(
    parameters: GopParameters,
    spec: GopSpec,
    frames: Tensor,
    clock: Clock,
    *,
    known: Tensor | None = None,
    backend: str,
) -> Tensor:
    """Return what frames have beyond their pictures, for each cell of the canonical plane in the mean over frames.

    Args:
        parameters: Parameters of the GoP.
        spec: Dimensions of the GoP's model.
        frames: RGB frames of the GoP. [T, H, W, 3] uint8.
        clock: Times of the frames.
        known: Pixels of the frames that count; the residual of others is 0. None: all. [T, H, W] bool.
        backend: Back end of the operators.

    Returns:
        RGB on the scale of [0, 1], smoothed over a few pixels; what lies outside a frame counts as 0. [h, w, 3].
    """
    cells = _cells(spec, frames.device)
    n_rows, n_columns, _ = cells.shape
    # The field moves a cell as it would move a Gaussian that sits in it.
    means = cells.reshape(-1, 2)
    nothing = means.new_zeros(len(means), 3)
    movers = parameters._replace(means=means, cholesky=nothing, colors=nothing)
    size_px = means.new_tensor([spec.width, spec.height])
    total = means.new_zeros(1, 3, n_rows, n_columns)
    with torch.no_grad():
        for k in range(spec.n_frames):
            at = clock.at(torch.tensor([k], device=frames.device))
            picture = render(parameters, spec, [frame_time(k, spec.n_frames)], backend=backend)
            residual = (frames[k : k + 1] / 255.0 - picture.clamp(0.0, 1.0)).permute(0, 3, 1, 2)
            if known is not None:
                residual = residual * known[k]
            places_px = deformed_px(movers, spec, at, backend=backend)[0]
            places = (places_px / size_px * 2.0 - 1.0).view(1, n_rows, n_columns, 2)
            total += grid_sample(_smooth(_smooth(residual)), places, align_corners=False)
    return (total / spec.n_frames)[0].permute(1, 2, 0)


def densified_gaussians(
    gaussians: CanonicalGaussians, n_new: int, residual: Tensor, spec: GopSpec, rng: np.random.Generator
) -> CanonicalGaussians:
    """Add small Gaussians where the mean residual is large.

    Args:
        gaussians: N trained Gaussians.
        n_new: Number of Gaussians to add.
        residual: Result of `mean_residual`. [h, w, 3].
        spec: Dimensions of the GoP.
        rng: Generator that picks the places.

    Returns:
        N + n_new Gaussians with new parameters; the first N are the given ones, in their order.
    """
    n_rows, n_columns, _ = residual.shape
    energy = residual.square().sum(dim=2).reshape(-1).double().cpu().numpy() ** _ENERGY_EXPONENT
    order = morton_order(n_rows, n_columns)
    chosen = order[systematic_sample(energy[order] + np.finfo(np.float64).tiny, n_new, rng)]
    cells = _cells(spec, residual.device).reshape(-1, 2)
    picked = torch.from_numpy(chosen).to(residual.device)
    jitter = torch.from_numpy(rng.random((n_new, 2), dtype=np.float32) - np.float32(0.5)).to(residual.device)
    means = cells[picked] + jitter * _cell_size(spec, residual.device)
    cholesky = means.new_tensor([[_SIGMA_PX - MIN_DIAGONAL_PX, 0.0, _SIGMA_PX - MIN_DIAGONAL_PX]]).repeat(n_new, 1)
    colors = _COLOR_SHARE * residual.reshape(-1, 3)[picked]
    with torch.no_grad():
        return CanonicalGaussians(
            torch.cat((gaussians.means, means)),
            torch.cat((gaussians.cholesky, cholesky)),
            torch.cat((gaussians.colors, colors)),
            width=spec.width,
            height=spec.height,
            means_space=gaussians.means_space,
        )


def _smooth(images: Tensor) -> Tensor:
    """Average over three by three pixels. [B, C, H, W]."""
    return avg_pool2d(images, 3, stride=1, padding=1, count_include_pad=False)


def _cell_px(spec: GopSpec) -> float:
    """Width and height of a cell, pixels."""
    n_pixels = spec.width * spec.height * (1.0 + 2.0 * _MARGIN) ** 2
    return max(_CELL_PX, math.sqrt(n_pixels / _MOST_CELLS))


def _cell_size(spec: GopSpec, device: torch.device) -> Tensor:
    """(width, height) of a cell in the units of the means, in which a picture is 2 wide and high. [2]."""
    return torch.tensor([2.0 / spec.width, 2.0 / spec.height], device=device) * _cell_px(spec)


def _cells(spec: GopSpec, device: torch.device) -> Tensor:
    """Centres of the cells, row by row, in the units of the means. [h, w, 2]."""
    cell_px = _cell_px(spec)

    def centres(size_px: int) -> npt.NDArray[np.float32]:
        n = max(1, round((1.0 + 2.0 * _MARGIN) * size_px / cell_px))
        return ((np.arange(n) - (n - 1) / 2.0) * (2.0 * cell_px / size_px)).astype(np.float32)

    y, x = (torch.from_numpy(centres(size)).to(device) for size in (spec.height, spec.width))
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    return torch.stack((columns, rows), dim=2)
