"""Choice of the engine for the devices that a user names."""

from __future__ import annotations

from stgvcodec.device import resolve_devices
from stgvcodec.encoder.engines.gop_job import Engine
from stgvcodec.encoder.engines.processes import Processes
from stgvcodec.encoder.engines.threads import Threads

# GoPs that are fitted at the same time on a device, by back end: one does not fill a large GPU
# (benchmarks/bunny_fit.py).
_JOBS = {"triton": 4}


def choose_engine(device: str, backend: str, jobs: int | None) -> Engine:
    """Return threads of this process for one device, and a process for each of several.

    Args:
        device: Devices, as `resolve_devices` takes them.
        backend: Back end or "auto".
        jobs: GoPs that are fitted at the same time on each device; None: as many as its back end gains by.

    Raises:
        ConfigError: no such device.
        BackendUnavailableError: device or back end is not to be had here.
    """
    devices, backend = resolve_devices(device, backend)
    n_at_once = jobs or _JOBS.get(backend, 1)
    if len(devices) == 1:
        return Threads(devices[0], backend, n_at_once)
    return Processes(devices, backend, n_at_once)
