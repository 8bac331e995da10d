"""Names of the spaces in which the means are trained; no torch is needed here, so that presets can use them."""

from __future__ import annotations

from typing import Literal

MeansSpace = Literal["pixels", "tanh"]
