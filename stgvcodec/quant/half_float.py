"""Means as IEEE half floats."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from stgvcodec.ops.half_round import HALF_MAX, half_round, round_to_half

__all__ = ["HALF_MAX", "HalfFloatQuantizer", "bit_patterns", "ordered_patterns", "round_to_half"]


def bit_patterns(halves: Tensor) -> NDArray[np.uint16]:
    """Return the bit patterns of a float16 tensor.

    Args:
        halves: Half floats. Any shape, float16.

    Returns:
        Bit patterns, in the machine's byte order. Same shape, uint16.
    """
    return halves.detach().cpu().contiguous().numpy().view(np.uint16)


def ordered_patterns(patterns: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Map bit patterns to integers in the order of their values: 0xFFFF - p where p >= 0x8000, else p + 0x8000.

    Args:
        patterns: Bit patterns of finite halves. Any shape, uint16.
    """
    return np.where(patterns >= 0x8000, 0xFFFF - patterns, patterns + np.uint16(0x8000)).astype(np.uint16)


class HalfFloatQuantizer(nn.Module):
    """Quantiser that rounds to half precision; it is meant for means in [-1, 1]^2, where a step is at most 2^-11.

    Nothing is learned and nothing is transmitted beside the symbols. The sign of zero is kept.

    Args:
        backend: Back end of the operator.
    """

    def __init__(self, *, backend: str = "auto") -> None:
        super().__init__()
        self.backend = backend

    def initialize(self, x: Tensor) -> None:
        """Do nothing: there is nothing to choose from the data."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the decoder's values.

        Args:
            x: Means, picture coordinates, nominal [-1, 1]. [N, 2] float32 (any shape works).

        Returns:
            Values as decoded. Same shape, float32.

        Gradients: straight-through (identity) to x, not through the conversion. Deterministic: yes.
        """
        return half_round(x, backend=self.backend)

    def symbols(self, x: Tensor) -> NDArray[np.uint16]:
        """Return the half bit patterns to transmit. Same shape as `x`, uint16."""
        return bit_patterns(round_to_half(x))

    def side(self) -> dict[str, NDArray[np.float32]]:
        """Return no side information, since nothing but the symbols is transmitted."""
        return {}
