"""Uniform fake quantisation with learned steps (LSQ, LSQ+), fused with the making of the steps (see README.md)."""

from __future__ import annotations

import torch
from torch import Tensor

from stgvcodec.ops.backends import select
from stgvcodec.ops.lsq import reference
from stgvcodec.ops.lsq.rounding import symbols_of, values_of
from stgvcodec.ops.lsq.segments import Segments, segment_blocks
from stgvcodec.ops.lsq.steps import MAGNITUDE_MAX, SCALE_MIN, LsqSteps

__all__ = [
    "MAGNITUDE_MAX",
    "SCALE_MIN",
    "LsqSteps",
    "Segments",
    "lsq_round",
    "lsq_round_rated",
    "lsq_steps",
    "lsq_symbols",
    "segment_blocks",
    "symbols_of",
    "values_of",
]


def lsq_round(
    x: Tensor,
    steps: LsqSteps,
    *,
    segments: Segments | None = None,
    min_symbol: int,
    max_symbol: int,
    backend: str = "auto",
) -> Tensor:
    """Quantise and dequantise: value = symbol * scale + offset, symbol = clamp(round((x - offset) / scale)).

    Ties round to even; the product and the sum are two float32 roundings. NaN counts as zero, infinities saturate.

    Args:
        x: Values. [n_values] float32 with `segments`, else [N, G] float32, one group a column.
        steps: Parameters that make the scale and offset of each group.
        segments: Groups of a flat `x`; with None each column of `x` is a group.
        min_symbol: Smallest symbol, -2^15 at least.
        max_symbol: Largest symbol, 1 to 2^15 - 1.
        backend: One of `stgvcodec.ops.backends.BACKENDS`.

    Returns:
        Values as decoded; they have the bits that the decoder gets from `lsq_steps` and `lsq_symbols` of the same back
        end. Shape of `x`, float32.

    Raises:
        ValueError: a shape, dtype or device differs from the above.
        BackendUnavailableError: `backend` cannot run here.

    Gradients: to x, straight-through where min_symbol <= (x - offset) / scale <= max_symbol and zero elsewhere. To
    scale, symbol - (x - offset) / scale inside and symbol outside; to offset, 0 inside and 1 outside; both are summed
    over the group times 1 / sqrt(values in the group * max_symbol), and go on to gain and shift, zero where scale or
    offset stand at their limits. There is none to unit and anchor. Deterministic: yes, both passes.
    """
    _check(x, steps, segments, min_symbol, max_symbol)
    implementations = {"reference": reference.lsq_round, "numba": _numba_lsq_round, "triton": _triton_lsq_round}
    return select(implementations, backend, x.device)(x, steps, segments, min_symbol, max_symbol)


def lsq_round_rated(
    x: Tensor,
    steps: LsqSteps,
    tables: Tensor,
    *,
    segments: Segments,
    min_symbol: int,
    max_symbol: int,
    backend: str = "auto",
) -> tuple[Tensor, Tensor]:
    """Quantise and dequantise as `lsq_round` without offsets, and return the bits of the symbols from the same pass.

    Args:
        x: Values. [n_values] float32.
        steps: Parameters that make the scale of each group; shift and anchor are None.
        tables: Bits of the symbols from `min_symbol` on, one row a group. [G, A] float32, with
            A >= max_symbol - min_symbol + 1.
        segments: Groups of `x`.
        min_symbol: Smallest symbol.
        max_symbol: Largest symbol.
        backend: One of `stgvcodec.ops.backends.BACKENDS`.

    Returns:
        values: Values as decoded. [n_values] float32.
        bits: Partial sums of tables[group, symbol - min_symbol]. [n] float32, n >= 1.

    Raises:
        ValueError: a shape, dtype or device differs from the above.
        BackendUnavailableError: `backend` cannot run here.

    Gradients: from the values as `lsq_round` says; from the bits to x, the slope of `ops.code_length` at x / scale
    divided by the scale, and to scale, minus the sum of these times x / scale, damped as the gradients of the values
    are. Deterministic: yes, both passes.
    """
    _check(x, steps, segments, min_symbol, max_symbol)
    n_symbols = max_symbol - min_symbol + 1
    if steps.shift is not None:
        raise ValueError("steps have a shift, expected none: bits are those of symbols without offset")
    n_groups = len(segments.sizes)
    if tables.ndim != 2 or tables.dtype != x.dtype or tables.shape[0] != n_groups or tables.shape[1] < n_symbols:
        raise ValueError(
            f"tables are {tables.dtype} {list(tables.shape)}, expected {x.dtype} [{n_groups}, {n_symbols} or more]"
        )
    implementations = {
        "reference": reference.lsq_round_rated,
        "numba": _numba_lsq_round_rated,
        "triton": _triton_lsq_round_rated,
    }
    return select(implementations, backend, x.device)(x, steps, tables, segments, min_symbol, max_symbol)


