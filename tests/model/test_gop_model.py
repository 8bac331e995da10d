from __future__ import annotations

import dataclasses
from fractions import Fraction

import numpy as np
import pytest
import torch
from tolerances import approx, assert_close, tolerance

from stgvcodec.model.deformation import DeformationField, moments
from stgvcodec.model.gaussians import CanonicalGaussians, bounded_cholesky, scale_splats
from stgvcodec.model.gop_model import (
    Clock,
    FieldParameters,
    GopModel,
    GopParameters,
    canonical_px,
    deformed_px,
    frame_time,
    gop_static_features,
    output_size,
    render,
    render_canonical,
)
from stgvcodec.ops.field_mlp import FieldWeights
from stgvcodec.ops.rasterize import rasterize, to_uint8


@pytest.mark.parametrize("n_frames", [2, 3, 10, 60])
def test_frame_time_is_k_over_t_minus_1(n_frames):
    times = [frame_time(k, n_frames) for k in range(n_frames)]

    assert times == [float(Fraction(k, n_frames - 1)) for k in range(n_frames)]
    assert (times[0], times[-1]) == (0.0, 1.0)


def test_frame_time_of_a_single_frame_is_zero():
    assert frame_time(0, 1) == 0.0


def moments_of(times, spec, dtype=torch.float32):
    return moments(times, spec.field.n_frequencies, dtype=dtype, device=torch.device("cpu"))


def test_clock_gives_the_moments_of_the_picked_frames(make_spec):
    spec = make_spec(n_frames=5)

    at = Clock(spec, torch.device("cpu")).at(torch.tensor([4, 0, 2]))

    expected = moments_of([frame_time(k, 5) for k in (4, 0, 2)], spec)
    assert torch.equal(at.times, expected.times)
    assert torch.equal(at.gamma, expected.gamma)


def without_shape_head(spec):
    return dataclasses.replace(spec, field=dataclasses.replace(spec.field, has_shape_head=False))


@pytest.mark.parametrize("scale", [1.0, 0.5, 2.0])
def test_render_is_the_sum_of_deformed_gaussians_in_pixels(make_spec, random_values, scale):
    spec = make_spec(width=24, height=17)
    values = random_values(spec)
    gaussians = deformed_px(values, spec, moments_of([0.3], spec), backend="reference", scale=scale)
    width, height = output_size(spec, scale)

    image = render(values, spec, [0.3], backend="reference", scale=scale)

    assert torch.equal(image, rasterize(*gaussians, height=height, width=width, backend="reference"))


@pytest.mark.parametrize("scale", [1.0, 0.5, 2.0])
def test_without_a_head_for_shapes_the_frames_share_the_canonical_ones(make_spec, random_values, scale):
    spec = without_shape_head(make_spec(low_pass=0.25))
    values = random_values(spec)

    _, cholesky, colors = deformed_px(values, spec, moments_of([0.3, 1.0], spec), backend="reference", scale=scale)

    expected, _ = scale_splats(bounded_cholesky(values.cholesky, 0.25), colors, scale)
    assert torch.equal(cholesky, expected)


def test_shapes_of_each_frame_are_scaled_as_shared_ones(make_spec, random_values):
    spec = make_spec()
    values = random_values(spec)
    at = moments_of([0.3, 1.0], spec)
    _, full, full_colors = deformed_px(values, spec, at, backend="reference")

    _, half, half_colors = deformed_px(values, spec, at, backend="reference", scale=0.5)

    assert not torch.equal(full[0], full[1])
    for b in range(2):
        factors, colors = scale_splats(full[b], full_colors[b : b + 1], 0.5)
        torch.testing.assert_close(half[b], factors)
        torch.testing.assert_close(half_colors[b], colors[0])


@pytest.mark.parametrize("scale", [1.0, 0.25, 3.0])
def test_deformed_means_are_pixels_of_the_output(make_spec, random_values, scale):
    spec = make_spec(width=24, height=17)
    values = random_values(spec)
    still = values._replace(field=values.field._replace(weights=FieldWeights(*map(torch.zeros_like, values.field[2]))))

    means_px, cholesky, colors = deformed_px(still, spec, moments_of([0.3], spec), backend="reference", scale=scale)

    expected = (values.means.double() + 1) / 2 * torch.tensor([24.0, 17.0]).double() * scale
    assert_close(means_px[0], expected, "means, pixels")
    canonical, expected_colors = scale_splats(bounded_cholesky(values.cholesky), values.colors[None], scale)
    torch.testing.assert_close(cholesky[0], canonical)
    torch.testing.assert_close(colors, expected_colors)


def test_canonical_gaussians_are_in_pixels(make_spec, random_values):
    spec = make_spec(width=24, height=17)
    values = random_values(spec)

    means_px, cholesky, colors = canonical_px(values, spec)

    assert torch.equal(means_px[0], (values.means + 1) * (0.5 * torch.tensor([24.0, 17.0])))
    assert torch.equal(cholesky, bounded_cholesky(values.cholesky))
    assert torch.equal(colors, values.colors[None])


