"""`RayTasks` fits GoPs as tasks of a Ray cluster: one that runs, on this machine or elsewhere, or one of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import logging
import os
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from stgvcodec._version import __version__
from stgvcodec.device import resolve_device
from stgvcodec.encoder.encode_gop import GopPayload
from stgvcodec.encoder.engines.gop_job import Check, FitProgress, GopJob, Tell, fit_gop
from stgvcodec.encoder.engines.progress_board import ProgressBoard
from stgvcodec.errors import BackendUnavailableError, CancelledError, ConfigError, StgvError
from stgvcodec.media.shared_source import SharedSource
from stgvcodec.progress import PROGRESS_INTERVAL_SECONDS

logger = logging.getLogger(__name__)

# A task that loses its process or its machine is run again so many times.
_MOST_RETRIES = 3
# GoPs that are planned, of those that are fitted at once, as of processes (docs/decisions/0026-many-devices.md).
_PLANNED_PER_FITTED = 2


class RayTasks:
    """Fits each GoP in a task, with retries; it is a context, which connects to the cluster and disconnects.

    Args:
        address: Address of the cluster, such as "ray://head:10001"; "" for the one that RAY_ADDRESS names or that runs
            on this machine, and if there is none for one of this process.
        device: "auto", "cpu" or "cuda": what tasks ask the cluster for.
        backend: Back end or "auto", of which the first task tells what it means there.
        n_at_once: GoPs that are fitted at the same time on each GPU; on CPUs each has one core.

    Raises:
        StgvError: no cluster answers.
        ConfigError: a device has a number, which is for the cluster to give.
        BackendUnavailableError: there is no Ray, the cluster has no such device, or the back end does not run there.
    """

    def __init__(self, address: str, device: str, backend: str, n_at_once: int) -> None:
        if device not in ("auto", "cpu", "cuda"):
            raise ConfigError(f"device is '{device}', expected auto, cpu or cuda: Ray chooses among GPUs")
        try:
            import ray
        except ImportError as error:
            raise BackendUnavailableError(
                f"--engine ray: needs the package ray ({error}): pip install 'stgvcodec[ray]'"
            ) from error
        self._ray: Any = ray
        self._numbers, self._progress = itertools.count(), _Progress(ray)
        # Sources that a worker cannot read.
        self._unshared: set[SharedSource] = set()
        self._is_ours, self._is_over = not ray.is_initialized(), threading.Event()
        self._connected: Future[None] = Future()
        self._thread = threading.Thread(target=self._keep_connected, args=(address, device, backend, n_at_once))
        self._thread.daemon = True
        self._thread.start()
        try:
            self._connected.result()
        except BaseException:
            self._is_over.set()
            # A cluster elsewhere leaves no process here, and its answer may be long in coming.
            if not (address or os.environ.get("RAY_ADDRESS", "")).startswith("ray://"):
                self._thread.join()
            raise

    def _keep_connected(self, address: str, device: str, backend: str, n_at_once: int) -> None:
        """Connect, ask, and disconnect when all is over, in a thread that no signal interrupts.

        Of a cluster that is half started, processes would stay; they end with the thread that started them. In the main
        thread Ray's own code does not stand exceptions of signal handlers, and Ray would handle SIGTERM.
        """
        try:
            if self._is_ours:
                self._start(address)
            self._ask(device, backend, n_at_once)
        except BaseException as error:
            self._disconnect()
            self._connected.set_exception(error)
            return
        self._connected.set_result(None)
        self._is_over.wait()
        self._disconnect()

    def _start(self, address: str) -> None:
        # Ray warns of much that is none of a user's business, such as that this is not the main thread.
        level = logging.WARNING if logger.isEnabledFor(logging.INFO) else logging.ERROR
        try:
            self._ray.init(address or None, log_to_driver=False, logging_level=level)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            raise StgvError(f"--engine ray: no cluster answers ({error}); check its address") from error

    def _ask(self, device: str, backend: str, n_at_once: int) -> None:
        """Ask the cluster what it has, and a task what it can do there."""
        resources = self._ray.cluster_resources()
        n_gpus, n_cpus = int(resources.get("GPU", 0)), int(resources.get("CPU", 0))
        is_gpu = device == "cuda" or (device == "auto" and n_gpus > 0)
        if not (n_gpus if is_gpu else n_cpus):
            raise BackendUnavailableError(f"the Ray cluster has no {'GPU' if is_gpu else 'CPU'} to fit on: {resources}")
        share = {"num_gpus": 1 / n_at_once, "num_cpus": 0} if is_gpu else {"num_cpus": 1}
        self._task = self._ray.remote(_fitted).options(max_retries=_MOST_RETRIES, **share)
        probe = self._ray.remote(_answer).options(max_retries=_MOST_RETRIES, **share)
        kind = "cuda" if is_gpu else "cpu"
        version, self.backend = self._awaited(probe.remote(kind, backend), self._end_if_over)
        if version != __version__:
            raise StgvError(f"the Ray cluster has stgvcodec {version}, expected {__version__}; install the same one")
        self.n_at_once = n_gpus * n_at_once if is_gpu else n_cpus
        self.n_planned = _PLANNED_PER_FITTED * self.n_at_once
        self.device = torch.device(kind)
        self.devices: tuple[str, ...] = (f"{n_gpus if is_gpu else n_cpus} x {kind} by Ray",)
        self.division = f"as tasks of a Ray cluster on {self.devices[0].removesuffix(' by Ray')}"
        self.is_here, self.takes_several = False, True

    def __enter__(self) -> RayTasks:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Disconnect from the cluster, or end it if it is of this process."""
        self._is_over.set()
        self._thread.join()

    def start(self, n_gops: int | None) -> None:
        """Do nothing: the cluster starts its processes."""

    def has_room(self) -> bool:
        """Tell whether the cluster has resources that nobody uses."""
        free = self._ray.available_resources()
        return bool(free.get("GPU" if self.device.type == "cuda" else "CPU", 0) > 0)

    def fit(self, job: GopJob, tell: Tell | None, check: Check) -> GopPayload:
        """Fit a GoP in a task.

        The task reads the frames itself where it can. Those of a source that one task could not read are sent.

        Raises:
            StgvError: one process after the other has ended.
        """
        number, board = next(self._numbers), None if tell is None else self._progress.board()

        def look() -> None:
            check()
            progress = None if tell is None else self._progress.of(number)
            if tell is not None and progress is not None:
                tell(progress)

        source = None if job.origin is None else job.origin.source
        if source is not None and source not in self._unshared:
            answer = self._awaited(self._task.remote(_without_frames(job), board, number), look)
            if isinstance(answer, GopPayload):
                return answer
            if source not in self._unshared:
                logger.info("%s: its frames are sent to the workers, one of which says: %s", source.name, answer)
            self._unshared.add(source)
        payload: GopPayload = self._awaited(self._task.remote(job, board, number), look)
        return payload

    def _awaited(self, task: Any, look: Check) -> Any:
        """Wait for what a task returns, and call a function meanwhile."""
        try:
            while True:
                look()
                done, _ = self._ray.wait([task], timeout=PROGRESS_INTERVAL_SECONDS)
                if done:
                    return self._result(task)
        except BaseException:
            self._ray.cancel(task, force=True)
            raise

    def _result(self, task: Any) -> Any:
        exceptions = self._ray.exceptions
        try:
            return self._ray.get(task)
        except exceptions.RayTaskError as error:
            # What the task raised is there with its own type.
            raise error.cause from error
        except exceptions.RayError as error:
            what = str(error).strip().splitlines()[0]
            raise StgvError(f"a task of Ray failed {1 + _MOST_RETRIES} times, or cannot be run: {what}") from error

    def _disconnect(self) -> None:
        if self._is_ours:
            self._ray.shutdown()
        else:
            self._progress.end()

    def _end_if_over(self) -> None:
        if self._is_over.is_set():
            raise CancelledError("nobody waits for the cluster any more")


