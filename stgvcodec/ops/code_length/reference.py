"""The reference of code lengths, in torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def code_length(positions: Tensor, tables: Tensor, rows: Tensor, first: int, n_symbols: int) -> Tensor:
    """Sum of the code lengths, as `ops.code_length.code_length` describes it."""
    result: Tensor = _CodeLength.apply(positions, tables, rows, first, n_symbols)
    return result


def total_bits(parts: Sequence[Tensor], fixed: Tensor) -> Tensor:
    """Sum of the bits of all streams, as `ops.code_length.total_bits` describes it."""
    return torch.cat([*parts, fixed.reshape(1)]).sum()


class _CodeLength(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, positions: Tensor, tables: Tensor, rows: Tensor, first: int, n_symbols: int) -> Tensor:
        bounded = torch.nan_to_num(positions, nan=0.0).clamp(first, first + n_symbols - 1)
        lower = bounded.floor().clamp_max_(first + n_symbols - 2)
        flat = tables.reshape(-1)
        at = rows.long() * tables.shape[1] + (lower - first).long()
        below, above = flat[at], flat[at + 1]
        # torch rounds half to even, as the quantisers do.
        is_above = bounded.round() > lower
        ctx.save_for_backward(torch.where(bounded == positions, above - below, 0.0))
        return torch.where(is_above, above, below).sum()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (slope,) = ctx.saved_tensors
        return grads[0] * slope, None, None, None, None
