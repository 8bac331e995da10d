"""Scenes of Gaussians for the rasterisers, the dense formula for them, and one pass through a back end."""

from __future__ import annotations

import math

import torch
from tensors import device_of
from tolerances import assert_close
from torch import Tensor

from stgvcodec.ops.rasterize import MAX_MAGNITUDE, MIN_SCALE_PX, PairBudget, rasterize

NAN, INF = math.nan, math.inf
# One Gaussian each, (x, y), (l1, l2, l3), on a picture of 63x100 (height x width).
DEGENERATE = {
    "off-screen": ((-500.0, 30.0), (5.0, 1.0, 4.0)),
    "just-outside": ((100.0 + 15.1, 30.0), (5.0, 0.0, 5.0)),
    "over-the-corner": ((-3.0, -2.0), (5.0, 2.0, 4.0)),
    "far-away": ((1e11, -1e11), (5.0, 1.0, 4.0)),
    "huge": ((30.0, 20.0), (4000.0, 100.0, 3000.0)),
    "huge-and-far": ((1e9, 20.0), (1e9, 0.0, 1e9)),
    "largest": ((30.0, 20.0), (MAX_MAGNITUDE, -MAX_MAGNITUDE, MAX_MAGNITUDE)),
    "half-pixel": ((30.3, 20.1), (0.5, 0.0, 0.5)),
    "between-pixels": ((30.0, 20.0), (0.05, 0.0, 0.05)),
    "on-a-pixel": ((30.5, 20.5), (0.01, 0.02, 0.01)),
    "smallest": ((30.5, 20.5), (MIN_SCALE_PX, MAX_MAGNITUDE, MIN_SCALE_PX)),
    "long-thin-diagonal": ((50.2, 31.1), (60.0, 40.0, 0.5)),
    "long-thin-upright": ((50.2, 31.1), (0.5, 300.0, 0.5)),
    "long-thin-level": ((50.2, 31.1), (500.0, 0.2, 0.5)),
}
# What must contribute nothing: one of (x, y, l1, l2, l3, r, g, b) is replaced.
NOT_DRAWN = {
    "nan-mean": (0, NAN),
    "inf-mean": (1, -INF),
    "overflowing-mean": (1, 3e38),
    "nan-l1": (2, NAN),
    "zero-l1": (2, 0.0),
    "negative-l1": (2, -2.0),
    "inf-l1": (2, INF),
    "nan-l2": (3, NAN),
    "overflowing-l2": (3, -3e38),
    "denormal-l3": (4, 1e-42),
    "inf-l3": (4, INF),
    "nan-red": (5, NAN),
    "inf-green": (6, INF),
    "nan-blue": (7, NAN),
}

Scene = tuple[Tensor, Tensor, Tensor]


def random_scene(
    n_frames: int, n_gaussians: int, height: int, width: int, seed: int = 0, *, per_frame: bool = False
) -> Scene:
    """Gaussians over the picture and beyond it; `per_frame`, each frame has shapes of its own."""
    generator = torch.Generator().manual_seed(seed)
    size = torch.tensor([width, height], dtype=torch.float64)
    means = (torch.rand(n_frames, n_gaussians, 2, generator=generator, dtype=torch.float64) * 1.4 - 0.2) * size
    shape = (n_frames, n_gaussians, 3) if per_frame else (n_gaussians, 3)
    cholesky = torch.randn(shape, generator=generator, dtype=torch.float64) * 2
    cholesky[..., 0::2] = cholesky[..., 0::2].abs() + 0.5
    colors = torch.randn(n_frames, n_gaussians, 3, generator=generator, dtype=torch.float64) * 0.2
    return means, cholesky, colors


def single(mean: tuple[float, float], cholesky: tuple[float, float, float]) -> Scene:
    as_tensor = [torch.tensor(values, dtype=torch.float64) for values in (mean, cholesky, (0.9, -0.4, 0.5))]
    return as_tensor[0].view(1, 1, 2), as_tensor[1].view(1, 3), as_tensor[2].view(1, 1, 3)


def brute_force(means: Tensor, cholesky: Tensor, colors: Tensor, height: int, width: int) -> Tensor:
    """Every Gaussian at every pixel, by the inverse of L."""
    l1, l2, l3 = cholesky.expand(len(means), -1, -1).unbind(2)
    factor = torch.stack([torch.stack([l1, torch.zeros_like(l1)], 2), torch.stack([l2, l3], 2)], 2)  # [B, N, 2, 2]
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    offset = torch.stack([x, y], 2).to(means) - means[:, :, None, None, :]  # [B, N, H, W, 2]
    whitened = torch.einsum("bnij,bnhwj->bnhwi", torch.linalg.inv(factor), offset)
    sigma = whitened.square().sum(-1) / 2
    weight = (torch.exp(-sigma) - math.exp(-4.5)).clamp_min(0)
    return torch.einsum("bnhw,bnc->bhwc", weight, colors)


def rounded_to_float32(scene: Scene) -> Scene:
    means, cholesky, colors = (tensor.float().double() for tensor in scene)
    return means, cholesky, colors


def run(
    scene: Scene,
    height: int,
    width: int,
    backend: str,
    dtype: torch.dtype = torch.float32,
    grad_image: Tensor | None = None,
    budget: PairBudget | None = None,
) -> tuple[Tensor, ...]:
    """The image and the gradients to means, cholesky and colors, on the CPU."""
    leaves = [tensor.to(device_of(backend), dtype).requires_grad_() for tensor in scene]
    image = rasterize(*leaves, height=height, width=width, backend=backend, budget=budget)
    if grad_image is None:
        grad_image = torch.randn(image.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    gradients = torch.autograd.grad(image, leaves, grad_image.to(image))
    return image.detach().cpu(), *(gradient.cpu() for gradient in gradients)


def assert_agree(results: tuple[Tensor, ...], truth: tuple[Tensor, ...]) -> None:
    """The image, then its gradients, as far as the precision of the results allows."""
    for i, (result, expected) in enumerate(zip(results, truth, strict=True)):
        assert torch.isfinite(result).all()
        assert_close(result, expected, "picture, gradient" if i else "picture")