class _Progress:
    """What tasks tell of their fits, by way of an actor; where that dies nothing is told, until Ray has a new one."""

    def __init__(self, ray: Any) -> None:
        self._ray: Any = ray
        self._board: Any = None
        self._lock = threading.Lock()
        self._asked, self._coming = 0.0, None
        self._newest: dict[int, tuple[Any, ...]] = {}

    def board(self) -> Any:
        """Return the actor, which is started for the first fit that anybody wants to know of."""
        with self._lock:
            if self._board is None:
                self._board = self._ray.remote(ProgressBoard).options(num_cpus=0, max_restarts=-1).remote()
            return self._board

    def end(self) -> None:
        """End the actor."""
        if self._board is not None:
            self._ray.kill(self._board)

    def of(self, number: int) -> FitProgress | None:
        """Return what is new of a fit; it may be asked for by all threads, and asks the actor seldom."""
        with self._lock, contextlib.suppress(self._ray.exceptions.RayError):
            now = time.monotonic()
            coming = self._coming
            if coming is None and now - self._asked >= PROGRESS_INTERVAL_SECONDS:
                self._asked, self._coming = now, self._board.take.remote()
            elif coming is not None and self._ray.wait([coming], timeout=0)[0]:
                self._coming = None
                self._newest.update(self._ray.get(coming))
        told = self._newest.pop(number, None)
        return None if told is None else FitProgress(*told)


