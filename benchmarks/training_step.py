"""What a training step costs on a GPU, all in: by frames a step, by Gaussians, by picture, and where its time goes.

    python benchmarks/training_step.py --csv benchmarks/data/training_step.csv

One GoP of 10 frames of Big Buck Bunny, 640x1280 (other sizes: the clip laid side by side), after 300 steps, so that
sizes and overlaps are those of a fit. A row is the time of 100 replays of the step's graph, divided by its frames. The
second table splits one step by kernel, beside the floors that the operators' READMEs derive.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from bunny_fit import GOP, make_config
from gop_fit import read_frames
from harness import COLUMNS, commit, device_name, print_rows, write_csv

from stgvcodec.encoder.encode_gop import make_trainer
from stgvcodec.encoder.presets import PRESETS
from stgvcodec.fit.phases import QUANTIZED_STREAMS, LearningRates, Phase
from stgvcodec.fit.trainer import GopTrainer
from stgvcodec.ops.threads import one_torch_thread

WARM_UP, N_STEPS, REPEATS = 300, 100, 5
PAPER = (640, 1280, 20_000)
# Height, width, Gaussians, frames a step.
CASES = (
    *((*PAPER, batch) for batch in (1, 2, 5, 10)),
    *((640, 1280, n, 1) for n in (2_500, 5_000, 10_000, 40_000, 80_000)),
    (1080, 1920, 90_000, 1),
    (1080, 1920, 90_000, 10),
    (2160, 3840, 360_000, 1),
)
FINE_RATES = LearningRates().scaled(0.02)
# By arithmetic, one frame of 640x1280 with 20 000 Gaussians, microseconds.
FLOORS_US = {
    "_splat_forward_kernel": 10.4,
    "count": 1.7,
    "scatter": 1.7,
    "_splat_backward_kernel": 27.0,
    "forward": 4.7,
    "backward_network": 10.2,
    "backward_encodings": 8.0,
    "_step_kernel": 1.9,
}


def frames_of(height: int, width: int) -> np.ndarray:
    clip = read_frames(GOP, torch.device("cpu")).numpy()
    tiled = np.tile(clip, (1, -(-height // clip.shape[1]), -(-width // clip.shape[2]), 1))
    return np.ascontiguousarray(tiled[:, :height, :width])


def phase(batch: int, n_steps: int, quantized: tuple[str, ...]) -> Phase:
    rates = FINE_RATES if quantized else LearningRates()
    return Phase("measured", "all", n_steps, rates=rates, frames_per_step=batch, quantized=quantized)


def us_per_frame(trainer: GopTrainer, batch: int, quantized: tuple[str, ...]) -> tuple[float, float, float]:
    """Percentiles over stretches of a phase, the first of which has the capture and does not count."""
    times: list[float] = []
    begin = 0.0

    def on_step(_: Phase, step: int, __: torch.Tensor) -> None:
        nonlocal begin
        if step % N_STEPS == 1:
            torch.cuda.synchronize()
            begin = time.perf_counter()
        elif step % N_STEPS == 0:
            torch.cuda.synchronize()
            times.append((time.perf_counter() - begin) / (N_STEPS - 1) / batch * 1e6)

    trainer.run(phase(batch, (REPEATS + 1) * N_STEPS, quantized), on_step)
    p20, p50, p80 = np.percentile(times[1:], (20, 50, 80))
    return float(p20), float(p50), float(p80)


def kernel_times(trainer: GopTrainer, quantized: tuple[str, ...]) -> list[tuple[object, ...]]:
    """Microseconds a step of each kernel, those above 0.5."""
    trainer.run(phase(1, 2, quantized))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA], acc_events=True) as profile:
        trainer.run(phase(1, N_STEPS, quantized))
        torch.cuda.synchronize()
    rows = []
    for event in profile.key_averages():
        us = event.self_device_time_total / N_STEPS
        if us > 0.5:
            floor = next((floor for name, floor in FLOORS_US.items() if name in event.key), None)
            rows.append((event.key[:60], f"{us:.1f}", f"{event.count / N_STEPS:.1f}", "" if floor is None else floor))
    return sorted(rows, key=lambda row: -float(row[1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, nargs="+", help="which of the cases to run, by index (default: all)")
    parser.add_argument("--csv", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    device = torch.device("cuda")
    rows = []
    with one_torch_thread():
        for index in options.cases or range(len(CASES)):
            height, width, n_gaussians, batch = CASES[index]
            torch.cuda.reset_peak_memory_stats()
            trainer = make_trainer(
                frames_of(height, width), make_config(PRESETS["slow"], n_gaussians, device, "triton"), seed=0
            )
            trainer.run(Phase("warm-up", "key", 50))
            trainer.run(Phase("warm-up", "all", WARM_UP))
            shape = f"{width}x{height} N={n_gaussians} B={batch}"
            for quantized in ((), QUANTIZED_STREAMS) if CASES[index] == (*PAPER, 1) else ((),):
                if CASES[index] == (*PAPER, 1):
                    print_rows(kernel_times(trainer, quantized), ("kernel", "us a step", "launches", "floor us"))
                times = us_per_frame(trainer, batch, quantized)
                label = "step, quantised" if quantized else "step"
                rows.append((label, shape, "us/frame", *(f"{t:.1f}" for t in times), device_name(device), commit()))
            peak = torch.cuda.max_memory_allocated() / 2**20
            rows.append(("peak memory", shape, "MiB", *(f"{peak:.0f}",) * 3, device_name(device), commit()))
            del trainer
            torch.cuda.empty_cache()
    print_rows(rows)
    if options.csv:
        write_csv(options.csv, rows, COLUMNS)


if __name__ == "__main__":
    main()
