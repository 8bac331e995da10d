from __future__ import annotations

import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from scenes import DEGENERATE, NAN, NOT_DRAWN, assert_agree, brute_force, random_scene, rounded_to_float32, run, single
from tensors import device_of
from tolerances import F32, F64, approx, assert_close
from torch import Tensor

from stgvcodec.ops.rasterize import SIGMA_MAX, rasterize, rasterize_uint8, reference

SIZES = [(1, 1), (1, 40), (17, 33), (16, 16), (63, 100), (100, 3)]  # height, width
FRAMES = [1, 3]
BACKENDS = ["reference", "numba", "triton"]


@pytest.fixture(autouse=True)
def _poisoned_memory(poison):
    poison()


@pytest.mark.parametrize(("n_frames", "per_frame"), [*((n_frames, False) for n_frames in FRAMES), (3, True)])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_reference_equals_the_dense_formula(height, width, n_frames, per_frame):
    scene = random_scene(n_frames, 37, height, width, per_frame=per_frame)
    leaves = [tensor.clone().requires_grad_() for tensor in scene]
    truth = brute_force(leaves[0], leaves[1], leaves[2], height, width)
    grad_image = torch.randn(truth.shape, generator=torch.Generator().manual_seed(1), dtype=F64)
    truths = (truth.detach(), *torch.autograd.grad(truth, leaves, grad_image))
    assert truths[0].abs().max() > 0.1
    assert_agree(run(scene, height, width, "reference", F64, grad_image), truths)


@pytest.mark.parametrize(
    ("height", "width", "n_frames", "per_frame"),
    [(1, 1, 1, False), (3, 5, 2, False), (17, 2, 1, False), (3, 5, 2, True)],
)
def test_reference_passes_gradcheck(height, width, n_frames, per_frame):
    scene = random_scene(n_frames, 4, height, width, seed=3, per_frame=per_frame)
    leaves = [tensor.requires_grad_() for tensor in scene]
    assert torch.autograd.gradcheck(lambda *inputs: rasterize(*inputs, height=height, width=width), leaves)


def test_reference_does_not_depend_on_its_chunks(monkeypatch):
    scene = random_scene(2, 15, 40, 50)
    whole = run(scene, 40, 50, "reference", F64)
    monkeypatch.setattr(reference, "_CHUNK_CPU", 7)
    assert_agree(run(scene, 40, 50, "reference", F64), whole)


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_the_support_ends_at_sigma_max(backend):
    scene = single((30.5, 20.5), (2.0, 0.0, 2.0))
    row = run(scene, 41, 61, backend)[0][0, 20, :, 0] / 0.9
    assert row[30].item() == approx(1 - math.exp(-SIGMA_MAX), "picture, one weight")
    assert row[35].item() == approx(math.exp(-0.5 * 2.5**2) - math.exp(-4.5), "picture, one weight")
    assert torch.count_nonzero(row[37:]) == 0
    assert torch.count_nonzero(row[:24]) == 0


@pytest.mark.parametrize(
    ("backend", "n_gaussians", "height", "width", "n_frames"),
    [
        *(("numba", 300, *size, n_frames) for size in SIZES for n_frames in FRAMES),
        *(("triton", 17, *size, n_frames) for size, n_frames in zip(SIZES, (1, 2, 3, 1, 1, 2), strict=True)),
    ],
)
def test_kernels_equal_the_reference(backend, n_gaussians, height, width, n_frames):
    scene = rounded_to_float32(random_scene(n_frames, n_gaussians, height, width, seed=5))
    truth = run(scene, height, width, "reference", F64)
    assert truth[0].abs().max() > 0.1
    assert_agree(run(scene, height, width, backend), truth)


@pytest.mark.parametrize(("backend", "n_gaussians"), [("numba", 300), ("triton", 17)])
@pytest.mark.parametrize("n_frames", FRAMES)
def test_kernels_equal_the_reference_with_shapes_of_each_frame(n_frames, backend, n_gaussians):
    scene = rounded_to_float32(random_scene(n_frames, n_gaussians, 17, 33, seed=6, per_frame=True))
    truth = run(scene, 17, 33, "reference", F64)
    assert truth[2].shape == (n_frames, n_gaussians, 3)
    assert_agree(run(scene, 17, 33, backend), truth)


