"""The fused field against the composition of its parts, which tests/model holds against the equations."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import pytest
import torch
from fields import PAPER_2D, PAPER_3D
from tensors import CPU, captured
from tolerances import BF16, F32, assert_close, tolerance

from stgvcodec.ops.deform import deform
from stgvcodec.ops.field_mlp import FieldWeights
from stgvcodec.ops.hash_encode import HashGridSpec, hash_encode

# Below this a ReLU's input may be positive in one precision and not in another.
KINK_MARGIN = 1e-4
SIZE_PX = (63.0, 37.5)
OUTPUTS = ("means_px", "colors", "delta_shapes")
N_OUTPUTS = len(OUTPUTS)
NAMES = (*OUTPUTS, "means", "canonical_colors", "static_table", "dynamic_table", *FieldWeights._fields)


class Case(NamedTuple):
    static_grid: HashGridSpec
    dynamic_grid: HashGridSpec
    width: int
    n_time: int
    n_frames: int
    n_points: int
    n_shapes: int = 3


MIXED_2D = HashGridSpec(2, 7, ((1, 1), (5, 5), (11, 9), (40, 23)))
# Dense; planes dense and 3D hashed; planes hashed too.
MIXED_3D = HashGridSpec(4, 9, ((1, 1, 1), (6, 5, 2), (16, 24, 3), (182, 182, 9)))
ODD_2D = HashGridSpec(1, 4, ((2, 2), (5, 5), (6, 6)))
ODD_3D = HashGridSpec(3, 4, ((1, 1, 1), (4, 4, 3), (3, 2, 2)))
STILL_2D, STILL_3D = HashGridSpec(1, 2, ((1, 1),)), HashGridSpec(1, 3, ((1, 1, 1),))
ODD, NONE = "odd levels, features and width, three frames", "no Gaussians"
STILL_SHAPES = "no head for shapes"
CASES = {
    "paper's grids and width": Case(PAPER_2D, PAPER_3D, 128, 12, 1, 40),
    "one level, width 1, a single still frame": Case(STILL_2D, STILL_3D, 1, 2, 1, 63, 0),
    STILL_SHAPES: Case(ODD_2D, ODD_3D, 7, 4, 2, 33, 0),
    ODD: Case(ODD_2D, ODD_3D, 7, 4, 3, 63),
    "two blocks of points": Case(MIXED_2D, ODD_3D, 33, 12, 2, 65),
    "eight features": Case(HashGridSpec(8, 5, ((2, 3), (40, 40))), HashGridSpec(8, 5, ((2, 3, 1),)), 16, 1, 2, 20),
    "one Gaussian": Case(MIXED_2D, MIXED_3D, 8, 12, 1, 1),
    NONE: Case(MIXED_2D, MIXED_3D, 8, 12, 2, 0),
    "wider than the fused kernels": Case(ODD_2D, ODD_3D, 129, 2, 2, 9),
}


class Inputs(NamedTuple):
    means: torch.Tensor
    colors: torch.Tensor
    static_table: torch.Tensor
    dynamic_table: torch.Tensor
    weights: FieldWeights
    times: torch.Tensor
    gamma: torch.Tensor

    def to(self, device: torch.device, dtype: torch.dtype = torch.float32) -> Inputs:
        means, colors, static_table, dynamic_table, weights, *time = self
        leaves = [tensor.to(device, dtype) for tensor in (means, colors, static_table, dynamic_table, *weights)]
        return Inputs(*leaves[:4], FieldWeights(*leaves[4:]), *(tensor.to(device, dtype) for tensor in time))

    @property
    def leaves(self) -> tuple[torch.Tensor, ...]:
        return self.means, self.colors, self.static_table, self.dynamic_table, *self.weights


def make_inputs(case: Case, *, seed: int = 0) -> Inputs:
    """Random numbers; about one Gaussian in ten lies outside the picture.

    Positions and times are short enough that their places in cells are exact in float32 as in float64.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator) / max(shape[-1], 1) ** 0.5

    static_grid, dynamic_grid, width, n_time, n_frames, n_points, n_shapes = case
    n_inputs = static_grid.n_features + dynamic_grid.n_features + n_time
    heads = [shape for n in (2, 3, n_shapes) for shape in ((n, width), (n,))]
    shapes = ((width, n_inputs), (width,), (width, width), (width,), *heads)
    return Inputs(
        means=(torch.randn(n_points, 2, generator=generator) * 0.6 * 512).round() / 512,
        colors=normal(n_points, 3),
        static_table=torch.randn(static_grid.n_entries, static_grid.n_features_per_level, generator=generator),
        dynamic_table=torch.randn(dynamic_grid.n_entries, dynamic_grid.n_features_per_level, generator=generator),
        weights=FieldWeights(*(normal(*shape) for shape in shapes)),
        times=(torch.linspace(0, 1, n_frames + 1)[1:] * 64).round() / 64,
        gamma=torch.randn(n_frames, n_time, generator=generator).clamp(-1, 1),
    )


