"""Hash tables and MLP tensors on a signed grid through zero, one learned scale per group."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stgvcodec.ops.lsq import (
    MAGNITUDE_MAX,
    SCALE_MIN,
    LsqSteps,
    Segments,
    lsq_round,
    lsq_round_rated,
    lsq_steps,
    lsq_symbols,
    segment_blocks,
    symbols_of,
    values_of,
)

__all__ = ["SCALE_MIN", "SymmetricQuantizer"]

# Any positive step serves an all-zero group; this one is of the order of a hash table's.
_IDLE_SCALE = 2.0**-14

# The search shrinks the full-range scale by sixteenths of an octave, down to 1/16.
_SHRINK_STEPS = 64
_STEPS_PER_OCTAVE = 16
# Candidates are tried together as long as candidates times values fit this: a cache, or some megabytes on a GPU.
_SEARCH_ELEMENTS = 1 << 20


def _row_groups(group_sizes: Sequence[int]) -> Tensor:
    return torch.repeat_interleave(torch.arange(len(group_sizes)), torch.tensor(list(group_sizes), dtype=torch.int64))


def _fit_scale(values: Tensor, max_symbol: int) -> Tensor:
    """Find the scale with the least squared error among LSQ's start value and shrunken full-range scales.

    Args:
        values: Values of one group. [n_values] float32.
        max_symbol: Largest symbol.

    Returns:
        Positive scale, on the device of the values, which is not waited for. Scalar float32.
    """
    if values.numel() == 0:
        return values.new_tensor(_IDLE_SCALE)
    values = torch.nan_to_num(values, nan=0.0).clamp(-MAGNITUDE_MAX, MAGNITUDE_MAX)
    magnitude = values.abs()
    shrink = torch.exp2(-torch.arange(_SHRINK_STEPS + 1, device=values.device) / _STEPS_PER_OCTAVE)
    # The mean is in float64, so that the order of summation, which depends on threads, is rounded away.
    lsq_start = (2.0 * magnitude.double().mean() / math.sqrt(max_symbol)).float()
    full_range = magnitude.max() / max_symbol
    candidates = torch.cat([lsq_start.reshape(1), full_range * shrink]).clamp(SCALE_MIN, MAGNITUDE_MAX)
    rows = max(_SEARCH_ELEMENTS // values.numel(), 1)
    errors = [_squared_error(values, scales[:, None], max_symbol) for scales in candidates.split(rows)]
    best = candidates[torch.cat(errors).argmin()]
    return torch.where(magnitude.any(), best, _IDLE_SCALE)


def _squared_error(values: Tensor, scales: Tensor, max_symbol: int) -> Tensor:
    """Mean squared error of the values [n_values] under each of the scales [n, 1]. [n] float64."""
    decoded = values_of(symbols_of(values, scales, None, -max_symbol - 1, max_symbol), scales, None)
    return (decoded.double() - values).square_().mean(dim=1)


class SymmetricQuantizer(nn.Module):
    """q = clamp(round(w / scale), -2^(bits-1), 2^(bits-1) - 1), value = float32(q) * scale, one scale per group.

    Ties round to even, and zero stays exactly zero. Before `initialize`, scales are 1.

    Args:
        group_sizes: Number of values in each group of a flat vector, in order; with None a tensor of any shape is one
            group.
        bits: Bits a symbol, 2 to 8.
        initial_bits: Bits for which `initialize` chooses scales, if fewer symbols are to be used than `bits` allows.
        backend: Back end of the operator.

    Raises:
        ValueError: an argument is outside its range.

    Attributes:
        group_of: Group of each value. [n_values] int64.
    """

    unit: Tensor
    _blocks: Tensor
    group_of: Tensor

    def __init__(
        self,
        group_sizes: Sequence[int] | None = None,
        *,
        bits: int = 8,
        initial_bits: int | None = None,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        for name, value in (("bits", bits), ("initial_bits", initial_bits or bits)):
            if not 2 <= value <= 8:
                raise ValueError(f"{name} is {value}, expected 2 to 8; symbols are signed bytes")
        if group_sizes is not None and (len(group_sizes) == 0 or min(group_sizes) < 0):
            raise ValueError(f"group_sizes is {list(group_sizes)}, expected at least one group and no negative size")
        self.bits = bits
        self._initial_max_symbol = 2 ** ((initial_bits or bits) - 1) - 1
        self.backend = backend
        self.group_sizes = None if group_sizes is None else tuple(int(size) for size in group_sizes)
        n_groups = 1 if self.group_sizes is None else len(self.group_sizes)
        self.gain = nn.Parameter(torch.zeros(n_groups))
        self.register_buffer("unit", torch.ones(n_groups))
        self.register_buffer("_blocks", segment_blocks(self.group_sizes or (0,)), persistent=False)
        self.register_buffer("group_of", _row_groups(self.group_sizes or (0,)), persistent=False)

    @property
    def max_symbol(self) -> int:
        """Largest symbol, 2^(bits-1) - 1; the smallest is -2^(bits-1)."""
        return int(2 ** (self.bits - 1) - 1)

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Choose each group's scale by mean squared error.

        The candidates are LSQ's start value, 2 mean|w| / sqrt(max_symbol), and a grid from the full range downwards.

        Args:
            x: Weights. [n_values] float32, any shape without groups; an all-zero or empty group gets an arbitrary
                positive scale.

        Raises:
            ValueError: a shape or dtype differs from the above.
        """
        self._check(x)
        groups = (x.reshape(-1),) if self.group_sizes is None else x.split(self.group_sizes)
        self.unit.copy_(torch.stack([_fit_scale(group, self._initial_max_symbol) for group in groups]))
        self.gain.zero_()

    def scales(self) -> Tensor:
        """Step per group as transmitted, positive. [G] float32, without a gradient."""
        return lsq_steps(self._steps(), backend=self.backend)[0]

    def forward(self, x: Tensor) -> Tensor:
        """Return the decoder's values.

        Args:
            x: Weights. [n_values] float32, any shape without groups.

        Returns:
            Values as decoded. Same shape, float32.

        Raises:
            ValueError: a shape or dtype differs from the above.

        Gradients: to x, straight-through where x / scale lies within the symbols and zero elsewhere; to gain as
        `lsq_round` says. Deterministic: yes.
        """
        self._check(x)
        values = lsq_round(
            self._laid_out(x),
            self._steps(),
            segments=self._segments(),
            min_symbol=-self.max_symbol - 1,
            max_symbol=self.max_symbol,
            backend=self.backend,
        )
        return values.reshape(x.shape)

    def rated(self, x: Tensor, tables: Tensor) -> tuple[Tensor, Tensor]:
        """Return the decoder's values and what their symbols cost.

        Args:
            x: Weights. [n_values] float32; the quantiser must have groups.
            tables: Bits of the symbols from -2^(bits-1) on, one row a group. [G, 2^bits or more] float32.

        Returns:
            values: Values as decoded. [n_values] float32.
            bits: Partial sums of the bits of all symbols. [n] float32.

        Raises:
            ValueError: a shape or dtype differs from the above.

        Gradients: to x and gain, from both values and bits, as `lsq_round_rated` says. Deterministic: yes.
        """
        self._check(x)
        segments = self._segments()
        if segments is None:
            raise ValueError("bits are those of groups, and this quantiser has none")
        return lsq_round_rated(
            x,
            self._steps(),
            tables,
            segments=segments,
            min_symbol=-self.max_symbol - 1,
            max_symbol=self.max_symbol,
            backend=self.backend,
        )

    @torch.no_grad()
    def symbol_tensor(self, x: Tensor) -> Tensor:
        """Symbols to transmit. Same shape as `x`, int16, on the device."""
        self._check(x)
        return lsq_symbols(
            self._laid_out(x),
            self.scales(),
            None,
            segments=self._segments(),
            min_symbol=-self.max_symbol - 1,
            max_symbol=self.max_symbol,
        ).reshape(x.shape)

    def symbols(self, x: Tensor) -> NDArray[np.int8]:
        """Symbols to transmit. Same shape as `x`, int8."""
        symbols: NDArray[np.int8] = self.symbol_tensor(x).to(torch.int8).cpu().numpy()
        return symbols

    def side(self) -> dict[str, NDArray[np.float32]]:
        """`scales` as transmitted. [G] float32."""
        return {"scales": self.scales().cpu().numpy()}

    def _laid_out(self, x: Tensor) -> Tensor:
        """Return `x` in the shape that the operator takes: one column if there are no groups."""
        return x.reshape(-1, 1) if self.group_sizes is None else x

    def _steps(self) -> LsqSteps:
        return LsqSteps(self.gain, self.unit)

    def _segments(self) -> Segments | None:
        return None if self.group_sizes is None else Segments(self.group_sizes, self._blocks)

    def _check(self, x: Tensor) -> None:
        if x.dtype != torch.float32:
            raise ValueError(f"symmetric quantiser got {x.dtype}, expected torch.float32")
        if self.group_sizes is not None and tuple(x.shape) != (sum(self.group_sizes),):
            raise ValueError(
                f"symmetric quantiser got shape {list(x.shape)}, "
                f"expected {sum(self.group_sizes)} values in one dimension, the sum of its groups"
            )
