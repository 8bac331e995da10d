"""The fused field on a GPU, kernel by kernel, for several ways to launch it: which constants are best here?

    python benchmarks/triton_field.py --csv benchmarks/data/triton_field.csv

Every candidate is held against the reference in float64 first; one that is wrong or does not fit the GPU is named, and
its speed is not printed. Times of kernels are the device's own; `graph` rows are replays of a CUDA graph, launch gaps
included.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from harness import commit, device_name, print_rows, write_csv
from torch import Tensor
from torch.autograd import DeviceType

from stgvcodec.ops.deform import deform
from stgvcodec.ops.deform import triton_kernel as fused
from stgvcodec.ops.field_mlp import FieldWeights
from stgvcodec.ops.hash_encode import HashGridSpec

RESOLUTIONS = (16, 24, 36, 54, 81, 121, 182, 273)
GRIDS = {
    "static_grid": HashGridSpec(2, 10, tuple((n, n) for n in RESOLUTIONS)),
    "dynamic_grid": HashGridSpec(4, 10, tuple((n, n, n) for n in RESOLUTIONS)),
}
SIZE_PX = (1280.0, 640.0)
N_TIME, WIDTH = 12, 128
SHAPES = ((1, 20_000), (10, 20_000), (1, 90_000), (10, 90_000))  # (frames, points)
N_CHECKED = 5_000  # points of the check
OUTPUTS = ("means_px", "colors", "delta_shapes")
NAMES = (*OUTPUTS, "means", "canonical_colors", "static_table", "dynamic_table", *FieldWeights._fields)
# Norm of the error over the norm; ReLUs near their kink are in it.
FORWARD_TOLERANCE = {"bf16": 1e-2, "bf16x3": 3e-5, "tf32": 2e-3, "tf32x3": 3e-5, "ieee": 3e-5}
GRADIENT_TOLERANCE = {"bf16": 1e-1, "bf16x3": 2e-2, "tf32": 5e-2, "tf32x3": 2e-2, "ieee": 2e-2}

DEVICE = torch.device("cuda")
BASE = fused.TUNING


class Candidate(NamedTuple):
    kernel: str  # whose time is of interest; "" for all of them
    tuning: fused.Tuning


def candidate(kernel: str, **changes: object) -> Candidate:
    return Candidate(kernel, dataclasses.replace(BASE, **changes))


CANDIDATES = {
    "as it is": candidate(""),
    "1 frame": candidate("forward", forward_frames=1),
    "2 frames": candidate("forward", forward_frames=2),
    "10 frames": candidate("forward", forward_frames=10),
    "128 points, 8 warps": candidate("forward", forward_block=128, forward_warps=8),
    "64 points, 8 warps": candidate("forward", forward_warps=8),
    "bf16": candidate("forward", forward_precision="bf16"),
    "tf32": candidate("forward", forward_precision="tf32"),
    "tf32x3": candidate("forward", forward_precision="tf32x3"),
    "64 points": candidate("backward_network", network_block=64),
    "128 points": candidate("backward_network", network_block=128),
    "gradients bf16x3": candidate("backward_network", backward_precision="bf16x3"),
    "hidden layers bf16": candidate("backward_network", forward_precision="bf16"),
    "16 points, 4 warps": candidate("backward_encodings", encodings_block=16),
    "16 points, 2 warps": candidate("backward_encodings", encodings_block=16, encodings_warps=2),
    "8 points, 1 warp": candidate("backward_encodings", encodings_block=8, encodings_warps=1),
    "64 points and 8 warps": candidate("backward_encodings", encodings_block=64, encodings_warps=8),
}


class Inputs(NamedTuple):
    means: Tensor
    colors: Tensor
    static_table: Tensor
    dynamic_table: Tensor
    weights: FieldWeights
    times: Tensor
    gamma: Tensor

    @property
    def leaves(self) -> tuple[Tensor, ...]:
        return self.means, self.colors, self.static_table, self.dynamic_table, *self.weights

    def to(self, dtype: torch.dtype) -> Inputs:
        leaves = [leaf.detach().to(dtype).requires_grad_() for leaf in self.leaves]
        return Inputs(*leaves[:4], FieldWeights(*leaves[4:]), self.times.to(dtype), self.gamma.to(dtype))


def make_inputs(n_frames: int, n_points: int, seed: int) -> Inputs:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return (torch.randn(shape, generator=generator) / shape[-1] ** 0.5).to(DEVICE)

    n_inputs = sum(grid.n_features for grid in GRIDS.values()) + N_TIME
    heads = [shape for n in (2, 3, 3) for shape in ((n, WIDTH), (n,))]
    shapes = ((WIDTH, n_inputs), (WIDTH,), (WIDTH, WIDTH), (WIDTH,), *heads)
    # Short numbers: places in cells are then exact in float32 as in float64.
    inputs = Inputs(
        means=((torch.rand(n_points, 2, generator=generator) * 2 - 1) * 2048).round().to(DEVICE) / 2048,
        colors=normal(n_points, 3),
        static_table=normal(GRIDS["static_grid"].n_entries, 2),
        dynamic_table=normal(GRIDS["dynamic_grid"].n_entries, 4),
        weights=FieldWeights(*(normal(*shape) for shape in shapes)),
        times=(torch.rand(n_frames, generator=generator) * 64).round().to(DEVICE) / 64,
        gamma=torch.rand(n_frames, N_TIME, generator=generator).to(DEVICE) * 2 - 1,
    )
    return inputs.to(torch.float32)


def forward(inputs: Inputs, tuning: fused.Tuning) -> tuple[Tensor, ...]:
    return fused.deform(*inputs, **GRIDS, size_px=SIZE_PX, static_features=None, tuning=tuning)


@torch.no_grad()
def inference(inputs: Inputs, tuning: fused.Tuning) -> tuple[Tensor, ...]:
    return forward(inputs, tuning)


def step(inputs: Inputs, tuning: fused.Tuning | None, upstream: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    if tuning is None:
        outputs = deform(*inputs, **GRIDS, size_px=SIZE_PX, backend="reference")
    else:
        outputs = forward(inputs, tuning)
    upstream = tuple(gradient.to(outputs[0].dtype) for gradient in upstream)
    return *(output.detach() for output in outputs), *torch.autograd.grad(outputs, inputs.leaves, upstream)


def upstream_of(n_frames: int, n_points: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(9)
    means_px = torch.randn(n_frames, n_points, 2, generator=generator) / SIZE_PX[0]
    others = (torch.randn(n_frames, n_points, 3, generator=generator) for _ in OUTPUTS[1:])
    return means_px.to(DEVICE), *(gradient.to(DEVICE) for gradient in others)


def errors_of(results: tuple[Tensor, ...], truth: tuple[Tensor, ...]) -> dict[str, float]:
    return {
        name: ((one.double() - other).norm() / other.norm()).item()
        for name, one, other in zip(NAMES, results, truth, strict=False)  # a forward alone has three of them
    }


def problem_of(errors: dict[str, float], tuning: fused.Tuning) -> str | None:
    loosest = max(GRADIENT_TOLERANCE[tuning.forward_precision], GRADIENT_TOLERANCE[tuning.backward_precision])
    for name, error in errors.items():
        if not error <= (FORWARD_TOLERANCE[tuning.forward_precision] if name in OUTPUTS else loosest):
            return f"{name} is off by {error:.1e}"
    return None


def work_of(inputs: Inputs, entry: Candidate, upstream: tuple[Tensor, ...]) -> partial[tuple[Tensor, ...]]:
    """Only the forward where nothing else is of interest."""
    if entry.kernel == "forward":
        return partial(inference, inputs, entry.tuning)
    return partial(step, inputs, entry.tuning, upstream)


def kernel_times_us(work: partial[object], repeats: int) -> dict[str, list[float]]:
    """Device time of every kernel of a call, by name, over several calls."""
    for _ in range(3):
        work()
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        for _ in range(repeats):
            work()
        torch.cuda.synchronize()
    times: dict[str, list[float]] = defaultdict(list)
    for event in profiler.events():
        if event.device_type == DeviceType.CUDA:
            times[event.name[:40]].append(event.time_range.elapsed_us())
    return times


def graph_times_us(work: partial[object], repeats: int) -> list[float]:
    """Time of a replay of a graph of ten calls, a tenth of it."""
    for _ in range(3):
        work()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(10):
            work()
    graph.replay()
    times = []
    for _ in range(repeats):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) * 100)
    return times


def sound_candidates(seed: int) -> dict[str, Candidate]:
    """Those that give the right numbers here; says what is wrong with the others."""
    sound = {}
    inputs, upstream = make_inputs(2, N_CHECKED, seed), upstream_of(2, N_CHECKED)
    truth = step(inputs.to(torch.float64), None, upstream)
    for name, entry in CANDIDATES.items():
        label = f"{entry.kernel or 'all'}, {name}"
        try:
            errors = errors_of(work_of(inputs, entry, upstream)(), truth)
            problem = problem_of(errors, entry.tuning)
        except Exception as error:  # It may need more registers or shared memory than there is.
            problem = f"{type(error).__name__}: {error}"
        if problem is None:
            sound[name] = entry
            print(f"{label}: " + " ".join(f"{key} {error:.0e}" for key, error in errors.items()))
        elif name == "as it is":
            raise SystemExit(f"no speed is printed: {problem}")
        else:
            print(f"{label}: left out, {problem}")
    return sound


def measure(seed: int, repeats: int, budget_seconds: float) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    begin = time.perf_counter()
    sound = sound_candidates(seed)

    def add(op: str, shape: str, values: list[float]) -> None:
        p20, p50, p80 = (f"{value:.2f}" for value in np.percentile(values, (20, 50, 80)))
        rows.append((op, shape, "us", p20, p50, p80, device_name(DEVICE), commit()))

    for n_frames, n_points in SHAPES:
        inputs, upstream = make_inputs(n_frames, n_points, seed), upstream_of(n_frames, n_points)
        shape = f"N={n_points} B={n_frames}"
        for name, entry in sound.items():
            if time.perf_counter() - begin > budget_seconds:
                print(f"stopped after {budget_seconds:.0f} s, before {name} at {shape}")
                return rows
            work = work_of(inputs, entry, upstream)
            for kernel, values in kernel_times_us(work, repeats).items():
                if kernel.startswith(entry.kernel):
                    add(f"{kernel}, {name}", shape, values)
            if not entry.kernel:
                add("graph: forward and backward", shape, graph_times_us(work, repeats))
                add("graph: forward", shape, graph_times_us(partial(inference, inputs, entry.tuning), repeats))
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=80.0, help="stop after about this long (default: 80)")
    parser.add_argument("--csv", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    table = measure(options.seed, options.repeats, options.seconds)
    print_rows(table)
    if options.csv:
        write_csv(options.csv, table)
