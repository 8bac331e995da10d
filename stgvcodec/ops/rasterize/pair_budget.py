"""Budget of (Gaussian, tile) pairs that a call of the Triton rasteriser may list."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PairBudget:
    """Room for (Gaussian, tile) pairs fixed ahead, so that a call never waits for the device.

    Attributes:
        capacity: Number of pairs that a call can list, over all of its frames. What does not fit is not drawn.
        need: Largest number of pairs that any call needed so far, kept on the device. If it exceeds `capacity`, a call
            dropped pairs and must be made again with room for `need` pairs. [1] int32.
    """

    capacity: int
    need: Tensor

    @classmethod
    def of(cls, capacity: int, device: torch.device) -> PairBudget:
        """Return a budget that no call has used yet."""
        return cls(capacity, torch.zeros(1, dtype=torch.int32, device=device))
