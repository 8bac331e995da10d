"""What reaches a good fit in the fewest rendered frames: one change at a time, against the same baseline.

    python benchmarks/fit_ablation.py --device cuda --davis DAVIS --csv results/fit_ablation.csv

Every recipe renders as many frames in training as the baseline (a frame at half the size counts a quarter). One GoP of
10 frames of each clip: Bunny at 640x1280 with 20 000 Gaussians and, from the folder DAVIS, sequences at 854x480 with
10 000. Without quantisers, but where a recipe says so; PSNR is the mean over frames of the float pictures' RGB PSNR.
Rows that are there are not run again.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from bunny_fit import GOP, make_config
from densification import densify as add_gaussians
from gop_fit import CLIP
from harness import commit, device_name, print_rows
from optimizers import OPTIMIZERS
from torch import Tensor

from stgvcodec.encoder.encode_gop import GopConfig, make_trainer
from stgvcodec.encoder.presets import FINE_RATES, PRESETS
from stgvcodec.fit.phases import LearningRates, Phase, finetuning_phases
from stgvcodec.fit.trainer import GopTrainer
from stgvcodec.media import Selection, open_video
from stgvcodec.model.gaussians import MIN_DIAGONAL_PX, CanonicalGaussians
from stgvcodec.model.gop_model import Clock, deformed_px
from stgvcodec.ops.backends import resolve_backend
from stgvcodec.ops.threads import one_torch_thread

COLUMNS = ("recipe", "clip", "renders", "psnr_db", "seconds", "device", "commit")
BASELINE = "baseline"
KEY_SHARE, FINAL_RATE = 0.05, 0.05


class Clip(NamedTuple):
    name: str
    frames: np.ndarray  # [2 * GOP, H, W, 3] uint8: recipes see the second half, warm starts the first too
    n_gaussians: int


class Recipe(NamedTuple):
    """How to fit `frames` with `n_renders` rendered frames; returns the trainer at its end."""

    name: str
    fit: Callable[[Clip, GopConfig, int, int], GopTrainer]


def read_clips(davis: Path | None) -> list[Clip]:
    sources = [("bunny", CLIP, "1280x640", 20_000)]
    if davis is not None:
        sources += [(folder.name, folder, None, 10_000) for folder in sorted(davis.iterdir()) if folder.is_dir()]
    clips = []
    for name, path, crop, n_gaussians in sources:
        with open_video(path, selection=Selection.parse(frames=f"0:{2 * GOP}", crop=crop)) as video:
            clips.append(Clip(name, np.stack([frame.rgb for frame in video]), n_gaussians))
    return clips


def plain(
    *,
    key_share: float = KEY_SHARE,
    final_rate: float = FINAL_RATE,
    batch: int = 1,
    rates: LearningRates | None = None,
    key_final: float = 0.5,
    **changes: object,
) -> Callable[[Clip, GopConfig, int, int], GopTrainer]:
    """The baseline, or it with one thing changed; `changes` are fields of `GopConfig`."""

    def fit(clip: Clip, config: GopConfig, n_renders: int, seed: int) -> GopTrainer:
        trainer = make_trainer(clip.frames[GOP:], dataclasses.replace(config, **changes), seed)
        n_key = round(key_share * n_renders)
        phases = joint_phases(n_key, n_renders - n_key, final_rate, batch, rates or LearningRates(), key_final)
        return run(trainer, phases)

    return fit


def joint_phases(
    n_key: int, n_joint: int, final_rate: float, batch: int, rates: LearningRates, key_final: float = 0.5
) -> list[Phase]:
    joint = Phase("joint", "all", n_joint // batch, rates=rates, final_rate=final_rate, frames_per_step=batch)
    return [Phase("key-frame", "key", n_key, rates=rates, final_rate=key_final), joint]


def run(trainer: GopTrainer, phases: list[Phase]) -> GopTrainer:
    for phase in phases:
        trainer.run(phase)
    return trainer


def stretches(n_steps: int, shares: list[float], final_rate: float = FINAL_RATE) -> list[Phase]:
    """One joint phase cut into several at these shares of its steps, the rates falling as if it were one."""
    bounds = [0.0, *np.cumsum(shares)]
    phases = []
    for begin, end in pairwise(bounds):
        n = round(n_steps * end) - round(n_steps * begin)
        rates = LearningRates().scaled(final_rate**begin)
        phases.append(Phase("joint", "all", n, rates=rates, final_rate=final_rate ** (end - begin)))
    return phases


def optimizer(name: str, scale: float) -> Callable[[Clip, GopConfig, int, int], GopTrainer]:
    """Another optimiser, its rates those of Adam times `scale`."""

    def fit(clip: Clip, config: GopConfig, n_renders: int, seed: int) -> GopTrainer:
        trainer = make_trainer(clip.frames[GOP:], config, seed)
        trainer.optimizer = OPTIMIZERS[name](trainer.parameter_groups())
        n_key = round(KEY_SHARE * n_renders)
        return run(trainer, joint_phases(n_key, n_renders - n_key, FINAL_RATE, 1, LearningRates().scaled(scale)))

    return fit


def low_pass(*levels: float) -> Callable[[Clip, GopConfig, int, int], GopTrainer]:
    """Covariances widened by s, in pixels squared, that shrinks over the first half of joint training to 0."""

    def fit(clip: Clip, config: GopConfig, n_renders: int, seed: int) -> GopTrainer:
        trainer = make_trainer(clip.frames[GOP:], config, seed)
        n_key = round(KEY_SHARE * n_renders)
        sharp = trainer.spec
        trainer.spec = dataclasses.replace(sharp, low_pass=levels[0])
        trainer.run(joint_phases(n_key, 0, 1.0, 1, LearningRates())[0])
        parts = stretches(n_renders - n_key, [*[0.5 / len(levels)] * len(levels), 0.5])
        for level, phase in zip((*levels, 0.0), parts, strict=True):
            trainer.spec = dataclasses.replace(sharp, low_pass=level)
            trainer.run(phase)
        return trainer

    return fit


def coarse_to_fine(share: float, *, coarse_rates: float = 0.5) -> Callable[[Clip, GopConfig, int, int], GopTrainer]:
    """A share of the renders at half the size, four of which count one."""

    def fit(clip: Clip, config: GopConfig, n_renders: int, seed: int) -> GopTrainer:
        frames = torch.from_numpy(clip.frames[GOP:]).permute(0, 3, 1, 2).float()
        half = torch.nn.functional.avg_pool2d(frames, 2).add_(0.5).byte().permute(0, 2, 3, 1).contiguous().numpy()
        trainer = make_trainer(half, config, seed)
        rates = LearningRates().scaled(coarse_rates)
        trainer.run(Phase("half", "all", round(4 * share * n_renders), rates=rates, final_rate=0.5))
        fine = make_trainer(clip.frames[GOP:], dataclasses.replace(config, n_gaussians=1), seed)
        gaussians = trainer.model.gaussians
        cholesky = gaussians.cholesky.detach().clone()
        cholesky[:, 0::2] = cholesky[:, 0::2].clamp_min(0) * 2 + MIN_DIAGONAL_PX
        cholesky[:, 1] *= 2
        fine.model.field = trainer.model.field
        set_gaussians(fine, gaussians.means.detach(), cholesky, gaussians.colors.detach())
        return run(fine, stretches(round(n_renders * (1 - share)), [1.0]))

    return fit


def set_gaussians(trainer: GopTrainer, means: Tensor, cholesky: Tensor, colors: Tensor) -> None:
    width, height = trainer.spec.width, trainer.spec.height
    trainer.replace_gaussians(CanonicalGaussians(means, cholesky, colors, width=width, height=height))


def densify(start: float, rounds: int, until: float, resample: float = 0.0) -> Callable[..., GopTrainer]:
    """From a share `start` of the Gaussians to all of them, in equal rounds over the first `until` of joint training.

    `resample` is the share of the set that each round also drops and places anew.
    """

    def fit(clip: Clip, config: GopConfig, n_renders: int, seed: int) -> GopTrainer:
        n = config.n_gaussians
        trainer = make_trainer(clip.frames[GOP:], dataclasses.replace(config, n_gaussians=round(start * n)), seed)
        n_key = round(KEY_SHARE * n_renders)
        trainer.run(joint_phases(n_key, 0, 1.0, 1, LearningRates())[0])
        parts = stretches(n_renders - n_key, [*[until / rounds] * rounds, 1 - until])
        for i, phase in enumerate(parts):
            trainer.run(phase)
            if i < rounds:
                target = round(n * (start + (1 - start) * (i + 1) / rounds))
                frame, n_dropped = (
                    torch.from_numpy(clip.frames[GOP + GOP // 2]),
                    round(resample * trainer.spec.n_gaussians),
                )
                add_gaussians(trainer, frame, GOP // 2, target, n_dropped=n_dropped, seed=seed + i)
        return trainer

    return fit


def warm_start(keep_field: bool) -> Callable[[Clip, GopConfig, int, int], GopTrainer]:
    """Gaussians of the GoP before, as they end it; that GoP's own fit is not counted."""

    def fit(clip: Clip, config: GopConfig, n_renders: int, seed: int) -> GopTrainer:
        n_key = round(KEY_SHARE * n_renders)
        before = make_trainer(clip.frames[:GOP], config, seed)
        run(before, joint_phases(n_key, n_renders - n_key, FINAL_RATE, 1, LearningRates()))
        trainer = make_trainer(clip.frames[GOP:], dataclasses.replace(config, key_frame="first"), seed)
        with torch.no_grad():
            values, spec = before.model.gop_parameters(), before.spec
            last = Clock(spec, values.means.device).at(torch.tensor([GOP - 1], device=values.means.device))
            means_px, _, colors = deformed_px(values, spec, last, backend=config.backend)
            size = torch.tensor([spec.width, spec.height], device=means_px.device)
            means = means_px[0] * (2.0 / size) - 1.0
        if keep_field:
            trainer.model.field = before.model.field
        set_gaussians(trainer, means, values.cholesky.detach(), colors[0])
        return run(trainer, joint_phases(n_key, n_renders - n_key, FINAL_RATE, 1, LearningRates()))

    return fit


