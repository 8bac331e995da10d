"""Changing the number of Gaussians of a trained set: drop those that matter least, split those that matter most."""

from __future__ import annotations

import torch
from torch import Tensor

from stgvcodec.model.gaussians import MIN_DIAGONAL_PX, CanonicalGaussians, bounded_cholesky
from stgvcodec.model.gop_model import GopSpec

# Children of a split sit this many standard deviations from their parent along its long axis, and are this much
# narrower than it, so that their sum is nearly the parent; training then draws them apart.
_SPLIT_OFFSET_SIGMAS = 0.2
_SPLIT_SHRINK = 0.98


def resized_gaussians(gaussians: CanonicalGaussians, n_gaussians: int, spec: GopSpec) -> CanonicalGaussians:
    """Make `n_gaussians` Gaussians that render as close to the given ones as simple edits allow.

    Args:
        gaussians: N trained Gaussians.
        n_gaussians: Number of Gaussians wanted, at least 1 and at most 2 N.
        spec: Dimensions of the GoP.

    Returns:
        A new set with new parameters; Gaussians that are kept keep their order.
    """
    with torch.no_grad():
        order = by_importance(gaussians, spec.low_pass)
        n = order.shape[0]
        if n_gaussians <= n:
            kept = order[:n_gaussians].sort().values
            parts = (gaussians.means[kept], gaussians.cholesky[kept], gaussians.colors[kept])
        else:
            parents = order[: n_gaussians - n].sort().values
            parts = _split(gaussians, parents)
    return CanonicalGaussians(*parts, width=spec.width, height=spec.height, means_space=gaussians.means_space)


def by_importance(gaussians: CanonicalGaussians, low_pass: float = 0.0) -> Tensor:
    """Indices by falling energy of the splats, |c|^2 times area, which the picture would lose if none overlapped."""
    cholesky = bounded_cholesky(gaussians.cholesky, low_pass)
    energy = (gaussians.colors**2).sum(1) * cholesky[:, 0] * cholesky[:, 2]
    return torch.argsort(energy, descending=True, stable=True)


def _split(gaussians: CanonicalGaussians, parents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    means, cholesky, colors = gaussians.means.clone(), gaussians.cholesky.clone(), gaussians.colors.clone()
    factors = bounded_cholesky(cholesky[parents])
    # A column of L is a displacement of one standard deviation; take the longer of the two.
    first, second = factors[:, :2], torch.stack((torch.zeros_like(factors[:, 2]), factors[:, 2]), dim=1)
    longer = torch.where((first.norm(dim=1) >= second.norm(dim=1))[:, None], first, second)
    offset = longer * (2.0 / gaussians.size_px) * _SPLIT_OFFSET_SIGMAS  # [-1, 1] units
    # Each of the two children has this size and half the parent's integral.
    child_cholesky = factors * _SPLIT_SHRINK
    child_cholesky[:, [0, 2]] -= MIN_DIAGONAL_PX
    child_colors = colors[parents] * (0.5 / _SPLIT_SHRINK**2)
    centre = means[parents]
    means[parents], cholesky[parents], colors[parents] = centre - offset, child_cholesky, child_colors
    return (
        torch.cat((means, centre + offset)),
        torch.cat((cholesky, child_cholesky)),
        torch.cat((colors, child_colors)),
    )
