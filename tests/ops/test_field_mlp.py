"""The field's network against one in numpy and finite differences, and its numba twin against the reference."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from tolerances import assert_close

from stgvcodec.errors import BackendUnavailableError
from stgvcodec.ops.field_mlp import FieldWeights, field_mlp


class Sizes(NamedTuple):
    n_frames: int
    n_points: int
    n_static: int
    n_dynamic: int
    n_time: int
    width: int
    n_shapes: int = 3


SIZES = [
    Sizes(1, 0, 4, 8, 12, 16),
    Sizes(2, 1, 3, 5, 2, 1),
    Sizes(1, 63, 2, 3, 4, 7, 0),
    Sizes(3, 100, 16, 32, 12, 33),
    Sizes(2, 128, 1, 1, 1, 8),
    Sizes(2, 301, 16, 32, 12, 128),
    Sizes(2, 301, 16, 32, 12, 128, 0),
    Sizes(2, 40, 0, 6, 0, 5),
    Sizes(1, 40, 6, 0, 3, 6),
]
SIZE_IDS = ["B{}-N{}-Fs{}-Fd{}-T{}-W{}-S{}".format(*size) for size in SIZES]


def make_weights(sizes: Sizes, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> FieldWeights:
    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=dtype) / max(shape[-1], 1) ** 0.5

    _, _, n_static, n_dynamic, n_time, width, n_shapes = sizes
    return FieldWeights(
        w1=normal(width, n_static + n_dynamic + n_time),
        b1=normal(width),
        w2=normal(width, width),
        b2=normal(width),
        w_means=normal(2, width),
        b_means=normal(2),
        w_colors=normal(3, width),
        b_colors=normal(3),
        w_shapes=normal(n_shapes, width),
        b_shapes=normal(n_shapes),
    )


def make_inputs(sizes: Sizes, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    """Features, the time encoding and the ten weights, in this order."""
    generator = torch.Generator().manual_seed(sum(sizes))
    n_frames, n_points, n_static, n_dynamic, n_time, _, _ = sizes
    return [
        torch.randn(n_points, n_static, generator=generator, dtype=dtype),
        torch.randn(n_frames, n_points, n_dynamic, generator=generator, dtype=dtype),
        torch.randn(n_frames, n_time, generator=generator, dtype=dtype),
        *make_weights(sizes, generator, dtype),
    ]


def evaluate(inputs: list[torch.Tensor], backend: str) -> tuple[torch.Tensor, ...]:
    return field_mlp(*inputs[:3], FieldWeights(*inputs[3:]), backend=backend)


def run_with_gradients(sizes: Sizes, backend: str) -> list[torch.Tensor]:
    """The outputs and the gradients to all thirteen inputs."""
    inputs = [tensor.requires_grad_() for tensor in make_inputs(sizes)]
    outputs = evaluate(inputs, backend)
    generator = torch.Generator().manual_seed(9)
    upstream = [torch.randn(output.shape, generator=generator) for output in outputs]
    return [*(output.detach() for output in outputs), *torch.autograd.grad(outputs, inputs, upstream)]


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_matches_the_network_written_out(backend):
    sizes = Sizes(2, 9, 3, 4, 5, 6)
    inputs = make_inputs(sizes)
    static, dynamic, time, *weights = (tensor.double().numpy() for tensor in inputs)
    w1, b1, w2, b2, *heads = weights
    deltas = evaluate(inputs, backend)
    for b in range(sizes.n_frames):
        for n in range(sizes.n_points):
            hidden = np.maximum(w1 @ np.concatenate([static[n], dynamic[b, n], time[b]]) + b1, 0)
            hidden = np.maximum(w2 @ hidden + b2, 0)
            for delta, weight, bias in zip(deltas, heads[::2], heads[1::2], strict=True):
                assert_close(delta[b, n], torch.from_numpy(weight @ hidden + bias), "field_mlp, by hand")


@pytest.mark.parametrize("sizes", [Sizes(2, 3, 2, 3, 2, 5), Sizes(1, 1, 1, 1, 1, 1)], ids=["small", "ones"])
def test_gradcheck_of_the_reference(sizes):
    inputs = [tensor.requires_grad_() for tensor in make_inputs(sizes, torch.float64)]
    assert torch.autograd.gradcheck(lambda *tensors: evaluate(list(tensors), "reference"), inputs)


@pytest.mark.parametrize("sizes", SIZES, ids=SIZE_IDS)
def test_numba_matches_the_reference(sizes):
    expected = run_with_gradients(sizes, "reference")
    actual = run_with_gradients(sizes, "numba")
    assert len(actual) == 16
    for i, (one, other) in enumerate(zip(actual, expected, strict=True)):
        assert_close(one, other, "field_mlp" if i < 3 else "field_mlp, gradient")


def test_numba_bits_do_not_depend_on_threads(monkeypatch):
    results = []
    for n_threads in ("1", "2", "3"):
        monkeypatch.setenv("STGV_THREADS", n_threads)
        results.append(run_with_gradients(Sizes(2, 2_500, 16, 32, 12, 40), "numba"))
    for other in results[1:]:
        assert all(torch.equal(one, same) for one, same in zip(results[0], other, strict=True))


@pytest.mark.parametrize("backend", ["reference", "numba"])
@pytest.mark.parametrize("sizes", [Sizes(4, 63, 3, 5, 2, 7), Sizes(3, 301, 16, 32, 12, 128)], ids=["odd", "wide"])
def test_a_frame_has_the_same_bits_alone_in_a_batch_and_in_any_order(sizes, backend):
    static, dynamic, time, *weights = make_inputs(sizes)
    batch = evaluate([static, dynamic, time, *weights], backend)
    backwards = evaluate([static, dynamic.flip(0), time.flip(0), *weights], backend)
    trained = evaluate([static, dynamic, time, *(tensor.clone().requires_grad_() for tensor in weights)], backend)
    for b in range(sizes.n_frames):
        alone = evaluate([static, dynamic[b : b + 1].clone(), time[b : b + 1].clone(), *weights], backend)
        for i in range(3):
            assert torch.equal(batch[i][b], alone[i][0])
            assert torch.equal(batch[i][b], backwards[i][-1 - b])
            assert torch.equal(batch[i][b], trained[i][b])


def test_numba_bits_of_a_point_do_not_depend_on_its_place():
    static, dynamic, time, *weights = make_inputs(Sizes(1, 301, 16, 32, 12, 128))
    whole = evaluate([static, dynamic, time, *weights], "numba")
    part = evaluate([static[77:210], dynamic[:, 77:210], time, *weights], "numba")
    assert all(torch.equal(one[:, 77:210], same) for one, same in zip(whole, part, strict=True))


def test_numba_writes_every_element(poison):
    sizes = Sizes(2, 131, 3, 5, 2, 7)
    expected = run_with_gradients(sizes, "numba")
    poison()
    for one, other in zip(run_with_gradients(sizes, "numba"), expected, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("wanted", range(13), ids=["static", "dynamic", "time", *FieldWeights._fields])
def test_numba_gradient_of_one_input_alone(wanted):
    sizes = Sizes(2, 63, 3, 5, 2, 7)
    inputs = make_inputs(sizes)
    inputs[wanted].requires_grad_()

    def squares(backend: str) -> torch.Tensor:
        return torch.stack([delta.square().sum() for delta in evaluate(inputs, backend)]).sum()

    expected = torch.autograd.grad(squares("reference"), inputs[wanted])[0]
    actual = torch.autograd.grad(squares("numba"), inputs[wanted])[0]
    assert_close(actual, expected, "field_mlp, gradient")


def test_numba_takes_non_contiguous_tensors():
    inputs = make_inputs(Sizes(2, 63, 3, 5, 2, 7))
    expected = evaluate(inputs, "numba")
    strided = [tensor.mT.contiguous().mT if tensor.ndim > 1 else tensor for tensor in inputs]
    assert all(torch.equal(one, same) for one, same in zip(evaluate(strided, "numba"), expected, strict=True))


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_nan_stays_with_its_point(backend):
    inputs = make_inputs(Sizes(1, 63, 3, 5, 2, 7))
    inputs[0][5, 1] = math.nan
    for delta in evaluate(inputs, backend):
        assert delta.isnan().nonzero()[:, 1].unique().tolist() == [5]


@pytest.mark.parametrize(
    ("index", "shape", "message"),
    [
        (0, (9,), r"static_features has shape \(9,\), expected \[N, Fs\]"),
        (0, (8, 3), r"dynamic_features has shape \(2, 9, 4\), expected \(2, 8, 4\)"),
        (1, (9, 4), r"dynamic_features has shape \(9, 4\), expected \[B, N, Fd\]"),
        (1, (0, 9, 4), "got 0 frames and width 6, expected at least one"),
        (2, (3, 5), r"time_encoding has shape \(3, 5\), expected \(2, 5\)"),
        (3, (6, 11), r"weights.w1 has shape \(6, 11\), expected \(6, 12\)"),
        (4, (5,), r"weights.b1 has shape \(5,\), expected \(6,\)"),
        (5, (6, 5), r"weights.w2 has shape \(6, 5\), expected \(6, 6\)"),
        (6, (5,), r"weights.b2 has shape \(5,\), expected \(6,\)"),
        (7, (3, 6), r"weights.w_means has shape \(3, 6\), expected \(2, 6\)"),
        (8, (3,), r"weights.b_means has shape \(3,\), expected \(2,\)"),
        (9, (2, 6), r"weights.w_colors has shape \(2, 6\), expected \(3, 6\)"),
        (10, (2,), r"weights.b_colors has shape \(2,\), expected \(3,\)"),
        (11, (2, 6), r"weights.w_shapes has shape \(2, 6\), expected \(3, 6\)"),
        (11, (0, 6), r"weights.b_shapes has shape \(3,\), expected \(0,\)"),
        (12, (2,), r"weights.b_shapes has shape \(2,\), expected \(3,\)"),
    ],
)
def test_wrong_shapes_are_refused(index, shape, message):
    inputs = make_inputs(Sizes(2, 9, 3, 4, 5, 6))
    inputs[index] = torch.zeros(shape)
    with pytest.raises(ValueError, match=message):
        evaluate(inputs, "auto")


def test_wrong_dtypes_and_missing_back_ends_are_refused():
    sizes = Sizes(2, 9, 3, 4, 5, 6)
    doubles = make_inputs(sizes, torch.float64)
    assert evaluate(doubles, "auto")[0].dtype == torch.float64
    with pytest.raises(ValueError, match=r"'numba' computes in float32, got torch.float64"):
        evaluate(doubles, "numba")
    with pytest.raises(ValueError, match=r"torch.float64 on cpu, another argument torch.float32"):
        evaluate([*doubles[:-1], doubles[-1].float()], "auto")
    with pytest.raises(ValueError, match=r"torch.float16, expected float32 or float64"):
        evaluate([tensor.half() for tensor in doubles], "auto")
    with pytest.raises(BackendUnavailableError, match="'triton' does not have this operator; use --backend auto"):
        evaluate([tensor.float() for tensor in doubles], "triton")
