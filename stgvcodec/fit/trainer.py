"""The training loop of one GoP: runs phases, switches quantisers on, logs what each costs."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable, Collection

import numpy as np
import torch
from torch import Tensor, nn

from stgvcodec.fit.phases import LearningRates, Phase
from stgvcodec.fit.quantizers import GopQuantizers, QuantizerConfig
from stgvcodec.fit.resize import resized_gaussians
from stgvcodec.model.gop_model import GopModel, GopSpec, GopValues, frame_time, render, render_canonical

logger = logging.getLogger(__name__)

# Weight of the commitment loss, Eq. (13).
COMMITMENT_WEIGHT = 0.1

StepCallback = Callable[[Phase, int, Tensor], None]


def mse_to_psnr_db(mse: float) -> float:
    """PSNR of a mean squared error on a [0, 1] scale, dB; inf for 0."""
    return -10.0 * math.log10(mse) if mse > 0 else math.inf


class GopTrainer:
    """Trains one GoP's model against its frames with the L2 loss of the paper.

    Attributes:
        model: The parameters.
        spec: Their dimensions.
        quantizer_cost_db: Stream -> PSNR lost at the moment its quantiser was switched on.
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
    ) -> None:
        """Take frames and an initial model.

        Args:
            frames: RGB in [0, 1]. [T, H, W, 3] float32.
            model: Initial parameters, on the frames' device.
            spec: Dimensions.
            key_frame: Index of the frame that key phases train on.
            quantizers: Sizes of the quantisers.
            rng: Picks the frames of each step.
            backend: Of the operators.
        """
        self.model = model
        self.spec = spec
        self.quantizer_cost_db: dict[str, float] = {}
        self._frames = frames
        self._key_frame = key_frame
        self._rng = rng
        self._backend = backend
        self._quantizer_config = quantizers
        self._quantizers: GopQuantizers | None = None
        self._enabled: tuple[str, ...] = ()
        self._frame_order: list[int] = []
        self._optimizer = _adam(self._groups())

    @property
    def quantizers(self) -> GopQuantizers:
        """The quantisers, initialised from the model's present values on first use."""
        if self._quantizers is None:
            self._quantizers = GopQuantizers(self.model.values(), self.spec, self._quantizer_config)
        return self._quantizers

    def run(self, phase: Phase, on_step: StepCallback | None = None) -> None:
        """Train for one phase.

        Args:
            phase: What to do.
            on_step: Called after each step with the phase, the number of steps done and the loss, a 0-d tensor that is
                still on the device: fetching it waits for the step.
        """
        self._enable(phase.quantized)
        base_rates = self._base_rates(phase.rates)
        for step in range(phase.n_steps):
            progress = step / max(phase.n_steps - 1, 1)
            for group in self._optimizer.param_groups:
                final = phase.final_rate
                if group["name"] in _GAUSSIAN_GROUPS and phase.gaussian_final_rate is not None:
                    final = phase.gaussian_final_rate
                group["lr"] = base_rates.get(group["name"], 0.0) * final**progress
            loss = self._step(phase)
            if on_step is not None:
                on_step(phase, step + 1, loss)
        logger.info("phase %s: %d steps, %.2f dB", phase.name, phase.n_steps, self.psnr_db(phase.quantized))

    def psnr_db(self, quantized: Collection[str] = ()) -> float:
        """Mean over the GoP's frames of PSNR of the float pictures, with the named quantisers on."""
        with torch.no_grad():
            values, _ = self._values(quantized)
            psnrs = []
            for k in range(self.spec.n_frames):
                image = render(values, self.spec, [frame_time(k, self.spec.n_frames)], backend=self._backend)
                mse = torch.mean((image[0].clamp(0.0, 1.0) - self._frames[k]) ** 2)
                psnrs.append(mse_to_psnr_db(float(mse)))
        return sum(psnrs) / len(psnrs)

    def resize(self, n_gaussians: int) -> None:
        """Drop the Gaussians that matter least, or split those that matter most, until `n_gaussians` are left."""
        if n_gaussians == self.spec.n_gaussians:
            return
        gaussians = resized_gaussians(self.model.gaussians, n_gaussians, self.spec)
        self.model = GopModel(gaussians, self.model.field)
        self.spec = dataclasses.replace(self.spec, n_gaussians=n_gaussians)
        self._optimizer = _adam(self._groups())

    def _step(self, phase: Phase) -> Tensor:
        self._optimizer.zero_grad(set_to_none=True)
        values, commitment = self._values(phase.quantized)
        if phase.frames == "key":
            picked = [self._key_frame]
            image = render_canonical(values, self.spec, backend=self._backend)
        else:
            picked = [self._next_frame() for _ in range(phase.frames_per_step)]
            times = [frame_time(k, self.spec.n_frames) for k in picked]
            image = render(values, self.spec, times, backend=self._backend)
        target = self._frames[picked[0]][None] if len(picked) == 1 else self._frames[picked]
        loss = nn.functional.mse_loss(image, target)
        total = loss if commitment is None else loss + COMMITMENT_WEIGHT * commitment
        total.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        if phase.quantized:
            self.quantizers.update(self.model.values(), phase.quantized)
        return loss.detach()

    def _values(self, quantized: Collection[str]) -> tuple[GopValues, Tensor | None]:
        values = self.model.values()
        return self.quantizers.quantize(values, quantized) if quantized else (values, None)

    def _next_frame(self) -> int:
        """Frames in random order, each once before any comes again."""
        if not self._frame_order:
            self._frame_order = [int(k) for k in self._rng.permutation(self.spec.n_frames)]
        return self._frame_order.pop()

    def _enable(self, quantized: tuple[str, ...]) -> None:
        new = [stream for stream in quantized if stream not in self._enabled]
        if not new:
            return
        psnr_before = self.psnr_db(self._enabled)
        for stream in new:
            self.quantizers.initialize(stream, self.model.values())
            self._enabled = (*self._enabled, stream)
            psnr_after = self.psnr_db(self._enabled)
            self.quantizer_cost_db[stream] = psnr_before - psnr_after
            logger.info("quantiser on: %s costs %.3f dB (%.2f dB left)", stream, psnr_before - psnr_after, psnr_after)
            psnr_before = psnr_after
        known = {group["name"] for group in self._optimizer.param_groups}
        for group in self._groups():
            if group["name"] not in known:
                self._optimizer.add_param_group(group)

    def _groups(self) -> list[dict[str, object]]:
        gaussians, field = self.model.gaussians, self.model.field
        groups: dict[str, list[Tensor]] = {
            "means": [gaussians.raw_means],
            "cholesky": [gaussians.cholesky],
            "colors": [gaussians.colors],
            "hash_tables": [field.static_table, field.dynamic_table],
            "mlp": list(field.mlp),
        }
        if self._quantizers is not None:
            for i, parameter in enumerate(self._quantizers.learned_steps(self._enabled)):
                groups[f"steps {i}"] = [parameter]
        return [{"name": name, "params": parameters} for name, parameters in groups.items()]

    def _base_rates(self, rates: LearningRates) -> dict[str, float]:
        base = {
            "means": rates.means,
            "cholesky": rates.cholesky,
            "colors": rates.colors,
            "hash_tables": rates.hash_tables,
            "mlp": rates.mlp,
        }
        if self._quantizers is not None:
            for i, _ in enumerate(self._quantizers.learned_steps(self._enabled)):
                base[f"steps {i}"] = rates.steps
        return base


_GAUSSIAN_GROUPS = ("means", "cholesky", "colors")


def _adam(groups: list[dict[str, object]]) -> torch.optim.Adam:
    return torch.optim.Adam(groups, lr=0.0, betas=(0.9, 0.99), eps=1e-15, fused=True)
