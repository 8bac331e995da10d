"""Means on a uniform grid, so that their cells can be coded as gaps in Morton order."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stgvcodec.ops.lsq import LsqSteps, lsq_round, lsq_symbols

__all__ = ["MAX_CELL", "GridQuantizer"]

MAX_CELL = 2**15 - 1
"""Largest cell along an axis: half-pixel cells span the widest picture that the format allows."""

# The grid reaches this far beyond the means on either side, since they move while they are fine-tuned. The rounding of
# the offset takes less than half of it.
_SLACK = 0.02


class GridQuantizer(nn.Module):
    """k = clamp(round((x - offset) / scale), 0, MAX_CELL), value = float32(k) * scale + offset, per axis.

    The width of a cell is chosen once, by the size of the Gaussians, and not learned: halving it costs one bit a
    Gaussian and axis, whatever the data.

    Args:
        backend: Back end of the operator.
    """

    _scale: Tensor
    _offset: Tensor
    _zeros: Tensor

    def __init__(self, *, backend: str = "auto") -> None:
        super().__init__()
        self.backend = backend
        self.register_buffer("_scale", torch.ones(2))
        self.register_buffer("_offset", torch.zeros(2))
        self.register_buffer("_zeros", torch.zeros(2))

    @torch.no_grad()
    def initialize(self, x: Tensor, cell: Tensor) -> None:
        """Lay the grid so that it covers the means.

        Args:
            x: Means. [N, 2] float32.
            cell: Width of a cell along each axis, in units of the means, positive; it is widened if the grid would need
                more than `MAX_CELL` cells. [2] float32.
        """
        if x.shape[0] == 0:
            return
        clean = torch.nan_to_num(x, nan=0.0).clamp(-4.0, 4.0)
        low, high = clean.amin(dim=0), clean.amax(dim=0)
        # Scale and offset are bfloat16, so that half of their bytes cost nothing; no cell is narrower than needed.
        scale = torch.maximum(cell, (high - low + 3.0 * _SLACK) / MAX_CELL) * (1.0 + 2.0**-8)
        self._scale.copy_(scale.bfloat16())
        self._offset.copy_((low - _SLACK).bfloat16())

    def forward(self, x: Tensor) -> Tensor:
        """Return the decoder's values.

        Args:
            x: Means, picture coordinates, nominal [-1, 1]. [N, 2] float32.

        Returns:
            Values as decoded. [N, 2] float32.

        Gradients: straight-through to x inside the grid, zero outside. Deterministic: yes.
        """
        return lsq_round(x, self._steps(), min_symbol=0, max_symbol=MAX_CELL, backend=self.backend)

    @torch.no_grad()
    def cells(self, x: Tensor) -> Tensor:
        """Cells to transmit. [N, 2] int16, on the device."""
        return lsq_symbols(x, self._scale, self._offset, segments=None, min_symbol=0, max_symbol=MAX_CELL)

    def symbols(self, x: Tensor) -> NDArray[np.uint16]:
        """Cells to transmit. [N, 2] uint16."""
        return self.cells(x).cpu().numpy().astype(np.uint16)

    def side(self) -> dict[str, NDArray[np.float32]]:
        """`scale` and `offset` as transmitted. [2] float32 each."""
        return {"scale": self._scale.cpu().numpy(), "offset": self._offset.cpu().numpy()}

    def _steps(self) -> LsqSteps:
        return LsqSteps(self._zeros, self._scale, self._zeros, self._offset)
