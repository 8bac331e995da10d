"""Cholesky factors on an asymmetric grid with learned scale and offset per component, Eq. (10)."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stgvcodec.ops.lsq import (
    MAGNITUDE_MAX,
    SCALE_MIN,
    LsqSteps,
    lsq_round,
    lsq_steps,
    lsq_symbols,
    symbols_of,
    values_of,
)

__all__ = ["SCALE_MIN", "AffineQuantizer"]

# Shares of the values left outside the window at either end, tried at initialisation; (0, 0) is min-max.
_LOW_TAILS = (0.0, 0.0005, 0.002, 0.01)
_HIGH_TAILS = (0.0, 0.0005, 0.002, 0.005, 0.01, 0.02, 0.05)
_REFINEMENTS = 10


def _fit_window(x: Tensor, max_symbol: int) -> tuple[Tensor, Tensor]:
    """Find the scale and offset of least squared error among percentile windows, and refine them by least squares.

    Args:
        x: Values, N >= 1. [N, C] float32.
        max_symbol: Largest symbol.

    Returns:
        scale: Step per component, within the transmitted limits. [C] float32.
        offset: Value of symbol 0 per component, within the transmitted limits. [C] float32.
    """
    x = torch.nan_to_num(x, nan=0.0).clamp(-MAGNITUDE_MAX, MAGNITUDE_MAX)
    ordered = x.sort(dim=0).values
    last = x.shape[0] - 1
    # A constant component has no span: any step will do, and symbol 0 gives it exactly.
    idle_scale = ordered.abs().amax(dim=0).clamp_min(1.0) / max_symbol

    best_error = torch.full_like(idle_scale, math.inf, dtype=torch.float64)
    best_scale, best_offset = idle_scale, ordered[0]

    def consider(scale: Tensor, offset: Tensor) -> Tensor:
        """Keep the candidate in the components where it is better, and return its symbols."""
        nonlocal best_error, best_scale, best_offset
        symbols = symbols_of(x, scale, offset, 0, max_symbol)
        error = (values_of(symbols, scale, offset).double() - x).square_().mean(dim=0)  # [C]
        better = error < best_error
        best_error = torch.where(better, error, best_error)
        best_scale = torch.where(better, scale, best_scale)
        best_offset = torch.where(better, offset, best_offset)
        return symbols

    for low_tail in _LOW_TAILS:
        for high_tail in _HIGH_TAILS:
            low = ordered[int(low_tail * last)]
            span = ordered[last - int(high_tail * last)] - low
            consider(torch.where(span > 0, span / max_symbol, idle_scale).clamp(SCALE_MIN, MAGNITUDE_MAX), low)

    symbols = consider(best_scale, best_offset)
    for _ in range(_REFINEMENTS):
        q = symbols.double()
        spread = q.var(dim=0, correction=0)
        slope = ((q - q.mean(dim=0)) * x).mean(dim=0) / spread.clamp_min(1e-12)
        usable = (spread > 0) & (slope > SCALE_MIN)
        scale = torch.where(usable, slope, best_scale.double()).clamp(SCALE_MIN, MAGNITUDE_MAX)
        offset = torch.where(usable, x.double().mean(dim=0) - scale * q.mean(dim=0), best_offset.double())
        symbols = consider(scale.float(), offset.clamp(-MAGNITUDE_MAX, MAGNITUDE_MAX).float())
    return best_scale, best_offset


class AffineQuantizer(nn.Module):
    """q = clamp(round((x - offset) / scale), 0, 2^bits - 1), value = float32(q) * scale + offset.

    This implements Eq. (10) of Lin et al. 2026 (arXiv 2604.10910), read as rounding (half to even); as a floor it would
    cost four times the error. Before `initialize`, scale is 1 and offset 0.

    Args:
        n_components: Number of components C, each of which has its own scale and offset.
        bits: Bits a symbol, 1 to 8.
        backend: Back end of the operator.

    Raises:
        ValueError: an argument is outside its range.
    """

    unit: Tensor
    anchor: Tensor

    def __init__(self, n_components: int = 3, *, bits: int = 8, backend: str = "auto") -> None:
        super().__init__()
        if not 1 <= bits <= 8:
            raise ValueError(f"bits is {bits}, expected 1 to 8; symbols are bytes")
        if n_components < 1:
            raise ValueError(f"n_components is {n_components}, expected at least 1")
        self.bits = bits
        self.backend = backend
        self.gain = nn.Parameter(torch.zeros(n_components))
        self.shift = nn.Parameter(torch.zeros(n_components))
        self.register_buffer("unit", torch.ones(n_components))
        self.register_buffer("anchor", torch.zeros(n_components))

    @property
    def max_symbol(self) -> int:
        """Largest symbol, 2^bits - 1."""
        return int(2**self.bits - 1)

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Choose scale and offset per component by mean squared error; min-max is among the candidates.

        Args:
            x: Values. [N, C] float32; with N = 0 nothing changes.

        Raises:
            ValueError: a shape or dtype differs from the above.
        """
        self._check(x)
        if x.shape[0] == 0:
            return
        scale, offset = _fit_window(x, self.max_symbol)
        self.unit.copy_(scale)
        self.anchor.copy_(offset)
        self.gain.zero_()
        self.shift.zero_()

    def scale(self) -> Tensor:
        """Step per component as transmitted, positive. [C] float32, without a gradient."""
        return lsq_steps(self._steps(), backend=self.backend)[0]

    def offset(self) -> Tensor:
        """Value of symbol 0 per component as transmitted. [C] float32, without a gradient."""
        offset = lsq_steps(self._steps(), backend=self.backend)[1]
        assert offset is not None
        return offset

    def forward(self, x: Tensor) -> Tensor:
        """Return the decoder's values.

        Args:
            x: Values, e.g. raw Cholesky factors, pixels. [N, C] float32.

        Returns:
            Values as decoded. [N, C] float32.

        Raises:
            ValueError: a shape or dtype differs from the above.

        Gradients: to x, straight-through where 0 <= (x - offset) / scale <= max_symbol and zero elsewhere; to gain and
        shift as `lsq_round` says. Deterministic: yes.
        """
        self._check(x)
        return lsq_round(x, self._steps(), min_symbol=0, max_symbol=self.max_symbol, backend=self.backend)

    @torch.no_grad()
    def symbols(self, x: Tensor) -> NDArray[np.uint8]:
        """Symbols to transmit. [N, C] uint8."""
        self._check(x)
        scale, offset = lsq_steps(self._steps(), backend=self.backend)
        integers = lsq_symbols(x, scale, offset, segments=None, min_symbol=0, max_symbol=self.max_symbol)
        symbols: NDArray[np.uint8] = integers.to(torch.uint8).cpu().numpy()
        return symbols

    def side(self) -> dict[str, NDArray[np.float32]]:
        """`scale` and `offset` as transmitted. [C] float32 each."""
        return {"scale": self.scale().cpu().numpy(), "offset": self.offset().cpu().numpy()}

    def _steps(self) -> LsqSteps:
        return LsqSteps(self.gain, self.unit, self.shift, self.anchor)

    def _check(self, x: Tensor) -> None:
        n_components = self.gain.shape[0]
        if x.ndim != 2 or x.shape[1] != n_components or x.dtype != torch.float32:
            raise ValueError(
                f"affine quantiser got {x.dtype} {list(x.shape)}, expected torch.float32 [N, {n_components}]"
            )
