"""What GoPs predicted from the one before would be worth: fits through residual quantisers, bits by the rate model.

    python benchmarks/predicted_gops.py --device cuda --davis DAVIS --csv results/rate_ablation.csv

Appends rows to those of `rate_ablation.py` ("compact, predicted GoPs of 10"), whose `table` prints them. In a chain of
four GoPs of 10 frames the first is as profile compact has it; each other one starts from the Gaussians of the last
frame before it, as a decoder has them, and transmits what it adds to their means, log scales, shears and colours. There
is no such format: bytes are the estimate of `fit/rate_model.py`, which is within 2% of what a coder writes, every
residual with the classes that cost least by the residuals before it. The rate weighs as much as in the first GoP.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import math
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from harness import commit, device_name
from rate_ablation import COLUMNS, PIXELS_PER_GAUSSIAN, read_clips
from torch import Tensor

from stgvcodec.codec.gop_encoder import GopConfig, fit_phases, make_trainer
from stgvcodec.codec.presets import FIELD_SIZES, PRESETS
from stgvcodec.codec.profiles import PROFILES
from stgvcodec.fit.optimizer import make_optimizer
from stgvcodec.fit.paths import follow_paths
from stgvcodec.fit.phases import QUANTIZED_STREAMS, Phase
from stgvcodec.fit.quantizers import GopQuantizers
from stgvcodec.fit.rate_model import Attribute
from stgvcodec.fit.trainer import GopTrainer
from stgvcodec.model.deformation import moments
from stgvcodec.model.gaussians import MIN_DIAGONAL_PX, CanonicalGaussians
from stgvcodec.model.gop_model import GopModel, GopValues, deformed_px
from stgvcodec.ops.backends import resolve_backend
from stgvcodec.ops.code_length import code_length
from stgvcodec.ops.threads import one_torch_thread
from stgvcodec.ops.ycocg.reference import to_ycocg

GOP, N_GOPS = 10, 4
# Rates of the Gaussians in joint training, over those of a GoP that stands alone: at a tenth they stay near what
# predicts them, and few bits say where they went.
RATES = {"compact, predicted GoPs of 10": 1.0, "compact, predicted GoPs of 10, slow Gaussians": 0.1}
LARGEST, ZERO = 127, 128


class ResidualQuantizers(GopQuantizers):
    """Gaussians as what they add to a prediction, in steps; the field as ever."""

    def predict(self, before: GopValues, cell: Tensor, shape_step: Tensor, color_step: Tensor) -> None:
        """Take the Gaussians to predict from, the width of a grid cell and the steps to begin with."""
        self._before, self._cell = self._natural(before), cell
        with torch.no_grad():
            for quantizer, step in ((self.cholesky, shape_step), (self.colors, color_step)):
                quantizer.unit.copy_(step)
                quantizer.gain.zero_()

    def initialize(self, stream: str, values: GopValues) -> None:
        if stream == "field":
            super().initialize(stream, values)

    def quantize(self, values: GopValues, enabled: Collection[str]) -> tuple[GopValues, Tensor | None]:
        if not enabled:
            return values, None
        residuals, steps = self._residuals(values)
        rounded = residuals + (residuals.round() - residuals).detach()
        penalty = None
        if self.rates(enabled):
            field, field_bits = self.field.rated(values.field, self.rate.of_groups(self.field.n_groups))
            penalty = self.rate_weight * self.rate.bits([self._bits(residuals), field_bits])
        else:
            field = self.field(values.field)
        x, y, log1, log3, shear, luma, co, cg = (self._before + rounded * steps).unbind(1)
        l1, l3 = torch.exp(log1), torch.exp(log3)
        base = luma - cg
        return (
            GopValues(
                torch.stack((x, y), dim=1),
                torch.stack((l1 - MIN_DIAGONAL_PX, shear * l3, l3 - MIN_DIAGONAL_PX), dim=1),
                torch.stack((base + co, luma + cg, base - co), dim=1),
                field,
            ),
            penalty,
        )

    @torch.no_grad()
    def refresh_rate(self, values: GopValues) -> None:
        symbols = self._residuals(values)[0].round().long().t() + ZERO
        size = (symbols - ZERO).abs()
        moved = size[0] + size[1]
        variables = (None, size[0], moved, size[2], size[3], moved, size[5], size[6])
        attributes = [Attribute(own, variable) for own, variable in zip(symbols, variables, strict=True)]
        fixed = self.rate_weight.new_full((), 8.0 * self._fixed_bytes())
        self.rate.refresh(attributes, self.field.segmented(values.field), fixed)

    @torch.no_grad()
    def estimated_bits(self, values: GopValues) -> Tensor:
        field_bits = self.field.rated(values.field, self.rate.of_groups(self.field.n_groups))[1]
        return self.rate.bits([self._bits(self._residuals(values)[0]), field_bits])

    def _bits(self, residuals: Tensor) -> Tensor:
        return code_length(residuals.t().contiguous(), self.rate.of_attributes(0, 8), first=-ZERO).reshape(1)

    def _residuals(self, values: GopValues) -> tuple[Tensor, Tensor]:
        """In steps, within the codes, and the steps themselves. [N, 8] and [8]."""
        learned = (self.cholesky.unit * self.cholesky.gain.exp(), self.colors.unit * self.colors.gain.exp())
        steps = torch.cat((self._cell, *learned))
        return ((self._natural(values) - self._before) / steps).clamp(-LARGEST, LARGEST), steps

    @staticmethod
    def _natural(values: GopValues) -> Tensor:
        """(x, y, log l1, log l3, shear, Y, Co, Cg). [N, 8]."""
        diagonal = values.cholesky[:, ::2].clamp_min(0.0) + MIN_DIAGONAL_PX
        shear = values.cholesky[:, 1:2] / diagonal[:, 1:]
        return torch.cat((values.means, torch.log(diagonal), shear, to_ycocg(values.colors)), dim=1)


class ChainTrainer(GopTrainer):
    """Weighs bits by a number from outside."""

    weight: float

    def _weigh_rate(self, mse: float, quantized: Collection[str], travel: float) -> None:
        if self._is_rated(quantized):
            self.quantizers.refresh_rate(self.model.values())
            self.quantizers.rate_weight.fill_(self.weight)


def predicted(before: GopTrainer, frames: np.ndarray, config: GopConfig, weight: float, seed: int) -> ChainTrainer:
    """A trainer of the GoP after that of `before`."""
    alone = make_trainer(frames, config, seed)
    _, height, width, _ = frames.shape
    with torch.no_grad():
        values, _ = before.quantizers.quantize(before.model.values(), QUANTIZED_STREAMS)
        at = moments([1.0], before.spec.field.n_frequencies, dtype=torch.float32, device=config.device)
        means_px, colors = deformed_px(values, before.spec, at, backend=config.backend)
        size_px = torch.tensor([width, height], dtype=torch.float32, device=config.device)
        last = GopValues(means_px[0] / size_px * 2.0 - 1.0, values.cholesky.clone(), colors[0].clone(), values.field)
        quantizers = before.quantizers
        if isinstance(quantizers, ResidualQuantizers):
            cell = quantizers._cell
            steps = [q.unit * q.gain.exp() for q in (quantizers.cholesky, quantizers.colors)]
        else:
            cell = torch.from_numpy(quantizers.means.side()["scale"]).to(config.device)
            steps = [q.scale() for q in (quantizers.cholesky, quantizers.colors)]
    pictures = torch.from_numpy(frames).to(config.device)
    paths = follow_paths(pictures, 0)
    gaussians = CanonicalGaussians(last.means, last.cholesky, last.colors, width=width, height=height)
    trainer = ChainTrainer(
        pictures,
        GopModel(gaussians, alone.model.field),
        alone.spec,
        key_frame=0,
        quantizers=alone.quantizers.config,
        rng=np.random.default_rng(seed),
        backend=config.backend,
        paths=paths if alone.paths is not None else None,
    )
    trainer.weight = weight
    trainer.quantizers = ResidualQuantizers(
        trainer.spec, trainer.quantizers.config, device=config.device, backend=config.backend
    )
    trainer.quantizers.predict(last, cell, *steps)
    trainer.optimizer = make_optimizer(trainer.parameter_groups(), backend=config.backend)
    return trainer


def run(trainer: GopTrainer, config: GopConfig, gaussian_rates: float) -> tuple[float, float]:
    """Train; bits and PSNR with everything quantised."""
    phases, finetuning = fit_phases(config, trainer.spec.n_frames, has_paths=trainer.paths is not None)
    for phase in (*(_slowed(phase, gaussian_rates) for phase in phases), *finetuning):
        trainer.run(phase)
    values = trainer.model.values()
    trainer.quantizers.refresh_rate(values)
    return float(trainer.quantizers.estimated_bits(values)), trainer.psnr_db(QUANTIZED_STREAMS)


def _slowed(phase: Phase, factor: float) -> Phase:
    rates = phase.rates
    gaussians = {name: factor * getattr(rates, name) for name in ("means", "cholesky", "colors")}
    return dataclasses.replace(phase, rates=dataclasses.replace(rates, **gaussians))


def chain(clip: np.ndarray, config: GopConfig, gaussian_rates: float) -> list[tuple[int, float, float, float]]:
    """Bytes, PSNR and seconds of each GoP of a chain, after its Gaussians."""
    rows, trainer, weight = [], None, 0.0
    for index in range(N_GOPS):
        started = time.perf_counter()
        frames = clip[index * GOP : (index + 1) * GOP]
        if trainer is None:
            trainer = make_trainer(frames, config, index)
            bits, psnr_db = run(trainer, config, 1.0)
            weight = trainer.quantizers.config.elasticity * 10.0 ** (-psnr_db / 10.0) / bits
        else:
            trainer = predicted(trainer, frames, config, weight, index)
            bits, psnr_db = run(trainer, config, gaussian_rates)
        rows.append((math.ceil(bits / 8.0), trainer.spec.n_gaussians, psnr_db, time.perf_counter() - started))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--davis", type=Path, required=True, help="folder with blackswan, cows and bmx-trees")
    parser.add_argument("--csv", type=Path, required=True, help="rows of rate_ablation.py, appended to")
    parser.add_argument("--preset", default="fast", choices=tuple(PRESETS))
    parser.add_argument("--at-once", type=int, default=4, help="chains fitted at the same time (default: 4)")
    options = parser.parse_args()
    device = torch.device(options.device)
    backend = resolve_backend("auto", device)
    clips = read_clips(options.davis, GOP * N_GOPS)
    with options.csv.open() as file:
        done = {(row["variant"], row["clip"], row["pixels_per_gaussian"]) for row in csv.DictReader(file)}
    lock = Lock()

    def work(job: tuple[str, str, int]) -> None:
        variant, name, sparse = job
        clip = clips[name]
        n_pixels = clip.shape[1] * clip.shape[2]
        config = GopConfig(
            preset=PRESETS[options.preset],
            n_gaussians=n_pixels // sparse,
            field=FIELD_SIZES[PIXELS_PER_GAUSSIAN.index(sparse)],
            key_frame="middle",
            initialization="content",
            profile=PROFILES["compact"],
            target_bytes=None,
            device=device,
            backend=backend,
        )
        rows = []
        for index, (n_bytes, n, psnr_db, seconds) in enumerate(chain(clip, config, RATES[variant])):
            key = (variant, name, sparse, index * GOP)
            figures = (GOP, n_pixels, n, n_bytes, "", f"{psnr_db:.3f}", f"{seconds:.2f}")
            rows.append((*key, *figures, options.preset, device_name(device), commit()))
        assert len(rows[0]) == len(COLUMNS)
        with lock, options.csv.open("a", newline="") as file:
            csv.writer(file).writerows(rows)

    jobs = [(variant, name, sparse) for variant in RATES for name in clips for sparse in PIXELS_PER_GAUSSIAN]
    left = [job for job in jobs if tuple(map(str, job)) not in done]
    with one_torch_thread(), ThreadPoolExecutor(options.at_once) as pool:
        list(pool.map(work, left))


if __name__ == "__main__":
    main()
