from __future__ import annotations

import pytest
import torch
from scenes import Scene, random_scene, rounded_to_float32, run
from tensors import captured, device_of
from tolerances import approx, assert_close
from torch import Tensor

from stgvcodec.ops.dssim import dssim
from stgvcodec.ops.rasterize import PairBudget, rasterize
from stgvcodec.ops.splat_loss import splat_loss

# height, width, the frames that are shown of five
CASES = [(1, 1, [4]), (17, 33, [2, 0, 2]), (1, 40, [1, 3])]
IDS = ["1x1", "17x33-three-frames", "1x40-two-frames"]


def some_frames(height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (5, height, width, 3), generator=generator, dtype=torch.uint8)


def loss_and_gradients(
    scene: Scene,
    frames: Tensor,
    picked: list[int],
    backend: str,
    *,
    known: Tensor | None = None,
    dssim_weight: float = 0.0,
    dtype: torch.dtype = torch.float32,
    device: torch.device | None = None,
    budget: PairBudget | None = None,
) -> tuple[Tensor, ...]:
    device = device or device_of(backend)
    leaves = [tensor.to(device, dtype).requires_grad_() for tensor in scene]
    pictures = {"frames": frames.to(device), "picked": torch.tensor(picked, device=device)}
    if known is not None:
        pictures["known"] = known.to(device)
    loss, mse = splat_loss(*leaves, **pictures, dssim_weight=dssim_weight, backend=backend, budget=budget)
    assert loss.shape == mse.shape == ()
    assert not mse.requires_grad
    # Times something, so that the incoming gradient is not 1.
    return loss.detach().cpu(), mse.cpu(), *(g.cpu() for g in torch.autograd.grad(loss * 3.0, leaves))


def assert_agree(results: tuple[Tensor, ...], truth: tuple[Tensor, ...]) -> None:
    """The loss and the mean square error, then the gradients."""
    for i, (result, expected) in enumerate(zip(results, truth, strict=True)):
        assert torch.isfinite(result).all()
        assert_close(result, expected, "splat_loss" if i < 2 else "splat_loss, gradient")


@pytest.mark.parametrize(("height", "width", "picked"), CASES, ids=IDS)
def test_reference_is_the_mean_square_of_what_is_missing(height, width, picked):
    scene = random_scene(len(picked), 12, height, width)
    frames = some_frames(height, width)
    image = run(scene, height, width, "reference", torch.float64)[0]
    loss, mse, *_ = loss_and_gradients(scene, frames, picked, "reference", dtype=torch.float64)
    expected = torch.stack([(image[b] - frames[k].double() / 255).square().mean() for b, k in enumerate(picked)]).mean()
    assert loss.item() == mse.item() == approx(expected.item(), "splat_loss", torch.float64)


@pytest.mark.slow
def test_reference_passes_gradcheck():
    leaves = [tensor.requires_grad_() for tensor in random_scene(2, 4, 3, 5, seed=3)]
    frames, picked = some_frames(3, 5), torch.tensor([4, 1])
    assert torch.autograd.gradcheck(lambda *inputs: splat_loss(*inputs, frames, picked)[0], leaves)


@pytest.mark.parametrize(("height", "width", "picked"), CASES, ids=IDS)
@pytest.mark.parametrize(("backend", "n_gaussians"), [("numba", 40), ("triton", 7)])
def test_kernels_equal_the_reference(height, width, picked, backend, n_gaussians):
    scene = rounded_to_float32(random_scene(len(picked), n_gaussians, height, width))
    frames = some_frames(height, width)
    truth = loss_and_gradients(scene, frames, picked, "reference", dtype=torch.float64)
    assert_agree(loss_and_gradients(scene, frames, picked, backend), truth)


@pytest.mark.parametrize(("backend", "n_gaussians"), [("numba", 40), ("triton", 7)])
def test_kernels_equal_the_reference_with_shapes_of_each_frame(backend, n_gaussians):
    scene = rounded_to_float32(random_scene(3, n_gaussians, 17, 33, per_frame=True))
    frames, picked = some_frames(17, 33), [2, 0, 2]
    truth = loss_and_gradients(scene, frames, picked, "reference", dtype=torch.float64)
    assert_agree(loss_and_gradients(scene, frames, picked, backend), truth)


