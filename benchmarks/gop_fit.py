"""PSNR against steps and seconds for one GoP of Big Buck Bunny: 640x1280, 10 frames, 20 000 Gaussians.

    python benchmarks/gop_fit.py --csv benchmarks/data/gop_fit_cpu.csv --steps 100
    python benchmarks/gop_fit.py --device cuda --csv benchmarks/data/gop_fit_cuda.csv

Trains in float, without quantisers, as the paper's tables do: a fifth of the steps on the key frame, the rest jointly.
PSNR is the mean over frames of the float pictures' RGB PSNR.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from harness import commit, device_name, print_rows, write_csv

from stgvcodec.encoder.model_size import field_spec
from stgvcodec.encoder.presets import PAPER_FIELD
from stgvcodec.fit.initialization import initial_gaussians
from stgvcodec.fit.phases import Phase
from stgvcodec.fit.quantizers import QuantizerConfig
from stgvcodec.fit.trainer import GopTrainer
from stgvcodec.media import Selection, open_video
from stgvcodec.model.deformation import DeformationField, FieldSpec
from stgvcodec.model.gop_model import GopModel, GopSpec
from stgvcodec.ops.backends import resolve_backend
from stgvcodec.ops.threads import one_torch_thread

COLUMNS = ("phase", "steps", "seconds", "ms_per_step", "psnr_db", "device", "backend", "commit")
CLIP = Path(__file__).parent.parent / "stgvcodec" / "data" / "bunny.mp4"
N_FRAMES, N_GAUSSIANS = 10, 20_000
N_STRETCHES = 8


def read_frames(n_frames: int, device: torch.device) -> torch.Tensor:
    """The clip's first frames, cropped to the paper's size. [T, 640, 1280, 3] uint8."""
    with open_video(CLIP, selection=Selection.parse(frames=f"0:{n_frames}", crop="1280x640")) as video:
        frames = np.stack([frame.rgb for frame in video])
    return torch.from_numpy(frames).to(device)


def make_trainer(frames: torch.Tensor, field: FieldSpec, *, initialization: str, backend: str, seed: int) -> GopTrainer:
    """A trainer of `N_GAUSSIANS` with the first frame as the key frame."""
    n_frames, height, width, _ = frames.shape
    spec = GopSpec(width, height, n_frames, N_GAUSSIANS, field)
    rng = np.random.default_rng(seed)
    gaussians = initial_gaussians(
        frames[0] / 255.0, N_GAUSSIANS, method=initialization, rng=rng, means_space="pixels", backend=backend
    )
    generator = torch.Generator().manual_seed(seed)
    return GopTrainer(
        frames,
        GopModel(gaussians, DeformationField(field, generator=generator, device=frames.device)),
        spec,
        key_frame=0,
        quantizers=QuantizerConfig(8, 2, 8, 8, seed),
        rng=rng,
        backend=backend,
    )


def measure(device: torch.device, n_steps: int, seed: int) -> list[tuple[object, ...]]:
    backend = resolve_backend("auto", device)
    frames = read_frames(N_FRAMES, device)
    field = field_spec(PAPER_FIELD, N_FRAMES)
    # The first of the two compiles whatever compiles, and is thrown away.
    for n_warm_up in (2, 0):
        trainer = make_trainer(frames, field, initialization="content", backend=backend, seed=seed)
        trainer.run(Phase("warm-up", frames="all", n_steps=n_warm_up))
    rows: list[tuple[object, ...]] = []
    steps, seconds = 0, 0.0

    def row(phase: str, ms_per_step: str) -> None:
        psnr = f"{trainer.psnr_db():.2f}"
        rows.append((phase, steps, f"{seconds:.1f}", ms_per_step, psnr, device_name(device), backend, commit()))

    row("initial", "")
    n_key = n_steps // 5
    phases = [Phase("key-frame", frames="key", n_steps=n_key, final_rate=0.3)]
    # One rate schedule in several stretches, so that PSNR can be read on the way.
    n_joint = n_steps - n_key
    for i in range(N_STRETCHES):
        start, stop = (0.1 ** (k / N_STRETCHES) for k in (i, i + 1))
        rates = phases[0].rates.scaled(start)
        n_stretch = n_joint * (i + 1) // N_STRETCHES - n_joint * i // N_STRETCHES
        phases.append(Phase("joint", frames="all", n_steps=n_stretch, rates=rates, final_rate=stop / start))
    for phase in phases:
        begin = time.perf_counter()
        trainer.run(phase)
        if device.type == "cuda":
            torch.cuda.synchronize()
        elapsed = time.perf_counter() - begin
        steps, seconds = steps + phase.n_steps, seconds + elapsed
        row(phase.name, f"{1e3 * elapsed / max(phase.n_steps, 1):.1f}")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--csv", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    with one_torch_thread():
        rows = measure(torch.device(options.device), options.steps, options.seed)
    print_rows(rows, COLUMNS)
    if options.csv:
        write_csv(options.csv, rows, COLUMNS)


if __name__ == "__main__":
    main()
