"""Training as data: a phase is what is trained, on which frames, for how long, at which rates."""

from __future__ import annotations

from dataclasses import dataclass
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
    mlp: float = 2e-3
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