@pytest.mark.parametrize(("height", "width", "picked"), CASES, ids=IDS)
@pytest.mark.parametrize(("backend", "n_gaussians"), [("reference", 40), ("numba", 40), ("triton", 7)])
def test_pixels_that_are_not_known_do_not_count(height, width, picked, backend, n_gaussians):
    """Neither in the loss nor in the gradients, whatever the frames hold there."""
    scene = rounded_to_float32(random_scene(len(picked), n_gaussians, height, width))
    frames = some_frames(height, width)
    known = torch.rand(5, height, width, generator=torch.Generator().manual_seed(1)) < 0.6
    results = loss_and_gradients(scene, frames, picked, backend, known=known)

    leaves = [tensor.clone().requires_grad_() for tensor in scene]
    image = rasterize(*leaves, height=height, width=width, backend="reference")
    residual = torch.where(known[picked][..., None], image - frames[picked].double() / 255, 0.0)
    loss = residual.square().mean()
    assert_agree(results, (loss.detach(), loss.detach(), *torch.autograd.grad(loss * 3.0, leaves)))
    other = torch.where(known[..., None], frames, 255 - frames)
    for result, same in zip(results, loss_and_gradients(scene, other, picked, backend, known=known), strict=True):
        assert torch.equal(result, same)


@pytest.mark.parametrize("per_frame", [False, True], ids=["shared shapes", "shapes of each frame"])
@pytest.mark.parametrize("backend", ["reference", "numba", "triton"])
def test_with_a_share_of_dssim(backend, per_frame):
    scene = rounded_to_float32(random_scene(2, 5, 13, 19, seed=2, per_frame=per_frame))
    frames, picked = some_frames(13, 19), [3, 1]
    got = loss_and_gradients(scene, frames, picked, backend, dssim_weight=0.3)
    leaves = [tensor.clone().requires_grad_() for tensor in scene]
    image = rasterize(*leaves, height=13, width=19, backend="reference")
    mse = (image - frames[picked].double() / 255).square().mean()
    loss = 0.7 * mse + 0.3 * dssim(image, frames, torch.tensor(picked), backend="reference")
    assert abs(loss.item() - mse.item()) > 0.01
    assert_agree(got, (loss.detach(), mse.detach(), *torch.autograd.grad(loss * 3.0, leaves)))


def test_numba_bits_do_not_depend_on_threads(monkeypatch):
    scene, frames = random_scene(2, 600, 70, 45), some_frames(70, 45)
    results = []
    for n_threads in ("1", "2", "3"):
        monkeypatch.setenv("STGV_THREADS", n_threads)
        results.append(loss_and_gradients(scene, frames, [3, 1], "numba"))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("backend", ["numba", "triton"])
def test_without_a_single_gaussian(backend):
    frames = some_frames(9, 11)
    loss, mse, *gradients = loss_and_gradients(random_scene(1, 0, 9, 11), frames, [2], backend)
    assert loss.item() == mse.item() == approx((frames[2].double() / 255).square().mean().item(), "sum")
    assert [list(gradient.shape) for gradient in gradients] == [[1, 0, 2], [0, 3], [1, 0, 3]]


def test_triton_with_a_budget_and_strided_frames(triton_device):
    scene = rounded_to_float32(random_scene(1, 6, 17, 20))
    frames = some_frames(20, 17).transpose(1, 2)
    budget = PairBudget.of(500, triton_device)
    truth = loss_and_gradients(scene, frames, [1], "reference", dtype=torch.float64)
    assert_agree(loss_and_gradients(scene, frames, [1], "triton", budget=budget), truth)
    assert 0 < budget.need.item() <= 500


