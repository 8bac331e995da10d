"""Splatting: the plain, order-free sum of 2D Gaussians over a pixel grid. README.md has the maths."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from stgvcodec.ops.backends import select

SIGMA_MAX = 4.5
"""The support is normative: a Gaussian ends where sigma reaches this, three standard deviations out."""

MIN_SCALE_PX = 2.0**-20
"""A Gaussian whose l1 or l3 is smaller (or not positive) contributes nothing."""

MAX_MAGNITUDE = 2.0**40
"""A Gaussian with a larger number (or NaN, Inf) among its own contributes nothing; below it, no step overflows."""


def rasterize(
    means: Tensor, cholesky: Tensor, colors: Tensor, *, height: int, width: int, backend: str = "auto"
) -> Tensor:
    """Sum of Gaussians over a pixel grid, one picture for each of B frames.

    Implements Eq. (2) of arXiv 2604.10910 with the support of bitstream_spec.md:
    w = max(0, exp(-sigma) - exp(-SIGMA_MAX)), sigma = 0.5 |L^-1 d|^2 by forward substitution, d = pixel centre - mean.
    A Gaussian with a NaN, an Inf, a number beyond MAX_MAGNITUDE, or an l1 or l3 under MIN_SCALE_PX contributes nothing
    (in the frames where it has one) and gets zero gradients there.

    Args:
        means: Centres, pixels, x right, y down; the centre of pixel (row i, column j) is (j + 0.5, i + 0.5). [B, N, 2].
        cholesky: Lower factor (l1, l2, l3) of the covariance, pixels, l1 and l3 > 0; the frames share it. [N, 3].
        colors: Weighted RGB, unbounded, may be negative. [B, N, 3].
        height: Rows of the picture, pixels.
        width: Columns of the picture, pixels.
        backend: "auto", "reference", "numba" (CPU, float32) or "triton"; "auto" takes the reference for float64.

    Returns:
        Unclamped sum, nominal [0, 1]. [B, height, width, 3], contiguous, dtype and device of the inputs.

    Raises:
        ValueError: a shape, dtype or device differs from the above, or the picture has no pixels.
        BackendUnavailableError: an explicit back end that this machine or release cannot run.
    Gradients: to means, cholesky, colors. Deterministic: forward yes, on every back end; backward on a CPU yes, for any
        number of threads.
    """
    _check(means, cholesky, colors, height, width)
    if backend == "auto" and means.dtype == torch.float64:
        backend = "reference"
    return select(_IMPLEMENTATIONS, backend, means.device)(means, cholesky, colors, height, width)


def _reference(means: Tensor, cholesky: Tensor, colors: Tensor, height: int, width: int) -> Tensor:
    from stgvcodec.ops.rasterize import reference

    return reference.rasterize(means, cholesky, colors, height, width)


def _numba(means: Tensor, cholesky: Tensor, colors: Tensor, height: int, width: int) -> Tensor:
    from stgvcodec.ops.rasterize import numba_kernel

    return numba_kernel.rasterize(means, cholesky, colors, height, width)


# Imported at their first use: numba alone costs half a second.
_IMPLEMENTATIONS: dict[str, Callable[[Tensor, Tensor, Tensor, int, int], Tensor]] = {
    "reference": _reference,
    "numba": _numba,
}


def _check(means: Tensor, cholesky: Tensor, colors: Tensor, height: int, width: int) -> None:
    if means.ndim != 3 or means.shape[2] != 2:
        raise ValueError(f"means has shape {list(means.shape)}, expected [B, N, 2]; one frame needs a leading 1")
    n_frames, n_gaussians, _ = means.shape
    for name, tensor, expected in (
        ("cholesky", cholesky, [n_gaussians, 3]),
        ("colors", colors, [n_frames, n_gaussians, 3]),
    ):
        if list(tensor.shape) != expected:
            raise ValueError(f"{name} has shape {list(tensor.shape)}, expected {expected} to go with means")
        if tensor.dtype != means.dtype:
            raise ValueError(f"{name} is {tensor.dtype}, expected {means.dtype} as means; convert one of them")
        if tensor.device != means.device:
            raise ValueError(f"{name} is on {tensor.device}, expected {means.device} as means; move one of them")
    if means.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"means is {means.dtype}, expected torch.float32 or torch.float64; convert the inputs")
    if height < 1 or width < 1:
        raise ValueError(f"the picture is {width}x{height}, expected a width and a height of at least 1 pixel")