def evaluate(case: Case, inputs: Inputs, backend: str, **options: object) -> tuple[torch.Tensor, ...]:
    grids = {"static_grid": case.static_grid, "dynamic_grid": case.dynamic_grid}
    return deform(*inputs, **grids, size_px=SIZE_PX, backend=backend, **options)


def run_with_gradients(
    case: Case, inputs: Inputs, backend: str, upstream: tuple[torch.Tensor, ...] | None = None
) -> list[torch.Tensor]:
    """The outputs, then the gradients to means, colours, tables and weights."""
    leaves = [leaf.detach().clone().requires_grad_() for leaf in inputs.leaves]
    inputs = Inputs(*leaves[:4], FieldWeights(*leaves[4:]), inputs.times, inputs.gamma)
    outputs = evaluate(case, inputs, backend)
    upstream = tuple(gradient.to(outputs[0]) for gradient in upstream or upstream_of(case))
    return [*(output.detach() for output in outputs), *torch.autograd.grad(outputs, leaves, upstream)]


def assert_equal(results: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> None:
    assert all(torch.equal(one, other) for one, other in zip(results, expected, strict=True))


def upstream_of(case: Case) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(9)
    means_px = torch.randn(case.n_frames, case.n_points, 2, generator=generator) / SIZE_PX[0]
    return means_px, *(torch.randn(case.n_frames, case.n_points, n, generator=generator) for n in (3, case.n_shapes))


def assert_agree(results: Sequence[torch.Tensor], expected: Sequence[torch.Tensor], first: int = 0) -> None:
    """Results of a device, from the `first` of NAMES on, agree as far as its precision allows."""
    for i, (one, other) in enumerate(zip(results, expected, strict=True), first):
        assert one.isfinite().all(), NAMES[i]
        if one.device.type == "cpu":
            assert_close(one, other, "deform")
        elif i < N_OUTPUTS:
            assert_close(one, other, "deform, GPU")
        else:
            assert_close(one, other, "deform, GPU gradient", dtype=BF16)


@pytest.mark.parametrize(
    ("backend", "name"),
    [*(("triton", name) for name in CASES), *(("numba", name) for name in (ODD, STILL_SHAPES, NONE))],
)
def test_kernels_match_the_reference(name, backend, device):
    case = CASES[name]
    inputs = make_inputs(case)
    expected = run_with_gradients(case, inputs.to(CPU, torch.float64), "reference")
    actual = run_with_gradients(case, inputs.to(device), backend)
    assert len(actual) == len(NAMES)
    assert_agree(actual, expected)


@pytest.mark.parametrize("backend", ["reference", "numba", "triton"])
def test_a_frame_has_the_same_bits_alone_in_a_batch_and_in_training(backend, device):
    case = CASES[ODD]
    inputs = make_inputs(case).to(device)
    batch = evaluate(case, inputs, backend)
    trained = evaluate(case, inputs._replace(means=inputs.means.clone().requires_grad_()), backend)
    backwards = evaluate(case, inputs._replace(times=inputs.times.flip(0), gamma=inputs.gamma.flip(0)), backend)
    for b in range(case.n_frames):
        alone_inputs = inputs._replace(times=inputs.times[b : b + 1], gamma=inputs.gamma[b : b + 1])
        alone = evaluate(case, alone_inputs, backend)
        for i in range(N_OUTPUTS):
            assert torch.equal(batch[i][b], alone[i][0])
            assert torch.equal(batch[i][b], trained[i][b])
            assert torch.equal(batch[i][b], backwards[i][-1 - b])


@pytest.mark.parametrize("backend", ["reference", "numba", "triton"])
def test_kept_static_features_change_nothing(backend, device):
    case = CASES[ODD]
    inputs = make_inputs(case).to(device)
    unit = (inputs.means + 1.0) * 0.5
    kept = hash_encode(unit, inputs.static_table, case.static_grid, backend=backend)
    assert_equal(evaluate(case, inputs, backend, static_features=kept), evaluate(case, inputs, backend))


@pytest.mark.parametrize("backend", ["numba", "triton"])
def test_gradients_reach_kept_static_features_and_not_the_table(backend, device):
    case = CASES[ODD]
    found = []
    for each, where in (("reference", CPU), (backend, device)):
        inputs = make_inputs(case).to(where)
        kept = torch.randn(case.n_points, case.static_grid.n_features, generator=torch.Generator().manual_seed(2))
        kept = kept.to(where).requires_grad_()
        means, table = inputs.means.requires_grad_(), inputs.static_table.requires_grad_()
        outputs = evaluate(case, inputs, each, static_features=kept)
        upstream = [gradient.to(where) for gradient in upstream_of(case)]
        of_kept, of_means, of_table = torch.autograd.grad(outputs, (kept, means, table), upstream, allow_unused=True)
        assert of_table is None
        found.append((of_kept, of_means))
    assert_agree(found[1], found[0], N_OUTPUTS)


@pytest.mark.parametrize("backend", ["numba", "triton"])
def test_positions_outside_the_picture_move_but_draw_no_gradient_through_the_encodings(backend, device):
    case = CASES[ODD]
    inputs = make_inputs(case)
    inputs.means[:4] = torch.tensor([[-1.0, 1.0], [-5.0, 0.25], [0.25, 1e30], [math.inf, -math.inf]])
    expected = run_with_gradients(case, inputs, "reference")
    actual = run_with_gradients(case, inputs.to(device), backend)
    identity = sum(gradient for gradient in upstream_of(case)[0]) * torch.tensor(SIZE_PX) / 2
    assert_close(actual[N_OUTPUTS][3], identity[3], "deform, outside the picture")
    for one, other in zip(actual[:N_OUTPUTS], expected[:N_OUTPUTS], strict=True):
        assert torch.equal(one.cpu().isfinite(), other.isfinite())
    assert_agree(actual[N_OUTPUTS:], expected[N_OUTPUTS:], N_OUTPUTS)


@pytest.mark.parametrize("backend", ["reference", "numba", "triton"])
def test_a_nan_mean_poisons_nothing_else(backend, device):
    """Its own upstream gradient is zero, as the rasteriser gives it: then no gradient knows of it."""
    case = CASES[ODD]
    inputs = make_inputs(case).to(device)
    upstream = upstream_of(case)
    for gradient in upstream:
        gradient[:, 5] = 0.0
    clean = run_with_gradients(case, inputs, backend, upstream)
    inputs.means[5] = math.nan
    poisoned = run_with_gradients(case, inputs, backend, upstream)
    assert poisoned[0].isnan().any(dim=2).nonzero()[:, 1].unique().tolist() == [5]
    assert all(output.isfinite().all() for output in poisoned[1:N_OUTPUTS])
    for one, other in zip(poisoned[N_OUTPUTS:], clean[N_OUTPUTS:], strict=True):
        assert_close(one, other, "deform")


def test_numba_bits_do_not_depend_on_threads_and_match_the_reference_in_many_chunks(monkeypatch):
    """In the first case a chunk has its tables, in the second the tables are too large for that."""
    for case in (Case(STILL_2D, STILL_3D, 9, 12, 2, 1_100), Case(PAPER_2D, PAPER_3D, 8, 12, 1, 1_100)):
        inputs, results = make_inputs(case), []
        upstream = without_kinks(case, inputs, upstream_of(case))
        for n_threads in ("1", "2", "3"):
            monkeypatch.setenv("STGV_THREADS", n_threads)
            results.append(run_with_gradients(case, inputs, "numba", upstream))
        assert_equal(results[1], results[0])
        assert_equal(results[2], results[0])
        assert_agree(results[0], run_with_gradients(case, inputs, "reference", upstream))


def test_numba_gives_the_means_no_gradient_that_they_do_not_ask_for():
    case = CASES[ODD]
    inputs = make_inputs(case)
    table = inputs.dynamic_table.clone().requires_grad_()
    outputs = evaluate(case, inputs._replace(dynamic_table=table), "numba")
    (of_table,) = torch.autograd.grad(outputs, table, upstream_of(case))
    assert torch.equal(of_table, run_with_gradients(case, inputs, "numba")[NAMES.index("dynamic_table")])


@pytest.mark.parametrize("backend", ["numba", "triton"])
def test_nan_weights_show_in_every_result(backend, device):
    case = CASES[ODD]
    inputs = make_inputs(case).to(device)
    inputs.weights.w2[2, 3] = math.nan
    for result in evaluate(case, inputs, backend):
        assert result.isnan().any(dim=2).all()


@pytest.mark.parametrize("backend", ["numba", "triton"])
def test_kernels_write_every_element(poison, backend, device):
    case = CASES["two blocks of points"]
    inputs = make_inputs(case).to(device)
    expected = run_with_gradients(case, inputs, backend)
    poison()
    for one, other in zip(run_with_gradients(case, inputs, backend), expected, strict=True):
        assert_close(one, other, "deform")


@pytest.mark.parametrize("backend", ["numba", "triton"])
def test_kernels_take_non_contiguous_tensors(backend, device):
    case = CASES[ODD]
    inputs = make_inputs(case).to(device)
    strided = [leaf.mT.contiguous().mT if leaf.ndim > 1 else leaf for leaf in inputs.leaves]
    other = Inputs(*strided[:4], FieldWeights(*strided[4:]), inputs.times, inputs.gamma)
    assert_equal(evaluate(case, inputs, backend), evaluate(case, other, backend))


def test_triton_can_be_trained_after_a_call_in_inference_mode(triton_device):
    case = CASES["one Gaussian"]
    with torch.inference_mode():
        evaluate(case, make_inputs(case).to(triton_device), "triton")
    for gradient in run_with_gradients(case, make_inputs(case).to(triton_device), "triton"):
        assert gradient.isfinite().all()


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("means", (9, 3), r"means has shape \(9, 3\), expected \(9, 2\)"),
        ("colors", (8, 3), r"colors has shape \(8, 3\), expected \(9, 3\)"),
        ("static_table", (5, 1), r"static_table has shape \(5, 1\), expected \(\d+, 1\)"),
        ("dynamic_table", (5, 3), r"dynamic_table has shape \(5, 3\), expected \(\d+, 3\)"),
        ("times", (), r"times has shape \(\), expected \[B\]"),
        ("times", (0,), r"times has shape \(0,\), expected \[B\] with B >= 1"),
        ("gamma", (2,), r"gamma has shape \(2,\), expected \[B, n_time\]"),
        ("gamma", (1, 2), r"gamma has shape \(1, 2\), expected \(2, 2\)"),
    ],
)
def test_wrong_shapes_are_refused(name, shape, message):
    case = Case(ODD_2D, ODD_3D, 5, 2, 2, 9)
    with pytest.raises(ValueError, match=message):
        evaluate(case, make_inputs(case)._replace(**{name: torch.zeros(shape)}), "auto")


