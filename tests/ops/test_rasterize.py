from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from stgvcodec.errors import BackendUnavailableError
from stgvcodec.ops.rasterize import MAX_MAGNITUDE, MIN_SCALE_PX, SIGMA_MAX, rasterize, reference

# Absolute for images of nominal range [0, 1]; of the largest entry for gradients.
IMAGE_TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}
GRADIENT_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-10}

SIZES = [(1, 1), (1, 40), (17, 33), (16, 16), (63, 100), (100, 3)]  # height, width
FRAMES = [1, 3]

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


def random_scene(n_frames: int, n_gaussians: int, height: int, width: int, seed: int = 0) -> Scene:
    generator = torch.Generator().manual_seed(seed)
    size = torch.tensor([width, height], dtype=torch.float64)
    means = (torch.rand(n_frames, n_gaussians, 2, generator=generator, dtype=torch.float64) * 1.4 - 0.2) * size
    cholesky = torch.randn(n_gaussians, 3, generator=generator, dtype=torch.float64) * 2
    cholesky[:, 0::2] = cholesky[:, 0::2].abs() + 0.5
    colors = torch.randn(n_frames, n_gaussians, 3, generator=generator, dtype=torch.float64) * 0.2
    return means, cholesky, colors


def single(mean: tuple[float, float], cholesky: tuple[float, float, float]) -> Scene:
    as_tensor = [torch.tensor(values, dtype=torch.float64) for values in (mean, cholesky, (0.9, -0.4, 0.5))]
    return as_tensor[0].view(1, 1, 2), as_tensor[1].view(1, 3), as_tensor[2].view(1, 1, 3)


def brute_force(means: Tensor, cholesky: Tensor, colors: Tensor, height: int, width: int) -> Tensor:
    """Every Gaussian at every pixel, by the inverse of L."""
    l1, l2, l3 = cholesky.unbind(1)
    factor = torch.stack([torch.stack([l1, torch.zeros_like(l1)], 1), torch.stack([l2, l3], 1)], 1)  # [N, 2, 2]
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    offset = torch.stack([x, y], 2).to(means) - means[:, :, None, None, :]  # [B, N, H, W, 2]
    whitened = torch.einsum("nij,bnhwj->bnhwi", torch.linalg.inv(factor), offset)
    sigma = whitened.square().sum(-1) / 2
    weight = (torch.exp(-sigma) - math.exp(-4.5)).clamp_min(0)
    return torch.einsum("bnhw,bnc->bhwc", weight, colors)