@pytest.mark.parametrize("backend", BACKENDS)
def test_shapes_of_each_frame_draw_what_shared_ones_draw(backend, device):
    means, cholesky, colors = (tensor.to(device, F32) for tensor in random_scene(3, 8, 17, 33))
    shapes = torch.stack((cholesky, cholesky * 1.5, cholesky))
    pictures = rasterize_uint8(means, shapes, colors, height=17, width=33, backend=backend)
    for b in range(3):
        expected = rasterize_uint8(means[b, None], shapes[b], colors[b, None], height=17, width=33, backend=backend)
        assert torch.equal(pictures[b], expected[0])


@pytest.mark.parametrize("case", DEGENERATE)
@pytest.mark.parametrize("backend", ["numba", pytest.param("triton", marks=pytest.mark.slow)])
def test_kernels_draw_degenerate_gaussians(case, backend):
    scene = rounded_to_float32(single(*DEGENERATE[case]))
    assert_agree(run(scene, 63, 100, backend), run(scene, 63, 100, "reference", F64))


@pytest.mark.parametrize("case", DEGENERATE)
def test_the_reference_draws_degenerate_gaussians(case):
    scene = rounded_to_float32(single(*DEGENERATE[case]))
    truth = run(scene, 63, 100, "reference", F64)
    assert_close(truth[0], brute_force(*scene, 63, 100), "picture, degenerate Gaussian")
    # Unlike the kernels it computes v = (dy - l2 u) / l3 in float32.
    image, *gradients = run(scene, 63, 100, "reference")
    assert_close(image, truth[0], "picture, degenerate Gaussian")
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_cannot_be_drawn_contributes_nothing(backend):
    scene = random_scene(2, 4, 17, 33, seed=2)
    without = run(scene, 17, 33, backend)
    extra = torch.tensor([[16.0, 8.0, 3.0, 1.0, 2.0, 0.5, 0.5, 0.5]] * len(NOT_DRAWN), dtype=F64)
    for row, (column, value) in enumerate(NOT_DRAWN.values()):
        extra[row, column] = value
    parts = (extra[:, :2].expand(2, -1, 2), extra[:, 2:5], extra[:, 5:].expand(2, -1, 3))
    added = tuple(torch.cat([part, old], old.ndim - 2) for part, old in zip(parts, scene, strict=True))
    image, *gradients = run(added, 17, 33, backend)
    assert_close(image, without[0], "picture, other Gaussians")
    for gradient, expected in zip(gradients, without[1:], strict=True):
        of_extra, of_others = gradient.split([len(NOT_DRAWN), 4], dim=gradient.ndim - 2)
        for row, case in enumerate(NOT_DRAWN):
            assert torch.count_nonzero(of_extra[..., row, :]) == 0, case
        assert_close(of_others, expected, "picture, gradient of other Gaussians")


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_nan_in_one_frame_leaves_the_others(backend):
    means, cholesky, colors = random_scene(3, 4, 17, 33, seed=4)
    broken = means.clone()
    broken[1, :, 0] = NAN
    image, grad_means, grad_cholesky, grad_colors = run((broken, cholesky, colors), 17, 33, backend)
    kept = [0, 2]
    grad_image = torch.randn(3, 17, 33, 3, generator=torch.Generator().manual_seed(7), dtype=F64)[kept]
    expected = run((means[kept], cholesky, colors[kept]), 17, 33, "reference", F64, grad_image)
    assert_agree((image[kept], grad_means[kept], grad_cholesky, grad_colors[kept]), expected)
    assert all(torch.count_nonzero(result[1]) == 0 for result in (image, grad_means, grad_colors))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("n_frames", "n_gaussians"), [(2, 0), (0, 5), (0, 0)], ids=["no-gaussians", "no-frames", "none"]
)
def test_nothing_to_draw(n_frames, n_gaussians, backend):
    scene = random_scene(n_frames, n_gaussians, 9, 11)
    image, *gradients = run(scene, 9, 11, backend)
    assert torch.equal(image, torch.zeros(n_frames, 9, 11, 3))
    assert all(torch.equal(gradient, torch.zeros(leaf.shape)) for gradient, leaf in zip(gradients, scene, strict=True))


