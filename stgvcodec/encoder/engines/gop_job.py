"""`fit_gop`, which every engine calls: a job that pickles goes in, bytes and numbers come out."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from stgvcodec.device import on_device
from stgvcodec.encoder.encode_gop import GopConfig, GopPayload, encode_gop
from stgvcodec.encoder.engines.gop_origin import GopOrigin
from stgvcodec.encoder.step_costs import StepCosts
from stgvcodec.fit.phases import Phase
from stgvcodec.fit.trainer import mse_to_psnr_db
from stgvcodec.progress import PROGRESS_INTERVAL_SECONDS


@dataclass(frozen=True, eq=False)
class GopJob:
    """One fit of a GoP, as a value that can be sent to another process or machine.

    Attributes:
        index: Index of the GoP; of jobs that wait, the one with the lowest is begun first.
        frames: RGB frames. [T, H, W, 3] uint8.
        known: Pixels that count; None: all. [T, H, W] bool.
        config: All that the fit depends on besides frames and seed. Its device is that of the process which made the
            job; a process that fits it puts its own there.
        seed: Seed of everything random.
        costs: What the parts of the fit cost, for the share of the work that is done.
        origin: Where another process may read the frames; None if only this one has them. The fit does not use it.
    """

    index: int
    frames: npt.NDArray[np.uint8]
    known: npt.NDArray[np.bool_] | None
    config: GopConfig
    seed: int
    costs: StepCosts
    origin: GopOrigin | None = None


@dataclass(frozen=True)
class FitProgress:
    """How far a fit has come.

    Attributes:
        phase: Name of the phase.
        step: Optimiser steps done in it.
        n_steps: Optimiser steps of the phase.
        share: Share of the GoP's work that is done, in [0, 1].
        psnr_db: PSNR of the training loss, dB; None where the phase does not train on pictures.
    """

    phase: str
    step: int
    n_steps: int
    share: float
    psnr_db: float | None


Tell = Callable[[FitProgress], None]
"""What is told of a fit several times a second."""

Check = Callable[[], None]
"""Called in every step, or several times a second; what it raises ends the fit."""


class Engine(Protocol):
    """What fits GoPs; it is a context, at whose end nothing of it runs any more.

    Attributes:
        device: Device on which it fits them, or the first of several.
        devices: Names of all of them, for people.
        division: How GoPs are divided among them, "by a process for each of cuda:0, cuda:1"; empty for one device.
        is_here: Whether this process has the device too, so that it can try what a fit costs.
        takes_several: Whether it has work for several videos at the same time.
        backend: Name of the operators' back end.
        n_at_once: GoPs that it fits at the same time.
        n_planned: GoPs that it is given before the first of them is finished. The plans of a file with a target depend
            on this number, and on nothing else of an engine.
    """

    device: torch.device
    devices: tuple[str, ...]
    division: str
    is_here: bool
    takes_several: bool
    backend: str
    n_at_once: int
    n_planned: int

    def __enter__(self) -> Engine: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...

    def start(self, n_gops: int | None) -> None:
        """Get ready for a number of GoPs more; None: many."""

    def has_room(self) -> bool:
        """Tell whether it could fit GoPs of one more video at the same time."""

    def fit(self, job: GopJob, tell: Tell | None, check: Check) -> GopPayload:
        """Fit a GoP and return when it is done; `n_planned` threads may call at the same time.

        Args:
            job: The fit.
            tell: Told how far it has come, from the calling thread.
            check: Called again and again; what it raises ends the fit and comes back from here.
        """


def fit_gop(job: GopJob, tell: Tell | None, check: Check) -> GopPayload:
    """Fit, quantise and code a GoP on the device of its configuration.

    The payload depends on the job alone: it is the same in every process of equal machines, for any number of threads,
    on a CPU to the byte.
    """
    last_told = 0.0

    def on_step(phase: Phase, step: int, share: float, loss: Tensor) -> None:
        nonlocal last_told
        check()
        now = time.monotonic()
        if tell is None or (now - last_told < PROGRESS_INTERVAL_SECONDS and step < phase.n_steps):
            return
        last_told = now
        # Fetching the loss waits for the device.
        psnr_db = mse_to_psnr_db(float(loss)) if phase.target == "pictures" else None
        tell(FitProgress(phase.name, step, phase.n_steps, share, psnr_db))

    with on_device(job.config.device):
        return encode_gop(job.frames, job.config, seed=job.seed, on_step=on_step, known=job.known, costs=job.costs)
