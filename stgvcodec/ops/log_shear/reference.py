"""The reference of log-scale and shear symbols, in torch, with the decoder's arithmetic of `decoding`."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from stgvcodec.ops.code_length import CodeLengths, code_length
from stgvcodec.ops.log_shear.decoding import decoded, diagonal_tables
from stgvcodec.ops.log_shear.limits import (
    MAX_DIAGONAL_PX,
    MIN_DIAGONAL_PX,
    N_SYMBOLS,
    SCALE_LIMITS,
    SHEAR_LIMITS,
    SHEAR_ZERO,
)


def transmitted_scale(gain: Tensor, unit: Tensor) -> Tensor:
    """Return the steps as transmitted, as `ops.log_shear.log_shear_scale` describes them."""
    return bounded(unit * gain.exp())


def bounded(scale: Tensor) -> Tensor:
    """Clamp the steps to their limits. [3]."""
    return torch.cat((scale[:2].clamp(*SCALE_LIMITS), scale[2:].clamp(*SHEAR_LIMITS)))


def log_shear_symbols(x: Tensor, gain: Tensor, unit: Tensor) -> Tensor:
    """Return the symbols to transmit, as `ops.log_shear.log_shear_symbols` describes them."""
    return _parts(x, transmitted_scale(gain, unit)).symbols


def log_shear_round(x: Tensor, gain: Tensor, unit: Tensor, lengths: CodeLengths | None) -> tuple[Tensor, Tensor | None]:
    """Return values as decoded and the bits of their symbols, as `ops.log_shear.log_shear_round` describes them."""
    values, positions = _Round.apply(x, transmitted_scale(gain, unit))
    return values, None if lengths is None else code_length(positions.t(), lengths).reshape(1)


class _Parts(NamedTuple):
    """Symbols (a, b, s), the positions they were rounded from, and the pixels of l1, l3, l2 per symbol. [N, 3] each."""

    symbols: Tensor
    positions: Tensor
    per_position: Tensor


def _parts(x: Tensor, scale: Tensor) -> _Parts:
    clean = torch.nan_to_num(x, nan=0.0)
    # Clamping beyond all symbols keeps the logarithm from overflowing.
    diagonal = clean[:, ::2].clamp(0.0, MAX_DIAGONAL_PX) + MIN_DIAGONAL_PX  # [N, 2]: l1, l3
    per_symbol = torch.log1p(scale[:2])
    along = torch.log(diagonal * (1.0 / MIN_DIAGONAL_PX)) / per_symbol
    symbols = along.round().clamp_(0, N_SYMBOLS - 1).long()
    third = diagonal_tables(scale[1:2])[0][symbols[:, 1]]
    unit_of_shear = (third + MIN_DIAGONAL_PX) * scale[2]
    shear = clean[:, 1].clamp(-MAX_DIAGONAL_PX, MAX_DIAGONAL_PX) / unit_of_shear + SHEAR_ZERO
    shear_symbols = shear.round().clamp_(0, N_SYMBOLS - 1).long()
    return _Parts(
        symbols=torch.cat((symbols, shear_symbols[:, None]), dim=1),
        positions=torch.cat((along, shear[:, None]), dim=1),
        per_position=torch.cat((diagonal * per_symbol, unit_of_shear[:, None]), dim=1),
    )


class _Round(torch.autograd.Function):
    """Values and positions, with gradients by hand, since symbols have none."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        parts = _parts(x, scale)
        ctx.save_for_backward(x, scale, *parts)
        return decoded(parts.symbols, scale), parts.positions

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        grad_values, grad_positions = grads
        x, scale, symbols, positions, per_position = ctx.saved_tensors
        v1, v2, v3 = grad_values.unbind(1)
        inside = (positions >= 0.0) & (positions <= N_SYMBOLS - 1.0)
        in_pixels = torch.stack((v1, v3, v2), dim=1)
        first, third, shear = (torch.where(inside, in_pixels, 0.0) + grad_positions / per_position).unbind(1)
        # A shear of zero lies in the middle of its symbols.
        origin = torch.zeros_like(scale)
        origin[2:].fill_(SHEAR_ZERO)
        moved = torch.where(inside, symbols - positions, symbols - origin)
        sums = (in_pixels * per_position * moved - grad_positions * (positions - origin)).sum(dim=0)
        # The sums are derivatives by the logarithms of 1 + step and of the step.
        by_step = torch.cat(((1.0 + scale[:2]) * torch.log1p(scale[:2]), scale[2:]))
        # A diagonal entry under its bound lies on symbol 0 whatever it is; only the error may lift it.
        first = torch.where(x[:, 0] > 0, first, v1)
        third = torch.where(x[:, 2] > 0, third, v3)
        return torch.stack((first, shear, third), dim=1), sums / by_step
