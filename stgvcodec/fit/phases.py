"""Training as data: a phase is what is trained, on which frames, for how long, at which rates."""

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
        means: Pixels a step; with `means_space="tanh"`, units of the tanh argument.
        cholesky: Pixels a step.
        colors: Units of [0, 1] colour.
        hash_tables: Units of the table entries.
        mlp: Units of the weights.
        steps: Learned quantiser scales (in their logarithm) and offsets (in initial scales).
    """

    means: float = 0.3
    cholesky: float = 0.2
    colors: float = 2e-2
    hash_tables: float = 5e-2
    mlp: float = 1e-3
    steps: float = 1e-3

    def scaled(self, factor: float) -> LearningRates:
        """All rates times `factor`."""
        return LearningRates(**{name: rate * factor for name, rate in vars(self).items()})


@dataclass(frozen=True)
class Phase:
    """One stretch of training.

    Attributes:
        name: As logged and shown.
        frames: "key" trains the canonical Gaussians on the key frame alone; "all" trains everything jointly.
        n_steps: Optimiser steps.
        rates: Learning rates at the first step.
        final_rate: Rates at the last step over those at the first, reached exponentially.
        frames_per_step: Frames rendered a step ("all" only).
        quantized: Streams that run through their quantisers, out of `QUANTIZED_STREAMS`.
        gaussian_final_rate: As `final_rate` for the Gaussians, where it differs.
        dssim_weight: Share of D-SSIM in the loss, 0 to 1; the rest is the squared error.
        target: What the loss compares with: the "pictures", or, for the field alone, where points of the key frame go
            by the frames' optical flow, their "paths" ("all" only).
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
    target: Literal["pictures", "paths"] = "pictures"


def finetuning_phases(n_steps: int, rates: LearningRates, *, frames_per_step: int = 1) -> tuple[Phase, ...]:
    """Fine-tuning through the quantisers, switched on one stream at a time; the last stretch has them all.

    Args:
        n_steps: Steps in all; half of them with every quantiser on.
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


# What fine-tuning at once wants besides a preset's rates: an end so slow that values settle on their symbols, and steps
# that can change by this much in all, as a logarithm, however few there are.
_AT_ONCE_FINAL_RATE = 0.05
_STEPS_TRAVEL = 4.0
_STEPS_RATES = (1e-3, 5e-2)


def one_finetuning_phase(phases: tuple[Phase, ...]) -> Phase:
    """The same steps as some phases of fine-tuning, with every quantiser on from the first.

    Args:
        phases: One at least, of one batch size.
    """
    n_steps = sum(phase.n_steps for phase in phases)
    # The rates fall exponentially; this is their mean over the first.
    mean = (1.0 - _AT_ONCE_FINAL_RATE) / math.log(1.0 / _AT_ONCE_FINAL_RATE)
    steps = min(max(_STEPS_TRAVEL / (mean * max(n_steps, 1)), _STEPS_RATES[0]), _STEPS_RATES[1])
    rates = replace(phases[-1].rates, steps=steps)
    return replace(
        phases[-1],
        name="finetune",
        n_steps=n_steps,
        rates=rates,
        final_rate=_AT_ONCE_FINAL_RATE,
        quantized=QUANTIZED_STREAMS,
    )