def test_auto_takes_numba_for_float32_and_the_reference_for_float64():
    scene, frames = random_scene(1, 20, 17, 33), some_frames(17, 33)
    for dtype, backend in ((torch.float32, "numba"), (torch.float64, "reference")):
        automatic, named = (loss_and_gradients(scene, frames, [0], name, dtype=dtype) for name in ("auto", backend))
        assert automatic[0].dtype == dtype
        assert all(torch.equal(value, expected) for value, expected in zip(automatic, named, strict=True))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"means": torch.ones(0, 4, 2)}, r"means has shape \[0, 4, 2\], expected \[B, N, 2\] with at least one frame"),
        ({"cholesky": torch.ones(5, 3)}, r"cholesky has shape \[5, 3\], expected \[4, 3\]"),
        ({"frames": torch.ones(5, 8, 8, 3)}, r"frames is torch.float32 \[5, 8, 8, 3\], expected torch.uint8"),
        ({"frames": torch.ones(8, 8, 3, dtype=torch.uint8)}, r"frames is torch.uint8 \[8, 8, 3\], expected"),
        ({"picked": torch.tensor([1, 2])}, r"picked is torch.int64 \[2\], expected torch.int64 \[1\]"),
        ({"picked": torch.tensor([1.0])}, r"picked is torch.float32 \[1\], expected torch.int64 \[1\]"),
        ({"picked": torch.ones(1, dtype=torch.int64, device="meta")}, "picked is on meta, expected cpu as means"),
        ({"dssim_weight": 1.5}, r"dssim_weight is 1.5, expected a number in \[0, 1\]"),
        ({"known": torch.ones(5, 8, 8)}, r"known is torch.float32 \[5, 8, 8\], expected torch.bool \[5, 8, 8\]"),
        ({"known": torch.ones(5, 8, 8, dtype=torch.bool), "dssim_weight": 0.1}, "expected 0 where pixels are left out"),
    ],
    ids=[
        "no-frames",
        "cholesky-n",
        "float-frames",
        "one-frame",
        "two-picked",
        "float-picked",
        "device",
        "weight",
        "known",
        "mask-dssim",
    ],
)
def test_wrong_inputs_are_refused(changes, message):
    inputs = {
        "means": torch.ones(1, 4, 2), "cholesky": torch.ones(4, 3), "colors": torch.ones(1, 4, 3),
        "frames": some_frames(8, 8), "picked": torch.tensor([1]), **changes,
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        splat_loss(**inputs)


def test_triton_refuses_float64():
    with pytest.raises(ValueError, match=r"means is torch.float64, but the triton kernels take torch.float32"):
        loss_and_gradients(random_scene(1, 3, 8, 8), some_frames(8, 8), [0], "triton", dtype=torch.float64)


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("dssim_weight", "per_frame", "masked"),
    [(0.0, False, False), (0.2, False, False), (0.0, True, False), (0.0, True, True)],
)
def test_gpu_real_size_equals_the_reference(dssim_weight, per_frame, masked):
    scene = rounded_to_float32(random_scene(2, 20_000, 640, 1280, per_frame=per_frame))
    scene, frames, picked = (*scene[:2], scene[2] * 0.2), some_frames(640, 1280), [4, 1]
    device = torch.device("cuda")
    known = torch.rand(5, 640, 1280, generator=torch.Generator().manual_seed(1)) < 0.6 if masked else None
    options = {"dssim_weight": dssim_weight, "device": device, "known": known}
    truth = loss_and_gradients(scene, frames, picked, "reference", dtype=torch.float64, **options)
    assert_agree(loss_and_gradients(scene, frames, picked, "triton", **options), truth)


@pytest.mark.gpu
def test_gpu_a_step_with_a_budget_is_captured():
    device = torch.device("cuda")
    leaves = [tensor.to(device, torch.float32).requires_grad_() for tensor in random_scene(1, 20_000, 640, 1280)]
    frames, picked = some_frames(640, 1280).to(device), torch.tensor([4], device=device)
    budget = PairBudget.of(600_000, device)

    def step() -> tuple[Tensor, ...]:
        loss, mse = splat_loss(*leaves, frames, picked, budget=budget)
        return loss.detach(), mse, *torch.autograd.grad(loss, leaves)

    graph, results = captured(step)
    for k in (4, 2):
        picked.fill_(k)
        graph.replay()
        for value, expected in zip(results, step(), strict=True):
            assert_close(value, expected, "splat_loss, replayed")
