"""Fields with other encodings than the two hash grids: those that the paper compares with, for fits in float."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from tolerances import assert_close
from torch.nn.functional import grid_sample

from stgvcodec.model.deformation import (
    POSITION_FEATURES,
    DeformationField,
    Encoding,
    FieldSpec,
    evaluate_field,
    moments,
    position_encoding,
    static_features,
)
from stgvcodec.ops.deform import to_pixels
from stgvcodec.ops.field_mlp import FieldWeights
from stgvcodec.ops.hash_encode import HashGridSpec

CPU = torch.device("cpu")
ENCODINGS = get_args(Encoding)
SMALLEST_2D, SMALLEST_3D = HashGridSpec(1, 2, ((1, 1),)), HashGridSpec(1, 3, ((1, 1, 1),))
SIZE_PX = (24.0, 17.0)


def spec_of(encoding: Encoding, *, has_shape_head: bool = False) -> FieldSpec:
    static, dynamic = HashGridSpec(1, 4, ((2, 2), (5, 5))), HashGridSpec(2, 4, ((1, 1, 1), (4, 4, 3)))
    grids = {
        "spatio-temporal": (static, dynamic),
        "static": (static, SMALLEST_3D),
        "dynamic": (SMALLEST_2D, dynamic),
        "positional": (HashGridSpec(POSITION_FEATURES, 2, ((1, 1),) * 3), SMALLEST_3D),
        "planes": (HashGridSpec(3, 6, ((2, 2), (5, 5))), HashGridSpec(3, 6, ((2, 3), (5, 3)))),
    }
    return FieldSpec(*grids[encoding], mlp_width=4, n_frequencies=2, has_shape_head=has_shape_head, encoding=encoding)


def field_of(spec: FieldSpec) -> DeformationField:
    """A field whose heads are not zero, and neither are the tables that are trained."""
    generator = torch.Generator().manual_seed(1)
    field = DeformationField(spec, generator=generator, device=CPU)
    with torch.no_grad():
        for parameter in field.parameters():
            if parameter.requires_grad:
                parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return field


def evaluated(spec: FieldSpec, means: torch.Tensor, colors: torch.Tensor, tables, weights, **options):
    at = moments([0.0, 0.4, 1.0], spec.n_frequencies, dtype=means.dtype, device=CPU)
    rest = {"size_px": SIZE_PX, "static": None, "backend": "reference", **options}
    return evaluate_field(means, colors, *tables, weights, spec, at=at, **rest)


def inputs(n: int = 6, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return tuple(torch.rand(n, size, generator=generator, dtype=dtype) * 1.6 - 0.8 for size in (2, 3))


@pytest.mark.parametrize("has_shape_head", [False, True])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_results_have_the_shapes_of_the_operator(encoding, has_shape_head):
    spec = spec_of(encoding, has_shape_head=has_shape_head)
    field = field_of(spec)
    means, colors = inputs(dtype=torch.float32)

    results = evaluated(spec, means, colors, (field.static_table, field.dynamic_table), field.weights)

    assert [tuple(result.shape) for result in results] == [(3, 6, 2), (3, 6, 3), (3, 6, 3 if has_shape_head else 0)]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_new_field_changes_nothing(encoding):
    spec = spec_of(encoding)
    field = DeformationField(spec, generator=torch.Generator().manual_seed(1), device=CPU)
    means, colors = inputs(dtype=torch.float32)

    means_px, new_colors, _ = evaluated(spec, means, colors, (field.static_table, field.dynamic_table), field.weights)

    assert torch.equal(means_px, to_pixels(means, SIZE_PX).expand(3, -1, -1))
    assert torch.equal(new_colors, colors.expand(3, -1, -1))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_gradients_are_those_of_finite_differences(encoding):
    spec = spec_of(encoding, has_shape_head=True)
    field = field_of(spec).double()
    means, colors = (value.requires_grad_() for value in inputs(4))
    tensors = [tensor.detach().requires_grad_() for tensor in (field.static_table, field.dynamic_table, *field.weights)]

    def run(means, colors, static, dynamic, *weights):
        return evaluated(spec, means, colors, (static, dynamic), FieldWeights(*weights))

    assert torch.autograd.gradcheck(run, (means, colors, *tensors))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_what_is_trained_gets_a_gradient_and_is_counted(encoding):
    """An element that is not counted is a weight of the first layer whose input is always zero."""
    spec = spec_of(encoding)
    field = field_of(spec)
    means, colors = inputs(400, dtype=torch.float32)

    results = evaluated(spec, means, colors, (field.static_table, field.dynamic_table), field.weights)
    sum((result**2).sum() for result in results).backward()

    n_zero_inputs = int((field.weights.w1.grad == 0).all(dim=0).sum())
    n_trained = sum(parameter.numel() for parameter in field.parameters() if parameter.requires_grad)
    assert spec.n_parameters == n_trained - spec.mlp_width * n_zero_inputs
    for table, is_trained in (
        (field.static_table, spec.trains_static_table),
        (field.dynamic_table, spec.trains_dynamic_table),
    ):
        assert (table.grad is not None) == is_trained
        assert bool(table.any()) == is_trained


@pytest.mark.parametrize(("encoding", "moves"), [("static", False), ("dynamic", True), ("planes", True)])
def test_only_features_of_time_tell_frames_apart(encoding, moves):
    """Without gamma(t) a field of the static encoding is the same at all times."""
    spec = spec_of(encoding)
    field = field_of(spec)
    with torch.no_grad():
        field.weights.w1[:, spec.n_inputs - 2 * spec.n_frequencies :] = 0
    means, colors = inputs(40, dtype=torch.float32)

    means_px, _, _ = evaluated(spec, means, colors, (field.static_table, field.dynamic_table), field.weights)

    assert torch.equal(means_px[0], means_px[1]) != moves


def test_position_encoding_is_its_formula():
    means = torch.tensor([[0.25, -0.7], [-1.0, 0.3]], dtype=torch.float64)

    encoded = position_encoding(means, 3)

    expected = [
        [wave(2**j * math.pi * p) for j in range(3) for wave in (math.sin, math.cos) for p in place]
        for place in means.tolist()
    ]  # sin x, sin y, cos x, cos y of an octave
    torch.testing.assert_close(encoded, torch.tensor(expected, dtype=torch.float64))


def test_positions_take_the_place_of_static_features():
    spec = spec_of("positional")
    means, _ = inputs()
    table = torch.zeros(spec.table_shapes[0], dtype=torch.float64)

    assert torch.equal(static_features(means, table, spec, backend="reference"), position_encoding(means, 3))


def test_planes_are_a_product_of_bilinear_lookups():
    """The lookups are torch's `grid_sample`, whose picture has a vertex at each end of an axis."""
    spec = spec_of("planes")
    field = field_of(spec).double()
    means, colors = inputs()
    times = [0.0, 0.4, 1.0]

    def looked_up(table: torch.Tensor, grid: HashGridSpec, places: torch.Tensor) -> torch.Tensor:
        levels = []
        for (nx, ny), offset in zip(grid.resolutions, grid.level_offsets, strict=True):
            picture = table[offset : offset + (nx + 1) * (ny + 1)].T.reshape(1, -1, ny + 1, nx + 1)
            levels.append(grid_sample(picture, places[None, None], align_corners=True)[0, :, 0].T)
        return torch.cat(levels, dim=1)

    results = evaluated(spec, means, colors, (field.static_table, field.dynamic_table), field.weights)

    weights, n_rows = field.weights, spec.dynamic_grid.n_entries
    at = moments(times, spec.n_frequencies, dtype=torch.float64, device=CPU)
    for b, time in enumerate(times):
        t = torch.full((len(means),), 2 * time - 1, dtype=torch.float64)
        features = looked_up(field.static_table, spec.static_grid, means)
        for axis, plane in enumerate((field.dynamic_table[:n_rows], field.dynamic_table[n_rows:])):
            features = features * looked_up(plane, spec.dynamic_grid, torch.stack((means[:, axis], t), 1))
        hidden = torch.cat((features, at.gamma[b].expand(len(means), -1)), 1)
        hidden = torch.relu(hidden @ weights.w1.T + weights.b1)
        hidden = torch.relu(hidden @ weights.w2.T + weights.b2)
        torch.testing.assert_close(
            results[0][b], to_pixels(means + hidden @ weights.w_means.T + weights.b_means, SIZE_PX)
        )
        torch.testing.assert_close(results[1][b], colors + hidden @ weights.w_colors.T + weights.b_colors)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_numba_computes_what_the_reference_does(encoding):
    spec = spec_of(encoding)
    gradients = {}
    for backend in ("reference", "numba"):
        field = field_of(spec)
        means, colors = (value.requires_grad_() for value in inputs(40, dtype=torch.float32))
        results = evaluated(
            spec, means, colors, (field.static_table, field.dynamic_table), field.weights, backend=backend
        )
        (results[0].square().mean() + results[1].square().mean()).backward()
        trained = [parameter for parameter in field.parameters() if parameter.requires_grad and parameter.numel()]
        gradients[backend] = [*results, means.grad, colors.grad, *(parameter.grad for parameter in trained)]

    for mine, theirs in zip(gradients["numba"], gradients["reference"], strict=True):
        assert_close(mine, theirs, "deform")
