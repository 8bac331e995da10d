"""The paper's own experiment: Big Buck Bunny, 132 frames, 640x1280, 20 000 Gaussians a GoP of 10, without quantisers.

    python benchmarks/bunny_fit.py --device cuda --joint 4000 --csv benchmarks/data/bunny_fit.csv

PSNR is the mean over all frames of each frame's RGB PSNR, of 8-bit frames and of float ones, as papers have it;
MS-SSIM of the 8-bit frames. Seconds are from frames in memory to trained models; compiling (a first GoP is fitted for
a few steps and thrown away) and evaluation are not in them.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from gop_fit import CLIP
from harness import commit, device_name, print_rows, write_csv
from pytorch_msssim import ms_ssim
from torch import Tensor

from stgvcodec.encoder.encode_gop import GopConfig, make_trainer
from stgvcodec.encoder.presets import PAPER_FIELD, PRESETS, Preset
from stgvcodec.encoder.profiles import PROFILES
from stgvcodec.fit.phases import Phase
from stgvcodec.fit.trainer import GopTrainer, mse_to_psnr_db
from stgvcodec.media import Selection, open_video
from stgvcodec.model.gop_model import frame_time, render
from stgvcodec.ops.backends import resolve_backend
from stgvcodec.ops.rasterize import to_uint8
from stgvcodec.ops.threads import one_torch_thread

GOP = 10
COLUMNS = (
    *("n_frames", "key_steps", "joint_steps", "at_once", "seconds", "us_per_frame_step"),
    *("psnr_db", "float_psnr_db", "ms_ssim", "device", "backend", "commit"),
)


def float_phases(key: int, joint: int, final_rate: float, frames_per_step: int) -> tuple[Phase, ...]:
    """Training without quantisers: the key frame, then all frames."""
    return (
        Phase("key-frame", frames="key", n_steps=key, final_rate=0.5),
        Phase("joint", frames="all", n_steps=joint, final_rate=final_rate, frames_per_step=frames_per_step),
    )


def make_config(preset: Preset, n_gaussians: int, device: torch.device, backend: str) -> GopConfig:
    return GopConfig(
        # Fits here run phases of their own, on all Gaussians from the beginning.
        preset=dataclasses.replace(preset, densified=0.0),
        n_gaussians=n_gaussians,
        field=PAPER_FIELD,
        key_frame=preset.key_frame,
        initialization=preset.initialization,
        profile=PROFILES["paper"].with_codebooks(preset.color_stages, preset.color_codebook_size),
        target_bytes=None,
        device=device,
        backend=backend,
    )


def fit(frames: np.ndarray, config: GopConfig, phases: tuple[Phase, ...], seed: int) -> GopTrainer:
    trainer = make_trainer(frames, config, seed)
    for phase in phases:
        trainer.run(phase)
    return trainer


def quality(frames: np.ndarray, trainer: GopTrainer, backend: str) -> list[tuple[float, float, float]]:
    """8-bit PSNR, float PSNR and MS-SSIM of each frame."""
    rows = []
    device = trainer.model.gaussians.raw_means.device
    for k, frame in enumerate(frames):
        source = torch.from_numpy(frame).to(device)
        with torch.no_grad():
            time_of = [frame_time(k, trainer.spec.n_frames)]
            image = render(trainer.model.gop_parameters(), trainer.spec, time_of, backend=backend)[0]
            coded = to_uint8(image.clone())
            float_mse = (image.clamp(0, 1) - source / 255.0).square().mean()
            mse = (coded.double() - source.double()).square().mean() / 255.0**2
            rows.append((mse_to_psnr_db(float(mse)), mse_to_psnr_db(float(float_mse)), similarity(source, coded)))
    return rows


def similarity(source: Tensor, coded: Tensor) -> float:
    planes = [picture.permute(2, 0, 1)[None].float() for picture in (source, coded)]
    return float(ms_ssim(*planes, data_range=255.0, size_average=True))


def measure(options: argparse.Namespace) -> list[tuple[object, ...]]:
    device = torch.device(options.device)
    backend = resolve_backend(options.backend, device)
    with open_video(CLIP, selection=Selection.parse(frames=f"0:{options.frames}", crop="1280x640")) as video:
        clip = np.stack([frame.rgb for frame in video])
    gops = [clip[i : i + GOP] for i in range(0, len(clip), GOP)]
    config = make_config(PRESETS["slow"], options.gaussians, device, backend)
    warm_up = tuple(Phase(p.name, p.frames, 3, frames_per_step=p.frames_per_step) for p in float_phases(1, 1, 1.0, 1))
    fit(gops[0], config, warm_up, options.seed)

    rows = []
    for joint in options.joint:
        phases = float_phases(options.key, joint, options.final_rate, options.frames_per_step)
        begin = time.perf_counter()
        with ThreadPoolExecutor(options.at_once) as pool:
            trainers = list(pool.map(lambda gop, phases=phases: fit(gop, config, phases, options.seed), gops))
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - begin
        n_renders = len(gops) * (options.key + joint * options.frames_per_step)
        per_frame = [row for gop, trainer in zip(gops, trainers, strict=True) for row in quality(gop, trainer, backend)]
        psnr, float_psnr, ssim = np.mean(per_frame, axis=0)
        figures = (
            f"{seconds:.1f}",
            f"{1e6 * seconds / n_renders:.0f}",
            f"{psnr:.2f}",
            f"{float_psnr:.2f}",
            f"{ssim:.4f}",
        )
        rows.append((len(clip), options.key, joint, options.at_once, *figures, device_name(device), backend, commit()))
        print_rows(rows[-1:], COLUMNS)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--frames", type=int, default=132)
    parser.add_argument("--gaussians", type=int, default=20_000)
    parser.add_argument("--key", type=int, default=200, help="steps on each key frame (default: 200)")
    parser.add_argument("--joint", type=int, nargs="+", default=[4000], help="joint steps of a GoP, a row for each")
    parser.add_argument("--final-rate", type=float, default=0.05)
    parser.add_argument("--frames-per-step", type=int, default=1)
    parser.add_argument("--at-once", type=int, default=1, help="GoPs fitted at the same time (default: 1)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--csv", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    with one_torch_thread():
        rows = measure(options)
    print_rows(rows, COLUMNS)
    if options.csv:
        write_csv(options.csv, rows, COLUMNS)


if __name__ == "__main__":
    main()
