"""Densification by the error of one frame, for the ablation: it did not pay (docs/decisions/0010).

What the package does instead, by the mean error of all frames, is stgvcodec/fit/densification.py (decision 0016).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from stgvcodec.fit.initialization import morton_order, round_factors, systematic_sample
from stgvcodec.fit.resize import by_importance
from stgvcodec.fit.trainer import GopTrainer
from stgvcodec.model.gaussians import CanonicalGaussians
from stgvcodec.model.gop_model import frame_time, render

# New Gaussians go where the error is, but for this share that is spread evenly, and start with this share of it.
_EVEN_SHARE = 0.1
_NEW_COLOR_SHARE = 0.5


def densify(trainer: GopTrainer, key_frame: Tensor, k: int, n_gaussians: int, *, n_dropped: int, seed: int) -> None:
    """Add Gaussians where frame k [H, W, 3] uint8 is worst, after dropping the `n_dropped` that matter least."""
    with torch.no_grad():
        image = render(trainer.model.gop_parameters(), trainer.spec, [frame_time(k, trainer.spec.n_frames)])[0]
        residual = key_frame.to(image.device) / 255.0 - image
    rng = np.random.default_rng(seed)
    trainer.replace_gaussians(
        densified_gaussians(trainer.model.gaussians, n_gaussians, residual, n_dropped=n_dropped, rng=rng)
    )


def densified_gaussians(
    gaussians: CanonicalGaussians,
    n_gaussians: int,
    residual: Tensor,
    *,
    n_dropped: int,
    rng: np.random.Generator,
) -> CanonicalGaussians:
    """The set with new Gaussians where a picture of it is worst, so that there are `n_gaussians`.

    Args:
        gaussians: A trained set.
        n_gaussians: Size wanted.
        residual: The source less its picture, near the canonical time. [H, W, 3].
        n_dropped: How many of the set to drop first, those that matter least.
        rng: Draws the places.
    """
    height, width, _ = residual.shape
    with torch.no_grad():
        error = residual.square().sum(dim=2)[None, None]
        smooth = avg_pool2d(error, 5, stride=1, padding=2, count_include_pad=False)[0, 0]
        density = (smooth / smooth.sum().clamp_min(1e-12) + _EVEN_SHARE / smooth.numel()).double().cpu().numpy()
        kept = by_importance(gaussians)[: gaussians.raw_means.shape[0] - n_dropped].sort().values
        n_new = n_gaussians - len(kept)
        order = morton_order(height, width)
        rows, columns = np.divmod(order[systematic_sample(density.ravel()[order], n_new, rng)], width)
        xy = np.stack((columns, rows), axis=1) + rng.random((n_new, 2))
        means = torch.from_numpy(xy.astype(np.float32)).to(residual.device) * (2.0 / gaussians.size_px) - 1.0
        colors = _NEW_COLOR_SHARE * residual[torch.from_numpy(rows), torch.from_numpy(columns)]
        parts = (
            torch.cat((gaussians.means[kept], means)),
            torch.cat((gaussians.cholesky[kept], round_factors(density[rows, columns] * n_new, residual.device))),
            torch.cat((gaussians.colors[kept], colors)),
        )
    return CanonicalGaussians(*parts, width=width, height=height, means_space=gaussians.means_space)