@torch.no_grad()
def lsq_steps(steps: LsqSteps, *, backend: str = "auto") -> tuple[Tensor, Tensor | None]:
    """Return scale and offset as transmitted, exactly those with which `lsq_round` of the same back end computes.

    Args:
        steps: Parameters that make scale and offset.
        backend: One of `stgvcodec.ops.backends.BACKENDS`; exponentials of two back ends may differ in the last place.

    Returns:
        scale: Scale of each group, positive and finite. [G] float32, no gradient.
        offset: Offset of each group, finite; None without `shift`. [G] float32, no gradient.

    Raises:
        BackendUnavailableError: `backend` cannot run here.
    """
    implementations = {
        "reference": reference.transmitted_steps,
        "numba": reference.transmitted_steps,
        "triton": _triton_transmitted_steps,
    }
    return select(implementations, backend, steps.gain.device)(steps)


@torch.no_grad()
def lsq_symbols(
    x: Tensor, scale: Tensor, offset: Tensor | None, *, segments: Segments | None, min_symbol: int, max_symbol: int
) -> Tensor:
    """Return the symbols to transmit for `x` under transmitted steps; on every back end they are those of `lsq_round`.

    Args:
        x: Values. [n_values] float32 with `segments`, else [N, G] float32, one group a column.
        scale: Scale of each group. [G] float32.
        offset: Offset of each group, or None. [G] float32.
        segments: Groups of a flat `x`; with None each column of `x` is a group.
        min_symbol: Smallest symbol.
        max_symbol: Largest symbol.

    Returns:
        Symbols. Shape of `x`, int16.
    """
    offset = None if offset is None else reference.per_value(offset, segments)
    return symbols_of(x, reference.per_value(scale, segments), offset, min_symbol, max_symbol)


def _numba_lsq_round(x: Tensor, steps: LsqSteps, segments: Segments | None, min_symbol: int, max_symbol: int) -> Tensor:
    # The import is here because numba takes half a second, which users of other back ends need not spend.
    from stgvcodec.ops.lsq import numba_kernel

    return numba_kernel.lsq_round(x, steps, segments, min_symbol, max_symbol)


def _numba_lsq_round_rated(
    x: Tensor, steps: LsqSteps, tables: Tensor, segments: Segments, min_symbol: int, max_symbol: int
) -> tuple[Tensor, Tensor]:
    from stgvcodec.ops.lsq import numba_kernel

    return numba_kernel.lsq_round_rated(x, steps, tables, segments, min_symbol, max_symbol)


def _triton_lsq_round(
    x: Tensor, steps: LsqSteps, segments: Segments | None, min_symbol: int, max_symbol: int
) -> Tensor:
    # The import is here, as in every operator, since users of other back ends need not have triton.
    from stgvcodec.ops.lsq import triton_kernel

    return triton_kernel.lsq_round(x, steps, segments, min_symbol, max_symbol)


def _triton_lsq_round_rated(
    x: Tensor, steps: LsqSteps, tables: Tensor, segments: Segments, min_symbol: int, max_symbol: int
) -> tuple[Tensor, Tensor]:
    from stgvcodec.ops.lsq import triton_kernel

    return triton_kernel.lsq_round_rated(x, steps, tables, segments, min_symbol, max_symbol)


def _triton_transmitted_steps(steps: LsqSteps) -> tuple[Tensor, Tensor | None]:
    from stgvcodec.ops.lsq import triton_kernel

    return triton_kernel.transmitted_steps(steps)


def _check(x: Tensor, steps: LsqSteps, segments: Segments | None, min_symbol: int, max_symbol: int) -> None:
    if not -(2**15) <= min_symbol < max_symbol < 2**15 or max_symbol < 1:
        raise ValueError(f"symbols run from {min_symbol} to {max_symbol}, expected 16-bit integers with a positive end")
    if (steps.shift is None) != (steps.anchor is None):
        raise ValueError("one of shift and anchor is None, expected both or neither")
    if segments is None:
        n_groups, shape = steps.gain.numel(), f"[N, {steps.gain.numel()}]"
        fits = x.ndim == 2 and x.shape[1] == n_groups
    else:
        n_groups, shape = len(segments.sizes), f"[{sum(segments.sizes)}]"
        fits = x.ndim == 1 and x.shape[0] == sum(segments.sizes)
    if not fits or x.dtype != torch.float32:
        raise ValueError(f"x is {x.dtype} {list(x.shape)}, expected torch.float32 {shape}")
    for name, step in zip(LsqSteps._fields, steps, strict=True):
        if step is not None and (tuple(step.shape), step.dtype, step.device) != ((n_groups,), x.dtype, x.device):
            raise ValueError(
                f"{name} is {step.dtype} {list(step.shape)} on {step.device}, "
                f"expected {x.dtype} [{n_groups}] on {x.device}"
            )
    if segments is not None and segments.blocks.device != x.device:
        raise ValueError(f"segments are on {segments.blocks.device}, x is on {x.device}; move their blocks")
