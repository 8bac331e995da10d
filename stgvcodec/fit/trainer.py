"""The training of one GoP, which runs phases, switches quantisers on, logs what each costs and rolls back failures."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable, Collection, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from stgvcodec.fit.densification import densified_gaussians, mean_residual
from stgvcodec.fit.optimizer import Optimizer, OptimizerState, make_optimizer
from stgvcodec.fit.paths import Paths, path_loss
from stgvcodec.fit.phase_run import FitState, PhaseRun
from stgvcodec.fit.phases import QUANTIZED_STREAMS, Phase
from stgvcodec.fit.quantizers import EstimatedBits, GopQuantizers, QuantizerConfig
from stgvcodec.fit.resize import resized_gaussians
from stgvcodec.fit.schedule import GROUPS, Schedule, make_schedule
from stgvcodec.model.gaussians import CanonicalGaussians
from stgvcodec.model.gop_model import Clock, GopModel, GopParameters, GopSpec, frame_time, render

logger = logging.getLogger(__name__)

StepCallback = Callable[[Phase, int, Tensor], None]

# Training checks the losses after each stretch of this many steps; a check waits for the device.
STRETCH = 100
# Progress of the learned steps at which a rate update takes place; the tables and lmbda then follow what the symbols
# do. Half of the progress lies in the first fifth of a phase. On a GPU each update takes as long as tens of steps.
RATE_UPDATES = (0.2, 0.4, 0.6, 0.8, 0.93)
# A stretch has diverged if the mean of its _N_LAST last losses is this many times that before it, and _SMALL_LOSS more.
_DIVERGED_RATIO = 10.0
_SMALL_LOSS = 1e-5
_N_LAST = 10
# Every rate update multiplies lmbda_scale by (bits / expected)^_LMBDA_GAIN, and keeps it from 1 / _MAX_LMBDA_SCALE to
# _MAX_LMBDA_SCALE.
_LMBDA_GAIN = 6.0
# The share of the way to its target that the logarithm of the bits has gone is the progress to this power.
_BITS_EXPONENT = 0.6
_MAX_LMBDA_SCALE = 8.0
_MOST_ROLLBACKS = 4
# The cost of a quantiser is measured on this many frames. This many are rendered at once where quality is measured.
_PROBES = 5
_FRAMES_AT_ONCE = 8


def mse_to_psnr_db(mse: float) -> float:
    """PSNR of a mean squared error on a [0, 1] scale, dB; inf for 0."""
    return -10.0 * math.log10(mse) if mse > 0 else math.inf


class GopTrainer:
    """Trainer of one GoP's model against its frames, with the L2 loss of the paper unless a phase adds D-SSIM.

    Attributes:
        frames: RGB frames of the GoP, on the device. [T, H, W, 3] uint8.
        known: Pixels of the frames that count; None: all. [T, H, W] bool.
        model: Model that is trained.
        spec: Dimensions of the model.
        quantizers: Quantisers of the model; each is fitted to its stream when it is switched on.
        quantizer_cost_db: PSNR that each stream lost at the moment its quantiser was switched on, dB, in the mean over
            a few frames.
        optimizer: Optimiser of the groups in `schedule.GROUPS`; another may be put in its place between phases.
        n_rollbacks: Number of rollbacks.
        paths: Paths of the key frame's points, if there are any.
        target_bits: Bits that the rated streams are to take; bits weigh more in the loss while the streams take more.
            None leaves the weight to the quantisers' relative_lmbda alone.
    """

    def __init__(
        self,
        frames: Tensor,
        model: GopModel,
        spec: GopSpec,
        *,
        key_frame: int,
        quantizers: QuantizerConfig,
        rng: np.random.Generator,
        backend: str,
        paths: Paths | None = None,
        known: Tensor | None = None,
    ) -> None:
        """Take frames and an initial model.

        Args:
            frames: RGB. [T, H, W, 3] uint8.
            model: Initial parameters, on the frames' device.
            spec: Dimensions of the model.
            key_frame: Index of the frame that key phases train on.
            quantizers: Kinds and sizes of the quantisers.
            rng: Generator that picks the frames of each step.
            backend: Back end of the operators.
            paths: Paths for phases whose target is "paths"; only these need them.
            known: Pixels of the frames that count, in the loss and wherever quality is measured; None: all. [T, H, W]
                bool.
        """
        self.model = model
        self.spec = spec
        self.paths = paths
        self.quantizers = GopQuantizers(spec, quantizers, device=frames.device, backend=backend)
        self.quantizer_cost_db: dict[str, float] = {}
        self.n_rollbacks = 0
        self.target_bits: float | None = None
        self.frames = frames
        self.known = known
        self._clock = Clock(spec, frames.device)
        self._key_frame = key_frame
        self._rng = rng
        self._backend = backend
        self._frame_order: list[int] = []
        self._rate_factor = 1.0
        self._lmbda_scale = 1.0
        self._start_bits: float | None = None
        self.optimizer: Optimizer = make_optimizer(self.parameter_groups(), backend=backend)
        # A graph cannot be captured on the default stream; and each fit has its own, so that several overlap.
        self._stream: torch.cuda.Stream | None = None
        if frames.device.type == "cuda":
            self._stream = torch.cuda.Stream(frames.device)  # type: ignore[no-untyped-call]

    def run(self, phase: Phase, on_step: StepCallback | None = None) -> None:
        """Train for one phase.

        Every hundred steps the losses are checked. If one is not a number, or they have grown tenfold, the parameters
        go back to where they were a hundred steps ago, and training goes on at half the learning rates (a rollback). If
        the memory of the device runs out, training goes on with half as many frames a step. Both are logged.

        Args:
            phase: Phase to run.
            on_step: Callback after each step, with the phase, the number of steps done and the loss, a 0-d tensor that
                is still on the device: fetching it waits for the step.

        Raises:
            torch.OutOfMemoryError: not even one frame a step fits into the device's memory.
        """
        if self._stream is None:
            self._run(phase, on_step)
            return
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            self._run(phase, on_step)
        torch.cuda.current_stream().wait_stream(self._stream)

    def psnr_db(self, quantized: Collection[str] = (), frames: Sequence[int] | None = None) -> float:
        """Mean over frames of the float pictures' PSNR, with the named quantisers on, dB.

        Args:
            quantized: Streams that run through their quantisers.
            frames: Indices of the frames; None takes all.
        """
        psnrs = [mse_to_psnr_db(mse) for mse in self._mses(frames or range(self.spec.n_frames), quantized)]
        return sum(psnrs) / len(psnrs)

    def resize(self, n_gaussians: int) -> None:
        """Drop the Gaussians that matter least, or split those that matter most, until there are `n_gaussians`."""
        if n_gaussians == self.spec.n_gaussians:
            return
        self.replace_gaussians(resized_gaussians(self.model.gaussians, n_gaussians, self.spec))

    def densify(self, n_new: int) -> None:
        """Add `n_new` Gaussians where the error stays when all frames are looked at together."""
        residual = mean_residual(
            self.model.gop_parameters(), self.spec, self.frames, self._clock, known=self.known, backend=self._backend
        )
        self.replace_gaussians(densified_gaussians(self.model.gaussians, n_new, residual, self.spec, self._rng))

    def replace_gaussians(self, gaussians: CanonicalGaussians) -> None:
        """Continue with other Gaussians and the field as it is; the optimiser starts anew, without moments."""
        self.model = GopModel(gaussians, self.model.field)
        self.spec = dataclasses.replace(self.spec, n_gaussians=gaussians.raw_means.shape[0])
        self.quantizers.rate.forget()
        self.optimizer = make_optimizer(self.parameter_groups(), backend=self._backend)

    def fit_quantizers(self) -> None:
        """Fit each quantiser that no phase has switched on to its stream as it is now; it may wait for the device."""
        with torch.no_grad():
            parameters = self.model.gop_parameters()
            for stream in QUANTIZED_STREAMS:
                if stream not in self.quantizer_cost_db:
                    self.quantizers.initialize(stream, parameters)

    def estimated_bits(self) -> EstimatedBits:
        """Bits of the payload that the rate model expects now; all quantisers must be fitted.

        What profile `paper` does not rate counts as nothing.
        """
        parameters = self.model.gop_parameters()
        self.quantizers.refresh_rate(parameters)
        return self.quantizers.estimated_bits(parameters)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return the parameters by the names in `schedule.GROUPS`."""
        gaussians, field = self.model.gaussians, self.model.field
        return {
            "means": [gaussians.raw_means],
            "cholesky": [gaussians.cholesky],
            "colors": [gaussians.colors],
            "hash_tables": [field.static_table, field.dynamic_table],
            "mlp": field.network,
            "shape_head": field.shape_head,
            **self.quantizers.step_parameters(),
        }

    def _run(self, phase: Phase, on_step: StepCallback | None) -> None:
        self._enable(phase.quantized)
        schedule = make_schedule(phase, self._picked(phase), self._clock)
        schedule.rates.mul_(self._rate_factor)
        # The end of the next stretch is compared with this loss.
        before = self._probed_loss(phase) if phase.n_steps else 0.0
        self._start_bits, self._lmbda_scale = None, 1.0
        self._update_rate(before, phase.quantized, 0.0)
        rate_updates = _steps_at(schedule, RATE_UPDATES) if self._is_rated(phase.quantized) else []
        run = self._phase_run(phase, schedule)
        n_failures = 0
        done = 0
        while done < schedule.n_steps:
            next_update = next((step for step in rate_updates if step > done), schedule.n_steps)
            n_steps = min(STRETCH, next_update - done)
            saved = self._saved()
            try:
                run.advance(n_steps, self._reporter(phase, run, done, schedule.n_steps, on_step))
                losses = run.losses[done : done + n_steps].tolist()
                clamped = run.is_clamped()
            except torch.OutOfMemoryError:
                batch = schedule.picked.shape[1]
                if batch % 2:
                    raise
                logger.warning("out of memory with %d frames a step: going on with %d", batch, batch // 2)
                self._restore(saved)
                del run
                torch.cuda.empty_cache()
                schedule, done = schedule.with_half_the_batch(self._clock), 2 * done
                rate_updates = [2 * step for step in rate_updates]
                run = self._phase_run(phase, schedule, done)
                continue
            if not clamped and not _has_diverged(losses, before):
                self._report_dropped_gradients(phase)
                before, done, n_failures = float(np.mean(losses[-_N_LAST:])), done + n_steps, 0
                self.quantizers.restart_unused(self.model.gop_parameters(), phase.quantized)
                if done in rate_updates:
                    self._update_rate(before, phase.quantized, float(_progress(schedule)[done - 1]))
                continue
            self._restore(saved)
            run.rewind(done)
            if clamped:
                continue
            self.n_rollbacks += 1
            n_failures += 1
            if n_failures > _MOST_ROLLBACKS:
                logger.warning("phase %s diverges at any rate: stopped after %d steps", phase.name, done)
                break
            self._rate_factor *= 0.5
            schedule.rates.mul_(0.5)
            logger.warning(
                "phase %s diverged after %d steps (loss %.3g): back to step %d, rates halved",
                phase.name,
                done + n_steps,
                losses[-1],
                done,
            )
        if logger.isEnabledFor(logging.INFO):
            logger.info("phase %s: %d steps, %.2f dB", phase.name, phase.n_steps, self.psnr_db(phase.quantized))

    def _report_dropped_gradients(self, phase: Phase) -> None:
        n_dropped = int(self.optimizer.n_nonfinite)
        if n_dropped:
            logger.warning("phase %s: %d numbers of gradients were NaN or Inf and counted as 0", phase.name, n_dropped)
            self.optimizer.n_nonfinite.zero_()

    def _phase_run(self, phase: Phase, schedule: Schedule, first_step: int = 0) -> PhaseRun:
        state = FitState(
            self.model,
            self.spec,
            self.frames,
            self.quantizers,
            self.optimizer,
            self._backend,
            self.paths,
            self.known,
        )
        return PhaseRun(phase, state, schedule, first_step)

    def _picked(self, phase: Phase) -> list[list[int]]:
        """Pick the frames of each step: the key frame, or all in random order, each once before any comes again."""
        if phase.frames == "key":
            return [[self._key_frame]] * phase.n_steps
        picked = []
        for _ in range(phase.n_steps * phase.frames_per_step):
            if not self._frame_order:
                self._frame_order = [int(k) for k in self._rng.permutation(self.spec.n_frames)]
            picked.append(self._frame_order.pop())
        batch = phase.frames_per_step
        return [picked[i : i + batch] for i in range(0, len(picked), batch)]

    def _quantized_parameters(self, quantized: Collection[str]) -> GopParameters:
        parameters = self.model.gop_parameters()
        return self.quantizers.quantize(parameters, quantized)[0] if quantized else parameters

    def _probed_loss(self, phase: Phase) -> float:
        """Return the loss before the first step of a phase, in its steps' measure; waits for the device."""
        probes = self._probes(phase)
        if phase.target == "pictures":
            return float(np.mean(self._mses(probes, phase.quantized)))
        assert self.paths is not None
        picked = torch.tensor(probes, device=self.frames.device)
        with torch.no_grad():
            field = self.model.gop_parameters().field
            return float(path_loss(self.paths, field, self.spec, picked, self._clock.at(picked), backend=self._backend))

    def _probes(self, phase: Phase) -> list[int]:
        """Choose a few frames that stand for all that a phase trains on."""
        last = self.spec.n_frames - 1
        return [self._key_frame] if phase.frames == "key" else sorted({0, last // 2, last})

    def _mses(self, frames: Sequence[int], quantized: Collection[str]) -> list[float]:
        """Return the mean squared error of each frame, clamped, with the named quantisers on; waits for the device."""
        mses = []
        with torch.no_grad():
            parameters = self._quantized_parameters(quantized)
            for first in range(0, len(frames), _FRAMES_AT_ONCE):
                part = frames[first : first + _FRAMES_AT_ONCE]
                times = [frame_time(k, self.spec.n_frames) for k in part]
                images = render(parameters, self.spec, times, backend=self._backend).clamp_(0.0, 1.0)
                sources = self.frames[list(part)] / 255.0
                squares = (images - sources).square_()
                if self.known is None:
                    mses.append(squares.mean(dim=(1, 2, 3)))
                else:
                    known = self.known[list(part)]
                    n_samples = 3 * known.sum(dim=(1, 2)).clamp_min(1)
                    mses.append((squares * known[..., None]).sum(dim=(1, 2, 3)) / n_samples)
        result: list[float] = torch.cat(mses).tolist()
        return result

    def _enable(self, quantized: tuple[str, ...]) -> None:
        enabled = tuple(self.quantizer_cost_db)
        new = [stream for stream in quantized if stream not in enabled]
        if not new:
            return
        last = self.spec.n_frames - 1
        probes = sorted({round(last * i / (_PROBES - 1)) for i in range(_PROBES)})
        psnr_before = self.psnr_db(enabled, probes)
        for stream in new:
            self.quantizers.initialize(stream, self.model.gop_parameters())
            enabled = (*enabled, stream)
            psnr_after = self.psnr_db(enabled, probes)
            self.quantizer_cost_db[stream] = psnr_before - psnr_after
            logger.info("quantiser on: %s costs %.3f dB (%.2f dB left)", stream, psnr_before - psnr_after, psnr_after)
            psnr_before = psnr_after

    def _is_rated(self, quantized: Collection[str]) -> bool:
        # The streams share one count, which means something only if none of them is missing.
        return self.quantizers.config.relative_lmbda > 0 and len(quantized) == len(QUANTIZED_STREAMS)

    def _update_rate(self, mse: float, quantized: Collection[str], progress: float) -> None:
        """Count the symbols anew, and set lmbda from them and the error.

        `progress` is the progress of the learned steps, 0 to 1.
        """
        if not self._is_rated(quantized):
            return
        bits = float(self.estimated_bits().total)
        if self.target_bits is not None:
            self._start_bits = self._start_bits or bits
            # The logarithm of the bits goes to its target fast at first; lmbda_scale only corrects departures.
            done = progress**_BITS_EXPONENT
            expected = self._start_bits ** (1.0 - done) * self.target_bits**done
            change = (bits / expected) ** _LMBDA_GAIN
            self._lmbda_scale = min(max(self._lmbda_scale * change, 1.0 / _MAX_LMBDA_SCALE), _MAX_LMBDA_SCALE)
        lmbda = self.quantizers.config.relative_lmbda * mse / max(bits, 1.0)
        self.quantizers.lmbda.fill_(self._lmbda_scale * lmbda)
        logger.info(
            "rate: %.0f bytes expected, %.2f dB, lmbda times %.2f", bits / 8.0, mse_to_psnr_db(mse), self._lmbda_scale
        )

    def _saved(self) -> tuple[OptimizerState, list[Tensor]]:
        return self.optimizer.snapshot(), [buffer.clone() for buffer in self.quantizers.buffers()]

    def _restore(self, saved: tuple[OptimizerState, list[Tensor]]) -> None:
        optimizer_state, buffers = saved
        self.optimizer.restore(optimizer_state)
        with torch.no_grad():
            for buffer, value in zip(self.quantizers.buffers(), buffers, strict=True):
                buffer.copy_(value)

    @staticmethod
    def _reporter(
        phase: Phase, run: PhaseRun, done: int, n_steps: int, on_step: StepCallback | None
    ) -> Callable[[], None] | None:
        if on_step is None:
            return None
        step = done

        def report() -> None:
            nonlocal step
            step += 1
            # A smaller batch makes more steps than the phase has; `on_step` is told the steps of the phase.
            on_step(phase, -(-step * phase.n_steps // n_steps), run.losses[step - 1])

        return report


def _progress(schedule: Schedule) -> Tensor:
    """Progress of the learned steps: the sum of their learning rates up to each step over that of all steps. [n]."""
    rates = schedule.rates[:, GROUPS.index("field_steps")].double()
    return rates.cumsum(0) / rates.sum().clamp_min(1e-30)


def _steps_at(schedule: Schedule, progresses: Sequence[float]) -> list[int]:
    """Return the steps after which the progress is reached; in a short phase several of them may be one step."""
    progress = _progress(schedule)
    steps = torch.searchsorted(progress, progress.new_tensor(progresses)) + 1
    return sorted({step for step in steps.tolist() if step < schedule.n_steps})


def _has_diverged(losses: list[float], before: float) -> bool:
    """Tell whether a stretch ended far worse than it began."""
    if not all(math.isfinite(loss) for loss in losses):
        return True
    return float(np.mean(losses[-_N_LAST:])) > _DIVERGED_RATIO * before + _SMALL_LOSS
