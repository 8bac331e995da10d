from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from stgvcodec.model.deformation import DeformationField, deform, moments, static_features, time_encoding
from stgvcodec.model.gaussians import bounded_cholesky
from stgvcodec.ops.hash_encode import hash_encode


@pytest.mark.parametrize("n_frequencies", [1, 6])
def test_time_encoding_is_the_float64_formula_rounded_once(n_frequencies):
    times = [0.0, 1 / 9, 0.5, 2 / 3, 1.0]

    encoded = time_encoding(times, n_frequencies)

    expected = [
        [f(2**j * math.pi * t) for j in range(n_frequencies) for f in (math.sin, math.cos)] for t in times
    ]  # sin_0, cos_0, sin_1, cos_1, ...
    assert encoded.dtype == np.float32
    np.testing.assert_array_equal(encoded, np.asarray(expected, np.float64).astype(np.float32))


def test_time_encoding_of_no_times_is_empty():
    assert time_encoding([], 6).shape == (0, 12)


def test_input_of_the_mlp_is_both_encodings_and_time(field_spec):
    assert field_spec.n_inputs == 2 * 1 + 2 * 2 + 2 * 2
    assert field_spec.weight_shapes == ((4, 10), (4,), (4, 4), (4,), (2, 4), (2,), (3, 4), (3,), (3, 4), (3,))


def test_a_field_without_a_head_for_shapes_has_its_tensors_without_rows(field_spec):
    without = dataclasses.replace(field_spec, has_shape_head=False)
    field = DeformationField(without, generator=torch.Generator(), device=torch.device("cpu"))

    assert without.weight_shapes == (*field_spec.weight_shapes[:-2], (0, 4), (0,))
    assert [tuple(tensor.shape) for tensor in field.weights] == list(without.weight_shapes)
    assert field_spec.n_parameters - without.n_parameters == 3 * 4 + 3


def test_number_of_parameters_counts_all_tensors(field_spec):
    field = DeformationField(field_spec, generator=torch.Generator(), device=torch.device("cpu"))

    assert field_spec.n_parameters == sum(parameter.numel() for parameter in field.parameters())


def test_field_starts_with_zero_tables_and_heads(field_spec):
    field = DeformationField(field_spec, generator=torch.Generator().manual_seed(1), device=torch.device("cpu"))
    weights = field.weights

    for tensor in (field.static_table, field.dynamic_table, *weights[4:]):
        assert not tensor.any()
    for tensor in weights[:4]:
        assert tensor.any()
        assert tensor.abs().max() <= 1 / math.sqrt(field_spec.mlp_width)


def test_field_is_drawn_from_the_generator_alone(field_spec):
    def draw(seed: int) -> list[torch.Tensor]:
        torch.rand(1)  # the global generator has no part in it
        generator = torch.Generator().manual_seed(seed)
        return list(DeformationField(field_spec, generator=generator, device=torch.device("cpu")).weights)

    assert all(torch.equal(a, b) for a, b in zip(draw(3), draw(3), strict=True))
    assert not torch.equal(draw(3)[0], draw(4)[0])


def test_deform_matches_a_plain_mlp_over_the_encodings(make_spec, random_values):
    """Eqs. (6)-(9) are written out with the operators' inputs taken apart."""
    spec = make_spec()
    values = random_values(spec, dtype=torch.float64)
    field, weights, times = values.field, values.field.weights, [0.0, 0.4, 1.0]

    cholesky = bounded_cholesky(values.cholesky)
    means_px, factors, colors = deform(
        values.means,
        cholesky,
        values.colors,
        field.static_table,
        field.dynamic_table,
        weights,
        spec.field,
        at=moments(times, spec.field.n_frequencies, dtype=torch.float64, device=torch.device("cpu")),
        size_px=(24.0, 8.5),
        static=None,
        backend="reference",
    )

    static = static_features(values.means, field.static_table, spec.field, backend="reference")
    for b, time in enumerate(times):
        xy = (values.means + 1) / 2
        xyt = torch.cat((xy, torch.full((spec.n_gaussians, 1), time, dtype=torch.float64)), 1)
        dynamic = hash_encode(xyt, field.dynamic_table, spec.field.dynamic_grid, backend="reference")
        gamma = torch.from_numpy(time_encoding([time], spec.field.n_frequencies)).double().expand(spec.n_gaussians, -1)
        hidden = torch.relu(torch.cat((static, dynamic, gamma), 1) @ weights.w1.T + weights.b1)
        hidden = torch.relu(hidden @ weights.w2.T + weights.b2)
        moved = values.means + hidden @ weights.w_means.T + weights.b_means
        torch.testing.assert_close(means_px[b], (moved + 1) / 2 * torch.tensor([24.0, 8.5]).double())
        torch.testing.assert_close(colors[b], values.colors + hidden @ weights.w_colors.T + weights.b_colors)
        d1, ds, d3 = (hidden @ weights.w_shapes.T + weights.b_shapes).clamp(-1, 1).unbind(1)
        l1, l2, l3 = cholesky.unbind(1)
        new_l1, new_l3 = (l1 * torch.exp(d1)).clamp_min(0.5), (l3 * torch.exp(d3)).clamp_min(0.5)
        torch.testing.assert_close(factors[b], torch.stack((new_l1, (l2 / l3 + ds) * new_l3, new_l3), 1))


def test_static_features_are_read_at_means_mapped_to_the_unit_square(make_spec, random_values):
    spec = make_spec()
    values = random_values(spec)

    features = static_features(values.means, values.field.static_table, spec.field, backend="reference")

    expected = hash_encode(
        (values.means + 1) / 2, values.field.static_table, spec.field.static_grid, backend="reference"
    )
    torch.testing.assert_close(features, expected)
