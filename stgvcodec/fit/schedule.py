"""The schedule of a phase: frames and learning rates of every step, laid out ahead on the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stgvcodec.fit.phases import Phase
from stgvcodec.model.deformation import Moments
from stgvcodec.model.gop_model import Clock

GAUSSIAN_GROUPS = ("means", "cholesky", "colors")
FIELD_GROUPS = ("hash_tables", "mlp", "shape_head")
STEP_GROUPS = {"cholesky": "cholesky_steps", "colors": "color_steps", "field": "field_steps"}
"""Learned scales and offsets of the quantisers, by stream."""
GROUPS = (*GAUSSIAN_GROUPS, *FIELD_GROUPS, *STEP_GROUPS.values())
"""Parameter groups of a fit, each with a learning rate of its own."""


@dataclass(frozen=True)
class Schedule:
    """Frames, times and learning rates of a phase's steps.

    Attributes:
        picked: Frames of each step. [n_steps, B] int64.
        numbers: One row a step: the learning rate of each of `GROUPS`, the times of the step's frames and the encodings
            of these times. [n_steps, len(GROUPS) + B + B * n_time] float32.
    """

    picked: Tensor
    numbers: Tensor

    @property
    def n_steps(self) -> int:
        """Number of steps."""
        return int(self.picked.shape[0])

    @property
    def rates(self) -> Tensor:
        """Learning rate of each of `GROUPS` at each step. [n_steps, len(GROUPS)] float32, a view."""
        return self.numbers[:, : len(GROUPS)]

    def at(self, cursor: Tensor, rates: Tensor) -> tuple[Tensor, Moments]:
        """Return a step's frames and their times, and copy its learning rates into `rates`.

        `cursor` is the index of the step, [1] int64 on the device.
        """
        batch = self.picked.shape[1]
        row = self.numbers.index_select(0, cursor)[0]
        rates.copy_(row[: len(GROUPS)])
        times_end = len(GROUPS) + batch
        moments = Moments(row[len(GROUPS) : times_end], row[times_end:].view(batch, -1))
        return self.picked.index_select(0, cursor)[0], moments

    def with_half_the_batch(self, clock: Clock) -> Schedule:
        """Return a schedule of the same frames in the same order, half as many a step; B must be even."""
        n_steps, batch = self.picked.shape
        return _schedule(self.picked.reshape(2 * n_steps, batch // 2), self.rates.repeat_interleave(2, dim=0), clock)


def make_schedule(phase: Phase, picked: Sequence[Sequence[int]], clock: Clock) -> Schedule:
    """Lay out a phase.

    Args:
        phase: Phase whose learning rates fall exponentially, from the first step to the last.
        picked: Frames of each step of the phase.
        clock: Times of the frames, on the device where the schedule is read.
    """
    progress = torch.arange(phase.n_steps, dtype=torch.float64) / max(phase.n_steps - 1, 1)
    columns = []
    for group in GROUPS:
        rate = phase.rates.steps if group in STEP_GROUPS.values() else getattr(phase.rates, group)
        column = rate * phase.final_rate**progress
        if group in FIELD_GROUPS:
            column[: round(phase.field_held * phase.n_steps)] = 0.0
        columns.append(column)
    n_frames = 1 if phase.frames == "key" else phase.frames_per_step
    frames = torch.tensor(picked, dtype=torch.int64).reshape(phase.n_steps, n_frames)
    device = clock.moments.times.device
    return _schedule(frames.to(device), torch.stack(columns, dim=1).float().to(device), clock)


def _schedule(picked: Tensor, rates: Tensor, clock: Clock) -> Schedule:
    n_steps, batch = picked.shape
    moments = clock.at(picked.reshape(-1))
    n_time = moments.gamma.shape[1]
    parts = (rates, moments.times.view(n_steps, batch), moments.gamma.reshape(n_steps, batch * n_time))
    return Schedule(picked, torch.cat(parts, dim=1))
