from __future__ import annotations

import pytest
import torch
from pytorch_msssim import ssim
from tensors import captured
from tolerances import approx, assert_close

from stgvcodec.ops.dssim import WINDOW_PX, dssim


def make_case(n_pictures: int, height: int, width: int, device: str | torch.device = "cpu", noise: float = 0.1):
    generator = torch.Generator().manual_seed(height * width)
    frames = torch.randint(0, 256, (3, height, width, 3), generator=generator, dtype=torch.uint8)
    frames[:, : height // 2] //= 16  # dark and flat, where the constants matter
    picked = torch.tensor([2, 0, 2][:n_pictures])
    image = frames[picked] / 255 + noise * torch.randn((n_pictures, height, width, 3), generator=generator)
    return image.to(device), frames.to(device), picked.to(device)


def loss_and_gradient(image, frames, picked, backend, weight: float = 1.0):
    image = image.clone().requires_grad_()
    loss = dssim(image, frames, picked, backend=backend)
    (weight * loss).backward()
    return loss.detach(), image.grad


@pytest.mark.parametrize(("height", "width"), [(11, 11), (12, 30), (45, 17)])
def test_reference_agrees_with_pytorch_msssim(height, width):
    image, frames, picked = make_case(2, height, width)
    x, y = (pictures.permute(0, 3, 1, 2) for pictures in (image, frames[picked] / 255))

    loss = dssim(image, frames, picked, backend="reference")

    assert float(loss) == approx(1 - float(ssim(x, y, data_range=1.0)), "dssim")
    assert 0.01 < float(loss) < 1


def test_reference_gradient_is_that_of_its_loss():
    image, frames, picked = make_case(2, 12, 13)
    image = image.double().requires_grad_()

    assert torch.autograd.gradcheck(lambda image: dssim(image, frames, picked), (image,))


@pytest.mark.parametrize("backend", ["reference", "triton"])
def test_equal_pictures_lose_nothing(triton_device, backend):
    image, frames, picked = make_case(1, 13, 14, triton_device, noise=0)

    loss, gradient = loss_and_gradient(image, frames, picked, backend)

    assert float(loss) == approx(0.0, "dssim")
    assert_close(gradient, torch.zeros_like(image), "dssim, gradient of equal pictures")


@pytest.mark.parametrize(
    ("n_pictures", "height", "width"),
    [
        pytest.param(1, 11, 11, id="one window"),
        pytest.param(2, 12, 33, id="rows of 43 pixels and a bit"),
        pytest.param(3, 13, 63, id="three pictures, two strips"),
        pytest.param(1, 45, 11, id="three segments of rows"),
    ],
)
def test_triton_agrees_with_the_reference(triton_device, n_pictures, height, width):
    image, frames, picked = make_case(n_pictures, height, width, triton_device)

    loss, gradient = loss_and_gradient(image, frames, picked, "triton", weight=0.3)
    truth, true_gradient = loss_and_gradient(image.double(), frames, picked, "reference", weight=0.3)

    assert loss.shape == ()
    assert loss.dtype == torch.float32
    assert float(loss) == approx(float(truth), "dssim")
    assert_close(gradient, true_gradient, "dssim, gradient")


def test_triton_takes_strided_pictures(triton_device):
    image, frames, picked = make_case(1, 11, 24, triton_device)
    truth = dssim(image[:, :, ::2], frames[:, :, ::2].contiguous(), picked, backend="reference")

    loss = dssim(image[:, :, ::2], frames[:, :, ::2], picked, backend="triton")

    assert float(loss) == approx(float(truth), "dssim")


def test_triton_without_gradient_has_the_same_loss(triton_device):
    image, frames, picked = make_case(1, 12, 13, triton_device)
    with_gradient, _ = loss_and_gradient(image, frames, picked, "triton")
    with torch.no_grad():
        loss = dssim(image.requires_grad_(), frames, picked, backend="triton")

    assert not loss.requires_grad
    assert float(loss) == float(with_gradient)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_bad_sample_shows_in_the_loss_and_stays_near_in_the_gradient(triton_device, bad):
    image, frames, picked = make_case(1, 11, 30, triton_device)
    image[0, 5, 2, 1] = bad

    loss, gradient = loss_and_gradient(image, frames, picked, "triton")

    assert torch.isnan(loss)
    assert torch.isnan(gradient[0, 5, 2, 1])
    assert torch.isfinite(gradient[..., [0, 2]]).all()
    assert torch.isfinite(gradient[:, :, 2 + 2 * WINDOW_PX - 1 :]).all()


def test_auto_on_a_cpu_is_the_reference():
    image, frames, picked = make_case(1, 12, 13)

    losses = [dssim(image, frames, picked, backend=backend) for backend in ("auto", "numba", "reference")]

    assert losses[0] == losses[1] == losses[2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda i, f, p: (i[0], f, p), "image has shape"),
        (lambda i, f, p: (i[:0], f, p[:0]), "B >= 1"),
        (lambda i, f, p: (i[:, :10], f[:, :10], p), "the picture is 13x10, expected 11x11"),
        (lambda i, f, p: (i.half(), f, p), "image is torch.float16"),
        (lambda i, f, p: (i, f[:, :11], p), r"frames has shape .* expected \[T, 12, 13, 3\]"),
        (lambda i, f, p: (i, f / 255, p), "frames is torch.float32"),
        (lambda i, f, p: (i, f, p[:0]), r"picked has shape \[0\]"),
        (lambda i, f, p: (i, f, p.int()), "picked is torch.int32"),
    ],
    ids=["rank", "no pictures", "small", "dtype", "frame size", "frame dtype", "picked length", "picked dtype"],
)
def test_wrong_inputs_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dssim(*change(*make_case(1, 12, 13)))


def test_triton_refuses_float64(triton_device):
    image, frames, picked = make_case(1, 12, 13, triton_device)
    with pytest.raises(ValueError, match="the triton back end takes"):
        dssim(image.double(), frames, picked, backend="triton")


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("n_pictures", "height", "width"), [(1, 640, 1280), (3, 333, 517), (2, 1080, 1920)], ids=lambda n: str(n)
)
def test_triton_agrees_with_the_reference_at_real_sizes(n_pictures, height, width):
    image, frames, picked = make_case(n_pictures, height, width, "cuda", noise=0.02)

    loss, gradient = loss_and_gradient(image, frames, picked, "triton")
    again, gradient_again = loss_and_gradient(image, frames, picked, "triton")
    truth, true_gradient = loss_and_gradient(image.double(), frames, picked, "reference")

    assert float(loss) == approx(float(truth), "dssim")
    assert_close(gradient, true_gradient, "dssim, gradient")
    assert loss == again
    assert torch.equal(gradient, gradient_again)


@pytest.mark.gpu
def test_triton_is_captured_with_frames_picked_between_replays():
    image, frames, picked = make_case(1, 64, 96, "cuda")
    image.requires_grad_()

    def step():
        loss = dssim(image, frames, picked, backend="triton")
        return loss.detach(), *torch.autograd.grad(loss, image)

    graph, (loss, gradient) = captured(step)
    for k in (0, 1, 2):
        picked.fill_(k)
        graph.replay()
        truth, true_gradient = loss_and_gradient(image.detach(), frames, picked, "triton")
        assert loss == truth
        assert torch.equal(gradient, true_gradient)
