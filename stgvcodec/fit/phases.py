"""Training as data: a phase says what is trained, on which frames, for how many steps, at which learning rates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

QUANTIZED_STREAMS = ("means", "cholesky", "colors", "field")
INITIALIZATIONS = ("content", "random")


@dataclass(frozen=True)
class LearningRates:
    """Adam's learning rates at the start of a phase, each in the space of its parameters.

    Attributes:
        means: Rate of the means, in pixels; with `means_space="tanh"`, in units of the tanh argument.
        cholesky: Rate of the Cholesky factors, in pixels.
        colors: Rate of the colours, in units of [0, 1] colour.
        hash_tables: Rate of the hash tables' entries, in their units.
        mlp: Rate of the MLP's weights, in their units, but for those of the head for shapes.
        shape_head: Rate of these. Shapes that change as fast as places disturb what the other heads learn.
        steps: Rate of the quantisers' learned scales (in their logarithm) and offsets (in initial scales).
    """

    means: float = 0.3
    cholesky: float = 0.2
    colors: float = 2e-2
    hash_tables: float = 5e-2
    mlp: float = 1e-3
    shape_head: float = 2.5e-4
    steps: float = 1e-3

    def scaled(self, factor: float) -> LearningRates:
        """Return all rates times `factor`."""
        return LearningRates(**{name: rate * factor for name, rate in vars(self).items()})


@dataclass(frozen=True)
class Phase:
    """One stretch of training.

    Attributes:
        name: Name in logs and in progress.
        frames: "key" trains the canonical Gaussians on the key frame alone; "all" trains everything jointly.
        n_steps: Number of optimiser steps.
        rates: Learning rates at the first step.
        final_rate: Ratio of the rates at the last step to those at the first; they fall exponentially.
        frames_per_step: Frames rendered a step ("all" only).
        quantized: Streams that run through their quantisers, out of `QUANTIZED_STREAMS`.
        dssim_weight: Share of D-SSIM in the loss, 0 to 1; the rest is the squared error.
        field_held: Share of the steps, at the beginning, in which the field keeps what it is.
        target: "pictures" if the loss compares pictures; "paths" ("all" only) if the field alone is trained, to take
            points of the key frame where the frames' optical flow takes them.
    """

    name: str
    frames: Literal["key", "all"]
    n_steps: int
    rates: LearningRates = LearningRates()
    final_rate: float = 0.1
    frames_per_step: int = 1
    quantized: tuple[str, ...] = ()
    dssim_weight: float = 0.0
    field_held: float = 0.0
    target: Literal["pictures", "paths"] = "pictures"


def finetuning_phases(n_steps: int, rates: LearningRates, *, frames_per_step: int = 1) -> tuple[Phase, ...]:
    """Return phases of fine-tuning in which the quantisers are switched on one stream at a time.

    Args:
        n_steps: Steps of all phases together; half of them are in the last, in which every quantiser is on.
        rates: Learning rates at the first step.
        frames_per_step: Frames rendered a step.

    Returns:
        Four phases, "finetune-means" to "finetune-field".
    """
    shares = (1 / 6, 1 / 6, 1 / 6, 1 / 2)
    return tuple(
        Phase(
            name=f"finetune-{stream}",
            frames="all",
            n_steps=max(1, round(n_steps * share)),
            rates=rates,
            final_rate=0.1 if i == len(QUANTIZED_STREAMS) - 1 else 1.0,
            frames_per_step=frames_per_step,
            quantized=QUANTIZED_STREAMS[: i + 1],
        )
        for i, (stream, share) in enumerate(zip(QUANTIZED_STREAMS, shares, strict=True))
    )


# Fine-tuning with all quantisers at once needs more than a preset's rates: it ends so slowly that parameters settle on
# their symbols, and the logarithm of a quantiser's step can change by _STEPS_REACH in all, however few the steps of
# training are.
_AT_ONCE_FINAL_RATE = 0.05
_STEPS_REACH = 4.0
_STEPS_RATES = (1e-3, 5e-2)


def one_finetuning_phase(phases: tuple[Phase, ...]) -> Phase:
    """Merge phases of fine-tuning into one with as many steps, in which every quantiser is on from the first.

    Args:
        phases: One phase at least; all have the same batch size.
    """
    n_steps = sum(phase.n_steps for phase in phases)
    # The rates fall exponentially; this is the ratio of their mean to the first.
    mean = (1.0 - _AT_ONCE_FINAL_RATE) / math.log(1.0 / _AT_ONCE_FINAL_RATE)
    steps = min(max(_STEPS_REACH / (mean * max(n_steps, 1)), _STEPS_RATES[0]), _STEPS_RATES[1])
    rates = replace(phases[-1].rates, steps=steps)
    return replace(
        phases[-1],
        name="finetune",
        n_steps=n_steps,
        rates=rates,
        final_rate=_AT_ONCE_FINAL_RATE,
        quantized=QUANTIZED_STREAMS,
    )


def cut(phase: Phase, shares: Sequence[float]) -> tuple[Phase, ...]:
    """Cut a phase into parts, whose rates together fall as the phase's did.

    Args:
        phase: Phase to cut.
        shares: Shares of the steps after which it is cut, rising, 0 to 1.

    Returns:
        One part more than there are shares, each with its number in its name; the phase itself if there are none.
    """
    if not shares:
        return (phase,)
    steps = [0, *(round(share * phase.n_steps) for share in shares), phase.n_steps]
    parts = []
    for i, (first, end) in enumerate(pairwise(steps), start=1):
        begin, share = (n / max(phase.n_steps, 1) for n in (first, end - first))
        held = (phase.field_held - begin) / share if share else 0.0
        part = replace(
            phase,
            name=f"{phase.name} {i}/{len(steps) - 1}",
            n_steps=end - first,
            rates=phase.rates.scaled(phase.final_rate**begin),
            final_rate=phase.final_rate**share,
            field_held=min(max(held, 0.0), 1.0),
        )
        parts.append(part)
    return tuple(parts)