def quantized(share: float, scale: float, **factors: float) -> Callable[[Clip, GopConfig, int, int], GopTrainer]:
    """The baseline without key frame, then a `share` of the renders through the quantisers, at scaled rates."""

    def fit(clip: Clip, config: GopConfig, n_renders: int, seed: int) -> GopTrainer:
        n_fine = round(share * n_renders)
        rates = FINE_RATES.scaled(scale)
        rates = dataclasses.replace(rates, **{name: getattr(rates, name) * factor for name, factor in factors.items()})
        trainer = make_trainer(clip.frames[GOP:], config, seed)
        return run(trainer, [*stretches(n_renders - n_fine, [1.0]), *finetuning_phases(n_fine, rates)])

    return fit


def recipes() -> list[Recipe]:
    base = LearningRates()
    swapped = dataclasses.replace
    return [
        Recipe(BASELINE, plain()),
        Recipe("2 frames a step", plain(batch=2)),
        Recipe("5 frames a step", plain(batch=5)),
        Recipe("2 frames a step, rates x1.4", plain(batch=2, rates=base.scaled(1.4))),
        Recipe("rates x0.5", plain(rates=base.scaled(0.5))),
        Recipe("rates x2", plain(rates=base.scaled(2.0))),
        Recipe("means x2", plain(rates=swapped(base, means=2 * base.means))),
        Recipe("means x0.5", plain(rates=swapped(base, means=base.means / 2))),
        Recipe("colours x0.5", plain(rates=swapped(base, colors=base.colors / 2))),
        Recipe("tables x0.3", plain(rates=swapped(base, hash_tables=0.3 * base.hash_tables))),
        Recipe("mlp x2", plain(rates=swapped(base, mlp=2 * base.mlp))),
        Recipe("rates fall to 0.2", plain(final_rate=0.2)),
        Recipe("rates fall to 0.01", plain(final_rate=0.01)),
        Recipe("no key-frame phase", plain(key_share=0.0)),
        Recipe("key-frame phase 2%", plain(key_share=0.02)),
        Recipe("key-frame phase 15%", plain(key_share=0.15)),
        Recipe("key frame: first", plain(key_frame="first")),
        Recipe("key frame: auto", plain(key_frame="auto")),
        Recipe("random initialisation", plain(initialization="random")),
        Recipe("adan", optimizer("adan", 1.0)),
        Recipe("adan, rates x0.5", optimizer("adan", 0.5)),
        Recipe("second-order blocks", optimizer("blocks", 1.0)),
        Recipe("half size first, 10%", coarse_to_fine(0.1)),
        Recipe("half size first, 5%", coarse_to_fine(0.05)),
        Recipe("half size first, 20%", coarse_to_fine(0.2)),
        Recipe("half size first, 10%, at full rates", coarse_to_fine(0.1, coarse_rates=1.0)),
        Recipe("low-pass 4, 1, 0.25", low_pass(4.0, 1.0, 0.25)),
        Recipe("low-pass 1, 0.25", low_pass(1.0, 0.25)),
        Recipe("densify from 1/2, 4 rounds", densify(0.5, 4, 0.4)),
        Recipe("densify from 3/4, 4 rounds", densify(0.75, 4, 0.4)),
        Recipe("resample 5%, 6 rounds", densify(1.0, 6, 0.5, resample=0.05)),
        Recipe("quantised: a quarter of the renders, rates of the presets", quantized(0.25, 1.0)),
        Recipe("quantised: rates x0.3", quantized(0.25, 0.3)),
        Recipe("quantised: rates x0.6", quantized(0.25, 0.6)),
        Recipe("quantised: rates x2", quantized(0.25, 2.0)),
        Recipe("quantised: colours x3", quantized(0.25, 1.0, colors=3.0)),
        Recipe("quantised: cholesky x3", quantized(0.25, 1.0, cholesky=3.0)),
        Recipe("quantised: field x3", quantized(0.25, 1.0, hash_tables=3.0, mlp=3.0)),
        Recipe("quantised: steps x3", quantized(0.25, 1.0, steps=3.0)),
        Recipe("quantised: an eighth of the renders", quantized(0.125, 1.0)),
        Recipe("quantised: half of the renders", quantized(0.5, 1.0)),
        Recipe("warm start", warm_start(keep_field=False)),
        Recipe("warm start, field too", warm_start(keep_field=True)),
    ]


