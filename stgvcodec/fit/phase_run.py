"""The run of one phase: all that a step reads lies on the device, so that on a GPU a step is one CUDA graph."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from stgvcodec.fit.optimizer import Optimizer
from stgvcodec.fit.paths import Paths, path_loss
from stgvcodec.fit.phases import Phase
from stgvcodec.fit.quantizers import GopQuantizers
from stgvcodec.fit.schedule import FIELD_GROUPS, GAUSSIAN_GROUPS, STEP_GROUPS, Schedule
from stgvcodec.model.deformation import Moments
from stgvcodec.model.gop_model import GopModel, GopSpec, canonical_px, deformed_px
from stgvcodec.ops.rasterize import PairBudget
from stgvcodec.ops.splat_loss import splat_loss

logger = logging.getLogger(__name__)

# There is room for _PAIR_MARGIN times as many (Gaussian, tile) pairs as were measured. Before the first measurement
# there is room for _FIRST_GUESS pairs a Gaussian and frame.
_PAIR_MARGIN = 1.5
_FIRST_GUESS = 64


@dataclass(frozen=True)
class FitState:
    """The model that is trained, the frames that it is trained on, and the means of training it.

    Attributes:
        model: Model that is trained.
        spec: Dimensions of the model.
        frames: Frames of the GoP, RGB. [T, H, W, 3] uint8.
        quantizers: Quantisers of the model's parameters.
        optimizer: Optimiser of the groups in `schedule.GROUPS`.
        backend: Back end of the operators.
        paths: Paths for phases whose target is "paths".
        known: Pixels of the frames that count; None: all. [T, H, W] bool.
    """

    model: GopModel
    spec: GopSpec
    frames: Tensor
    quantizers: GopQuantizers
    optimizer: Optimizer
    backend: str
    paths: Paths | None = None
    known: Tensor | None = None


class PhaseRun:
    """The run through a schedule, step by step. Nothing in a step waits for the device.

    On a GPU with the triton back end the first step runs as it is written, which compiles what is not compiled and
    measures how many (Gaussian, tile) pairs there are; the other steps replay it as one CUDA graph. If no graph can be
    captured, every step runs as it is written, and the log says so.

    Attributes:
        losses: Mean squared error, or `path_loss`, of each step that is done. [n_steps] float32.
        needed_pairs: Largest number of pairs that any step needed; a step that needed more than there was room for
            computed something wrong. [1] int32.
    """

    def __init__(self, phase: Phase, state: FitState, schedule: Schedule, first_step: int = 0) -> None:
        """Prepare the run of a phase, to begin at `first_step`."""
        device = state.frames.device
        self.losses = torch.full((schedule.n_steps,), math.nan, device=device)
        self.needed_pairs = torch.zeros(1, dtype=torch.int32, device=device)
        self._phase = phase
        self._state = state
        self._schedule = schedule
        self._cursor = torch.tensor([first_step], device=device)
        self._active = (
            *(GAUSSIAN_GROUPS if phase.target == "pictures" else ()),
            *(FIELD_GROUPS if phase.frames == "all" else ()),
            *(group for stream, group in STEP_GROUPS.items() if stream in phase.quantized),
        )
        self._captures = state.backend == "triton" and device.type == "cuda"
        self._graph: torch.cuda.CUDAGraph | None = None
        self._capacity = _FIRST_GUESS * schedule.picked.shape[1] * max(state.spec.n_gaussians, 1)

    def advance(self, n_steps: int, on_step: Callable[[], None] | None = None) -> None:
        """Run `n_steps` steps, and call `on_step` after each has been submitted."""
        for _ in range(n_steps):
            if self._graph is not None:
                self._graph.replay()
            else:
                self._step()
                if self._captures:
                    self._capture()
            if on_step is not None:
                on_step()

    def rewind(self, step: int) -> None:
        """Go back to `step`; make more room for pairs if any step needed more."""
        self._cursor.fill_(step)
        if self.is_clamped():
            self._size_for(int(self.needed_pairs))
            self._graph = None

    def is_clamped(self) -> bool:
        """Tell whether any step needed more pairs than there was room for; waits for the device."""
        return int(self.needed_pairs) > self._capacity

    def _size_for(self, n_pairs: int) -> None:
        self._capacity = math.ceil(_PAIR_MARGIN * max(n_pairs, 1))

    def _step(self) -> None:
        state, phase = self._state, self._phase
        picked, moments = self._schedule.at(self._cursor, state.optimizer.rates)
        state.optimizer.zero_grad()
        if phase.target == "paths":
            assert state.paths is not None
            field = state.model.gop_parameters().field
            total = path_loss(state.paths, field, state.spec, picked, moments, backend=state.backend)
            measure = total
        else:
            total, measure = self._picture_loss(picked, moments)
        total.backward()  # type: ignore[no-untyped-call]
        state.optimizer.step(self._active)
        if phase.quantized:
            state.quantizers.update(state.model.gaussians.colors, phase.quantized)
        self.losses.index_copy_(0, self._cursor, measure.detach()[None])
        self._cursor += 1

    def _picture_loss(self, picked: Tensor, moments: Moments) -> tuple[Tensor, Tensor]:
        """Return the loss to minimise and the mean squared error."""
        state, phase = self._state, self._phase
        parameters, penalty = state.model.gop_parameters(), None
        if phase.quantized:
            parameters, penalty = state.quantizers.quantize(parameters, phase.quantized)
        if phase.frames == "key":
            gaussians = canonical_px(parameters, state.spec)
        else:
            gaussians = deformed_px(parameters, state.spec, moments, backend=state.backend)
        loss, mse = splat_loss(
            *gaussians,
            state.frames,
            picked,
            known=state.known,
            dssim_weight=phase.dssim_weight,
            backend=state.backend,
            budget=PairBudget(self._capacity, self.needed_pairs),
        )
        return loss if penalty is None else loss + penalty, mse

    def _capture(self) -> None:
        """Record one step as a graph, with room for half as many pairs again as were needed so far."""
        if not self.is_clamped():
            self._size_for(int(self.needed_pairs))
        graph = torch.cuda.CUDAGraph()
        try:
            # torch.cuda.graph would wait for the whole device, where other threads may be fitting other GoPs.
            graph.capture_begin(capture_error_mode="relaxed")
            try:
                self._step()
            finally:
                graph.capture_end()
        except RuntimeError as error:
            self._captures = False
            logger.warning("phase %s runs without a CUDA graph, several times slower: %s", self._phase.name, error)
        else:
            self._graph = graph
