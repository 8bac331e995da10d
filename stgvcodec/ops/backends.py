"""Which implementation of an operator runs: `auto` picks, an explicit request is met or refused."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import TypeVar

import torch

from stgvcodec.errors import BackendUnavailableError

BACKENDS = ("auto", "reference", "numba", "triton")

# Fastest first. `reference` runs anywhere.
_PREFERENCE = {"cuda": ("triton", "reference"), "cpu": ("numba", "reference")}
_DEVICES = {"numba": ("cpu",), "triton": ("cuda",)}
# Back ends that have kernels in this release.
_IMPLEMENTED = ("reference", "numba")

_Implementation = TypeVar("_Implementation")


def resolve_backend(requested: str, device: torch.device) -> str:
    """Name of the back end that will run.

    Args:
        requested: One of `BACKENDS`.
        device: Where the tensors live.

    Returns:
        "reference", "numba" or "triton".

    Raises:
        BackendUnavailableError: an explicit request that this machine, device or release cannot meet.
    """
    if requested not in BACKENDS:
        raise BackendUnavailableError(f"backend '{requested}' does not exist; choose one of {', '.join(BACKENDS)}")
    if requested == "auto":
        candidates = _PREFERENCE.get(device.type, ("reference",))
        return next(name for name in candidates if _obstacle(name, device) is None)
    obstacle = _obstacle(requested, device)
    if obstacle is not None:
        raise BackendUnavailableError(f"backend '{requested}' {obstacle}; use --backend auto")
    return requested


def select(implementations: Mapping[str, _Implementation], requested: str, device: torch.device) -> _Implementation:
    """Pick an operator's implementation from its table (name -> function) by `resolve_backend`."""
    return implementations[resolve_backend(requested, device)]


def _obstacle(name: str, device: torch.device) -> str | None:
    if name not in _IMPLEMENTED:
        return "has no kernels in this release"
    if device.type not in _DEVICES.get(name, (device.type,)):
        return f"runs on {' or '.join(_DEVICES[name])}, not on {device.type}"
    if name != "reference" and importlib.util.find_spec(name) is None:
        return f"needs the package {name}, which is not installed"
    return None
