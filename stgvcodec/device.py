"""Choice of the device and back end that a request means on this machine, and what stands in the way of a GPU."""

from __future__ import annotations

import logging
import os
import re
import shutil
import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from stgvcodec.errors import BackendUnavailableError, ConfigError
from stgvcodec.ops.backends import resolve_backend

DEVICES = ("auto", "cpu", "cuda")

logger = logging.getLogger(__name__)

_DRIVER_FILE = Path("/proc/driver/nvidia/version")
# Values to which people who want no GPU set CUDA_VISIBLE_DEVICES.
_HIDDEN = ("", "-1", "NoDevFiles")


@dataclass(frozen=True)
class Gpu:
    """A GPU that torch sees.

    Attributes:
        name: Name of the model.
        capability: Compute capability, (major, minor).
        memory_bytes: Memory of the device, bytes.
        triton_obstacle: Why the back end "triton" does not run on it; None where it does.
    """

    name: str
    capability: tuple[int, int]
    memory_bytes: int
    triton_obstacle: str | None


@dataclass(frozen=True)
class _Obstacle:
    """A reason why no GPU can be used.

    Attributes:
        reason: The reason as a clause, "torch finds ...".
        is_fault: Whether a GPU seems to be there, so that its user will want to know.
    """

    reason: str
    is_fault: bool


def resolve_device(requested: str, backend: str) -> tuple[torch.device, str]:
    """Return the device and the back end that will run.

    A GPU that seems to be there and cannot be used is worth a warning where "auto" passes it over, once a process.

    Args:
        requested: "auto" (a GPU if a usable one is there and the back end runs on it), "cpu", "cuda", or "cuda:N" for
            one of several GPUs, which code under `on_device` then uses.
        backend: Back end or "auto", as `resolve_backend` takes it.

    Returns:
        The device, and the name of the back end.

    Raises:
        ConfigError: the device's name is not one of these, or there is no GPU of that number.
        BackendUnavailableError: device or back end is not to be had here.
    """
    requested, colon, number = requested.partition(":")
    if requested not in DEVICES or (colon and (requested == "auto" or not number.isdecimal())):
        raise ConfigError(f"device is '{requested}{colon}{number}', expected one of {', '.join(DEVICES)}, or cuda:N")
    device = torch.device("cpu")
    if requested == "cuda" or (requested == "auto" and backend != "numba"):
        obstacle = _gpu_obstacle()
        if obstacle is None and requested == "auto" and backend == "auto":
            obstacle = _kernel_obstacle()
        if obstacle is None:
            device = torch.device("cuda", _checked_number(number)) if colon else torch.device("cuda")
        elif requested == "cuda":
            raise BackendUnavailableError(f"device 'cuda' was asked for, but {obstacle.reason}; use --device cpu")
        elif obstacle.is_fault:
            _warn_once(f"using the CPU: {obstacle.reason}")
    return device, resolve_backend(backend, device)


def resolve_devices(requested: str, backend: str) -> tuple[tuple[torch.device, ...], str]:
    """Return all devices that a request means, for work that can be divided among them, and the back end.

    Args:
        requested: As `resolve_device` takes it, where "auto" and "cuda" mean every GPU on which the back end runs. Or
            several names with commas between, of one kind: "cuda:0,cuda:2" or, in short, "cuda:0,2". A device may be
            named more than once.
        backend: Back end or "auto", as `resolve_backend` takes it.

    Returns:
        The devices, numbered where they are several, and the name of the back end.

    Raises:
        ConfigError: a device's name is not one of these, there is no GPU of that number, or they are of two kinds.
        BackendUnavailableError: device or back end is not to be had here.
    """
    if "," in requested:
        names = _numbered_names(requested)
        devices, backends = zip(*(resolve_device(name, backend) for name in names), strict=True)
        return devices, backends[0]
    device, name = resolve_device(requested, backend)
    n_gpus = torch.cuda.device_count() if device.type == "cuda" and device.index is None else 1
    if n_gpus <= 1:
        return (device,), name
    devices = tuple(torch.device("cuda", number) for number in range(n_gpus))
    return tuple(each for each in devices if _runs(name, each)), name


