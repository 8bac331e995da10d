"""Shapes of Gaussians, changed from frame to frame by the deformation field. The maths is in README.md."""

from __future__ import annotations

import torch
from torch import Tensor

from stgvcodec.ops.backends import select
from stgvcodec.ops.deform_shapes import reference
from stgvcodec.ops.deform_shapes.limits import MAX_SHAPE_CHANGE, MIN_DIAGONAL_PX

__all__ = ["MAX_SHAPE_CHANGE", "MIN_DIAGONAL_PX", "deform_shapes"]


def deform_shapes(cholesky: Tensor, delta: Tensor, *, backend: str = "auto") -> Tensor:
    """Compute the shape of every Gaussian in every frame.

    Args:
        cholesky: Lower factors (l1, l2, l3) of the covariances, with l1, l3 >= MIN_DIAGONAL_PX, pixels of the coded
            size; the frames share them. [N, 3] float32 or float64.
        delta: Changes of (log l1, l2 / l3, log l3) in each frame; they are clamped to MAX_SHAPE_CHANGE. [B, N, 3].
        backend: One of `stgvcodec.ops.backends.BACKENDS`; `auto` takes the reference for float64.

    Returns:
        Factors in each frame, with l1, l3 >= MIN_DIAGONAL_PX, pixels of the coded size. [B, N, 3].

    Raises:
        ValueError: a shape, dtype or device differs from the above, or the dtype is float64 with `numba` or `triton`.
        BackendUnavailableError: `backend` cannot run here.

    Gradients: to cholesky and delta, zero for a change outside the clamp; below the lower bound of l1 and l3 they pass
    only if they would lift it. Deterministic: yes, both passes on every back end. A frame's result has the same bits
    alone and in a batch.
    """
    _check(cholesky, delta)
    if backend == "auto" and cholesky.dtype == torch.float64:
        backend = "reference"
    implementations = {"reference": reference.deform_shapes, "numba": _numba, "triton": _triton}
    return select(implementations, backend, cholesky.device)(cholesky, delta)


def _numba(cholesky: Tensor, delta: Tensor) -> Tensor:
    # The import is here because numba takes half a second, which users of other back ends need not spend.
    from stgvcodec.ops.deform_shapes import numba_kernel

    return numba_kernel.deform_shapes(cholesky, delta)


def _triton(cholesky: Tensor, delta: Tensor) -> Tensor:
    # The import is here because triton exists only beside CUDA builds of torch, and defines its kernels on import.
    from stgvcodec.ops.deform_shapes import triton_kernel

    return triton_kernel.deform_shapes(cholesky, delta)


def _check(cholesky: Tensor, delta: Tensor) -> None:
    if cholesky.ndim != 2 or cholesky.shape[1] != 3:
        raise ValueError(f"cholesky has shape {list(cholesky.shape)}, expected [N, 3]")
    if delta.ndim != 3 or delta.shape[1:] != cholesky.shape:
        raise ValueError(f"delta has shape {list(delta.shape)}, expected [B, {len(cholesky)}, 3] to go with cholesky")
    if cholesky.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"cholesky is {cholesky.dtype}, expected torch.float32 or torch.float64; convert it first")
    if (delta.dtype, delta.device) != (cholesky.dtype, cholesky.device):
        raise ValueError(
            f"delta is {delta.dtype} on {delta.device}, expected {cholesky.dtype} on {cholesky.device} as cholesky"
        )
