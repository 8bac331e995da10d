"""Cholesky factors on an asymmetric grid with learned scale and offset per component, Eq. (10)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

SCALE_MIN = 2.0**-40
"""Smallest transmitted scale, and by its inverse bound the largest scale and offset magnitude: 2^40."""
_MAGNITUDE_MAX = 2.0**40

# Shares of the values left outside the window at either end, tried at initialisation; (0, 0) is min-max.
_LOW_TAILS = (0.0, 0.0005, 0.002, 0.01)
_HIGH_TAILS = (0.0, 0.0005, 0.002, 0.005, 0.01, 0.02, 0.05)
_REFINEMENTS = 10


def dequantize(
    symbols: NDArray[np.uint8],
    scale: NDArray[np.float32],
    offset: NDArray[np.float32],
    *,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Values of affine codes: float32(q) * scale + offset, rounded to float32 after the product and after the sum.

    Args:
        symbols: Codes. [N, C] uint8.
        scale: Step per component. [C] float32.
        offset: Value of code 0 per component. [C] float32.
        device: Where the result lives.

    Returns:
        [N, C] float32.

    Raises:
        ValueError: a shape or dtype differs from the above.
    """
    if symbols.dtype != np.uint8 or symbols.ndim != 2:
        raise ValueError(f"affine symbols are {symbols.dtype} {list(symbols.shape)}, expected uint8 [N, C]")
    for name, array in (("scale", scale), ("offset", offset)):
        if array.dtype != np.float32 or array.shape != symbols.shape[1:]:
            raise ValueError(
                f"affine {name} is {array.dtype} {list(array.shape)}, expected float32 [{symbols.shape[1]}]"
            )
    codes = torch.from_numpy(np.ascontiguousarray(symbols)).to(device)
    return _values(codes, torch.tensor(scale, device=device), torch.tensor(offset, device=device))


def _codes(x: Tensor, scale: Tensor, offset: Tensor, max_code: int) -> Tensor:
    ratio = (torch.nan_to_num(x, nan=0.0) - offset) / scale
    return ratio.round_().clamp_(0, max_code).to(torch.uint8)


