"""Training as data: a phase says what is trained, on which frames, for how many steps, at which learning rates."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
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
        mlp: Rate of the MLP's weights, in their units.
        steps: Rate of the quantisers' learned scales (in their logarithm) and offsets (in initial scales).
    """

    means: float = 0.3
    cholesky: float = 0.2
    colors: float = 2e-2
    hash_tables: float = 5e-2
    mlp: float = 1e-3
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
        gaussian_final_rate: `final_rate` of the Gaussians' parameters; None if it is that of the others.
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
    gaussian_final_rate: float | None = None
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
# Steps and parameters find their balance of rate and error in this share of fine-tuning, before a size is to be met.
_SETTLING = 0.3


def finetuning_at_once(phases: tuple[Phase, ...]) -> tuple[Phase, ...]:
    """Turn phases of fine-tuning into two with as many steps in all, in which every quantiser is on from the first.

    Rate and error find their balance in the first, "finetune-settle"; what they come to says how many Gaussians a size
    pays for. The second, "finetune", goes on where the rates of the first have come to.

    Args:
        phases: One phase at least; all have the same batch size.
    """
    n_steps = sum(phase.n_steps for phase in phases)
    # The rates fall exponentially; this is the ratio of their mean to the first.
    mean = (1.0 - _AT_ONCE_FINAL_RATE) / math.log(1.0 / _AT_ONCE_FINAL_RATE)
    steps = min(max(_STEPS_REACH / (mean * max(n_steps, 1)), _STEPS_RATES[0]), _STEPS_RATES[1])
    first = replace(
        phases[-1],
        name="finetune-settle",
        n_steps=round(_SETTLING * n_steps),
        rates=replace(phases[-1].rates, steps=steps),
        final_rate=_AT_ONCE_FINAL_RATE**_SETTLING,
        quantized=QUANTIZED_STREAMS,
    )
    second = replace(
        first,
        name="finetune",
        n_steps=n_steps - first.n_steps,
        rates=first.rates.scaled(first.final_rate),
        final_rate=_AT_ONCE_FINAL_RATE / first.final_rate,
    )
    return first, second
