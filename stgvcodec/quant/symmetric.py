"""Hash tables and MLP tensors on a signed grid through zero, one learned scale per group."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

SCALE_MIN = 2.0**-40
"""Smallest transmitted scale; the largest is 2^40."""
_SCALE_MAX = 2.0**40
# Any positive step serves an all-zero group; this one is of the order of a hash table's.
_IDLE_SCALE = 2.0**-14

# The search shrinks the full-range scale by sixteenths of an octave, down to 1/16.
_SHRINK_STEPS = 64
_STEPS_PER_OCTAVE = 16


def dequantize(
    symbols: NDArray[np.int8],
    scales: NDArray[np.float32],
    *,
    group_sizes: Sequence[int] | None = None,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Values of signed codes: float32(q) * scale of its group, one float32 rounding.

    Args:
        symbols: Codes. Any shape, int8.
        scales: Step per group. [G] float32.
        group_sizes: Rows (of the first dimension) in each group, in order; None: everything is one group.
        device: Where the result lives.

    Returns:
        float32 tensor of the symbols' shape.

    Raises:
        ValueError: a dtype differs, or scales, groups and rows don't match.
    """
    n_groups = 1 if group_sizes is None else len(group_sizes)
    if symbols.dtype != np.int8:
        raise ValueError(f"symmetric symbols have dtype {symbols.dtype}, expected int8")
    if scales.dtype != np.float32 or scales.shape != (n_groups,):
        raise ValueError(
            f"symmetric scales are {scales.dtype} {list(scales.shape)}, expected float32 [{n_groups}], one a group"
        )
    row_group = None
    if group_sizes is not None:
        _check_rows(symbols.shape, group_sizes)
        row_group = _row_groups(group_sizes).to(device)
    codes = torch.from_numpy(np.ascontiguousarray(symbols)).to(device)
    return _values(codes, _per_row(torch.tensor(scales, device=device), row_group, codes.ndim))


def _check_rows(shape: Sequence[int], group_sizes: Sequence[int]) -> None:
    if not shape or shape[0] != sum(group_sizes):
        raise ValueError(
            f"symmetric quantiser got shape {list(shape)}, expected {sum(group_sizes)} rows, the sum of its groups"
        )


def _row_groups(group_sizes: Sequence[int]) -> Tensor:
    return torch.repeat_interleave(torch.arange(len(group_sizes)), torch.tensor(list(group_sizes), dtype=torch.int64))


def _per_row(scale: Tensor, row_group: Tensor | None, n_dims: int) -> Tensor:
    """Scale in a shape that broadcasts against the values: [G] -> [] or [rows, 1, ...]."""
    if row_group is None:
        return scale[0]
    return scale[row_group].reshape(-1, *(1,) * (n_dims - 1))


def _codes(x: Tensor, scale: Tensor, max_code: int) -> Tensor:
    ratio = torch.nan_to_num(x, nan=0.0) / scale
    return ratio.round_().clamp_(-max_code - 1, max_code).to(torch.int8)


def _values(codes: Tensor, scale: Tensor) -> Tensor:
    # From the integers, so that no negative zero survives that the decoder could not know of.
    return codes.to(torch.float32) * scale


