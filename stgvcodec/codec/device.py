"""Which device and back end a request means on this machine."""

from __future__ import annotations

import torch

from stgvcodec.errors import BackendUnavailableError, ConfigError
from stgvcodec.ops.backends import resolve_backend

DEVICES = ("auto", "cpu", "cuda")


def resolve_device(requested: str, backend: str) -> tuple[torch.device, str]:
    """Device and back end that will run.

    Args:
        requested: "auto" (a GPU if there is one and the back end runs there), "cpu" or "cuda".
        backend: As for `resolve_backend`.

    Returns:
        The device, and the name of the back end.

    Raises:
        ConfigError: the device's name is not one of these.
        BackendUnavailableError: device or back end is not to be had here.
    """
    if requested not in DEVICES:
        raise ConfigError(f"device is '{requested}', expected one of {', '.join(DEVICES)}")
    has_gpu = torch.cuda.is_available()
    if requested == "cuda" and not has_gpu:
        raise BackendUnavailableError(
            "device 'cuda' was asked for, but torch finds no usable CUDA GPU here; use --device cpu"
        )
    if requested == "auto":
        requested = "cuda" if has_gpu and backend != "numba" else "cpu"
    device = torch.device(requested)
    return device, resolve_backend(backend, device)