def _answer(kind: str, backend: str) -> tuple[str, str]:
    """Return the version there, and what the back end means there; a task runs it."""
    return __version__, resolve_device(kind, backend)[1]


@dataclass(frozen=True)
class _UnreadJob:
    """A job whose frames the task is to read.

    Attributes:
        job: The job, without frames and masks.
        masks: A bit for each pixel of its masks; None: it has none. [T, H, W / 8].
    """

    job: GopJob
    masks: npt.NDArray[np.uint8] | None


def _without_frames(job: GopJob) -> _UnreadJob:
    masks = None if job.known is None else np.packbits(job.known, axis=-1)
    return _UnreadJob(dataclasses.replace(job, frames=job.frames[:0], known=None), masks)


def _with_frames(unread: _UnreadJob) -> GopJob:
    """Return a job with its frames. Raises StgvError or OSError: they cannot be read here."""
    job, known = unread.job, None
    assert job.origin is not None
    if unread.masks is not None:
        known = np.unpackbits(unread.masks, axis=-1, count=job.frames.shape[2]).view(np.bool_)
    return dataclasses.replace(job, frames=job.origin.read(known), known=known)


def _fitted(job: GopJob | _UnreadJob, board: Any, number: int) -> GopPayload | str:
    """Fit a job on what Ray has given to the task that runs this; return why not where frames cannot be read here.

    Args:
        job: The job.
        board: Actor that is told how far it is; None: nobody wants to know.
        number: Number of the fit there.
    """

    def tell(progress: FitProgress) -> None:
        board.tell.remote(number, dataclasses.astuple(progress))

    if isinstance(job, _UnreadJob):
        try:
            job = _with_frames(job)
        except Exception as error:  # It may be of any package that reads from an address.
            return " ".join(f"{error}".split()) or type(error).__name__
    kind = job.config.device.type
    if kind == "cpu":
        # One core was asked for.
        os.environ["STGV_THREADS"] = "1"
    config = dataclasses.replace(job.config, device=torch.device(kind))
    return fit_gop(dataclasses.replace(job, config=config), None if board is None else tell, _never)


def _never() -> None:
    """Go on: a task that is not wanted any more is ended by Ray."""
