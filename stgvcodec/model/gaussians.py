"""Canonical 2D Gaussians: their parameters, their units, and how the transmitted factors become covariances (Eq. 1)."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TypeAlias

import torch
from torch import Tensor, nn

from stgvcodec.model.spaces import MeansSpace
from stgvcodec.ops.lower_bound import lower_bound

# Smallest diagonal entry of a Cholesky factor, pixels; part of the format.
MIN_DIAGONAL_PX = 0.5

Scale: TypeAlias = float | tuple[float, float]
"""Output size over encoded size: one number, or one along x and one along y."""


class CanonicalGaussians(nn.Module):
    """Trainable canonical Gaussians of one GoP.

    The means are trained either in pixels, so that a learning rate is a distance, or, as in the paper, through tanh;
    outside this class they are always in [-1, 1]^2 over the picture.

    Attributes:
        raw_means: Means in the training space. [N, 2] float32.
        cholesky: (l1, l2, l3) before the lower bound of `bounded_cholesky`, pixels. [N, 3] float32.
        colors: Weighted RGB, unbounded. [N, 3] float32.
    """

    def __init__(
        self,
        means: Tensor,
        cholesky: Tensor,
        colors: Tensor,
        *,
        width: int,
        height: int,
        means_space: MeansSpace = "pixels",
    ) -> None:
        """Wrap initial values as parameters.

        Args:
            means: Centres in [-1, 1]^2. [N, 2] float32.
            cholesky: Unbounded factors, pixels. [N, 3] float32.
            colors: Weighted RGB. [N, 3] float32.
            width: Picture width, pixels.
            height: Picture height, pixels.
            means_space: "pixels" or "tanh".
        """
        super().__init__()
        self.means_space = means_space
        self.size_px: Tensor
        self.register_buffer("size_px", torch.tensor([width, height], dtype=means.dtype, device=means.device))
        self._per_px: Tensor
        # There is a row for each Gaussian, since torch on a CPU takes several times as long where rows are broadcast.
        per_px = (2.0 / self.size_px).expand(means.shape).contiguous()
        self.register_buffer("_per_px", per_px, persistent=False)
        self.raw_means = nn.Parameter(self._to_training_space(means))
        self.cholesky = nn.Parameter(cholesky.clone())
        self.colors = nn.Parameter(colors.clone())

    @property
    def means(self) -> Tensor:
        """Centres in [-1, 1]^2 over the picture; may lie outside. [N, 2]."""
        if self.means_space == "tanh":
            return torch.tanh(self.raw_means)
        return self.raw_means * self._per_px - 1.0

    def _to_training_space(self, means: Tensor) -> Tensor:
        if self.means_space == "tanh":
            return torch.atanh(means.clamp(-0.999999, 0.999999))
        return (means + 1.0) * (self.size_px / 2.0)


@lru_cache(maxsize=8)
def _bounds(n: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Floor and offset of (l1, l2, l3), n rows, which are cached since a CUDA graph cannot copy them from the host."""
    with torch.inference_mode(False):
        floor = torch.tensor([[0.0, -math.inf, 0.0]], dtype=dtype, device=device)
        offset = torch.tensor([[MIN_DIAGONAL_PX, 0.0, MIN_DIAGONAL_PX]], dtype=dtype, device=device)
        return floor.repeat(n, 1), offset.repeat(n, 1)


def bounded_cholesky(cholesky: Tensor, low_pass: float = 0.0) -> Tensor:
    """Return the factors as rendered: diagonal at least `MIN_DIAGONAL_PX`, covariance with the low pass added.

    Args:
        cholesky: Transmitted (l1, l2, l3), pixels. [N, 3].
        low_pass: s in Sigma = L L^T + s I, square pixels, >= 0.

    Returns:
        (l1, l2, l3) with l1, l3 >= MIN_DIAGONAL_PX, pixels. [N, 3].
    """
    # On a CPU there is a row for each Gaussian, since torch takes several times as long there where rows are broadcast.
    # On a GPU there is one row, which stays in the cache for as long as a graph may read it.
    n_rows = len(cholesky) if cholesky.device.type == "cpu" else 1
    floor, offset = _bounds(n_rows, cholesky.dtype, cholesky.device)
    bounded = lower_bound(cholesky, floor) + offset
    if low_pass > 0:
        l1, l2, l3 = bounded.unbind(1)
        bounded = torch.stack(_add_variances(l1, l2, l3, low_pass, low_pass), dim=1)
    return bounded


def axis_scales(scale: Scale) -> tuple[float, float]:
    """Return the scales along x and y."""
    return scale if isinstance(scale, tuple) else (scale, scale)


def scale_splats(cholesky: Tensor, colors: Tensor, scale: Scale) -> tuple[Tensor, Tensor]:
    """Scale Gaussians for a picture that is rendered `scale` times as large.

    Enlarging scales the factors. Reducing also widens each Gaussian by the footprint of the larger output pixel, and
    lowers its weight so that its integral stays; without that, details finer than the new pixels would alias. Each axis
    is enlarged or reduced by itself.

    Args:
        cholesky: (l1, l2, l3) in pixels of the encoded size. [N, 3], or [B, N, 3] if each frame has its own.
        colors: Weighted RGB. [B, N, 3].
        scale: Output size over encoded size, or that along x and along y, > 0.

    Returns:
        Factors in output pixels, in the shape of `cholesky`, and colours [B, N, 3].
    """
    x, y = axis_scales(scale)
    if x == y == 1.0:
        return cholesky, colors
    l1, l2, l3 = cholesky.unbind(-1)
    l1, l2, l3 = l1 * x, l2 * y, l3 * y
    if x >= 1.0 and y >= 1.0:
        return torch.stack((l1, l2, l3), dim=-1), colors
    area = l1 * l3
    widened = _add_variances(l1, l2, l3, added_variance(x), added_variance(y))
    gain = area / (widened[0] * widened[2])
    return torch.stack(widened, dim=-1), colors * gain[..., None]


def added_variance(scale: float) -> float:
    """Return the variance that `scale_splats` adds along an axis, square pixels of the output.

    The encoded picture was sampled with a footprint of MIN_DIAGONAL_PX of its own pixels; this makes up the difference.
    """
    return MIN_DIAGONAL_PX**2 * max(0.0, 1.0 - scale * scale)


def _add_variances(l1: Tensor, l2: Tensor, l3: Tensor, x: float, y: float) -> tuple[Tensor, Tensor, Tensor]:
    """Cholesky factor of L L^T + diag(x, y)."""
    # l3'^2 = l2^2 + l3^2 + y - l2'^2 cancels for long thin Gaussians; with r = l2 / l1' it is a sum of positive terms.
    m1 = torch.sqrt(l1 * l1 + x)
    ratio = l2 / m1
    return m1, l1 * ratio, torch.sqrt(l3 * l3 + y + x * ratio * ratio)