def _values(codes: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    # Two separate operations, hence two roundings; addcmul could contract them.
    product = codes.to(torch.float32) * scale
    return product + offset


class _AffineRound(torch.autograd.Function):
    """LSQ+ (Bhalgat et al. 2020) around the decoder's arithmetic."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, offset: Tensor, max_code: int) -> Tensor:
        codes = _codes(x, scale, offset, max_code)
        ctx.save_for_backward(x, scale, offset, codes)
        ctx.max_code = max_code
        return _values(codes, scale, offset)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        (grad,) = grad_outputs
        x, scale, offset, codes = ctx.saved_tensors
        ratio = (torch.nan_to_num(x, nan=0.0) - offset) / scale  # [N, C]
        inside = (ratio >= 0) & (ratio <= ctx.max_code)
        damping = 1.0 / math.sqrt(max(x.shape[0], 1) * ctx.max_code)
        code_values = codes.to(grad.dtype)
        slope = torch.where(inside, code_values - ratio, code_values)
        zero = torch.zeros_like(grad)
        grad_scale = (grad * slope).sum(dim=0) * damping
        grad_offset = torch.where(inside, zero, grad).sum(dim=0) * damping
        return torch.where(inside, grad, zero), grad_scale, grad_offset, None


def _fit_window(x: Tensor, max_code: int) -> tuple[Tensor, Tensor]:
    """Scale and offset per component with the least squared error among percentile windows, refined by least squares.

    Args:
        x: Values, N >= 1. [N, C] float32.
        max_code: Largest code.

    Returns:
        scale [C], offset [C], float32, within the transmitted limits.
    """
    x = torch.nan_to_num(x, nan=0.0).clamp(-_MAGNITUDE_MAX, _MAGNITUDE_MAX)
    ordered = x.sort(dim=0).values
    last = x.shape[0] - 1
    # A constant component has no span: any step will do, and code 0 gives it exactly.
    idle_scale = ordered.abs().amax(dim=0).clamp_min(1.0) / max_code

    best_error = torch.full_like(idle_scale, math.inf, dtype=torch.float64)
    best_scale, best_offset = idle_scale, ordered[0]

    def consider(scale: Tensor, offset: Tensor) -> Tensor:
        """Keep the candidate where it is better; return its codes."""
        nonlocal best_error, best_scale, best_offset
        codes = _codes(x, scale, offset, max_code)
        error = (_values(codes, scale, offset).double() - x).square_().mean(dim=0)  # [C]
        better = error < best_error
        best_error = torch.where(better, error, best_error)
        best_scale = torch.where(better, scale, best_scale)
        best_offset = torch.where(better, offset, best_offset)
        return codes

    for low_tail in _LOW_TAILS:
        for high_tail in _HIGH_TAILS:
            low = ordered[int(low_tail * last)]
            span = ordered[last - int(high_tail * last)] - low
            consider(torch.where(span > 0, span / max_code, idle_scale).clamp(SCALE_MIN, _MAGNITUDE_MAX), low)

    codes = consider(best_scale, best_offset)
    for _ in range(_REFINEMENTS):
        q = codes.double()
        spread = q.var(dim=0, correction=0)
        slope = ((q - q.mean(dim=0)) * x).mean(dim=0) / spread.clamp_min(1e-12)
        usable = (spread > 0) & (slope > SCALE_MIN)
        scale = torch.where(usable, slope, best_scale.double()).clamp(SCALE_MIN, _MAGNITUDE_MAX)
        offset = torch.where(usable, x.double().mean(dim=0) - scale * q.mean(dim=0), best_offset.double())
        codes = consider(scale.float(), offset.clamp(-_MAGNITUDE_MAX, _MAGNITUDE_MAX).float())
    return best_scale, best_offset


class AffineQuantizer(nn.Module):
    """q = clamp(round((x - offset) / scale), 0, 2^bits - 1), value = float32(q) * scale + offset.

    Implements Eq. (10) of Lin et al. 2026 (arXiv 2604.10910), read as rounding (half to even); as a floor it costs four
    times the error. Before `initialize`, scale is 1 and offset 0.

    Args:
        n_components: C, each with its own scale and offset.
        bits: Bits a code, 1 to 8.

    Raises:
        ValueError: an argument outside its range.
    """

    unit: Tensor
    anchor: Tensor

    def __init__(self, n_components: int = 3, *, bits: int = 8) -> None:
        super().__init__()
        if not 1 <= bits <= 8:
            raise ValueError(f"bits is {bits}, expected 1 to 8; symbols are bytes")
        if n_components < 1:
            raise ValueError(f"n_components is {n_components}, expected at least 1")
        self.bits = bits
        self.gain = nn.Parameter(torch.zeros(n_components))
        self.shift = nn.Parameter(torch.zeros(n_components))
        self.register_buffer("unit", torch.ones(n_components))
        self.register_buffer("anchor", torch.zeros(n_components))

    @property
    def max_code(self) -> int:
        """Largest code, 2^bits - 1."""
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
        scale, offset = _fit_window(x, self.max_code)
        self.unit.copy_(scale)
        self.anchor.copy_(offset)
        self.gain.zero_()
        self.shift.zero_()

    def scale(self) -> Tensor:
        """Step per component as transmitted, positive. [C] float32, differentiable in `gain`."""
        return (self.unit * self.gain.exp()).clamp(SCALE_MIN, _MAGNITUDE_MAX)

    def offset(self) -> Tensor:
        """Value of code 0 per component as transmitted. [C] float32, differentiable in `shift`."""
        return (self.anchor + self.unit * self.shift).clamp(-_MAGNITUDE_MAX, _MAGNITUDE_MAX)

    def forward(self, x: Tensor) -> Tensor:
        """Return the decoder's values.

        Args:
            x: Values, e.g. raw Cholesky factors, pixels. [N, C] float32.

        Returns:
            Values as decoded. [N, C] float32.

        Raises:
            ValueError: a shape or dtype differs from the above.

        Gradients: to x, straight-through where 0 <= (x - offset) / scale <= max_code and zero elsewhere; to scale, q -
        (x - offset) / scale inside and q outside; to offset, 0 inside and 1 outside; the last two times 1 / sqrt(N
        max_code) as in LSQ. Deterministic: yes.
        """
        self._check(x)
        result: Tensor = _AffineRound.apply(x, self.scale(), self.offset(), self.max_code)
        return result

    @torch.no_grad()
    def symbols(self, x: Tensor) -> NDArray[np.uint8]:
        """Codes to transmit. [N, C] uint8."""
        self._check(x)
        codes: NDArray[np.uint8] = _codes(x, self.scale(), self.offset(), self.max_code).cpu().numpy()
        return codes

    @torch.no_grad()
    def side(self) -> dict[str, NDArray[np.float32]]:
        """`scale` and `offset` as transmitted. [C] float32 each."""
        return {"scale": self.scale().cpu().numpy(), "offset": self.offset().cpu().numpy()}

    def _check(self, x: Tensor) -> None:
        n_components = self.gain.shape[0]
        if x.ndim != 2 or x.shape[1] != n_components or x.dtype != torch.float32:
            raise ValueError(
                f"affine quantiser got {x.dtype} {list(x.shape)}, expected torch.float32 [N, {n_components}]"
            )
