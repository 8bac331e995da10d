"""What the parts of a GoP's fit cost in time. Measured before an encode, they tell how long it will take."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from stgvcodec.fit.phases import Phase


@dataclass(frozen=True)
class StepCosts:
    """Time that the parts of a fit take; the defaults are true in proportion only.

    Attributes:
        setup_seconds: Time from the frames to the first step.
        densify_seconds: Time of adding Gaussians once.
        begin_seconds: Time before the steps of a phase, which on a GPU are recorded as a graph.
        path_seconds: Time of a step on paths, which renders no frame.
        frame_seconds: Time of a step for each frame that it renders.
        quantized_seconds: The same where parameters run through their quantisers.
        finish_seconds: Time of switching on the quantisers, of keeping the rate, and of drawing all frames at the end,
            to measure them.
    """

    setup_seconds: float = 20.0
    densify_seconds: float = 0.0
    begin_seconds: float = 0.0
    path_seconds: float = 0.3
    frame_seconds: float = 1.0
    quantized_seconds: float = 1.4
    finish_seconds: float = 5.0

    def step_seconds(self, phase: Phase) -> float:
        """Return the time of one step of a phase."""
        if phase.target == "paths":
            return self.path_seconds
        return phase.frames_per_step * (self.quantized_seconds if phase.quantized else self.frame_seconds)

    def phase_seconds(self, phase: Phase) -> float:
        """Return the time of a phase."""
        return self.begin_seconds + phase.n_steps * self.step_seconds(phase)

    def fit_seconds(self, phases: Iterable[Phase]) -> float:
        """Return the time of a fit that has these phases."""
        return self.setup_seconds + sum(map(self.phase_seconds, phases)) + self.finish_seconds
