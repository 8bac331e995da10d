"""Learned steps, relative to the scales and offsets that were found in the data."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

SCALE_MIN = 2.0**-40
"""Smallest scale."""
MAGNITUDE_MAX = 2.0**40
"""Largest scale, and largest magnitude of an offset."""


class LsqSteps(NamedTuple):
    """Parameters of each group's scale and offset: unit * exp(gain) and anchor + unit * shift, clamped to the limits.

    Attributes:
        gain: Learned logarithm of the scale, relative to `unit`. [G] float32.
        unit: Scale found in the data, positive. [G] float32.
        shift: Learned offset from `anchor`, in units of `unit`; None if symbol 0 stands for zero. [G] float32.
        anchor: Offset found in the data; None if `shift` is None. [G] float32.
    """

    gain: Tensor
    unit: Tensor
    shift: Tensor | None = None
    anchor: Tensor | None = None
