"""A few steps of each kind, on the first frames of the video itself, say how long its encode will take on a device."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from torch import Tensor

from stgvcodec.device import on_device
from stgvcodec.encoder.encode_gop import GopConfig, fit_stages, make_trainer, memory_named
from stgvcodec.encoder.step_costs import StepCosts
from stgvcodec.fit.phases import Phase
from stgvcodec.fit.trainer import RATE_UPDATES, GopTrainer
from stgvcodec.ops.threads import one_torch_thread

# Steps before those that are timed, and timed: the first of a phase is not like the others, above all on a GPU, where
# it is recorded as a graph.
_N_STEPS = {"cpu": (8, 12), "cuda": (10, 50)}
# The phase of timed steps is so many times as long: what comes now and then in a phase is not among them.
_LENGTH = 20
# Corrections of the size draw all frames about so often, to keep the best.
_N_DRAWN_FOR_A_SIZE = 2


def calibrate(
    frames: npt.NDArray[np.uint8], config: GopConfig, seed: int, known: npt.NDArray[np.bool_] | None = None
) -> StepCosts:
    """Measure what the parts of a fit cost, by the beginning of one and a few steps of each kind.

    Args:
        frames: RGB frames of a GoP. [T, H, W, 3] uint8.
        config: Configuration of the fit.
        seed: Seed of everything random.
        known: Pixels that count; None: all. [T, H, W] bool.

    Returns:
        The costs. Phases of a kind that the preset has not cost what a rendered frame costs.

    Raises:
        StgvError: the device has not enough memory.
    """
    begin = time.perf_counter()
    with one_torch_thread(), on_device(config.device), memory_named(frames, config), _no_log():
        trainer = make_trainer(frames, config, seed, known)
        setup_seconds = time.perf_counter() - begin
        stages = fit_stages(config, trainer.spec.n_frames, has_paths=trainer.paths is not None)
        phases = [stage.phase for stage in stages]
        on_paths = [phase for phase in phases if phase.target == "paths"]
        plain = [phase for phase in phases if phase.target == "pictures" and not phase.quantized]
        quantized = [phase for phase in phases if phase.quantized]
        path_steps = _timed_steps(trainer, on_paths[-1]) if on_paths else _Timed()
        begin = time.perf_counter()
        n_added = sum(stage.n_added for stage in stages)
        if n_added:
            trainer.densify(n_added)
        densify_seconds = time.perf_counter() - begin
        steps = _timed_steps(trainer, plain[-1]) if plain else _Timed()
        quantized_steps = _timed_steps(trainer, quantized[-1]) if quantized else _Timed()
        finish_seconds = max(quantized_steps.begin_seconds - steps.begin_seconds, 0.0)
        if quantized_steps.seconds and config.profile.quantizers.relative_lmbda > 0:
            begin = time.perf_counter()
            float(trainer.estimated_bits().total)
            finish_seconds += len(RATE_UPDATES) * (time.perf_counter() - begin)
        begin = time.perf_counter()
        trainer.psnr_db()
        n_drawn = 1 if config.target_bytes is None else _N_DRAWN_FOR_A_SIZE
        finish_seconds += n_drawn * (time.perf_counter() - begin)
    return StepCosts(
        setup_seconds=setup_seconds,
        densify_seconds=densify_seconds,
        begin_seconds=steps.begin_seconds,
        path_seconds=path_steps.seconds,
        frame_seconds=steps.seconds or quantized_steps.seconds,
        quantized_seconds=quantized_steps.seconds or steps.seconds,
        finish_seconds=finish_seconds,
    )


@contextlib.contextmanager
def _no_log() -> Iterator[None]:
    """Keep silent about fits that are not those of the encode."""
    log = logging.getLogger("stgvcodec.fit")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


@dataclass(frozen=True)
class _Timed:
    """Time of the steps of a phase.

    Attributes:
        seconds: Time of a step, for each frame that it renders; 0 where the phase gave up before.
        begin_seconds: What the first steps took beyond that.
    """

    seconds: float = 0.0
    begin_seconds: float = 0.0


class _Enough(Exception):
    """Ends a phase whose steps were timed."""


def _timed_steps(trainer: GopTrainer, phase: Phase) -> _Timed:
    n_before, n_timed = _N_STEPS[trainer.frames.device.type]
    times = [time.perf_counter()]

    def on_step(_: Phase, step: int, loss: Tensor) -> None:
        if step in (n_before, n_before + n_timed):
            # Fetching the loss waits for the step.
            float(loss)
            times.append(time.perf_counter())
        if len(times) == 3:
            raise _Enough

    with contextlib.suppress(_Enough):
        trainer.run(replace(phase, n_steps=_LENGTH * (n_before + n_timed), field_held=0.0), on_step)
    if len(times) < 3:
        return _Timed()
    # A device without room for a step's frames takes fewer at once, in more steps.
    seconds = (times[2] - times[1]) / n_timed
    begin_seconds = max(times[1] - times[0] - n_before * seconds, 0.0)
    return _Timed(seconds / (phase.frames_per_step if phase.target == "pictures" else 1), begin_seconds)
