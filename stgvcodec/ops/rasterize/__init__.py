"""Splatting: the plain, order-free sum of 2D Gaussians over a pixel grid. The maths is in README.md."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from stgvcodec.ops.backends import select
from stgvcodec.ops.rasterize.pair_budget import PairBudget

__all__ = ["MAX_MAGNITUDE", "MIN_SCALE_PX", "SIGMA_MAX", "PairBudget", "rasterize", "rasterize_uint8"]

SIGMA_MAX = 4.5
"""Value of sigma at which a Gaussian ends, three standard deviations out. The format fixes it."""

MIN_SCALE_PX = 2.0**-20
"""Smallest l1 and l3 of a Gaussian that is drawn, pixels. A Gaussian with a smaller one contributes nothing."""

MAX_MAGNITUDE = 2.0**40
"""Largest magnitude of a Gaussian's numbers, below which no step overflows.

A Gaussian with a larger number, a NaN or an Inf contributes nothing.
"""


def rasterize(
    means: Tensor,
    cholesky: Tensor,
    colors: Tensor,
    *,
    height: int,
    width: int,
    backend: str = "auto",
    budget: PairBudget | None = None,
) -> Tensor:
    """Sum Gaussians over a pixel grid, one picture for each of B frames.

    Implements Eq. (2) of arXiv 2604.10910 with the support of bitstream_spec.md:
    w = max(0, exp(-sigma) - exp(-SIGMA_MAX)), sigma = 0.5 |L^-1 d|^2 by forward substitution, d = pixel centre - mean.
    A Gaussian with a NaN, an Inf, a number beyond MAX_MAGNITUDE, or an l1 or l3 under MIN_SCALE_PX contributes nothing
    (in the frames where it has one) and gets zero gradients there.

    Args:
        means: Centres, pixels, x right, y down; the centre of pixel (row i, column j) is (j + 0.5, i + 0.5). [B, N, 2].
        cholesky: Lower factor (l1, l2, l3) of the covariance, pixels, l1 and l3 > 0. [N, 3] if the frames share it,
            [B, N, 3] if each frame has its own.
        colors: Weighted RGB, unbounded, may be negative. [B, N, 3].
        height: Rows of the picture, pixels.
        width: Columns of the picture, pixels.
        backend: "auto", "reference", "numba" (CPU, float32) or "triton" (CUDA, float32); "auto" takes the reference
            for float64.
        budget: Room for the pairs that "triton" lists; a call without a budget waits for the device, to learn how much
            room it needs. The other back ends list nothing and ignore the budget.

    Returns:
        Unclamped sum, nominal [0, 1]. [B, height, width, 3], contiguous, dtype and device of the inputs.

    Raises:
        ValueError: a shape, dtype or device differs from the above, the picture has no pixels, or there are more pairs
            than "triton" can list.
        BackendUnavailableError: the back end that was asked for cannot run on this machine or in this release.
    Gradients: to means, cholesky, colors. Deterministic: forward yes, on triton only if no gradients are asked for
        (else the order of the sums varies); backward yes on every back end but the reference on CUDA.
    """
    check_inputs(means, cholesky, colors, height, width, budget)
    implementation = select(_RASTERIZE, _for_dtype(backend, means), means.device)
    return implementation(means, cholesky, colors, height, width, budget)


def rasterize_uint8(
    means: Tensor,
    cholesky: Tensor,
    colors: Tensor,
    *,
    height: int,
    width: int,
    backend: str = "auto",
    budget: PairBudget | None = None,
) -> Tensor:
    """Sum Gaussians as `rasterize` does, but to 8-bit samples, floor(255 clamp(C, 0, 1) + 0.5).

    Every run gives the same bits. Arguments, defaults and errors are those of `rasterize`. There are no gradients.

    Returns:
        8-bit RGB pictures. [B, height, width, 3] uint8, contiguous.
    """
    check_inputs(means, cholesky, colors, height, width, budget)
    implementation = select(_RASTERIZE_UINT8, _for_dtype(backend, means), means.device)
    with torch.no_grad():
        return implementation(means, cholesky, colors, height, width, budget)


def _for_dtype(backend: str, means: Tensor) -> str:
    return "reference" if backend == "auto" and means.dtype == torch.float64 else backend


_Implementation = Callable[[Tensor, Tensor, Tensor, int, int, PairBudget | None], Tensor]


def _reference(
    means: Tensor, cholesky: Tensor, colors: Tensor, height: int, width: int, _: PairBudget | None
) -> Tensor:
    from stgvcodec.ops.rasterize import reference

    return reference.rasterize(means, cholesky, colors, height, width)


def _numba(means: Tensor, cholesky: Tensor, colors: Tensor, height: int, width: int, _: PairBudget | None) -> Tensor:
    from stgvcodec.ops.rasterize import numba_kernel

    return numba_kernel.rasterize(means, cholesky, colors, height, width)


def _triton(
    means: Tensor, cholesky: Tensor, colors: Tensor, height: int, width: int, budget: PairBudget | None
) -> Tensor:
    from stgvcodec.ops.rasterize import triton_kernel

    return triton_kernel.rasterize(means, cholesky, colors, height, width, budget)


def _triton_uint8(
    means: Tensor, cholesky: Tensor, colors: Tensor, height: int, width: int, budget: PairBudget | None
) -> Tensor:
    from stgvcodec.ops.rasterize import triton_kernel

    return triton_kernel.rasterize_uint8(means, cholesky, colors, height, width, budget)


def to_uint8(image: Tensor) -> Tensor:
    """Round to 8-bit samples as every decoder must: floor(255 clamp(C, 0, 1) + 0.5). Any shape -> uint8.

    The image is overwritten: a second float picture would be most of what a frame takes.
    """
    return image.clamp_(0.0, 1.0).mul_(255.0).add_(0.5).to(torch.uint8)


def _rounded(implementation: _Implementation) -> _Implementation:
    def rasterize_rounded(
        means: Tensor, cholesky: Tensor, colors: Tensor, height: int, width: int, budget: PairBudget | None
    ) -> Tensor:
        return to_uint8(implementation(means, cholesky, colors, height, width, budget))

    return rasterize_rounded


# Each back end is imported at its first use, since the import of numba alone takes half a second.
_RASTERIZE: dict[str, _Implementation] = {"reference": _reference, "numba": _numba, "triton": _triton}
_RASTERIZE_UINT8: dict[str, _Implementation] = {
    "reference": _rounded(_reference),
    "numba": _rounded(_numba),
    "triton": _triton_uint8,
}


def check_inputs(
    means: Tensor, cholesky: Tensor, colors: Tensor, height: int, width: int, budget: PairBudget | None
) -> None:
    """Raise ValueError unless shapes, dtypes and devices are those that `rasterize` takes."""
    if means.ndim != 3 or means.shape[2] != 2:
        raise ValueError(f"means has shape {list(means.shape)}, expected [B, N, 2]; one frame needs a leading 1")
    n_frames, n_gaussians, _ = means.shape
    shared, per_frame = [n_gaussians, 3], [n_frames, n_gaussians, 3]
    if list(cholesky.shape) not in (shared, per_frame):
        raise ValueError(
            f"cholesky has shape {list(cholesky.shape)}, expected {shared} or {per_frame} to go with means"
        )
    if list(colors.shape) != per_frame:
        raise ValueError(f"colors has shape {list(colors.shape)}, expected {per_frame} to go with means")
    for name, tensor in (("cholesky", cholesky), ("colors", colors)):
        if tensor.dtype != means.dtype:
            raise ValueError(f"{name} is {tensor.dtype}, expected {means.dtype} as means; convert one of them")
        if tensor.device != means.device:
            raise ValueError(f"{name} is on {tensor.device}, expected {means.device} as means; move one of them")
    if means.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"means is {means.dtype}, expected torch.float32 or torch.float64; convert the inputs")
    if height < 1 or width < 1:
        raise ValueError(f"the picture is {width}x{height}, expected a width and a height of at least 1 pixel")
    if budget is not None and budget.need.device != means.device:
        raise ValueError(f"budget is on {budget.need.device}, expected {means.device} as means; make one there")
