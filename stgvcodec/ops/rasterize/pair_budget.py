"""How many (Gaussian, tile) pairs a call of the Triton rasteriser may list."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PairBudget:
    """Room for (Gaussian, tile) pairs fixed ahead, so that a call never waits for the device.

    Attributes:
        capacity: Pairs that a call can list, over all of its frames. What does not fit is not drawn.
        need: The most pairs that any call wanted so far, kept on the device. Beyond `capacity`, a call was clamped:
            call again with room for as many. [1] int32.
    """

    capacity: int
    need: Tensor

    @classmethod
    def of(cls, capacity: int, device: torch.device) -> PairBudget:
        """A budget that no call has used yet."""
        return cls(capacity, torch.zeros(1, dtype=torch.int32, device=device))
