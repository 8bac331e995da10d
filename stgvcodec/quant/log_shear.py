"""Covariances as logarithmic scales and a shear: the same relative precision for a Gaussian of any size."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stgvcodec.ops.code_length import CodeLengths
from stgvcodec.ops.log_shear import (
    MIN_DIAGONAL_PX,
    N_SYMBOLS,
    SCALE_LIMITS,
    SHEAR_ZERO,
    log_shear_round,
    log_shear_scale,
    log_shear_symbols,
)

__all__ = ["SCALE_LIMITS", "LogShearQuantizer"]


class LogShearQuantizer(nn.Module):
    """Quantiser of l1 and l3 in equal ratios from half a pixel up, and of the shear l2 / l3 in equal steps.

    All three steps are learned. An error of a symbol changes the distances inside the Gaussian, in its own standard
    deviations, by as much in a large Gaussian as in a small one; steps in pixels would spend bits on large ones that
    nobody sees.

    Args:
        initial_step: Value of all three steps at the start.
        backend: Back end of the operator.
    """

    unit: Tensor

    def __init__(self, *, initial_step: float = 0.06, backend: str = "auto") -> None:
        super().__init__()
        self.backend = backend
        self._initial_step = initial_step
        self.gain = nn.Parameter(torch.zeros(3))
        self.register_buffer("unit", torch.full((3,), initial_step))

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Set the steps to `initial_step`, whatever the data.

        Args:
            x: Raw factors, pixels. [N, 3] float32.
        """
        self._check(x)
        self.unit.fill_(self._initial_step)
        self.gain.zero_()

    @torch.no_grad()
    def refine(self, factor: float, x: Tensor) -> None:
        """Multiply the steps by a factor of at most 1; none becomes so fine that factors could not be reached.

        Args:
            factor: Factor of the steps.
            x: Raw factors, pixels. [N, 3] float32.
        """
        self._check(x)
        scale = self.scale().clamp_min(1e-30)
        self.unit.mul_(torch.maximum(scale * factor, torch.minimum(_finest_steps(x), scale)) / scale)

    def scale(self) -> Tensor:
        """Steps as transmitted: relative ones of l1 and l3, and that of the shear. [3] float32, without a gradient."""
        return log_shear_scale(self.gain, self.unit, backend=self.backend)

    def forward(self, x: Tensor) -> Tensor:
        """Return the decoder's values.

        Args:
            x: Raw factors (l1, l2, l3), pixels. [N, 3] float32.

        Returns:
            Values as decoded. [N, 3] float32.

        Raises:
            ValueError: a shape or dtype differs from the above.

        Gradients: to x and gain as `log_shear_round` says. Deterministic: yes.
        """
        return log_shear_round(x, self.gain, self.unit, backend=self.backend)[0]

    def rated(self, x: Tensor, lengths: CodeLengths) -> tuple[Tensor, Tensor]:
        """Return the decoder's values and what their symbols cost.

        Args:
            x: Raw factors (l1, l2, l3), pixels. [N, 3] float32.
            lengths: Tables, and the table row of each of the symbols (a, b, s). Rows [3, N].

        Returns:
            values: Values as decoded. [N, 3] float32.
            bits: Partial sums of the bits of all symbols. [n] float32.

        Raises:
            ValueError: a shape or dtype differs from the above.

        Gradients: to x and gain, from both values and bits. Deterministic: yes.
        """
        values, bits = log_shear_round(x, self.gain, self.unit, lengths=lengths, backend=self.backend)
        assert bits is not None
        return values, bits

    def symbol_tensor(self, x: Tensor) -> Tensor:
        """Symbols (a, b, s) to transmit. [N, 3] int64, on the device."""
        return log_shear_symbols(x, self.gain, self.unit, backend=self.backend)

    def symbols(self, x: Tensor) -> NDArray[np.uint8]:
        """Symbols (a, b, s) to transmit. [N, 3] uint8."""
        return self.symbol_tensor(x).cpu().numpy().astype(np.uint8)

    def side(self) -> dict[str, NDArray[np.float32]]:
        """`scale` as transmitted. [3] float32."""
        return {"scale": self.scale().cpu().numpy()}

    @staticmethod
    def _check(x: Tensor) -> None:
        if x.ndim != 2 or x.shape[1] != 3 or x.dtype != torch.float32:
            raise ValueError(f"log-shear quantiser got {x.dtype} {list(x.shape)}, expected torch.float32 [N, 3]")


def _finest_steps(x: Tensor) -> Tensor:
    """Steps below which raw factors [N, 3] could not be reached; 0 where there are none. [3]."""
    if not x.shape[0]:
        return torch.zeros(3, device=x.device)
    clean = torch.nan_to_num(x)
    diagonal = clean[:, ::2].clamp_min(0.0) + MIN_DIAGONAL_PX
    sizes = torch.cat((torch.log(diagonal / MIN_DIAGONAL_PX), (clean[:, 1] / diagonal[:, 1]).abs()[:, None]), dim=1)
    # The largest 0.1 % may saturate, as with colours.
    reach = sizes.kthvalue(max(1, round(0.999 * x.shape[0])), dim=0).values
    return torch.cat((torch.expm1(reach[:2] / (N_SYMBOLS - 1)), reach[2:] / (N_SYMBOLS - 1 - SHEAR_ZERO)))