def test_numba_writes_all_that_it_returns_and_reads_nothing_else(monkeypatch):
    height, width = 21, 37
    scene = tuple(tensor.float() for tensor in random_scene(2, 30, height, width))
    grad_image = torch.randn(2, height, width, 3, generator=torch.Generator().manual_seed(2))
    clean = run(scene, height, width, "numba", grad_image=grad_image)
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
    got = run(poisoned, height, width, "numba", grad_image=between_nans(grad_image))
    assert all(torch.equal(value, expected) for value, expected in zip(got, clean, strict=True))


@pytest.mark.slow
def test_numba_stays_inside_its_arrays(tmp_path):
    """Only kernels that are compiled so check their bounds, hence the process of its own."""
    script = (
        "from scenes import *\n"
        f"for height, width in {SIZES}:\n"
        "    run(random_scene(1, 40, height, width), height, width, 'numba')\n"
        "scenes = [random_scene(2, 40, 63, 100, per_frame=per_frame) for per_frame in (False, True)]\n"
        "scenes += [*(single(*case) for case in DEGENERATE.values())]\n"
        "for scene in scenes:\n"
        "    run(scene, 63, 100, 'numba')\n"
    )
    environment = {
        **os.environ,
        "NUMBA_BOUNDSCHECK": "1",
        "NUMBA_CACHE_DIR": str(tmp_path),
        "STGV_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_numba_gives_the_same_bits_for_any_number_of_threads(monkeypatch):
    scene = random_scene(3, 2000, 100, 131, seed=9)
    results = []
    for threads in ("1", "2", "3", "3", "1"):
        monkeypatch.setenv("STGV_THREADS", threads)
        results.append(run(scene, 100, 131, "numba"))
    for other in results[1:]:
        assert all(torch.equal(value, first) for value, first in zip(other, results[0], strict=True))


def test_reference_gives_the_same_bits_every_time():
    scene = random_scene(2, 2000, 100, 131, seed=9)
    first, second = (run(scene, 100, 131, "reference") for _ in range(2))
    assert all(torch.equal(value, again) for value, again in zip(first, second, strict=True))


@pytest.mark.parametrize("backend", BACKENDS)
def test_strided_inputs_and_an_expanded_gradient(backend, device):
    means, cholesky, colors = (tensor.float().to(device) for tensor in random_scene(2, 5, 17, 33))
    truth = run((means, cholesky, colors), 17, 33, backend, grad_image=torch.ones(2, 17, 33, 3))
    strided = (means.transpose(0, 2).contiguous().transpose(0, 2), cholesky.repeat(1, 2)[:, :3], colors.flip(1).flip(1))
    leaves = [tensor.detach().requires_grad_() for tensor in strided]
    image = rasterize(*leaves, height=17, width=33, backend=backend)
    assert image.is_contiguous()
    for value, expected in zip((image, *torch.autograd.grad(image.sum(), leaves)), truth, strict=True):
        if backend == "triton":
            assert_close(value, expected, "picture, other strides")
        else:
            assert torch.equal(value, expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_uint8_is_the_rounded_picture(backend, device):
    scene = tuple(tensor.float().to(device).requires_grad_() for tensor in random_scene(2, 8, 33, 21))
    scene[2].data.abs_().mul_(4)  # Beyond white as well.
    with torch.no_grad():
        image = rasterize(*scene, height=33, width=21, backend=backend)
    expected = torch.floor(255 * image.clamp(0, 1) + 0.5).to(torch.uint8)
    assert (expected.min(), expected.max()) == (0, 255)
    rounded, again = (rasterize_uint8(*scene, height=33, width=21, backend=backend) for _ in range(2))
    assert not rounded.requires_grad
    if device.type == "cpu":
        assert torch.equal(rounded, expected)
    else:  # There 255 c + 0.5 is one operation, rounded once.
        assert (rounded != expected).float().mean() < 1e-4
    assert torch.equal(again, rounded)


def test_auto_takes_numba_for_float32_and_the_reference_for_float64():
    scene = random_scene(1, 20, 17, 33)
    for dtype, backend in ((F32, "numba"), (F64, "reference")):
        automatic, named = (run(scene, 17, 33, name, dtype)[0] for name in ("auto", backend))
        assert automatic.dtype == dtype
        assert torch.equal(automatic, named)


@pytest.mark.parametrize(
    ("shapes", "options", "message"),
    [
        (([4, 2], [4, 3], [1, 4, 3]), {}, r"means has shape \[4, 2\], expected \[B, N, 2\]"),
        (([1, 4, 3], [4, 3], [1, 4, 3]), {}, r"means has shape \[1, 4, 3\], expected \[B, N, 2\]"),
        (([1, 4, 2], [5, 3], [1, 4, 3]), {}, r"cholesky has shape \[5, 3\], expected \[4, 3\] or \[1, 4, 3\]"),
        (([2, 4, 2], [1, 4, 3], [2, 4, 3]), {}, r"cholesky has shape \[1, 4, 3\], expected \[4, 3\] or \[2, 4, 3\]"),
        (([2, 4, 2], [4, 3], [1, 4, 3]), {}, r"colors has shape \[1, 4, 3\], expected \[2, 4, 3\]"),
        (([1, 4, 2], [4, 3], [1, 4, 3]), {"height": 0}, "the picture is 8x0, expected a width and a height"),
        (([1, 4, 2], [4, 3], [1, 4, 3]), {"width": -1}, "the picture is -1x8, expected a width and a height"),
    ],
    ids=["no-frames-axis", "means-3d", "cholesky-n", "cholesky-b", "colors-b", "no-height", "negative-width"],
)
def test_wrong_shapes_are_refused(shapes, options, message):
    with pytest.raises(ValueError, match=message):
        rasterize(*(torch.ones(shape) for shape in shapes), **{"height": 8, "width": 8, **options})


@pytest.mark.parametrize(
    ("dtypes", "backend", "message"),
    [
        ("fdf", "auto", "cholesky is torch.float64, expected torch.float32 as means"),
        ("ffe", "auto", "colors is torch.float16, expected torch.float32 as means"),
        ("eee", "auto", "means is torch.float16, expected torch.float32 or torch.float64"),
        ("ddd", "numba", "means is torch.float64, but the numba kernel takes torch.float32"),
        ("ddd", "triton", "means is torch.float64, but the triton kernels take torch.float32"),
    ],
    ids=["mixed-cholesky", "mixed-colors", "half", "numba-double", "triton-double"],
)
def test_wrong_dtypes_are_refused(dtypes, backend, message):
    kinds = {"e": torch.float16, "f": F32, "d": F64}
    shapes = ([1, 4, 2], [4, 3], [1, 4, 3])
    device = device_of(backend)
    tensors = (torch.ones(shape, dtype=kinds[kind], device=device) for shape, kind in zip(shapes, dtypes, strict=True))
    with pytest.raises(ValueError, match=message):
        rasterize(*tensors, height=8, width=8, backend=backend)


def test_devices_must_agree():
    with pytest.raises(ValueError, match="cholesky is on meta, expected cpu as means"):
        rasterize(torch.ones(1, 4, 2), torch.ones(4, 3, device="meta"), torch.ones(1, 4, 3), height=8, width=8)


@pytest.mark.gpu
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_reference_on_cuda_equals_the_cpu(height, width):
    scene = random_scene(2, 300, height, width)
    truth = run(scene, height, width, "reference", F64)
    leaves = [tensor.cuda().float().requires_grad_() for tensor in scene]
    image, again = (rasterize(*leaves, height=height, width=width, backend="reference") for _ in range(2))
    grad_image = torch.randn(image.shape, generator=torch.Generator().manual_seed(7), dtype=F64)
    gradients = torch.autograd.grad(image, leaves, grad_image.cuda().float())
    assert torch.equal(image, again)
    assert_agree((image.detach(), *gradients), truth)
