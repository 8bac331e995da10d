"""Covariances to log-scale and shear symbols and back, with the symbols' bits (see README.md)."""

from __future__ import annotations

import torch
from torch import Tensor

from stgvcodec.ops.backends import select
from stgvcodec.ops.code_length import CodeLengths, check_lengths
from stgvcodec.ops.log_shear import reference
from stgvcodec.ops.log_shear.decoding import decoded
from stgvcodec.ops.log_shear.limits import MIN_DIAGONAL_PX, N_SYMBOLS, SCALE_LIMITS, SHEAR_LIMITS, SHEAR_ZERO

__all__ = [
    "MIN_DIAGONAL_PX",
    "N_SYMBOLS",
    "SCALE_LIMITS",
    "SHEAR_LIMITS",
    "SHEAR_ZERO",
    "decoded",
    "log_shear_round",
    "log_shear_scale",
    "log_shear_symbols",
]


def log_shear_round(
    x: Tensor, gain: Tensor, unit: Tensor, *, lengths: CodeLengths | None = None, backend: str = "auto"
) -> tuple[Tensor, Tensor | None]:
    """Quantise and dequantise raw Cholesky factors, and return the bits of their symbols.

    Args:
        x: Raw factors (l1, l2, l3), pixels. [N, 3] float32.
        gain: Logarithms by which the steps of (l1, l3, shear) differ from `unit`. [3] float32.
        unit: Steps found in the data, positive. [3] float32.
        lengths: Tables of 256 symbols, and the table row of each of the symbols (a, b, s). Rows [3, N]. With None no
            bits are returned.
        backend: One of `stgvcodec.ops.backends.BACKENDS`.

    Returns:
        values: Factors as decoded; they have the bits that the decoder gets from `log_shear_scale` and
            `log_shear_symbols` of the same back end. [N, 3] float32.
        bits: Partial sums of the bits of all symbols. [n] float32, n >= 1; None without `lengths`.

    Raises:
        ValueError: a shape, dtype or device differs from the above.
        BackendUnavailableError: `backend` cannot run here.

    Gradients: from the values to x, straight-through within the symbols and zero outside, except that an l1 or l3 that
    is not positive always gets the gradient of its value; from the bits to x, as `ops.code_length` says, with the
    decoded l3 that scales the shear held fixed; from both to gain, zero where a step stands at its limit.
    Deterministic: yes, both passes.
    """
    _check(x, gain, unit)
    if lengths is not None:
        check_lengths(lengths, (3, x.shape[0]))
        if lengths.tables.shape[1] != N_SYMBOLS:
            raise ValueError(f"tables have {lengths.tables.shape[1]} symbols, expected {N_SYMBOLS}")
    implementations = {
        "reference": reference.log_shear_round,
        "numba": _numba_log_shear_round,
        "triton": _triton_log_shear_round,
    }
    return select(implementations, backend, x.device)(x, gain, unit, lengths)


@torch.no_grad()
def log_shear_symbols(x: Tensor, gain: Tensor, unit: Tensor, *, backend: str = "auto") -> Tensor:
    """Return the symbols (a, b, s) to transmit, which are those of `log_shear_round` of the same back end.

    Args:
        x: Raw factors (l1, l2, l3), pixels. [N, 3] float32.
        gain: Logarithms by which the steps of (l1, l3, shear) differ from `unit`. [3] float32.
        unit: Steps found in the data, positive. [3] float32.
        backend: One of `stgvcodec.ops.backends.BACKENDS`; logarithms of two back ends may differ in the last place.

    Returns:
        Symbols, 0 to 255. [N, 3] int64.

    Raises:
        ValueError: a shape, dtype or device differs from the above.
        BackendUnavailableError: `backend` cannot run here.
    """
    _check(x, gain, unit)
    implementations = {
        "reference": reference.log_shear_symbols,
        "numba": _numba_log_shear_symbols,
        "triton": _triton_log_shear_symbols,
    }
    return select(implementations, backend, x.device)(x, gain, unit)


@torch.no_grad()
def log_shear_scale(gain: Tensor, unit: Tensor, *, backend: str = "auto") -> Tensor:
    """Return the steps as transmitted, exactly those of `log_shear_round` of that back end. [3] float32."""
    implementations = {
        "reference": reference.transmitted_scale,
        "numba": reference.transmitted_scale,
        "triton": _triton_transmitted_scale,
    }
    return select(implementations, backend, gain.device)(gain, unit)


def _numba_log_shear_round(
    x: Tensor, gain: Tensor, unit: Tensor, lengths: CodeLengths | None
) -> tuple[Tensor, Tensor | None]:
    # The import is here because numba takes half a second, which users of other back ends need not spend.
    from stgvcodec.ops.log_shear import numba_kernel

    return numba_kernel.log_shear_round(x, gain, unit, lengths)


def _numba_log_shear_symbols(x: Tensor, gain: Tensor, unit: Tensor) -> Tensor:
    from stgvcodec.ops.log_shear import numba_kernel

    return numba_kernel.log_shear_symbols(x, gain, unit)


def _triton_log_shear_round(
    x: Tensor, gain: Tensor, unit: Tensor, lengths: CodeLengths | None
) -> tuple[Tensor, Tensor | None]:
    # The import is here, as in every operator, since users of other back ends need not have triton.
    from stgvcodec.ops.log_shear import triton_kernel

    return triton_kernel.log_shear_round(x, gain, unit, lengths)


def _triton_log_shear_symbols(x: Tensor, gain: Tensor, unit: Tensor) -> Tensor:
    from stgvcodec.ops.log_shear import triton_kernel

    return triton_kernel.log_shear_symbols(x, gain, unit)


def _triton_transmitted_scale(gain: Tensor, unit: Tensor) -> Tensor:
    from stgvcodec.ops.lsq import LsqSteps, lsq_steps

    return reference.bounded(lsq_steps(LsqSteps(gain, unit), backend="triton")[0])


def _check(x: Tensor, gain: Tensor, unit: Tensor) -> None:
    if x.ndim != 2 or x.shape[1] != 3 or x.dtype != torch.float32:
        raise ValueError(f"factors are {x.dtype} {list(x.shape)}, expected torch.float32 [N, 3]")
    for name, step in (("gain", gain), ("unit", unit)):
        if (tuple(step.shape), step.dtype, step.device) != ((3,), x.dtype, x.device):
            raise ValueError(
                f"{name} is {step.dtype} {list(step.shape)} on {step.device}, expected {x.dtype} [3] on {x.device}"
            )
