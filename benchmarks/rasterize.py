"""How long the rasteriser takes, beside torch.exp over as many numbers as it has (Gaussian, pixel) pairs.

    python benchmarks/rasterize.py --csv benchmarks/data/rasterize_cpu.csv
    python benchmarks/rasterize.py --device cuda --csv benchmarks/data/rasterize_cuda.csv

Nothing is printed when the kernels and the reference disagree on the very scene that is timed; on CUDA both are held
against the reference in float64. Where gsplat is installed and builds, its rasteriser is timed on the same Gaussians:
tile intersections with their sort, and alpha compositing, which is not the same picture but much the same work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from harness import cold_compile_seconds, commit, device_name, operator_main, percentiles_ms
from torch import Tensor

from stgvcodec.ops.rasterize import SIGMA_MAX, rasterize

HEIGHT, WIDTH, N_GAUSSIANS, N_PAIRS = 640, 1280, 20_000, 7_300_000
IMAGE_TOLERANCE = 1e-5
GRADIENT_TOLERANCE = 1e-4


class Scene(NamedTuple):
    means: Tensor
    cholesky: Tensor
    colors: Tensor
    grad_image: Tensor

    def to(self, device: torch.device, dtype: torch.dtype = torch.float32) -> Scene:
        leaves = (tensor.detach().to(device, dtype).requires_grad_() for tensor in self[:3])
        return Scene(*leaves, self.grad_image.to(device, dtype))


def make_scene(seed: int) -> Scene:
    """Uniform means, log-normal sizes, random tilt, scaled so that about N_PAIRS pixels lie in the supports."""
    rng = np.random.default_rng(seed)
    means = rng.random((1, N_GAUSSIANS, 2)) * [WIDTH, HEIGHT]
    axes = np.exp(rng.normal(0, 0.5, (N_GAUSSIANS, 2)))
    angle = rng.random(N_GAUSSIANS) * np.pi
    rotation = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], axis=1).reshape(-1, 2, 2)
    factor = rotation * axes[:, None, :]
    lower = np.linalg.cholesky(factor @ factor.transpose(0, 2, 1))
    cholesky = lower[:, [0, 1, 1], [0, 0, 1]]
    area = 2 * SIGMA_MAX * np.pi * (cholesky[:, 0] * cholesky[:, 2]).sum()
    for _ in range(4):  # Supports that reach over the edge make the first guess too small.
        cholesky *= np.sqrt(N_PAIRS / area)
        area = count_pairs(means[0], cholesky)
    colors = rng.normal(0.05, 0.1, (1, N_GAUSSIANS, 3))
    grad_image = rng.normal(0, 1, (1, HEIGHT, WIDTH, 3))
    return Scene(*(torch.from_numpy(array.astype(np.float32)) for array in (means, cholesky, colors, grad_image)))


def count_pairs(means: np.ndarray, cholesky: np.ndarray) -> int:
    """(Gaussian, pixel) pairs inside the support and the picture."""
    l1, l2, l3 = cholesky.T[:, :, None]  # each [N, 1]
    variance_y = l2**2 + l3**2
    reach = np.sqrt(2 * SIGMA_MAX * variance_y)
    y = np.floor(means[:, 1:]) + np.arange(-np.ceil(reach.max()), np.ceil(reach.max()) + 1)[None]  # [N, rows]
    dy = y + 0.5 - means[:, 1:]
    half = l1 * l3 / variance_y * np.sqrt(np.maximum(reach**2 - dy**2, 0))
    middle = means[:, :1] + dy * l1 * l2 / variance_y - 0.5
    first, last = np.maximum(np.ceil(middle - half), 0), np.minimum(np.floor(middle + half), WIDTH - 1)
    visible = (np.abs(dy) < reach) & (y >= 0) & (y < HEIGHT)
    return int((np.maximum(last - first + 1, 0) * visible).sum())


def forward(scene: Scene, backend: str) -> Tensor:
    return rasterize(*scene[:3], height=HEIGHT, width=WIDTH, backend=backend)


def forward_backward(scene: Scene, backend: str) -> tuple[Tensor, ...]:
    image = forward(scene, backend)
    return image.detach(), *torch.autograd.grad(image, scene[:3], scene.grad_image)


def disagreement(scene: Scene, backend: str, truth: tuple[Tensor, ...]) -> str | None:
    image, *gradients = (tensor.double().cpu() for tensor in forward_backward(scene, backend))
    true_image, *true_gradients = (tensor.double().cpu() for tensor in truth)
    error = (image - true_image).abs().max().item()
    if not error <= IMAGE_TOLERANCE:
        return f"the image of {backend} is off by {error:.2e}, expected {IMAGE_TOLERANCE:.0e} at most"
    for name, gradient, true_gradient in zip(Scene._fields, gradients, true_gradients, strict=False):
        error = ((gradient - true_gradient).abs().max() / true_gradient.abs().max()).item()
        if not error <= GRADIENT_TOLERANCE:
            return (
                f"the gradient of {backend} to {name} is off by {error:.2e}, expected {GRADIENT_TOLERANCE:.0e} at most"
            )
    return None


def first_call(seed: int) -> None:
    forward_backward(make_scene(seed).to(torch.device("cpu")), "numba")


def measure(device: torch.device, seed: int, repeats: int) -> list[tuple[object, ...]]:
    base = make_scene(seed)
    n_pairs = count_pairs(base.means[0].double().numpy(), base.cholesky.double().numpy())
    scene = base.to(device)
    truth_scene = scene if device.type == "cpu" else base.to(device, torch.float64)
    backend = "numba" if device.type == "cpu" else "triton"
    truth = forward_backward(truth_scene, "reference")
    for name in (backend,) if device.type == "cpu" else (backend, "reference"):
        problem = disagreement(scene, name, truth)
        if problem is not None:
            raise SystemExit(f"no speed is printed: {problem}")

    shape = f"{WIDTH}x{HEIGHT} N={N_GAUSSIANS} pairs={n_pairs / 1e6:.2f}M"
    rows: list[tuple[object, ...]] = []

    def add(op: str, of: str, unit: str, values: tuple[float, ...]) -> None:
        rows.append((op, of, unit, *(f"{value:.3g}" for value in values), device_name(device), commit()))

    numbers = torch.linspace(-SIGMA_MAX, 0, N_PAIRS, device=device)
    exp_ms = percentiles_ms(lambda: torch.exp(numbers), device, repeats)
    add("torch.exp", f"{N_PAIRS / 1e6:.1f}M float32", "ms", exp_ms)
    ratios = []
    for name in (backend, "reference"):
        n_repeats = repeats if name == "numba" or device.type == "cuda" else 3
        with torch.no_grad():
            forward_ms = percentiles_ms(lambda name=name: forward(scene, name), device, n_repeats)
        both_ms = percentiles_ms(lambda name=name: forward_backward(scene, name), device, n_repeats)
        for op, values in ((f"{name} forward", forward_ms), (f"{name} forward+backward", both_ms)):
            add(op, shape, "ms", values)
            ratios.append((f"{op} / torch.exp", tuple(v / e for v, e in zip(values, exp_ms, strict=True))))
    for op, values in ratios:
        add(op, shape, "ratio", values)
    if device.type == "cpu":
        add("numba cold compile", shape, "s", (cold_compile_seconds(__file__, seed),) * 3)
    else:
        for name in (backend, "reference"):
            torch.cuda.reset_peak_memory_stats()
            forward_backward(scene, name)
            peak = torch.cuda.max_memory_allocated() / 2**20
            add(f"{name} forward+backward peak", shape, "MiB", (peak,) * 3)
        peers = gsplat_work(scene)
        for op, work in peers.items():
            add(op, shape, "ms", percentiles_ms(work, device, repeats))
        ours = {
            f"{backend} forward": lambda: forward(scene, backend),
            f"{backend} forward+backward": lambda: forward_backward(scene, backend),
        }
        # One call at a time is bound by the host; this is what its kernels take.
        for op, work in {**ours, **peers}.items():
            add(f"{op}, kernels alone", shape, "ms", (busy_ms(work, repeats),) * 3)
    return rows


def busy_ms(work: Callable[[], object], repeats: int) -> float:
    """Time of the kernels of a call, without what lies between them."""
    activities = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities, acc_events=True) as profile:
        for _ in range(repeats):
            work()
        torch.cuda.synchronize()
    return sum(event.self_device_time_total for event in profile.key_averages()) / repeats / 1e3


def gsplat_work(scene: Scene) -> dict[str, Callable[[], object]]:
    """Forward and backward of gsplat's kernels on a scene, by row; empty where it is not there or does not build."""
    try:
        import gsplat
    except ImportError:
        return {}
    means, cholesky, colors, grad_image = scene
    tiles = (-(-WIDTH // 16), -(-HEIGHT // 16))
    l1, l2, l3 = cholesky.detach().unbind(1)
    reach = (2 * SIGMA_MAX) ** 0.5 * torch.stack((l1, torch.hypot(l2, l3)), dim=1)
    determinant = (l1 * l3) ** 2
    conics = torch.stack(((l2 * l2 + l3 * l3) / determinant, -l1 * l2 / determinant, l1 * l1 / determinant), dim=1)
    conics.requires_grad_()
    opacities = torch.full((1, len(l1)), 0.5, device=means.device)
    depths = torch.ones_like(opacities)

    def forward() -> Tensor:
        _, ids, flat = gsplat.isect_tiles(means.detach(), reach.ceil().int()[None], depths, 16, *tiles)
        offsets = gsplat.isect_offset_encode(ids, 1, *tiles)
        return gsplat.rasterize_to_pixels(means, conics[None], colors, opacities, WIDTH, HEIGHT, 16, offsets, flat)[0]

    try:
        forward()
    except Exception as error:  # It is built with nvcc at its first call.
        print(f"gsplat does not build here: {type(error).__name__}")
        return {}
    return {
        "gsplat forward": forward,
        "gsplat forward+backward": lambda: torch.autograd.grad(forward(), (means, conics, colors), grad_image),
    }


if __name__ == "__main__":
    operator_main(__doc__, measure, first_call, repeats=40)