def own_environment(device: torch.device, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a process that sees this GPU alone, as its GPU 0; on a CPU it is as it was."""
    if device.type != "cuda":
        return dict(environment)
    number = device.index or 0
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    own = str(number) if visible is None else visible.split(",")[number].strip()
    return {**environment, "CUDA_VISIBLE_DEVICES": own}


def gpu_obstacle() -> str | None:
    """Return what keeps torch from using a GPU, as a clause; None where nothing does."""
    obstacle = _gpu_obstacle()
    return None if obstacle is None else obstacle.reason


def visible_gpus() -> tuple[Gpu, ...]:
    """Return the GPUs that torch sees, also those that it cannot use."""
    if not torch.cuda.is_available():
        return ()
    found = []
    for number in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(number)
        reason = None
        try:
            resolve_backend("triton", torch.device("cuda", number))
        except BackendUnavailableError as error:
            reason = str(error).removesuffix("; use --backend auto")
        found.append(Gpu(properties.name, (properties.major, properties.minor), properties.total_memory, reason))
    return tuple(found)


def nvidia_driver() -> str | None:
    """Return the version of the NVIDIA driver; None where the system does not say one."""
    try:
        line = _first_line(_DRIVER_FILE.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None
    found = re.search(r"\d+\.\d+(\.\d+)*", line)
    return found[0] if found else None


def on_device(device: torch.device) -> AbstractContextManager[None]:
    """Make a GPU the current one of this thread inside the block: kernels run on the current GPU, whatever they get."""
    return torch.cuda.device(device) if device.index is not None and device.type == "cuda" else nullcontext()


def _numbered_names(requested: str) -> list[str]:
    """Return the names in a list of devices, each with its kind in front of its number."""
    names: list[str] = []
    for part in requested.split(","):
        name = part.strip()
        kind = names[-1].partition(":")[0] if names else ""
        names.append(f"{kind}:{name}" if name.isdecimal() and kind else name)
    if not (all(name == "cpu" for name in names) or all(name.startswith("cuda:") for name in names)):
        raise ConfigError(
            f"device is '{requested}', expected several of one kind, such as cuda:0,2 or cpu,cpu, or one of "
            f"{', '.join(DEVICES)}"
        )
    return names


def _runs(backend: str, device: torch.device) -> bool:
    """Tell whether a back end runs on a GPU; where it does not, it is said that the GPU is left out."""
    try:
        resolve_backend(backend, device)
    except BackendUnavailableError as error:
        _warn_once(f"{device} is not used: {str(error).partition(';')[0]}")
        return False
    return True


def _checked_number(number: str) -> int:
    n_gpus = torch.cuda.device_count()
    if int(number) >= n_gpus:
        raise ConfigError(f"device is 'cuda:{number}', expected one of the {n_gpus} here, counted from cuda:0")
    return int(number)


@cache
def _warn_once(message: str) -> None:
    logger.warning("%s", message)


@cache
def _gpu_obstacle() -> _Obstacle | None:
    """Return what keeps torch from using the GPU, or None; it is tried once a process."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        is_available = torch.cuda.is_available()
    if not is_available:
        return _missing_gpu([str(warning.message) for warning in caught])
    try:
        return _unsupported_gpu() or _broken_gpu()
    except Exception as error:  # A driver can fail in any call, and in as many ways.
        return _Obstacle(f"the GPU does not answer: {_first_line(str(error))}", is_fault=True)


def _missing_gpu(messages: list[str]) -> _Obstacle:
    if os.environ.get("CUDA_VISIBLE_DEVICES") in _HIDDEN:
        return _Obstacle("CUDA_VISIBLE_DEVICES hides every GPU", is_fault=False)
    if messages:
        return _Obstacle(f"torch finds no usable CUDA GPU: {_first_line(messages[0])}", is_fault=True)
    if not (_DRIVER_FILE.exists() or shutil.which("nvidia-smi")):
        return _Obstacle("torch finds no usable CUDA GPU here", is_fault=False)
    if torch.version.cuda is None:
        reason = f"an NVIDIA driver is there, but torch {torch.__version__} is built without CUDA; install one with it"
        return _Obstacle(reason, is_fault=True)
    reason = f"an NVIDIA driver is there, but torch (CUDA {torch.version.cuda}) finds no GPU; see nvidia-smi"
    return _Obstacle(reason, is_fault=True)


def _unsupported_gpu() -> _Obstacle | None:
    """Return an obstacle if torch has no code for the GPU: neither of its architecture nor PTX of an older one."""
    built_for = torch.cuda.get_arch_list()
    major, minor = torch.cuda.get_device_capability()
    for architecture in built_for:
        kind, _, digits = architecture.partition("_")
        number = digits.rstrip("af")  # sm_90a and the like run on one kind of GPU only.
        if not number.isdecimal():
            continue
        has = divmod(int(number), 10)
        runs = has <= (major, minor) if kind == "compute" else has[0] == major and has[1] <= minor
        if runs and (number == digits or has == (major, minor)):
            return None
    if not built_for:
        return None
    reason = (
        f"the GPU {torch.cuda.get_device_name()} has compute capability {major}.{minor}, for which torch "
        f"{torch.__version__} is not built (it has {', '.join(built_for)})"
    )
    return _Obstacle(reason, is_fault=True)


def _broken_gpu() -> _Obstacle | None:
    """Return an obstacle if the GPU cannot do a sum."""
    total = torch.ones(3, device="cuda").sum().item()
    if total != 3.0:
        return _Obstacle(f"the GPU {torch.cuda.get_device_name()} added three ones to {total}", is_fault=True)
    return None


def _kernel_obstacle() -> _Obstacle | None:
    """Return an obstacle if the GPU runs torch, but not the kernels that make it faster than the CPU."""
    try:
        resolve_backend("triton", torch.device("cuda"))
    except BackendUnavailableError as error:
        reason, _, _ = str(error).partition(";")
        return _Obstacle(f"{reason}; --device cuda runs torch's own operators on the GPU", is_fault=True)
    return None


def _first_line(message: str) -> str:
    return message.strip().splitlines()[0] if message.strip() else "no reason given"