def run(
    scene: Scene, height: int, width: int, backend: str, dtype: torch.dtype, grad_image: Tensor | None = None
) -> tuple[Tensor, ...]:
    """The image and the gradients to means, cholesky and colors."""
    leaves = [tensor.to(dtype).requires_grad_() for tensor in scene]
    image = rasterize(leaves[0], leaves[1], leaves[2], height=height, width=width, backend=backend)
    if grad_image is None:
        grad_image = torch.randn(image.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    return image.detach(), *torch.autograd.grad(image, leaves, grad_image.to(dtype))


def assert_agree(got: tuple[Tensor, ...], truth: tuple[Tensor, ...], dtype: torch.dtype) -> None:
    names = ("image", "grad of means", "grad of cholesky", "grad of colors")
    for name, value, expected in zip(names, got, truth, strict=True):
        assert torch.isfinite(value).all(), name
        largest = expected.abs().max().item() if expected.numel() else 0.0
        tolerance = IMAGE_TOLERANCE[dtype] if name == "image" else GRADIENT_TOLERANCE[dtype] * largest + 1e-12
        torch.testing.assert_close(
            value.double(), expected.double(), rtol=0, atol=tolerance, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize("n_frames", FRAMES)
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_reference_equals_the_dense_formula(height: int, width: int, n_frames: int) -> None:
    scene = random_scene(n_frames, 37, height, width)
    leaves = [tensor.clone().requires_grad_() for tensor in scene]
    truth = brute_force(leaves[0], leaves[1], leaves[2], height, width)
    grad_image = torch.randn(truth.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    truths = (truth.detach(), *torch.autograd.grad(truth, leaves, grad_image))
    assert truths[0].abs().max() > 0.1
    assert_agree(run(scene, height, width, "reference", torch.float64, grad_image), truths, torch.float64)


@pytest.mark.parametrize(("height", "width", "n_frames"), [(1, 1, 1), (3, 5, 2), (17, 2, 1)])
def test_reference_passes_gradcheck(height: int, width: int, n_frames: int) -> None:
    leaves = [tensor.requires_grad_() for tensor in random_scene(n_frames, 4, height, width, seed=3)]
    assert torch.autograd.gradcheck(lambda *inputs: rasterize(*inputs, height=height, width=width), leaves)


def test_reference_does_not_depend_on_its_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = random_scene(2, 15, 40, 50)
    whole = run(scene, 40, 50, "reference", torch.float64)
    monkeypatch.setattr(reference, "_CHUNK_CPU", 7)
    assert_agree(run(scene, 40, 50, "reference", torch.float64), whole, torch.float64)


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_the_support_ends_at_sigma_max(backend: str) -> None:
    scene = single((30.5, 20.5), (2.0, 0.0, 2.0))
    row = run(scene, 41, 61, backend, torch.float32)[0][0, 20, :, 0] / 0.9
    assert row[30].item() == pytest.approx(1 - math.exp(-SIGMA_MAX), abs=1e-6)
    assert row[35].item() == pytest.approx(math.exp(-0.5 * 2.5**2) - math.exp(-4.5), abs=1e-6)
    assert torch.count_nonzero(row[37:]) == 0
    assert torch.count_nonzero(row[:24]) == 0


@pytest.mark.parametrize("n_frames", FRAMES)
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_numba_equals_the_reference(height: int, width: int, n_frames: int) -> None:
    scene = random_scene(n_frames, 300, height, width, seed=5)
    truth = run(scene, height, width, "reference", torch.float32)
    assert truth[0].abs().max() > 0.1
    assert_agree(run(scene, height, width, "numba", torch.float32), truth, torch.float32)


@pytest.mark.parametrize("case", DEGENERATE)
def test_degenerate_gaussians(case: str) -> None:
    # Rounded first, so that only the arithmetic differs.
    mean, cholesky, color = (tensor.float().double() for tensor in single(*DEGENERATE[case]))
    truth = run((mean, cholesky, color), 63, 100, "reference", torch.float64)
    torch.testing.assert_close(truth[0], brute_force(mean, cholesky, color, 63, 100), rtol=0, atol=1e-9)
    # The kernel sets its rows up in float64; the reference has v = (dy - l2 u) / l3 in float32.
    assert_agree(run((mean, cholesky, color), 63, 100, "numba", torch.float32), truth, torch.float32)
    image, *gradients = run((mean, cholesky, color), 63, 100, "reference", torch.float32)
    torch.testing.assert_close(image.double(), truth[0], rtol=0, atol=1e-4)
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize("backend", ["reference", "numba"])
@pytest.mark.parametrize("case", NOT_DRAWN)
def test_what_cannot_be_drawn_contributes_nothing(case: str, backend: str) -> None:
    column, value = NOT_DRAWN[case]
    scene = random_scene(2, 12, 17, 33, seed=2)
    without = run(scene, 17, 33, backend, torch.float32)
    extra = torch.tensor([16.0, 8.0, 3.0, 1.0, 2.0, 0.5, 0.5, 0.5], dtype=torch.float64)
    extra[column] = value
    parts = (extra[:2].expand(2, 1, 2), extra[2:5].view(1, 3), extra[5:].expand(2, 1, 3))
    added = tuple(torch.cat([part, old], old.ndim - 2) for part, old in zip(parts, scene, strict=True))
    image, *gradients = run(added, 17, 33, backend, torch.float32)
    torch.testing.assert_close(image, without[0], rtol=0, atol=1e-6)
    for gradient, expected in zip(gradients, without[1:], strict=True):
        of_extra, of_others = gradient.split([1, 12], dim=gradient.ndim - 2)
        assert torch.equal(of_extra, torch.zeros_like(of_extra))
        torch.testing.assert_close(of_others, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_a_nan_in_one_frame_leaves_the_others(backend: str) -> None:
    means, cholesky, colors = random_scene(3, 9, 17, 33, seed=4)
    broken = means.clone()
    broken[1, :, 0] = NAN
    image, grad_means, grad_cholesky, grad_colors = run((broken, cholesky, colors), 17, 33, backend, torch.float32)
    kept = [0, 2]
    grad_image = torch.randn(3, 17, 33, 3, generator=torch.Generator().manual_seed(7), dtype=torch.float64)[kept]
    expected = run((means[kept], cholesky, colors[kept]), 17, 33, backend, torch.float32, grad_image)
    assert torch.equal(image[1], torch.zeros_like(image[1]))
    assert_agree((image[kept], grad_means[kept], grad_cholesky, grad_colors[kept]), expected, torch.float32)
    assert torch.count_nonzero(grad_means[1]) == torch.count_nonzero(grad_colors[1]) == 0


@pytest.mark.parametrize("backend", ["reference", "numba"])
@pytest.mark.parametrize(
    ("n_frames", "n_gaussians"), [(2, 0), (0, 5), (0, 0)], ids=["no-gaussians", "no-frames", "none"]
)
def test_nothing_to_draw(n_frames: int, n_gaussians: int, backend: str) -> None:
    image, *gradients = run(random_scene(n_frames, n_gaussians, 9, 11), 9, 11, backend, torch.float32)
    assert torch.equal(image, torch.zeros(n_frames, 9, 11, 3))
    assert [list(gradient.shape) for gradient in gradients] == [
        [n_frames, n_gaussians, 2], [n_gaussians, 3], [n_frames, n_gaussians, 3],
    ]  # fmt: skip
    assert all(torch.count_nonzero(gradient) == 0 for gradient in gradients)


def test_numba_writes_all_that_it_returns_and_reads_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    height, width = 21, 37
    scene = tuple(tensor.float() for tensor in random_scene(2, 30, height, width))
    grad_image = torch.randn(2, height, width, 3, generator=torch.Generator().manual_seed(2))
    clean = run(scene, height, width, "numba", torch.float32, grad_image)
    plain_empty = np.empty

    def poisoned_empty(shape: object, dtype: object = float) -> np.ndarray:
        array = plain_empty(shape, dtype)
        array.fill(NAN if array.dtype.kind == "f" else np.iinfo(array.dtype).min)
        return array

    def between_nans(tensor: Tensor) -> Tensor:
        memory = torch.full((tensor.numel() + 128,), NAN)
        memory[64:-64] = tensor.flatten()
        return memory[64:-64].view(tensor.shape)

    monkeypatch.setattr(np, "empty", poisoned_empty)
    poisoned = tuple(between_nans(tensor) for tensor in scene)
    got = run(poisoned, height, width, "numba", torch.float32, between_nans(grad_image))
    assert all(torch.equal(value, expected) for value, expected in zip(got, clean, strict=True))


@pytest.mark.slow
def test_numba_stays_inside_its_arrays(tmp_path: Path) -> None:
    """In a process of its own, since bounds are checked only by kernels that are compiled so."""
    script = (
        "from test_rasterize import *\n"
        "scenes = [random_scene(2, 40, 63, 100), *(single(*case) for case in DEGENERATE.values())]\n"
        "for scene in scenes:\n"
        "    run(scene, 63, 100, 'numba', torch.float32)\n"
        "for height, width in SIZES:\n"
        "    run(random_scene(1, 40, height, width), height, width, 'numba', torch.float32)\n"
    )
    environment = {
        **os.environ,
        "NUMBA_BOUNDSCHECK": "1",
        "NUMBA_CACHE_DIR": str(tmp_path),
        "STGV_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
    }
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_numba_gives_the_same_bits_for_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = random_scene(3, 2000, 100, 131, seed=9)
    results = []
    for threads in ("1", "2", "3", "3", "1"):
        monkeypatch.setenv("STGV_THREADS", threads)
        results.append(run(scene, 100, 131, "numba", torch.float32))
    for other in results[1:]:
        assert all(torch.equal(value, first) for value, first in zip(other, results[0], strict=True))


def test_reference_gives_the_same_bits_every_time() -> None:
    scene = random_scene(2, 2000, 100, 131, seed=9)
    first, second = (run(scene, 100, 131, "reference", torch.float32) for _ in range(2))
    assert all(torch.equal(value, again) for value, again in zip(first, second, strict=True))


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_strided_inputs_and_an_expanded_gradient(backend: str) -> None:
    means, cholesky, colors = (tensor.float() for tensor in random_scene(2, 20, 17, 33))
    truth = run((means, cholesky, colors), 17, 33, backend, torch.float32, torch.ones(2, 17, 33, 3))
    strided = (means.transpose(0, 2).contiguous().transpose(0, 2), cholesky.repeat(1, 2)[:, :3], colors.flip(1).flip(1))
    leaves = [tensor.requires_grad_() for tensor in strided]
    image = rasterize(leaves[0], leaves[1], leaves[2], height=17, width=33, backend=backend)
    assert image.is_contiguous()
    gradients = torch.autograd.grad(image.sum(), leaves)
    assert all(torch.equal(value, expected) for value, expected in zip((image, *gradients), truth, strict=True))


def test_auto_takes_numba_for_float32_and_the_reference_for_float64() -> None:
    scene = random_scene(1, 20, 17, 33)
    for dtype, backend in ((torch.float32, "numba"), (torch.float64, "reference")):
        automatic, named = (run(scene, 17, 33, name, dtype)[0] for name in ("auto", backend))
        assert automatic.dtype == dtype
        assert torch.equal(automatic, named)


@pytest.mark.parametrize(
    ("shapes", "options", "message"),
    [
        (([4, 2], [4, 3], [1, 4, 3]), {}, r"means has shape \[4, 2\], expected \[B, N, 2\]"),
        (([1, 4, 3], [4, 3], [1, 4, 3]), {}, r"means has shape \[1, 4, 3\], expected \[B, N, 2\]"),
        (([1, 4, 2], [5, 3], [1, 4, 3]), {}, r"cholesky has shape \[5, 3\], expected \[4, 3\]"),
        (([2, 4, 2], [4, 3], [1, 4, 3]), {}, r"colors has shape \[1, 4, 3\], expected \[2, 4, 3\]"),
        (([1, 4, 2], [4, 3], [1, 4, 3]), {"height": 0}, "the picture is 8x0, expected a width and a height"),
        (([1, 4, 2], [4, 3], [1, 4, 3]), {"width": -1}, "the picture is -1x8, expected a width and a height"),
    ],
    ids=["no-frames-axis", "means-3d", "cholesky-n", "colors-b", "no-height", "negative-width"],
)
def test_wrong_shapes_are_refused(shapes: tuple[list[int], ...], options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rasterize(*(torch.ones(shape) for shape in shapes), **{"height": 8, "width": 8, **options})


@pytest.mark.parametrize(
    ("dtypes", "backend", "message"),
    [
        ("fdf", "auto", "cholesky is torch.float64, expected torch.float32 as means"),
        ("ffe", "auto", "colors is torch.float16, expected torch.float32 as means"),
        ("eee", "auto", "means is torch.float16, expected torch.float32 or torch.float64"),
        ("ddd", "numba", "means is torch.float64, but the numba kernel takes torch.float32"),
    ],
    ids=["mixed-cholesky", "mixed-colors", "half", "numba-double"],
)
def test_wrong_dtypes_are_refused(dtypes: str, backend: str, message: str) -> None:
    kinds = {"e": torch.float16, "f": torch.float32, "d": torch.float64}
    shapes = ([1, 4, 2], [4, 3], [1, 4, 3])
    tensors = (torch.ones(shape, dtype=kinds[kind]) for shape, kind in zip(shapes, dtypes, strict=True))
    with pytest.raises(ValueError, match=message):
        rasterize(*tensors, height=8, width=8, backend=backend)


def test_devices_must_agree() -> None:
    with pytest.raises(ValueError, match="cholesky is on meta, expected cpu as means"):
        rasterize(torch.ones(1, 4, 2), torch.ones(4, 3, device="meta"), torch.ones(1, 4, 3), height=8, width=8)


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(BackendUnavailableError, match="backend 'cublas' does not exist"):
        run(random_scene(1, 2, 8, 8), 8, 8, "cublas", torch.float32)


@pytest.mark.gpu
@pytest.mark.skipif(
    not torch.cuda.is_available() and os.environ.get("STGV_REQUIRE_GPU") != "1", reason="needs a CUDA device"
)
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_reference_on_cuda_equals_the_cpu(height: int, width: int) -> None:
    scene = random_scene(2, 300, height, width)
    truth = run(scene, height, width, "reference", torch.float64)
    leaves = [tensor.cuda().float().requires_grad_() for tensor in scene]
    image = rasterize(leaves[0], leaves[1], leaves[2], height=height, width=width, backend="reference")
    again = rasterize(leaves[0], leaves[1], leaves[2], height=height, width=width, backend="reference")
    grad_image = torch.randn(image.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    gradients = torch.autograd.grad(image, leaves, grad_image.cuda().float())
    assert torch.equal(image, again)
    assert_agree((image.detach().cpu(), *(gradient.cpu() for gradient in gradients)), truth, torch.float32)
