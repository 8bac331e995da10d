"""Learned steps, relative to what was found in the data."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

SCALE_MIN = 2.0**-40
"""Smallest scale, and by its inverse bound the largest scale and offset magnitude: 2^40."""
MAGNITUDE_MAX = 2.0**40


class LsqSteps(NamedTuple):
    """Scale and offset of each group: unit * exp(gain) and anchor + unit * shift, clamped to the limits above.

    Attributes:
        gain: Learned. [G] float32.
        unit: Scale found in the data, positive. [G] float32.
        shift: Learned; None where symbol 0 stands for zero. [G] float32.
        anchor: Offset found in the data; None as `shift`. [G] float32.
    """

    gain: Tensor
    unit: Tensor
    shift: Tensor | None = None
    anchor: Tensor | None = None