def test_a_gaussian_at_the_origin_shines_at_the_centre(make_spec, random_values):
    """[-1, 1]^2 spans the picture, x right and y down."""
    spec = make_spec(width=20, height=10, n_gaussians=1)
    values = random_values(spec)._replace(
        means=torch.tensor([[0.5, -0.5]]), cholesky=torch.zeros(1, 3), colors=torch.ones(1, 3)
    )

    image = render_canonical(values, spec, backend="reference")[0, :, :, 0]

    weight = image / image.sum()
    rows, columns = torch.meshgrid(torch.arange(10) + 0.5, torch.arange(20) + 0.5, indexing="ij")
    assert float((weight * columns).sum()) == approx(15.0, "centroid, pixels")
    assert float((weight * rows).sum()) == approx(2.5, "centroid, pixels")


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_frames_do_not_depend_on_their_batch(make_spec, random_values, backend):
    spec = make_spec(n_frames=5, n_gaussians=40)
    values = random_values(spec)
    times = [frame_time(k, 5) for k in range(5)]

    batch = render(values, spec, times, backend=backend)
    alone = torch.cat([render(values, spec, [time], backend=backend) for time in times])
    backwards = render(values, spec, times[::-1], backend=backend).flip(0)

    assert torch.equal(batch, alone)
    assert torch.equal(batch, backwards)


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_kept_static_features_change_nothing(make_spec, random_values, backend):
    spec = make_spec()
    values = random_values(spec)
    static = gop_static_features(values, spec, backend=backend)

    kept = render(values, spec, [0.5], backend=backend, static=static)

    assert torch.equal(kept, render(values, spec, [0.5], backend=backend))


@pytest.mark.parametrize("scale", [1.0, 0.5, 2.0])
def test_back_ends_render_alike(make_spec, random_values, scale):
    spec = make_spec(n_gaussians=60)
    values = random_values(spec)

    reference, numba = (render(values, spec, [0.0, 0.7], backend=name, scale=scale) for name in ("reference", "numba"))

    assert_close(numba, reference, "picture, back ends of a field")


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_untrained_heads_render_the_canonical_picture(make_spec, backend):
    specs = reshaped_spec, spec = make_spec(), without_shape_head(make_spec())
    generator = torch.Generator().manual_seed(0)
    gaussians = CanonicalGaussians(
        torch.rand(12, 2, generator=generator) * 2 - 1,
        torch.rand(12, 3, generator=generator),
        torch.randn(12, 3, generator=generator),
        width=spec.width,
        height=spec.height,
    )
    fields = (DeformationField(each.field, generator=generator, device=torch.device("cpu")) for each in specs)
    reshaped_values, values = (GopModel(gaussians, field).gop_parameters() for field in fields)

    canonical = render_canonical(values, spec, backend=backend)

    for k in range(spec.n_frames):
        frame = render(values, spec, [frame_time(k, spec.n_frames)], backend=backend)
        assert torch.equal(frame, canonical)
        # The quotient l2 / l3 times l3 may differ from l2 in its last bit.
        reshaped = render(reshaped_values, reshaped_spec, [frame_time(k, spec.n_frames)], backend=backend)
        assert_close(reshaped, canonical, "picture")


@pytest.mark.parametrize(
    ("width", "height", "scale", "expected"),
    [(63, 37, 1.0, (63, 37)), (63, 37, 2.0, (126, 74)), (63, 37, 0.5, (32, 18)), (5, 3, 0.01, (1, 1))],
)
def test_output_size_rounds_and_never_vanishes(make_spec, random_values, width, height, scale, expected):
    spec = make_spec(width=width, height=height)

    image = render(random_values(spec), spec, [0.0], backend="reference", scale=scale)

    assert output_size(spec, scale) == expected
    assert image.shape == (1, expected[1], expected[0], 3)


def test_halving_gives_the_mean_of_the_pixels_it_replaces(make_spec, random_values):
    """The smaller picture is rendered, not resampled, and still close to the means of 2x2 pixels."""
    spec = make_spec(width=48, height=32, n_gaussians=30)
    values = random_values(spec)
    values = values._replace(cholesky=values.cholesky.abs() + 1.0)

    full = render(values, spec, [0.0], backend="reference")[0]
    half = render(values, spec, [0.0], backend="reference", scale=0.5)[0]

    means = full.reshape(16, 2, 24, 2, 3).mean(dim=(1, 3))
    assert (half - means).abs().mean() < 0.05 * means.std()


def test_low_pass_of_the_spec_reaches_the_picture(make_spec, random_values):
    values = random_values(make_spec())
    sharp = render(values, make_spec(), [0.0], backend="reference")
    soft = render(values, make_spec(low_pass=1.0), [0.0], backend="reference")

    assert (soft - sharp).abs().max() > 0.01


def test_gradcheck_of_a_whole_render(make_spec, random_values):
    """The reference in float64: field, deformation, bound and splatting."""
    torch.manual_seed(0)
    spec = make_spec(width=6, height=5, n_gaussians=3, low_pass=0.25)
    values = random_values(spec, dtype=torch.float64, seed=5)
    values = values._replace(cholesky=values.cholesky.abs() + 0.1)
    leaves = [values.means, values.cholesky, values.colors, *values.field[:2], *values.field.weights]
    leaves = [leaf.clone().requires_grad_() for leaf in leaves]

    def image(*tensors: torch.Tensor) -> torch.Tensor:
        means, cholesky, colors, static, dynamic, *weights = tensors
        field = FieldParameters(static, dynamic, FieldWeights(*weights))
        return render(GopParameters(means, cholesky, colors, field), spec, [0.0, 0.6], backend="reference")

    atol = tolerance("render, gradcheck", torch.float64).atol
    assert torch.autograd.gradcheck(image, leaves, eps=1e-6, atol=atol, fast_mode=True)


def test_to_uint8_rounds_half_up_and_clamps():
    samples = [-1.0, 0.0, 0.4999 / 255, 0.5001 / 255, 1.4999 / 255, 1.5001 / 255, 254.5001 / 255, 1.0, 1.7, np.inf]

    assert to_uint8(torch.tensor(samples)).tolist() == [0, 0, 0, 1, 1, 2, 255, 255, 255, 255]


def test_to_uint8_gives_every_level_back():
    levels = torch.arange(256, dtype=torch.uint8)

    assert torch.equal(to_uint8(levels.float() / 255), levels)