def done_rows(path: Path | None) -> list[list[str]]:
    if path is None or not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.reader(file))[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--davis", type=Path, help="folder of folders of frames")
    parser.add_argument("--renders", type=int, nargs="+", default=[2000], help="frames rendered in training")
    parser.add_argument("--only", nargs="+", help="recipes whose names contain one of these")
    parser.add_argument("--clips", nargs="+", help="clips to run (default: all)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--csv", type=Path, help="add the rows to this file; rows that it has are not run again")
    options = parser.parse_args()
    device = torch.device(options.device)
    backend = resolve_backend("auto", device)
    clips = read_clips(options.davis)
    rows = done_rows(options.csv)
    done = {tuple(row[:3]) for row in rows}
    with one_torch_thread():
        for n_renders in options.renders:
            for recipe in recipes():
                if options.only and not any(part in recipe.name for part in options.only):
                    continue
                for clip in clips:
                    if options.clips and clip.name not in options.clips:
                        continue
                    if (recipe.name, clip.name, str(n_renders)) in done:
                        continue
                    config = make_config(PRESETS["slow"], clip.n_gaussians, device, backend)
                    begin = time.perf_counter()
                    trainer = recipe.fit(clip, config, n_renders, options.seed)
                    psnr = trainer.psnr_db(tuple(trainer.quantizer_cost_db))
                    seconds = f"{time.perf_counter() - begin:.1f}"
                    row = [recipe.name, clip.name, str(n_renders), f"{psnr:.3f}", seconds]
                    rows.append([*row, device_name(device), commit()])
                    print_rows(rows[-1:], COLUMNS)
                    if options.csv:
                        with options.csv.open("w", newline="") as file:
                            csv.writer(file).writerows([COLUMNS, *rows])
    print_summary(rows)


def print_summary(rows: list[list[str]]) -> None:
    """Mean gain of each recipe over the baseline, over the clips that both have."""
    base = {(clip, renders): float(psnr) for name, clip, renders, psnr, *_ in rows if name == BASELINE}
    gains: dict[tuple[str, str], list[tuple[str, float]]] = {}
    for name, clip, renders, psnr, *_ in rows:
        if (clip, renders) in base:
            gains.setdefault((name, renders), []).append((clip, float(psnr) - base[clip, renders]))
    table = [
        (name, renders, f"{np.mean([gain for _, gain in of]):+.3f}", " ".join(f"{c}:{g:+.2f}" for c, g in of))
        for (name, renders), of in gains.items()
    ]
    print_rows(table, ("recipe", "renders", "mean_gain_db", "by clip"))


if __name__ == "__main__":
    main()
