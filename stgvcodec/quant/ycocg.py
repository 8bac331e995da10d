"""Colours on learned scalar steps in a luma-chroma space (LSQ+ of Bhalgat et al. 2020, per component)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stgvcodec.ops.code_length import CodeLengths
from stgvcodec.ops.ycocg import MAX_SYMBOL, ZERO, to_ycocg, ycocg_round, ycocg_scale, ycocg_symbols

__all__ = ["YcocgQuantizer"]

# An error of Y or Cg shows in three channels, an error of Co in two.
_STEP_RATIOS = (1.0, 1.2, 1.0)


class YcocgQuantizer(nn.Module):
    """q = clamp(round(component / step), -128, 127) for Y, Co and Cg of a weighted colour; the steps are learned.

    Args:
        initial_step: Step of luma at the start, in units of [0, 1] colour.
        backend: Back end of the operator.
    """

    unit: Tensor

    def __init__(self, *, initial_step: float = 0.01, backend: str = "auto") -> None:
        super().__init__()
        self.backend = backend
        self._initial_steps = [initial_step * ratio for ratio in _STEP_RATIOS]
        self.gain = nn.Parameter(torch.zeros(3))
        self.register_buffer("unit", torch.tensor(self._initial_steps))

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Set the steps to the initial ones, and widen those with which colours could not be reached.

        Args:
            x: Weighted RGB. [N, 3] float32.
        """
        self._check(x)
        self.unit.copy_(torch.maximum(torch.tensor(self._initial_steps, device=x.device), _finest_steps(x)))
        self.gain.zero_()

    @torch.no_grad()
    def refine(self, factor: float, x: Tensor) -> None:
        """Multiply the steps by a factor of at most 1; none becomes so fine that colours could not be reached.

        Args:
            factor: Factor of the steps.
            x: Weighted RGB. [N, 3] float32.
        """
        self._check(x)
        scale = self.scale().clamp_min(1e-30)
        self.unit.mul_(torch.maximum(scale * factor, torch.minimum(_finest_steps(x), scale)) / scale)

    def scale(self) -> Tensor:
        """Steps as transmitted. [3] float32, without a gradient."""
        return ycocg_scale(self.gain, self.unit, backend=self.backend)

    def forward(self, x: Tensor) -> Tensor:
        """Return the decoder's values.

        Args:
            x: Weighted RGB. [N, 3] float32.

        Returns:
            Values as decoded. [N, 3] float32.

        Raises:
            ValueError: a shape or dtype differs from the above.

        Gradients: to x and gain as `ycocg_round` says. Deterministic: yes.
        """
        return ycocg_round(x, self.gain, self.unit, backend=self.backend)[0]

    def rated(self, x: Tensor, lengths: CodeLengths) -> tuple[Tensor, Tensor]:
        """Return the decoder's values and what their symbols cost.

        Args:
            x: Weighted RGB. [N, 3] float32.
            lengths: Tables, and the table row of each of the symbols of (Y, Co, Cg). Rows [3, N].

        Returns:
            values: Values as decoded. [N, 3] float32.
            bits: Partial sums of the bits of all symbols. [n] float32.

        Raises:
            ValueError: a shape or dtype differs from the above.

        Gradients: to x and gain, from both values and bits. Deterministic: yes.
        """
        values, bits = ycocg_round(x, self.gain, self.unit, lengths=lengths, backend=self.backend)
        assert bits is not None
        return values, bits

    @torch.no_grad()
    def symbol_tensor(self, x: Tensor) -> Tensor:
        """Symbols to transmit, from 0. [N, 3] int64, on the device."""
        self._check(x)
        return ycocg_symbols(x, self.scale()) + ZERO

    def symbols(self, x: Tensor) -> NDArray[np.uint8]:
        """Symbols to transmit. [N, 3] uint8."""
        return self.symbol_tensor(x).cpu().numpy().astype(np.uint8)

    def side(self) -> dict[str, NDArray[np.float32]]:
        """`scale` as transmitted. [3] float32."""
        return {"scale": self.scale().cpu().numpy()}

    @staticmethod
    def _check(x: Tensor) -> None:
        if x.ndim != 2 or x.shape[1] != 3 or x.dtype != torch.float32:
            raise ValueError(f"YCoCg quantiser got {x.dtype} {list(x.shape)}, expected torch.float32 [N, 3]")


def _finest_steps(x: Tensor) -> Tensor:
    """Steps below which colours [N, 3] could not be reached; 0 where there are none. [3]."""
    if not x.shape[0]:
        return torch.zeros(3, device=x.device)
    # The largest 0.1 % may saturate: one colour that is far out would coarsen all others.
    magnitude = torch.nan_to_num(to_ycocg(x)).abs().float()
    return magnitude.kthvalue(max(1, round(0.999 * x.shape[0])), dim=0).values / MAX_SYMBOL
