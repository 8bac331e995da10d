"""Structural dissimilarity of pictures from 8-bit frames, as a loss. The maths is in README.md."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from stgvcodec.ops.backends import select

WINDOW_PX = 11
"""Number of taps of the Gaussian window; neither side of a picture may be smaller."""

SIGMA_PX = 1.5
C1 = 0.01**2
C2 = 0.03**2


def _window() -> tuple[float, ...]:
    weights = [math.exp(-((i - WINDOW_PX // 2) ** 2) / (2 * SIGMA_PX**2)) for i in range(WINDOW_PX)]
    total = math.fsum(weights)
    return tuple(weight / total for weight in weights)


WINDOW = _window()
"""Weights of the window along one axis; their sum is 1."""


def dssim(image: Tensor, frames: Tensor, picked: Tensor, *, backend: str = "auto") -> Tensor:
    """Compute 1 minus the mean SSIM (Wang et al. 2004) of pictures and the frames that they should show.

    The mean is taken over frames, channels and *valid* windows, those that lie wholly in the picture, as
    pytorch_msssim and `stgvcodec.metrics` take it: nothing is padded, so the outer pixels count in fewer windows.

    Args:
        image: RGB pictures, nominal [0, 1], not clamped. [B, H, W, 3] float32 (or float64 with the reference),
            H, W >= 11.
        frames: RGB frames of the GoP. [T, H, W, 3] uint8.
        picked: Index in `frames` of each picture's frame, in [0, T), which is not checked. [B] int64.
        backend: "auto", "reference", "numba" (the reference: a CPU has no kernel of its own here) or "triton";
            "auto" takes the reference for float64.

    Returns:
        Mean of 1 - SSIM, 0 for equal pictures, 2 at most; NaN if `image` has a NaN or Inf. [], dtype of `image`.

    Raises:
        ValueError: a shape, dtype or device differs from the above, or the picture is smaller than the window.
        BackendUnavailableError: the back end that was asked for cannot run on this machine or in this release.

    Gradients: to image. Deterministic: both passes, on every back end but the reference on CUDA.
    """
    _check(image, frames, picked)
    if backend == "auto" and image.dtype == torch.float64:
        backend = "reference"
    return select(_IMPLEMENTATIONS, backend, image.device)(image, frames, picked)


def _reference(image: Tensor, frames: Tensor, picked: Tensor) -> Tensor:
    from stgvcodec.ops.dssim import reference

    return reference.dssim(image, frames, picked)


def _triton(image: Tensor, frames: Tensor, picked: Tensor) -> Tensor:
    from stgvcodec.ops.dssim import triton_kernel

    return triton_kernel.dssim(image, frames, picked)


_IMPLEMENTATIONS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "reference": _reference,
    "numba": _reference,
    "triton": _triton,
}


def _check(image: Tensor, frames: Tensor, picked: Tensor) -> None:
    if image.ndim != 4 or image.shape[3] != 3 or image.shape[0] < 1:
        raise ValueError(f"image has shape {list(image.shape)}, expected [B, H, W, 3] with B >= 1")
    n_pictures, height, width, _ = image.shape
    if min(height, width) < WINDOW_PX:
        raise ValueError(f"the picture is {width}x{height}, expected {WINDOW_PX}x{WINDOW_PX} pixels at least for SSIM")
    if image.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"image is {image.dtype}, expected torch.float32 or torch.float64; convert it first")
    if frames.ndim != 4 or list(frames.shape[1:]) != [height, width, 3] or frames.shape[0] < 1:
        raise ValueError(f"frames has shape {list(frames.shape)}, expected [T, {height}, {width}, 3] to go with image")
    if list(picked.shape) != [n_pictures]:
        raise ValueError(f"picked has shape {list(picked.shape)}, expected [{n_pictures}], a frame for each picture")
    for name, tensor, dtype in (("frames", frames, torch.uint8), ("picked", picked, torch.int64)):
        if tensor.dtype != dtype:
            raise ValueError(f"{name} is {tensor.dtype}, expected {dtype}; convert it first")
        if tensor.device != image.device:
            raise ValueError(f"{name} is on {tensor.device}, expected {image.device} as image; move one of them")
