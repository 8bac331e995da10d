"""Colours to luma and chroma symbols and back, with the symbols' bits (see README.md)."""

from __future__ import annotations

import torch
from torch import Tensor

from stgvcodec.ops.backends import select
from stgvcodec.ops.code_length import CodeLengths, check_lengths
from stgvcodec.ops.ycocg import reference
from stgvcodec.ops.ycocg.limits import MAX_SYMBOL, MIN_SYMBOL, N_SYMBOLS, SCALE_MAX, SCALE_MIN, ZERO
from stgvcodec.ops.ycocg.transform import to_ycocg, values_of

__all__ = [
    "MAX_SYMBOL",
    "MIN_SYMBOL",
    "N_SYMBOLS",
    "SCALE_MAX",
    "SCALE_MIN",
    "ZERO",
    "to_ycocg",
    "values_of",
    "ycocg_round",
    "ycocg_scale",
    "ycocg_symbols",
]


def ycocg_round(
    x: Tensor, gain: Tensor, unit: Tensor, *, lengths: CodeLengths | None = None, backend: str = "auto"
) -> tuple[Tensor, Tensor | None]:
    """Quantise and dequantise colours, and return the bits of their symbols.

    Args:
        x: Weighted RGB. [N, 3] float32.
        gain: Logarithms by which the steps of (Y, Co, Cg) differ from `unit`. [3] float32.
        unit: Steps found in the data, positive. [3] float32.
        lengths: Tables of 256 symbols, of which 128 stands for zero, and the table row of each of the symbols of
            (Y, Co, Cg). Rows [3, N]. With None no bits are returned.
        backend: One of `stgvcodec.ops.backends.BACKENDS`.

    Returns:
        values: Colours as decoded; they have the bits that the decoder gets from `ycocg_scale` and `ycocg_symbols` of
            the same back end. [N, 3] float32.
        bits: Partial sums of the bits of all symbols. [n] float32, n >= 1; None without `lengths`.

    Raises:
        ValueError: a shape, dtype or device differs from the above.
        BackendUnavailableError: `backend` cannot run here.

    Gradients: from the values to x, straight-through where a component lies within the symbols and zero outside; from
    the bits to x, as `ops.code_length` says; from both to gain, zero where a step stands at its limit. Deterministic:
    yes, both passes.
    """
    _check(x, gain, unit)
    if lengths is not None:
        check_lengths(lengths, (3, x.shape[0]))
        if lengths.tables.shape[1] != N_SYMBOLS:
            raise ValueError(f"tables have {lengths.tables.shape[1]} symbols, expected {N_SYMBOLS}")
    implementations = {
        "reference": reference.ycocg_round,
        "numba": _numba_ycocg_round,
        "triton": _triton_ycocg_round,
    }
    return select(implementations, backend, x.device)(x, gain, unit, lengths)


@torch.no_grad()
def ycocg_symbols(x: Tensor, scale: Tensor) -> Tensor:
    """Return the symbols of (Y, Co, Cg) under transmitted steps; on every back end they are those of `ycocg_round`.

    Args:
        x: Weighted RGB. [N, 3] float32.
        scale: Steps of (Y, Co, Cg). [3] float32.

    Returns:
        Symbols, -128 to 127. [N, 3] int64.
    """
    return reference.symbols_of(reference.ratios_of(x, scale)).long()


@torch.no_grad()
def ycocg_scale(gain: Tensor, unit: Tensor, *, backend: str = "auto") -> Tensor:
    """Return the steps as transmitted, exactly those of `ycocg_round` of the same back end. [3] float32."""
    implementations = {
        "reference": reference.transmitted_scale,
        "numba": reference.transmitted_scale,
        "triton": _triton_transmitted_scale,
    }
    return select(implementations, backend, gain.device)(gain, unit)


def _numba_ycocg_round(
    x: Tensor, gain: Tensor, unit: Tensor, lengths: CodeLengths | None
) -> tuple[Tensor, Tensor | None]:
    # The import is here because numba takes half a second, which users of other back ends need not spend.
    from stgvcodec.ops.ycocg import numba_kernel

    return numba_kernel.ycocg_round(x, gain, unit, lengths)


def _triton_ycocg_round(
    x: Tensor, gain: Tensor, unit: Tensor, lengths: CodeLengths | None
) -> tuple[Tensor, Tensor | None]:
    # The import is here, as in every operator, since users of other back ends need not have triton.
    from stgvcodec.ops.ycocg import triton_kernel

    return triton_kernel.ycocg_round(x, gain, unit, lengths)


def _triton_transmitted_scale(gain: Tensor, unit: Tensor) -> Tensor:
    from stgvcodec.ops.lsq import LsqSteps, lsq_steps

    return lsq_steps(LsqSteps(gain, unit), backend="triton")[0].clamp(SCALE_MIN, SCALE_MAX)


def _check(x: Tensor, gain: Tensor, unit: Tensor) -> None:
    if x.ndim != 2 or x.shape[1] != 3 or x.dtype != torch.float32:
        raise ValueError(f"colours are {x.dtype} {list(x.shape)}, expected torch.float32 [N, 3]")
    for name, step in (("gain", gain), ("unit", unit)):
        if (tuple(step.shape), step.dtype, step.device) != ((3,), x.dtype, x.device):
            raise ValueError(
                f"{name} is {step.dtype} {list(step.shape)} on {step.device}, expected {x.dtype} [3] on {x.device}"
            )