def test_wrong_weights_grids_and_dtypes_are_refused(triton_device):
    case = Case(ODD_2D, ODD_3D, 5, 2, 2, 9)
    inputs = make_inputs(case)
    narrow = inputs._replace(weights=inputs.weights._replace(b2=torch.zeros(4)))
    with pytest.raises(ValueError, match=r"weights.b2 has shape \(4,\), expected \(5,\)"):
        evaluate(case, narrow, "auto")
    two_shapes = inputs._replace(weights=inputs.weights._replace(w_shapes=torch.zeros(2, 5)))
    with pytest.raises(ValueError, match=r"weights.w_shapes has shape \(2, 5\), expected \(3, 5\)"):
        evaluate(case, two_shapes, "auto")
    with pytest.raises(ValueError, match="static_grid has 3 axes and dynamic_grid 3, expected 2 and 3"):
        evaluate(case._replace(static_grid=ODD_3D), inputs, "auto")
    with pytest.raises(ValueError, match=r"static_features has shape \(9, 2\), expected \(9, 3\)"):
        evaluate(case, inputs, "auto", static_features=torch.zeros(9, 2))
    with pytest.raises(ValueError, match=r"colors is torch.float64 on cpu, expected torch.float32 on cpu"):
        evaluate(case, inputs._replace(colors=inputs.colors.double()), "auto")
    with pytest.raises(ValueError, match=r"'triton' computes in float32, got torch.float64"):
        evaluate(case, inputs.to(triton_device, torch.float64), "triton")
    assert evaluate(case, inputs.to(CPU, torch.float64), "auto")[0].dtype == torch.float64


