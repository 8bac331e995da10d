from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from tensors import captured, device_of, normal
from tolerances import F64, assert_close
from torch import Tensor

from stgvcodec.errors import BackendUnavailableError
from stgvcodec.ops.deform_shapes import MAX_SHAPE_CHANGE, MIN_DIAGONAL_PX, deform_shapes

# Frames, Gaussians: below one block of the kernels, and above.
SIZES = [(1, 1), (3, 63), (2, 1300), (2, 0)]
SIZE_IDS = [f"{n_frames}x{n}" for n_frames, n in SIZES]
KERNELS = ["numba", "triton"]
BACKENDS = ["reference", *KERNELS]


def make_inputs(n_frames: int, n: int) -> tuple[Tensor, Tensor]:
    """Many diagonals lie at or near their lower bound, and many changes beyond the clamp."""
    cholesky = torch.stack((normal(n).exp(), 3 * normal(n, seed=1), normal(n, seed=2).exp()), dim=1)
    cholesky[:, ::2] = MIN_DIAGONAL_PX + (cholesky[:, ::2] - 0.5).clamp_min(0.0)
    return cholesky, 0.8 * normal(n_frames, n, 3, seed=3)


def run_with_gradients(inputs: Sequence[Tensor], backend: str, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """The shapes, then the gradients to cholesky and delta, on the CPU."""
    leaves = [tensor.to(device_of(backend), dtype).requires_grad_() for tensor in inputs]
    shapes = deform_shapes(*leaves, backend=backend)
    upstream = normal(*shapes.shape, seed=4).to(shapes)
    return [result.detach().cpu() for result in (shapes, *torch.autograd.grad(shapes, leaves, upstream))]


def assert_agree(results: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    for i, (one, other) in enumerate(zip(results, expected, strict=True)):
        assert_close(one, other, "deform_shapes, gradient" if i else "deform_shapes")


def change(cholesky: Sequence[float], delta: Sequence[float], backend: str = "reference") -> list[float]:
    device = device_of(backend)
    inputs = torch.tensor([cholesky], device=device), torch.tensor([[delta]], device=device)
    shape: list[float] = deform_shapes(*inputs, backend=backend)[0, 0].tolist()
    return shape


@pytest.mark.parametrize("backend", BACKENDS)
def test_changes_are_of_logarithms_and_of_the_shear(backend):
    l1, l2, l3 = change((4.0, -3.0, 2.0), (math.log(1.5), 0.25, math.log(0.75)), backend)
    assert l1 == pytest.approx(6.0)
    assert l3 == pytest.approx(1.5)
    assert l2 == pytest.approx((-1.5 + 0.25) * 1.5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_change_leaves_the_diagonal_as_it_is(backend, device):
    cholesky, delta = (tensor.to(device) for tensor in make_inputs(2, 63))
    shapes = deform_shapes(cholesky, torch.zeros_like(delta), backend=backend)
    assert torch.equal(shapes[:, :, ::2], cholesky[:, ::2].expand(2, -1, -1))
    assert_close(shapes, cholesky.expand(2, -1, -1), "deform_shapes")


@pytest.mark.parametrize("backend", BACKENDS)
def test_changes_are_clamped_and_the_diagonal_has_a_lower_bound(backend):
    most = MAX_SHAPE_CHANGE
    assert change((4.0, 1.0, 2.0), (9.0, -7.0, 1e30), backend) == change((4.0, 1.0, 2.0), (most, -most, most), backend)
    assert change((4.0, 1.0, 2.0), (most, 0.0, 0.0), backend)[0] == pytest.approx(4.0 * math.e)
    assert change((1.0, 1.0, 0.5), (-most, 0.0, -most), backend) == [MIN_DIAGONAL_PX, 1.0, MIN_DIAGONAL_PX]


@pytest.mark.parametrize("backend", BACKENDS)
def test_nan_stays_where_it_is(backend, device):
    cholesky, delta = (tensor.to(device) for tensor in make_inputs(2, 9))
    delta[1, 4, 0] = math.nan
    delta[0, 6, 2] = math.nan
    shapes = deform_shapes(cholesky, delta, backend=backend)
    assert shapes.isnan().nonzero().tolist() == [[0, 6, 1], [0, 6, 2], [1, 4, 0]]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("upstream", "passes"), [(-1.0, True), (1.0, False)], ids=["would lift the diagonal", "would lower it"]
)
def test_a_gradient_passes_the_lower_bound_only_upwards(upstream, passes, backend, device):
    cholesky = torch.tensor([[0.6, 0.0, 0.6]], device=device, requires_grad=True)
    delta = torch.tensor([[[-0.5, 0.0, -0.5]]], device=device, requires_grad=True)
    deform_shapes(cholesky, delta, backend=backend)[0, 0, ::2].sum().mul(upstream).backward()
    for gradient in (cholesky.grad[0], delta.grad[0, 0]):
        assert (gradient[::2] != 0).tolist() == [passes, passes]


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_gradient_passes_the_clamp(backend, device):
    cholesky = torch.tensor([[4.0, 1.0, 2.0]], device=device)
    delta = torch.tensor([[[1.5, -1.5, 1.5]]], device=device, requires_grad=True)
    deform_shapes(cholesky, delta, backend=backend).sum().backward()
    assert delta.grad.tolist() == [[[0.0, 0.0, 0.0]]]


@pytest.mark.parametrize("n_frames", [1, 3])
def test_gradcheck_of_the_reference(n_frames):
    """Away from the kinks: all diagonals are above the bound, all changes within the clamp."""
    cholesky, delta = (tensor.to(F64) for tensor in make_inputs(n_frames, 9))
    cholesky[:, ::2] += 3.0
    leaves = [cholesky.requires_grad_(), (delta / 4).requires_grad_()]
    assert torch.autograd.gradcheck(lambda *inputs: deform_shapes(*inputs, backend="reference"), leaves)


@pytest.mark.parametrize("backend", KERNELS)
@pytest.mark.parametrize(("n_frames", "n"), SIZES, ids=SIZE_IDS)
def test_kernels_match_the_reference(n_frames, n, backend, poison):
    inputs = make_inputs(n_frames, n)
    expected = run_with_gradients(inputs, "reference", F64)
    poison()
    assert_agree(run_with_gradients(inputs, backend), expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_frame_has_the_same_bits_alone_and_in_a_batch(backend, device):
    cholesky, delta = (tensor.to(device) for tensor in make_inputs(3, 301))
    batch = deform_shapes(cholesky, delta, backend=backend)
    for b in range(3):
        assert torch.equal(deform_shapes(cholesky, delta[b : b + 1].clone(), backend=backend)[0], batch[b])


def test_numba_bits_do_not_depend_on_threads(monkeypatch):
    results = []
    for n_threads in ("1", "2", "3"):
        monkeypatch.setenv("STGV_THREADS", n_threads)
        results.append(run_with_gradients(make_inputs(2, 9_000), "numba"))
    for other in results[1:]:
        assert all(torch.equal(one, same) for one, same in zip(results[0], other, strict=True))


@pytest.mark.parametrize("backend", KERNELS)
def test_non_contiguous_tensors(backend, device):
    inputs = [tensor.to(device) for tensor in make_inputs(2, 63)]
    strided = [tensor.mT.contiguous().mT for tensor in inputs]
    assert torch.equal(deform_shapes(*strided, backend=backend), deform_shapes(*inputs, backend=backend))


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (([9, 2], [2, 9, 3]), r"cholesky has shape \[9, 2\], expected \[N, 3\]"),
        (([9, 3], [9, 3]), r"delta has shape \[9, 3\], expected \[B, 9, 3\]"),
        (([9, 3], [2, 8, 3]), r"delta has shape \[2, 8, 3\], expected \[B, 9, 3\]"),
    ],
)
def test_wrong_shapes_are_refused(shapes, message):
    with pytest.raises(ValueError, match=message):
        deform_shapes(*(torch.ones(shape) for shape in shapes))


def test_wrong_dtypes_and_unknown_back_ends_are_refused(triton_device):
    inputs = make_inputs(2, 9)
    doubles = [tensor.double() for tensor in inputs]
    assert deform_shapes(*doubles).dtype == torch.float64
    with pytest.raises(ValueError, match=r"cholesky is torch.float16, expected torch.float32 or torch.float64"):
        deform_shapes(*(tensor.half() for tensor in inputs))
    with pytest.raises(ValueError, match=r"delta is torch.float64 on cpu, expected torch.float32 on cpu"):
        deform_shapes(inputs[0], doubles[1])
    with pytest.raises(ValueError, match=r"'numba' computes in float32, got torch.float64"):
        deform_shapes(*doubles, backend="numba")
    with pytest.raises(ValueError, match=r"'triton' computes in float32, got torch.float64"):
        deform_shapes(*(tensor.to(triton_device) for tensor in doubles), backend="triton")
    with pytest.raises(BackendUnavailableError, match="backend 'cuda' does not exist"):
        deform_shapes(*inputs, backend="cuda")


@pytest.mark.gpu
def test_gpu_real_size_matches_float64_in_a_captured_step():
    inputs = make_inputs(4, 20_000)
    cholesky, delta = (tensor.cuda().requires_grad_() for tensor in inputs)
    upstream = normal(4, 20_000, 3, seed=4).cuda()

    def step() -> tuple[Tensor, ...]:
        shapes = deform_shapes(cholesky, delta)
        return shapes.detach(), *torch.autograd.grad(shapes, (cholesky, delta), upstream)

    graph, results = captured(step)
    graph.replay()
    assert_agree([result.cpu() for result in results], run_with_gradients(inputs, "reference", F64))
    assert all(torch.equal(one, again) for one, again in zip(results, step(), strict=True))
