"""The choice of the back end that runs an operator: `auto` picks one, an explicit request is met or refused."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Collection, Mapping
from functools import cache
from typing import TypeVar

import torch

from stgvcodec.errors import BackendUnavailableError
from stgvcodec.ops.kernel_cache import TRITON_VARIABLE, triton_cache

BACKENDS = ("auto", "reference", "numba", "triton")

# The fastest back end comes first. `reference` runs on every device.
_PREFERENCE = {"cuda": ("triton", "reference"), "cpu": ("numba", "reference")}
_DEVICES = {"numba": ("cpu",), "triton": ("cuda",)}
# Triton generates code for Ampere and later, which have the asynchronous copies and tf32 that the kernels use.
_OLDEST_CAPABILITY = (8, 0)

_Implementation = TypeVar("_Implementation")


def resolve_backend(requested: str, device: torch.device, available: Collection[str] = BACKENDS) -> str:
    """Return the name of the back end that will run.

    Args:
        requested: One of `BACKENDS`.
        device: Device of the tensors.
        available: Back ends that the operator has.

    Returns:
        "reference", "numba" or "triton".

    Raises:
        BackendUnavailableError: this machine, device or release cannot meet an explicit request.
    """
    if requested not in BACKENDS:
        raise BackendUnavailableError(f"backend '{requested}' does not exist; choose one of {', '.join(BACKENDS)}")
    if requested == "auto":
        candidates = _PREFERENCE.get(device.type, ("reference",))
        return next(name for name in candidates if name in available and _obstacle(name, device) is None)
    obstacle = "does not have this operator" if requested not in available else _obstacle(requested, device)
    if obstacle is not None:
        raise BackendUnavailableError(f"backend '{requested}' {obstacle}; use --backend auto")
    return requested


def select(implementations: Mapping[str, _Implementation], requested: str, device: torch.device) -> _Implementation:
    """Pick an operator's implementation from its table (name -> function) by `resolve_backend`."""
    return implementations[resolve_backend(requested, device, implementations.keys())]


def is_interpreted() -> bool:
    """Whether Triton runs kernels in Python, on any device, as it does in the tests where there is no GPU."""
    return os.environ.get("TRITON_INTERPRET") == "1"


@cache
def _triton_folder(_named: str | None) -> str | None:
    """Return the folder of Triton's kernels if it cannot be written; operators ask for their back end in every call."""
    folder = triton_cache()
    return None if folder.is_writable else str(folder.path)


def _obstacle(name: str, device: torch.device) -> str | None:
    if device.type not in _DEVICES.get(name, (device.type,)) and not (name == "triton" and is_interpreted()):
        return f"runs on {' or '.join(_DEVICES[name])}, not on {device.type}"
    if name != "reference" and importlib.util.find_spec(name) is None:
        return f"needs the package {name}, which is not installed"
    if name == "triton" and device.type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        if capability < _OLDEST_CAPABILITY:
            found, needed = (".".join(map(str, version)) for version in (capability, _OLDEST_CAPABILITY))
            return f"needs a GPU of compute capability {needed}, this one has {found}"
        if not (os.environ.get("CC") or any(map(shutil.which, ("cc", "gcc", "clang")))):
            return "needs a C compiler, with which Triton builds its launchers, and finds none; install gcc"
        folder = _triton_folder(os.environ.get(TRITON_VARIABLE))
        if folder is not None:
            return (
                f"needs a folder that it can write for its kernels, and cannot write {folder}; name one that you alone "
                f"can write by {TRITON_VARIABLE}"
            )
    return None