def without_kinks(case: Case, inputs: Inputs, upstream: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Upstream gradients with zeros for Gaussians at which some ReLU may go either way."""
    weights = inputs.weights
    unit = (inputs.means + 1) / 2
    static = hash_encode(unit, inputs.static_table, case.static_grid, backend="reference")
    for b in range(case.n_frames):
        position = torch.cat((unit, inputs.times[b].expand(case.n_points, 1)), dim=1)
        dynamic = hash_encode(position, inputs.dynamic_table, case.dynamic_grid, backend="reference")
        first = (
            torch.cat((static, dynamic, inputs.gamma[b].expand(case.n_points, -1)), dim=1) @ weights.w1.T + weights.b1
        )
        second = first.relu() @ weights.w2.T + weights.b2
        is_safe = torch.cat((first, second), dim=1).abs().amin(dim=1) > KINK_MARGIN
        for gradient in upstream:
            gradient[b] *= is_safe[:, None].to(gradient)
    return upstream


@pytest.mark.gpu
@pytest.mark.parametrize(("backward_precision", "dtype"), [("bf16", BF16), ("bf16x3", F32)])
@pytest.mark.parametrize("n_frames", [1, 4])
def test_real_size_matches_float64(n_frames, backward_precision, dtype, monkeypatch, record_property):
    """The size is 20 000 Gaussians with the paper's field, and the truth float64 on the same device."""
    triton_kernel = pytest.importorskip("stgvcodec.ops.deform.triton_kernel")
    tuning = dataclasses.replace(triton_kernel.TUNING, backward_precision=backward_precision)
    monkeypatch.setattr(triton_kernel, "TUNING", tuning)
    case = Case(PAPER_2D, PAPER_3D, 128, 12, n_frames, 20_000)
    device = torch.device("cuda")
    inputs = make_inputs(case).to(device)
    upstream = without_kinks(case, inputs.to(device, torch.float64), upstream_of(case))
    errors = {
        name: ((one - other).norm() / other.norm()).item()
        for name, one, other in zip(
            NAMES,
            run_with_gradients(case, inputs, "triton", upstream),
            run_with_gradients(case, inputs.to(device, torch.float64), "reference", upstream),
            strict=True,
        )
    }
    for name, error in errors.items():
        record_property(name, error)
    allowed = tolerance("deform, GPU"), tolerance("deform, GPU gradient", dtype)
    for i, name in enumerate(NAMES):
        assert errors[name] <= allowed[i >= N_OUTPUTS].of_largest, errors


@pytest.mark.gpu
def test_two_runs_on_a_gpu_give_the_same_bits_and_a_graph_gives_them_too():
    case = Case(PAPER_2D, PAPER_3D, 128, 12, 10, 20_000)
    inputs = make_inputs(case).to(torch.device("cuda"))
    with torch.no_grad():
        first, second = (evaluate(case, inputs, "triton") for _ in range(2))
        graph, replayed = captured(lambda: evaluate(case, inputs, "triton"))
        graph.replay()
    assert_equal(first, second)
    assert_equal(first, replayed)


@pytest.mark.gpu
def test_a_training_step_can_be_captured():
    case = Case(PAPER_2D, PAPER_3D, 128, 12, 2, 5_000)
    inputs = make_inputs(case).to(torch.device("cuda"))
    leaves = [leaf.requires_grad_() for leaf in inputs.leaves]
    upstream = [gradient.cuda() for gradient in upstream_of(case)]

    def step() -> tuple[torch.Tensor, ...]:
        return torch.autograd.grad(evaluate(case, inputs, "triton"), leaves, upstream)

    expected = step()
    graph, replayed = captured(step)
    graph.replay()
    for one, other in zip(replayed, expected, strict=True):
        assert_close(one, other, "deform, GPU atomics")
