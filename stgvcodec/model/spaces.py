"""Spaces in which parameters are trained; named here, without torch, so that presets can say them."""

from __future__ import annotations

from typing import Literal

MeansSpace = Literal["pixels", "tanh"]