class _SymmetricRound(torch.autograd.Function):
    """LSQ (Esser et al. 2020) around the decoder's arithmetic."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, scale: Tensor, row_group: Tensor | None, group_sizes: tuple[int, ...] | None, max_code: int
    ) -> Tensor:
        row_scale = _per_row(scale, row_group, x.ndim)
        codes = _codes(x, row_scale, max_code)
        ctx.save_for_backward(x, row_scale, codes)
        ctx.group_sizes = group_sizes
        ctx.max_code = max_code
        return _values(codes, row_scale)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        (grad,) = grad_outputs
        x, row_scale, codes = ctx.saved_tensors
        ratio = torch.nan_to_num(x, nan=0.0) / row_scale
        inside = (ratio >= -ctx.max_code - 1) & (ratio <= ctx.max_code)
        code_values = codes.to(grad.dtype)
        contributions = grad * torch.where(inside, code_values - ratio, code_values)
        groups = (contributions,) if ctx.group_sizes is None else contributions.split(ctx.group_sizes)
        # Contiguous groups are summed one by one: index_add_ would not be repeatable on CUDA.
        grad_scale = torch.stack([group.sum() / math.sqrt(max(group.numel(), 1) * ctx.max_code) for group in groups])
        return torch.where(inside, grad, torch.zeros_like(grad)), grad_scale, None, None, None


def _fit_scale(values: Tensor, max_code: int) -> float:
    """Scale with the least squared error among LSQ's start value and shrunken full-range scales.

    Args:
        values: One group. Any shape, float32.
        max_code: Largest code.

    Returns:
        A positive float that float32 holds exactly.
    """
    values = torch.nan_to_num(values, nan=0.0).clamp(-_SCALE_MAX, _SCALE_MAX)
    if values.numel() == 0 or not values.any():
        return _IDLE_SCALE
    magnitude = values.abs()
    shrink = torch.exp2(-torch.arange(_SHRINK_STEPS + 1, device=values.device) / _STEPS_PER_OCTAVE)
    # In float64, so that the order of summation, which depends on threads, is rounded away.
    lsq_start = (2.0 * magnitude.double().mean() / math.sqrt(max_code)).float()
    candidates = torch.cat([lsq_start.reshape(1), magnitude.max() / max_code * shrink]).clamp(SCALE_MIN, _SCALE_MAX)
    errors = torch.stack(
        [(_values(_codes(values, s, max_code), s).double() - values).square_().mean() for s in candidates]
    )
    return float(candidates[errors.argmin()])


class SymmetricQuantizer(nn.Module):
    """q = clamp(round(w / scale), -2^(bits-1), 2^(bits-1) - 1), value = float32(q) * scale, one scale per group.

    Rounds half to even. Zero stays exactly zero. Before `initialize`, scales are 1.

    Args:
        group_sizes: Rows (of the first dimension) in each group, in order, e.g. `HashGridSpec.level_entries`; None: the
            tensor is one group.
        bits: Bits a code, 2 to 8.

    Raises:
        ValueError: an argument outside its range.
    """

    unit: Tensor
    _row_group: Tensor | None

    def __init__(self, group_sizes: Sequence[int] | None = None, *, bits: int = 8) -> None:
        super().__init__()
        if not 2 <= bits <= 8:
            raise ValueError(f"bits is {bits}, expected 2 to 8; symbols are signed bytes")
        if group_sizes is not None and (len(group_sizes) == 0 or min(group_sizes) < 0):
            raise ValueError(f"group_sizes is {list(group_sizes)}, expected at least one group and no negative size")
        self.bits = bits
        self.group_sizes = None if group_sizes is None else tuple(int(size) for size in group_sizes)
        n_groups = 1 if self.group_sizes is None else len(self.group_sizes)
        self.gain = nn.Parameter(torch.zeros(n_groups))
        self.register_buffer("unit", torch.ones(n_groups))
        row_group = None if self.group_sizes is None else _row_groups(self.group_sizes)
        self.register_buffer("_row_group", row_group, persistent=False)

    @property
    def max_code(self) -> int:
        """Largest code, 2^(bits-1) - 1; the smallest is -2^(bits-1)."""
        return int(2 ** (self.bits - 1) - 1)

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Choose each group's scale by mean squared error.

        The candidates are LSQ's start value, 2 mean|w| / sqrt(max_code), and a grid from the full range downwards.

        Args:
            x: Weights. Any shape (rows as the groups add up to), float32; an all-zero or empty group gets an arbitrary
                positive scale.

        Raises:
            ValueError: a shape or dtype differs from the above.
        """
        self._check(x)
        groups = (x,) if self.group_sizes is None else x.split(self.group_sizes)
        self.unit.copy_(torch.tensor([_fit_scale(group, self.max_code) for group in groups]))
        self.gain.zero_()

    def scales(self) -> Tensor:
        """Step per group as transmitted, positive. [G] float32, differentiable in `gain`."""
        return (self.unit * self.gain.exp()).clamp(SCALE_MIN, _SCALE_MAX)

    def forward(self, x: Tensor) -> Tensor:
        """Return the decoder's values.

        Args:
            x: Weights. Any shape (rows as the groups add up to), float32.

        Returns:
            Values as decoded. Same shape, float32.

        Raises:
            ValueError: a shape or dtype differs from the above.

        Gradients: to x, straight-through where x / scale lies within the codes and zero elsewhere; to scale, q - x /
        scale inside and q outside, times 1 / sqrt(values in the group * max_code) as in LSQ. Deterministic: yes.
        """
        self._check(x)
        result: Tensor = _SymmetricRound.apply(x, self.scales(), self._row_group, self.group_sizes, self.max_code)
        return result

    @torch.no_grad()
    def symbols(self, x: Tensor) -> NDArray[np.int8]:
        """Codes to transmit. Same shape as `x`, int8."""
        self._check(x)
        row_scale = _per_row(self.scales(), self._row_group, x.ndim)
        codes: NDArray[np.int8] = _codes(x, row_scale, self.max_code).cpu().numpy()
        return codes

    @torch.no_grad()
    def side(self) -> dict[str, NDArray[np.float32]]:
        """`scales` as transmitted. [G] float32."""
        return {"scales": self.scales().cpu().numpy()}

    def _check(self, x: Tensor) -> None:
        if x.dtype != torch.float32:
            raise ValueError(f"symmetric quantiser got {x.dtype}, expected torch.float32")
        if self.group_sizes is not None:
            _check_rows(x.shape, self.group_sizes)
