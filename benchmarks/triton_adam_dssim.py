"""How long the fused optimiser step and D-SSIM take on a GPU, beside torch's.

    python benchmarks/triton_adam_dssim.py --csv benchmarks/data/triton_adam_dssim.csv

Every time is that of a call among twenty in one CUDA graph. Nothing is printed when a kernel and its reference
disagree on the very inputs that are timed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from harness import commit, device_name, percentiles_ms, print_rows, write_csv
from torch import Tensor, nn

from stgvcodec.fit.optimizer import FlatAdam, Optimizer, TorchAdam
from stgvcodec.ops.adam import AdamState, adam_step
from stgvcodec.ops.dssim import dssim

HEIGHT, WIDTH = 640, 1280
# Shares of means, Cholesky factors, colours, hash tables and MLP at 20 000 Gaussians with the paper's field.
SHARES = (40_000, 60_000, 60_000, 49_152, 22_848)
SIZES = (232_000, 800_000)
N_CALLS = 20
PARAMETER_TOLERANCE, LOSS_TOLERANCE, GRADIENT_TOLERANCE = 1e-5, 1e-6, 1e-4


def graph_us(work: Callable[[], object], repeats: int) -> tuple[float, float, float]:
    """20th, 50th and 80th percentile of a call's time inside a CUDA graph, microseconds."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(N_CALLS):
            work()
    graph.replay()
    begins, ends = ([torch.cuda.Event(enable_timing=True) for _ in range(repeats)] for _ in range(2))
    for begin, end in zip(begins, ends, strict=True):
        begin.record()
        graph.replay()
        end.record()
    torch.cuda.synchronize()
    times = [begin.elapsed_time(end) * 1e3 / N_CALLS for begin, end in zip(begins, ends, strict=True)]
    p20, p50, p80 = np.percentile(times, (20, 50, 80))
    return float(p20), float(p50), float(p80)


def group_sizes(n: int) -> list[int]:
    sizes = [share * n // sum(SHARES) for share in SHARES]
    return [*sizes[:-1], n - sum(sizes[:-1])]


def refuse_if(problem: bool, what: str) -> None:
    if problem:
        raise SystemExit(f"no speed is printed: {what} differs from the reference")


def optimizer_of(kind: type[Optimizer], n: int) -> Optimizer:
    generator = torch.Generator(device="cuda").manual_seed(0)
    groups = {}
    for i, size in enumerate(group_sizes(n)):
        parameter = nn.Parameter(torch.randn(size, device="cuda", generator=generator))
        parameter.grad = torch.randn(size, device="cuda", generator=generator)
        groups[f"group {i}"] = [parameter]
    optimizer = kind(groups)
    optimizer.rates.fill_(1e-3)
    return optimizer


def measure_adam(n: int, repeats: int) -> list[tuple[str, tuple[float, float, float]]]:
    group_ends = tuple(int(end) for end in np.cumsum(group_sizes(n)))
    active = (True,) * len(group_ends)
    start, grads = torch.randn(2, n, device="cuda")
    rates = torch.linspace(1e-3, 1e-2, len(group_ends), device="cuda")

    def stepped(backend: str) -> tuple[Callable[[], None], Tensor]:
        params, state = start.clone(), AdamState.zeros(n, len(group_ends), start.device)

        def step() -> None:
            adam_step(params, grads, state, group_ends=group_ends, active=active, rates=rates, backend=backend)

        for _ in range(5):
            step()
        return step, params

    step, params = stepped("triton")
    _, truth = stepped("reference")
    refuse_if(bool((params - truth).abs().max() > PARAMETER_TOLERANCE), f"Adam over {n} parameters")
    rows = [("adam triton, kernel alone", graph_us(step, repeats))]
    for label, kind in (("adam triton, gradients gathered", FlatAdam), ("adam torch fused", TorchAdam)):
        optimizer = optimizer_of(kind, n)
        rows.append((label, graph_us(lambda o=optimizer: o.step(o.names), repeats)))
    return rows


def eager_us(work: Callable[[], object], repeats: int) -> tuple[float, float, float]:
    p20, p50, p80 = percentiles_ms(work, torch.device("cuda"), repeats)
    return 1e3 * p20, 1e3 * p50, 1e3 * p80


def measure_dssim(repeats: int) -> list[tuple[str, tuple[float, float, float]]]:
    generator = torch.Generator(device="cuda").manual_seed(0)
    frames = torch.randint(0, 256, (2, HEIGHT, WIDTH, 3), device="cuda", dtype=torch.uint8, generator=generator)
    picked = torch.tensor([1], device="cuda")
    noise = torch.randn(1, HEIGHT, WIDTH, 3, device="cuda", generator=generator)
    image = (frames[picked] / 255 + 0.05 * noise).requires_grad_()

    def both(backend: str, image: Tensor = image) -> tuple[Tensor, Tensor]:
        loss = dssim(image, frames, picked, backend=backend)
        return loss.detach(), torch.autograd.grad(loss, image)[0]

    loss, gradient = both("triton")
    truth, true_gradient = both("reference", image.detach().double().requires_grad_())
    refuse_if(bool((loss - truth).abs() > LOSS_TOLERANCE), "D-SSIM")
    worst = (gradient - true_gradient).abs().max() / true_gradient.abs().max()
    refuse_if(bool(worst > GRADIENT_TOLERANCE), "the gradient of D-SSIM")
    rows = []
    for backend, label in (("triton", "triton"), ("reference", "torch")):
        plain = image.detach()

        def forward(backend: str = backend, plain: Tensor = plain) -> Tensor:
            return dssim(plain, frames, picked, backend=backend)

        # The reference cannot be captured: it copies its window from the host.
        timed = graph_us if backend == "triton" else eager_us
        rows.append((f"dssim {label} forward, no gradient", timed(forward, repeats)))
        rows.append((f"dssim {label} forward+backward", timed(lambda b=backend: both(b), repeats)))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--csv", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    device = torch.device("cuda")
    measured = [(f"P={n}", row) for n in SIZES for row in measure_adam(n, options.repeats)]
    measured += [(f"{WIDTH}x{HEIGHT} B=1", row) for row in measure_dssim(options.repeats)]
    rows = [
        (op, shape, "us", *(f"{value:.3g}" for value in times), device_name(device), commit())
        for shape, (op, times) in measured
    ]
    print_rows(rows)
    if options.csv:
        write_csv(options.csv, rows)


if __name__ == "__main__":
    main()
