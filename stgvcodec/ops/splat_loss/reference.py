"""The loss in plain torch, around the reference or the numba rasteriser."""

from __future__ import annotations

from torch import Tensor

from stgvcodec.ops.rasterize import rasterize


def splat_loss(
    means: Tensor,
    cholesky: Tensor,
    colors: Tensor,
    frames: Tensor,
    picked: Tensor,
    known: Tensor | None,
    dssim_weight: float,
    *,
    backend: str,
) -> tuple[Tensor, Tensor]:
    """Twin of `stgvcodec.ops.splat_loss.splat_loss`, for checked inputs and a rasteriser that does not list pairs."""
    _, height, width, _ = frames.shape
    image = rasterize(means, cholesky, colors, height=height, width=width, backend=backend)
    target = frames.index_select(0, picked).to(image.dtype) / 255.0
    residual = image - target
    if known is not None:
        residual = residual * known.index_select(0, picked)[..., None]
    mse = residual.square().mean()
    return with_dssim(mse, image, frames, picked, dssim_weight, backend), mse.detach()


def with_dssim(mse: Tensor, image: Tensor, frames: Tensor, picked: Tensor, dssim_weight: float, backend: str) -> Tensor:
    """Compute (1 - dssim_weight) mse + dssim_weight dssim."""
    if dssim_weight == 0.0:
        return mse
    from stgvcodec.ops.dssim import dssim

    return (1.0 - dssim_weight) * mse + dssim_weight * dssim(image, frames, picked, backend=backend)
