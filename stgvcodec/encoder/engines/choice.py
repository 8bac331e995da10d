"""Choice of the engine that a user names, or that the devices need."""

from __future__ import annotations

from stgvcodec.device import resolve_devices
from stgvcodec.encoder.engines.gop_job import Engine
from stgvcodec.encoder.engines.processes import Processes
from stgvcodec.encoder.engines.ray_tasks import RayTasks
from stgvcodec.encoder.engines.threads import Threads
from stgvcodec.errors import ConfigError

# GoPs that are fitted at the same time on a device, by back end: one does not fill a large GPU
# (benchmarks/bunny_fit.py).
_JOBS = {"triton": 4}


LOCAL, RAY = "local", "ray"
"""Names of engines; the second one may have an address behind it, as in "ray://head:10001"."""


def choose_engine(device: str, backend: str, jobs: int | None, engine: str = LOCAL) -> Engine:
    """Return an engine: threads of this process for one device, a process for each of several, or tasks of Ray.

    Args:
        device: Devices, as `resolve_devices` takes them.
        backend: Back end or "auto".
        jobs: GoPs that are fitted at the same time on each device; None: as many as its back end gains by.
        engine: "local", "ray", or the address of a Ray cluster.

    Raises:
        ConfigError: no such device or engine.
        BackendUnavailableError: device or back end is not to be had here.
        StgvError: Ray is not installed, or does not answer.
    """
    if engine == RAY or engine.startswith(f"{RAY}://"):
        return RayTasks("" if engine == RAY else engine, device, backend, jobs or _JOBS["triton"])
    if engine != LOCAL:
        raise ConfigError(
            f"engine is '{engine}', expected local, ray, or the address of a Ray cluster, ray://HOST:PORT"
        )
    devices, backend = resolve_devices(device, backend)
    n_at_once = jobs or _JOBS.get(backend, 1)
    if len(devices) == 1:
        return Threads(devices[0], backend, n_at_once)
    return Processes(devices, backend, n_at_once)
