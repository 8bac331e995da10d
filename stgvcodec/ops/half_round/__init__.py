"""Rounding to half precision with a straight-through gradient (see README.md)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from stgvcodec.ops.backends import select
from stgvcodec.ops.half_round import reference
from stgvcodec.ops.half_round.reference import HALF_MAX, round_to_half

__all__ = ["HALF_MAX", "half_round", "round_to_half"]


def half_round(x: Tensor, *, backend: str = "auto") -> Tensor:
    """Round each value to the nearest finite IEEE half, ties to even, as float32.

    Args:
        x: Values; NaN counts as zero, larger magnitudes than `HALF_MAX` saturate to it. Any shape, float32.
        backend: One of `stgvcodec.ops.backends.BACKENDS`.

    Returns:
        Values that a half holds exactly, the same bits on every back end. Same shape, float32.

    Raises:
        ValueError: the dtype is not float32.
        BackendUnavailableError: `backend` cannot run here.

    Gradients: straight-through (identity) to x, not through the conversion. Deterministic: yes.
    """
    if x.dtype != torch.float32:
        raise ValueError(f"x is {x.dtype}, expected torch.float32")
    implementations = {
        "reference": reference.half_values,
        "numba": reference.half_values,
        "triton": _triton_half_values,
    }
    result: Tensor = _StraightThrough.apply(x, select(implementations, backend, x.device))
    return result


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, half_values: Any) -> Tensor:
        values: Tensor = half_values(x)
        return values

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        return grad_outputs[0], None


def _triton_half_values(x: Tensor) -> Tensor:
    # The import is here, as in every operator, since users of other back ends need not have triton.
    from stgvcodec.ops.half_round import triton_kernel

    return triton_kernel.half_values(x)
