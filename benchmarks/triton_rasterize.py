"""Which constants suit the Triton rasteriser: the time of every kernel for each candidate, in us a frame.

    python benchmarks/triton_rasterize.py --csv benchmarks/data/triton_rasterize.csv

Two scenes: that of rasterize.py, and one whose sizes have a heavy tail, as fits have. `step` is splat_loss with its
gradients, `decode` is rasterize_uint8, both replayed as a CUDA graph; the kernels are from the profiler. No time is
printed for a candidate whose image or gradients disagree with the reference.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import torch
from harness import commit, device_name, print_rows, write_csv
from rasterize import GRADIENT_TOLERANCE, HEIGHT, IMAGE_TOLERANCE, WIDTH, make_scene
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from stgvcodec.ops.rasterize import PairBudget, rasterize, rasterize_uint8, triton_backward, triton_bins, triton_forward
from stgvcodec.ops.splat_loss import splat_loss

COLUMNS = ("scene", "frames", "candidate", "what", "a_frame", "device", "commit")
KERNELS = ("count", "starts", "scatter", "order", "splat_forward", "mean", "strips", "splat_backward")
WARM_UP, REPEATS = 3, 20

Constants = dict[tuple[ModuleType, str], int]


def tile(height: int, width: int, warps: int) -> Constants:
    return {
        (triton_bins, "TILE_HEIGHT"): height, (triton_bins, "TILE_WIDTH"): width,
        (triton_forward, "FORWARD_WARPS"): warps,
    }  # fmt: skip


def block(rows: int, columns: int, step: int) -> Constants:
    return {
        (triton_bins, "GRADIENT_ROWS"): rows, (triton_bins, "GRADIENT_COLUMNS"): columns,
        (triton_backward, "STEP_BLOCKS"): step,
    }  # fmt: skip


def binning(group: int, lanes: int, warps: int) -> Constants:
    return {(triton_bins, "_GROUP"): group, (triton_bins, "_LANES"): lanes, (triton_bins, "_BINNING_WARPS"): warps}


def strips(many: int, size: int, step: int) -> Constants:
    return {
        (triton_bins, "_MANY_BLOCKS"): many, (triton_bins, "_STRIP_BLOCKS"): size,
        (triton_backward, "STRIP_STEP_BLOCKS"): step,
    }  # fmt: skip


CANDIDATES: dict[str, Constants] = {
    "as it is": {},
    **{f"tile {h}x{w}, {n} warps": tile(h, w, n) for h, w, n in ((16, 16, 2), (8, 16, 1), (8, 16, 2), (8, 8, 1))},
    **{f"block {r}x{c}, step {n}": block(r, c, n) for r, c, n in ((4, 8, 1), (4, 8, 2), (8, 4, 1), (8, 8, 2))},
    **{f"binning {g}x{k}, {n} warps": binning(g, k, n) for g, k, n in ((32, 4, 4), (8, 8, 2), (32, 8, 8))},
    **{f"strips {m}/{n}, step {k}": strips(m, n, k) for m, n, k in ((48, 32, 1), (192, 128, 2), (96, 64, 1))},
}


class Scene(NamedTuple):
    leaves: list[Tensor]
    frames: Tensor
    picked: Tensor
    budget: PairBudget


@contextmanager
def constants_of(candidate: Constants) -> Iterator[None]:
    before = {(module, name): getattr(module, name) for module, name in candidate}
    for (module, name), value in candidate.items():
        setattr(module, name, value)
    try:
        yield
    finally:
        for (module, name), value in before.items():
            setattr(module, name, value)


def scenes(n_frames: int) -> Iterator[tuple[str, Scene]]:
    device = torch.device("cuda")
    generator = torch.Generator().manual_seed(0)
    base = make_scene(0)
    for name, tail in (("even", 0.0), ("heavy-tailed", 0.8)):
        sizes = torch.randn(len(base.cholesky), 1, generator=generator).mul(tail).exp()
        # Moves of a few pixels between the frames.
        means = base.means + 3 * torch.randn(n_frames, *base.means.shape[1:], generator=generator)
        inputs = (means, base.cholesky * sizes, base.colors.expand(n_frames, -1, -1).contiguous())
        leaves = [tensor.to(device).requires_grad_() for tensor in inputs]
        frames = torch.randint(0, 256, (n_frames, HEIGHT, WIDTH, 3), generator=generator, dtype=torch.uint8).to(device)
        budget = PairBudget.of(1_500_000 * n_frames, device)
        yield name, Scene(leaves, frames, torch.arange(n_frames, device=device), budget)


def step(scene: Scene) -> tuple[Tensor, ...]:
    loss, _ = splat_loss(*scene.leaves, scene.frames, scene.picked, backend="triton", budget=scene.budget)
    return torch.autograd.grad(loss, scene.leaves)


def decode(scene: Scene) -> Tensor:
    return rasterize_uint8(*scene.leaves, height=HEIGHT, width=WIDTH, backend="triton", budget=scene.budget)


def truth_of(scene: Scene) -> tuple[Tensor, ...]:
    leaves = [leaf.detach().double().requires_grad_() for leaf in scene.leaves]
    image = rasterize(*leaves, height=HEIGHT, width=WIDTH, backend="reference")
    loss = (image - scene.frames.double() / 255).square().mean()
    return image.detach(), *torch.autograd.grad(loss, leaves)


def disagreement(scene: Scene, truth: tuple[Tensor, ...]) -> str | None:
    with torch.no_grad():
        image = rasterize(*scene.leaves, height=HEIGHT, width=WIDTH, backend="triton", budget=scene.budget)
    values = (image, *step(scene))
    for name, value, expected in zip(("image", "means", "cholesky", "colors"), values, truth, strict=True):
        largest = expected.abs().max().item()
        tolerance = IMAGE_TOLERANCE * max(1.0, largest) if name == "image" else 5 * GRADIENT_TOLERANCE * largest
        error = (value - expected).abs().max().item()
        if not error <= tolerance:
            return f"{name} is off by {error:.2e}, expected {tolerance:.2e} at most"
    if scene.budget.need.item() > scene.budget.capacity:
        return f"{scene.budget.need.item()} pairs, room for {scene.budget.capacity}"
    return None


def replayed_us(work: Callable[[], object]) -> float:
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        work()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    for _ in range(WARM_UP):
        graph.replay()
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    for _ in range(REPEATS):
        graph.replay()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) * 1e3 / REPEATS


def profiled_us(work: Callable[[], object]) -> dict[str, float]:
    """Each kernel's mean time; of `KERNELS` by their names here, of any other by its own."""
    work()
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        for _ in range(REPEATS):
            work()
        torch.cuda.synchronize()
    times: dict[str, float] = {}
    for event in profiler.key_averages():
        if event.self_device_time_total:
            ours = [name for name in KERNELS if event.key.strip("_") == f"{name}_kernel"]
            name = ours[0] if ours else event.key[:40]
            times[name] = times.get(name, 0.0) + event.self_device_time_total / REPEATS
    return times


