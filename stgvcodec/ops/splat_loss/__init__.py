"""Loss of splatted pictures against 8-bit frames, as one operator. README.md says why it is one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from stgvcodec.ops.backends import select
from stgvcodec.ops.rasterize import PairBudget, check_inputs


def splat_loss(
    means: Tensor,
    cholesky: Tensor,
    colors: Tensor,
    frames: Tensor,
    picked: Tensor,
    *,
    known: Tensor | None = None,
    dssim_weight: float = 0.0,
    backend: str = "auto",
    budget: PairBudget | None = None,
) -> tuple[Tensor, Tensor]:
    """Compute the loss of B pictures of Gaussians against the frames that they should show.

    With C the pictures of `rasterize` (not clamped: that would kill gradients) and F = frames[picked] / 255,

        mse = mean((C - F)^2),   loss = (1 - dssim_weight) mse + dssim_weight dssim(C, F).

    Where only a part of the pixels is known, C - F counts as 0 at the others.

    Args:
        means: Centres, pixels. [B, N, 2].
        cholesky: Lower factor (l1, l2, l3) of the covariance, pixels. [N, 3] if the frames share it, [B, N, 3] if each
            frame has its own.
        colors: Weighted RGB. [B, N, 3].
        frames: RGB frames of the GoP; the pictures have their size. [T, H, W, 3] uint8.
        picked: Index in `frames` of each picture's frame, in [0, T), which is not checked. [B] int64.
        known: Pixels of `frames` that are known; None: all of them. [T, H, W] bool.
        dssim_weight: Weight of `stgvcodec.ops.dssim` in the loss, in [0, 1]; 0 with `known`.
        backend: "auto", "reference", "numba" (CPU, float32) or "triton" (CUDA, float32); "auto" takes the reference
            for float64.
        budget: Room for the pairs that "triton" lists, which `stgvcodec.ops.rasterize.rasterize` describes.

    Returns:
        loss: Loss, with a gradient. [], dtype of `means`.
        mse: Mean squared error, without a gradient. [], dtype of `means`.

    Raises:
        ValueError: a shape, dtype or device differs from the above, or dssim_weight is not in [0, 1], or not 0 with
            `known`.
        BackendUnavailableError: the back end that was asked for cannot run on this machine or in this release.
    Gradients: of loss, to means, cholesky and colors. Deterministic: on triton up to the order in which the Gaussians
        of a tile are added, as in `rasterize` with gradients; on other back ends as `rasterize`.
    """
    _check(means, frames, picked, known, dssim_weight)
    check_inputs(means, cholesky, colors, frames.shape[1], frames.shape[2], budget)
    if backend == "auto" and means.dtype == torch.float64:
        backend = "reference"
    implementation = select(_IMPLEMENTATIONS, backend, means.device)
    return implementation(means, cholesky, colors, frames, picked, known, dssim_weight, budget)


def _reference(
    means: Tensor,
    cholesky: Tensor,
    colors: Tensor,
    frames: Tensor,
    picked: Tensor,
    known: Tensor | None,
    dssim_weight: float,
    _: PairBudget | None,
) -> tuple[Tensor, Tensor]:
    from stgvcodec.ops.splat_loss import reference

    return reference.splat_loss(means, cholesky, colors, frames, picked, known, dssim_weight, backend="reference")


def _numba(
    means: Tensor,
    cholesky: Tensor,
    colors: Tensor,
    frames: Tensor,
    picked: Tensor,
    known: Tensor | None,
    dssim_weight: float,
    _: PairBudget | None,
) -> tuple[Tensor, Tensor]:
    from stgvcodec.ops.splat_loss import numba_kernel

    return numba_kernel.splat_loss(means, cholesky, colors, frames, picked, known, dssim_weight)


def _triton(
    means: Tensor,
    cholesky: Tensor,
    colors: Tensor,
    frames: Tensor,
    picked: Tensor,
    known: Tensor | None,
    dssim_weight: float,
    budget: PairBudget | None,
) -> tuple[Tensor, Tensor]:
    from stgvcodec.ops.splat_loss import triton_kernel

    return triton_kernel.splat_loss(means, cholesky, colors, frames, picked, known, dssim_weight, budget)


_Implementation = Callable[
    [Tensor, Tensor, Tensor, Tensor, Tensor, Tensor | None, float, PairBudget | None], tuple[Tensor, Tensor]
]

# Each back end is imported at its first use, as in `stgvcodec.ops.rasterize`.
_IMPLEMENTATIONS: dict[str, _Implementation] = {"reference": _reference, "numba": _numba, "triton": _triton}


def _check(means: Tensor, frames: Tensor, picked: Tensor, known: Tensor | None, dssim_weight: float) -> None:
    if means.ndim != 3 or means.shape[0] == 0:
        raise ValueError(f"means has shape {list(means.shape)}, expected [B, N, 2] with at least one frame")
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != torch.uint8 or frames.numel() == 0:
        raise ValueError(f"frames is {frames.dtype} {list(frames.shape)}, expected torch.uint8 [T, H, W, 3], not empty")
    if list(picked.shape) != [means.shape[0]] or picked.dtype != torch.int64:
        raise ValueError(
            f"picked is {picked.dtype} {list(picked.shape)}, expected torch.int64 [{means.shape[0]}], a frame a picture"
        )
    if known is not None and (known.shape != frames.shape[:3] or known.dtype != torch.bool):
        raise ValueError(f"known is {known.dtype} {list(known.shape)}, expected torch.bool {list(frames.shape[:3])}")
    for name, tensor in (("frames", frames), ("picked", picked), ("known", known)):
        if tensor is not None and tensor.device != means.device:
            raise ValueError(f"{name} is on {tensor.device}, expected {means.device} as means; move one of them")
    if not 0.0 <= dssim_weight <= 1.0:
        raise ValueError(f"dssim_weight is {dssim_weight}, expected a number in [0, 1]")
    if known is not None and dssim_weight:
        raise ValueError(f"dssim_weight is {dssim_weight}, expected 0 where pixels are left out of the loss")
