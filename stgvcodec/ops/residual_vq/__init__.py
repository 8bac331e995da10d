"""Residual vector quantisation of colours, Eqs. (11)-(12) of Lin et al. 2026 (arXiv 2604.10910). See README.md."""

from __future__ import annotations

import torch
from torch import Tensor

from stgvcodec.ops.backends import select
from stgvcodec.ops.residual_vq import reference
from stgvcodec.ops.residual_vq.clusters import cluster_sums, nearest
from stgvcodec.ops.residual_vq.encoding import (
    MAX_CODEWORDS,
    MAX_STAGES,
    N_CHANNELS,
    Encoding,
    Trace,
    bounded,
    trace,
)

__all__ = [
    "MAX_CODEWORDS",
    "MAX_STAGES",
    "N_CHANNELS",
    "Encoding",
    "Trace",
    "bounded",
    "cluster_sums",
    "nearest",
    "residual_vq",
    "residual_vq_encode",
    "residual_vq_update",
    "trace",
]


def residual_vq(x: Tensor, codebooks: Tensor, *, backend: str = "auto") -> tuple[Tensor, Tensor]:
    """Code each colour by the nearest codeword of the first stage, what is left by that of the next, and so on.

    Args:
        x: Weighted colours; NaN counts as zero, magnitudes beyond a half saturate. [N, 3] float32.
        codebooks: Codewords, rounded to half precision here. [M, K, 3] float32, M in 1..8, K in 1..256.
        backend: One of `stgvcodec.ops.backends.BACKENDS`.

    Returns:
        x_hat: Colours as decoded: zero, plus the codeword of each stage in order, one float32 addition a stage. The
            bits are the same on every back end. [N, 3] float32.
        commitment_loss: 1 / (N K) times the sum over colours and stages of ||target - sg[codeword]||^2, where the
            target is x less the sum of the earlier stages; 0 when N = 0. Scalar float32.

    Raises:
        ValueError: a shape, dtype or device differs from the above.
        BackendUnavailableError: `backend` cannot run here.

    Gradients: straight-through (identity) from x_hat to x; from the loss to x, 2 / (N K) times the sum of the stages'
    errors; none to codebooks. Deterministic: yes.
    """
    _check(x, codebooks)
    implementations = {
        "reference": reference.residual_vq,
        "numba": reference.residual_vq,
        "triton": _triton_residual_vq,
    }
    return select(implementations, backend, x.device)(x, codebooks)


@torch.no_grad()
def residual_vq_encode(x: Tensor, codebooks: Tensor, *, backend: str = "auto") -> Encoding:
    """Return the indices that `residual_vq` chooses and its x_hat, without a gradient, for the same arguments."""
    _check(x, codebooks)
    implementations = {"reference": reference.encode, "numba": reference.encode, "triton": _triton_encode}
    return select(implementations, backend, x.device)(x, codebooks)


@torch.no_grad()
def residual_vq_update(x: Tensor, codebooks: Tensor, usage: Tensor, *, decay: float, backend: str = "auto") -> None:
    """Move codewords, in place, towards the means of the targets they stand for, without waiting for the device.

    With n targets of mean m at a codeword c: usage <- decay usage + (1 - decay) n, then c <- c + (1 - decay) n / usage
    (m - c), in float64.

    Args:
        x: Colours. [N, 3] float32; with N = 0 nothing changes.
        codebooks: Codewords before rounding, contiguous. [M, K, 3] float32.
        usage: Moving average of the number of colours that choose each codeword, contiguous. [M, K] float32.
        decay: Share of the old average that is kept, in [0, 1).
        backend: One of `stgvcodec.ops.backends.BACKENDS`.

    Raises:
        ValueError: a shape, dtype or device differs from the above.
        BackendUnavailableError: `backend` cannot run here.
    """
    _check(x, codebooks)
    if (usage.shape, usage.dtype, usage.device) != (codebooks.shape[:2], torch.float32, x.device):
        raise ValueError(
            f"usage is {usage.dtype} {list(usage.shape)} on {usage.device}, "
            f"expected torch.float32 {list(codebooks.shape[:2])} on {x.device}"
        )
    if not (codebooks.is_contiguous() and usage.is_contiguous()):
        raise ValueError("codebooks and usage change in place, expected contiguous ones")
    implementations = {"reference": reference.update, "numba": reference.update, "triton": _triton_update}
    if x.shape[0] > 0:
        select(implementations, backend, x.device)(x, codebooks, usage, decay)


def _triton_residual_vq(x: Tensor, codebooks: Tensor) -> tuple[Tensor, Tensor]:
    # The import is here, as in every operator, since users of other back ends need not have triton.
    from stgvcodec.ops.residual_vq import triton_kernel

    return triton_kernel.residual_vq(x, codebooks)


def _triton_encode(x: Tensor, codebooks: Tensor) -> Encoding:
    from stgvcodec.ops.residual_vq import triton_kernel

    return triton_kernel.encode(x, codebooks)


def _triton_update(x: Tensor, codebooks: Tensor, usage: Tensor, decay: float) -> None:
    from stgvcodec.ops.residual_vq import triton_kernel

    triton_kernel.update(x, codebooks, usage, decay)


def _check(x: Tensor, codebooks: Tensor) -> None:
    if x.ndim != 2 or x.shape[1] != N_CHANNELS or x.dtype != torch.float32:
        raise ValueError(f"x is {x.dtype} {list(x.shape)}, expected torch.float32 [N, 3]")
    if codebooks.ndim != 3 or codebooks.shape[2] != N_CHANNELS:
        raise ValueError(f"codebooks have shape {list(codebooks.shape)}, expected [M, K, 3]")
    n_stages, n_codewords = codebooks.shape[:2]
    if not (1 <= n_stages <= MAX_STAGES and 1 <= n_codewords <= MAX_CODEWORDS):
        raise ValueError(
            f"codebooks have {n_stages} stages of {n_codewords} codewords, "
            f"expected 1 to {MAX_STAGES} of 1 to {MAX_CODEWORDS}"
        )
    if (codebooks.dtype, codebooks.device) != (x.dtype, x.device):
        raise ValueError(
            f"codebooks are {codebooks.dtype} on {codebooks.device}, expected {x.dtype} on {x.device} as x"
        )