def measure(n_frames: int) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    machine = (device_name(torch.device("cuda")), commit())
    for scene_name, scene in scenes(n_frames):
        truth = truth_of(scene)
        for candidate, constants in CANDIDATES.items():
            with constants_of(constants):
                problem = disagreement(scene, truth)
                if problem is not None:
                    print(f"no time for {scene_name}, {candidate}: {problem}")
                    continue
                times = {"step": replayed_us(lambda s=scene: step(s)), "decode": replayed_us(lambda s=scene: decode(s))}
                for name, us in profiled_us(lambda s=scene: step(s)).items():
                    times[f"step: {name}"] = us
                for name, us in profiled_us(lambda s=scene: decode(s)).items():
                    times[f"decode: {name}"] = us
            if not constants:
                times["pairs"] = float(scene.budget.need.item())
            rows += [
                (scene_name, n_frames, candidate, what, f"{us / n_frames:.2f}", *machine) for what, us in times.items()
            ]
    return rows


def table(rows: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """One line a candidate, what matters of it in columns."""
    whats = list(dict.fromkeys(str(row[3]) for row in rows))
    lines: dict[tuple[object, ...], dict[str, object]] = {}
    for scene, frames, candidate, what, value, *_ in rows:
        lines.setdefault((scene, frames, candidate), {})[str(what)] = value
    short = [what.replace("step: ", "s:").replace("decode: ", "d:")[:14] for what in whats]
    return [
        ("scene", "frames", "candidate", *short),
        *((*key, *(values.get(what, "") for what in whats)) for key, values in lines.items()),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--csv", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    rows = [row for n_frames in options.frames for row in measure(n_frames)]
    header, *lines = table(rows)
    print_rows(lines, tuple(str(cell) for cell in header))
    if options.csv:
        write_csv(options.csv, rows, COLUMNS)


if __name__ == "__main__":
    main()
