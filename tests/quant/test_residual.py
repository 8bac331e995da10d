"""Residuals against the formulas of bitstream_spec.md section 17.2 in float64, the spec's own numbers, and slopes."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from stgvcodec.ops.code_length import CodeLengths
from stgvcodec.quant import Gaussians, ResidualQuantizer, YcocgQuantizer, residual

STEPS = {
    "point_scale": np.array([2e-3, 3e-3], np.float32),
    "shape_scale": np.array([0.06, 0.05, 0.04], np.float32),
    "color_scale": np.array([0.01, 0.012, 0.015], np.float32),
}
# Of x, y, the logarithms of l1 and l3, the shear, Y, Co, Cg.
STEP_OF = np.concatenate(list(STEPS.values()))


def some_gaussians(n: int, seed: int = 0) -> Gaussians:
    """All over the picture, a fifth of the diagonals below their lower bound, colours of both signs."""
    noise = torch.randn(n, 8, generator=torch.Generator().manual_seed(seed))
    cholesky = torch.stack((3 * noise[:, 2] + 2, 2 * noise[:, 3], 5 * noise[:, 4] + 4), dim=1)
    return Gaussians(0.6 * noise[:, :2], cholesky, 0.3 * noise[:, 5:])


def some_residuals(n: int, spread: int = 128, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-spread, spread, (n, 8)).astype(np.int8)


def quantizer_of(before: Gaussians, **steps: np.ndarray) -> ResidualQuantizer:
    return ResidualQuantizer(before, **{**STEPS, **steps})


def bits_of(gaussians: Gaussians) -> Tensor:
    return torch.cat([x.detach().reshape(-1) for x in gaussians]).view(torch.int32)


def by_definition(before: Gaussians, residuals: np.ndarray, steps: np.ndarray) -> tuple[np.ndarray, ...]:
    """Means, raw factors and colours, number by number, in float64."""
    means, cholesky, colors = [], [], []
    for m, c, k, r in zip(*(x.double().tolist() for x in before), residuals.astype(float), strict=True):
        x, y, log1, log3, shear, luma, orange, green = r * steps.astype(float)
        means.append((m[0] + x, m[1] + y))
        base1, base3 = 0.5 + max(c[0], 0.0), 0.5 + max(c[2], 0.0)
        first = min(base1 * math.exp(min(max(log1, -16.0), 16.0)), 2.0**20)
        third = min(base3 * math.exp(min(max(log3, -16.0), 16.0)), 2.0**20)
        cholesky.append((first - 0.5, (c[1] / base3 + shear) * max(third, 0.5), third - 0.5))
        rest = luma - green
        colors.append((k[0] + rest + orange, k[1] + luma + green, k[2] + rest - orange))
    return tuple(np.array(rows).reshape(-1, width) for rows, width in ((means, 2), (cholesky, 3), (colors, 3)))


@pytest.mark.parametrize("n", [0, 1, 63, 100])
@pytest.mark.parametrize("shape_step", [0.002, 0.05, 0.4], ids="shape step {}".format)
def test_values_are_those_of_the_definition(n, shape_step):
    """Steps of 0.4 take factors to both of their bounds."""
    before, residuals = some_gaussians(n), some_residuals(n)
    steps = {**STEPS, "shape_scale": np.array([shape_step, shape_step, 0.04], np.float32)}

    values = residual.dequantize(residuals, **steps, before=before)

    expected = by_definition(before, residuals, np.concatenate(list(steps.values())))
    for ours, theirs in zip(values, expected, strict=True):
        assert ours.dtype == torch.float32
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=3e-6, atol=1e-6)


def test_factors_stop_at_their_bounds():
    """A raw number may be negative; half a pixel, the renderer's lower bound, is what the shear is then of."""
    wide = 2.0**20 - 0.5
    shapes = torch.tensor([[1.5, 1.0, 3.5], [1.5, 1.0, 3.5], [wide, 2.0**19, wide]])
    before = Gaussians(torch.zeros(3, 2), shapes, torch.zeros(3, 3))
    residuals = np.zeros((3, 8), np.int8)
    residuals[:, 2:4] = [[127, 127], [-128, -128], [-128, -128]]
    steps = {**STEPS, "shape_scale": np.array([0.5, 0.5, 0.04], np.float32)}

    widest, thin, less_thin = residual.dequantize(residuals, **steps, before=before).cholesky.tolist()

    assert widest == [wide, 0.25 * 2.0**20, wide]
    assert thin == pytest.approx([2 * math.exp(-16) - 0.5, 0.25 * 0.5, 4 * math.exp(-16) - 0.5])
    # No factor is less than e^-16.
    assert less_thin == pytest.approx([2.0**20 * math.exp(-16) - 0.5, 0.5 * 0.5, 2.0**20 * math.exp(-16) - 0.5])


def spec_rows() -> list[list[np.ndarray]]:
    """Cells of the table of prediction test values: p, raw, k, residuals, mu, raw', c."""
    text = (Path(__file__).parents[2] / "bitstream_spec.md").read_text(encoding="utf-8")
    head = "| p | raw | k | residuals | mu | raw' | c |\n|---|---|---|---|---|---|---|\n"
    table = text.split(head)[1].split("\n\n")[0].splitlines()
    return [[np.array(cell.split(), np.float32) for cell in row.strip("| ").split("|")] for row in table]


@pytest.mark.parametrize("row", spec_rows(), ids=lambda row: "residuals " + " ".join(f"{r:.0f}" for r in row[3]))
def test_test_values_of_the_spec(row):
    p, raw, k, residuals, *expected = row
    size = np.array([40, 27], np.float32)
    means = p * (np.float32(2) / size) - np.float32(1)
    before = Gaussians(*(torch.from_numpy(x[None]) for x in (means, raw, k)))

    values = residual.dequantize(
        residuals[None].astype(np.int8),
        np.array([2**-7, 2**-6], np.float32),
        np.array([0.125, 0.5, 0.25], np.float32),
        np.array([2**-6, 2**-7, 2**-6], np.float32),
        before=before,
    )

    for ours, theirs in zip(values, expected, strict=True):
        np.testing.assert_allclose(ours[0].numpy(), theirs, rtol=1e-6, atol=2e-7)


def test_the_spec_has_test_values():
    assert len(spec_rows()) >= 4


def away_from(before: Gaussians, scale: float) -> Gaussians:
    noise = torch.randn(len(before.means), 8, generator=torch.Generator().manual_seed(7))
    return Gaussians(*(x + scale * part for x, part in zip(before, noise.split((2, 3, 3), dim=1), strict=True)))


INPUTS = {
    "as before": lambda before: before,
    "near": lambda before: away_from(before, 0.02),
    "saturating": lambda before: away_from(before, 30.0),
    "huge": lambda before: away_from(before, 1e30),
    "overflow": lambda before: Gaussians(*(torch.sign(x) * torch.finfo(torch.float32).max for x in before)),
    "tiny": lambda before: Gaussians(*(1e-41 * x for x in before)),
    "below the bound": lambda before: before._replace(cholesky=-before.cholesky.abs() - 0.3),
    "infinite": lambda before: Gaussians(*(torch.where(x > 0, math.inf, -math.inf) for x in before)),
    "NaN": lambda before: Gaussians(*(torch.full_like(x, math.nan) for x in before)),
    "some NaN": lambda before: Gaussians(*(torch.where(x > 0.1, math.nan, 1.1 * x) for x in before)),
}


@pytest.mark.parametrize("moved", [False, True], ids=["first steps", "learned steps"])
@pytest.mark.parametrize("n", [0, 1, 63])
@pytest.mark.parametrize("kind", INPUTS)
def test_forward_is_what_is_decoded(kind, n, moved):
    before = some_gaussians(n)
    quantizer = quantizer_of(before)
    if moved:
        for gain in quantizer.parameters():
            torch.nn.init.normal_(gain, std=0.5)
    x = Gaussians(*(part.detach().clone().requires_grad_() for part in INPUTS[kind](before)))

    values = quantizer(x)

    symbols = quantizer.symbols(x)
    assert symbols.dtype == np.int8
    assert symbols.shape == (n, 8)
    assert torch.equal(bits_of(values), bits_of(residual.dequantize(symbols, **quantizer.side(), before=before)))
    assert all(torch.isfinite(part).all() for part in values)
    assert set(quantizer.side()) == set(STEPS)
    sum(part.sum() for part in values).backward()
    for leaf in (*x, *quantizer.parameters()):
        assert torch.isfinite(leaf.grad).all()


def test_numbers_that_are_none_are_predicted_as_they_are_and_infinite_ones_saturate():
    before = some_gaussians(63)
    quantizer = quantizer_of(before)

    assert not quantizer.symbols(INPUTS["NaN"](before)).any()
    symbols = quantizer.symbols(Gaussians(*(torch.full_like(x, math.inf) for x in before)))

    assert (symbols[:, [0, 1, 2, 3, 4, 5]] == 127).all()  # Grey has no chroma.
    assert not symbols[:, 6:].any()


def test_one_number_that_is_none_leaves_the_others():
    before = some_gaussians(63)
    quantizer = quantizer_of(before)
    x = away_from(before, 0.2)
    expected = quantizer.symbols(x)
    expected[5, 2] = 0
    x.cholesky[5, 0] = math.nan

    assert np.array_equal(quantizer.symbols(x), expected)


def test_gaussians_before_that_are_no_numbers_have_values_all_the_same():
    """A field may make such of means and colours; what is added to them stays what it is."""
    before = some_gaussians(63)
    before.means[0, 0], before.means[1, 1] = math.nan, math.inf
    before.colors[0, 0], before.colors[2, 1] = math.nan, -math.inf
    quantizer = quantizer_of(before)
    x = Gaussians(*(part.clone().requires_grad_() for part in away_from(some_gaussians(63), 0.02)))

    values = quantizer(x)

    decoded = residual.dequantize(quantizer.symbols(x), **quantizer.side(), before=before)
    for ours, theirs in zip(values, decoded, strict=True):
        assert torch.equal(ours.isnan(), theirs.isnan())
        assert torch.equal(ours.nan_to_num(), theirs.nan_to_num())
    assert all(torch.isfinite(part[3:]).all() for part in values)
    sum(part[3:].sum() for part in values).backward()
    for leaf in (*x, *quantizer.parameters()):
        assert torch.isfinite(leaf.grad).all()


@pytest.mark.parametrize("n", [1, 63, 100])
def test_no_residuals_give_back_what_was_before(n):
    before = some_gaussians(n)
    quantizer = quantizer_of(before)

    values = quantizer(before)

    assert not quantizer.symbols(before).any()
    assert torch.equal(values.means, before.means)
    assert torch.equal(values.colors, before.colors)
    rendered = before.cholesky.clone()
    rendered[:, ::2].clamp_(min=0.0)
    torch.testing.assert_close(values.cholesky, rendered, rtol=1e-6, atol=1e-6)


def test_residuals_err_by_half_a_step():
    before = some_gaussians(500)
    x = away_from(before, 0.2)
    x.cholesky[:, ::2] = x.cholesky[:, ::2].clamp(min=0.0)
    quantizer = quantizer_of(before)
    values, symbols = quantizer(x), quantizer.symbols(x)

    def natural(gaussians: Gaussians) -> Tensor:
        means, cholesky, colors = (part.detach().double() for part in gaussians)
        diagonal = cholesky[:, ::2] + 0.5
        shear = cholesky[:, 1] / diagonal[:, 1].clamp(min=0.5)
        r, g, b = colors.unbind(1)
        ycocg = torch.stack(((r + 2 * g + b) / 4, (r - b) / 2, (2 * g - r - b) / 4), dim=1)
        return torch.cat((means, diagonal.log(), shear[:, None], ycocg), dim=1)

    error = (natural(values) - natural(x)).abs().numpy() / STEP_OF
    inside = np.abs(symbols.astype(int)) < 127
    assert 0.5 < inside.mean() < 1.0
    assert error[inside].max() < 0.51
    assert error[inside].max(initial=0.0) > 0.49


def test_colours_that_are_added_to_black_are_those_of_the_quantiser_for_key_gops():
    """The same codes, values and slopes, learned steps included."""
    black = some_gaussians(63)._replace(colors=torch.zeros(63, 3))
    ours, theirs = quantizer_of(black), YcocgQuantizer()
    theirs.unit.copy_(torch.from_numpy(STEPS["color_scale"]))
    with torch.no_grad():
        for gain in (ours.color_gain, theirs.gain):
            gain.copy_(torch.tensor([0.2, -0.1, 0.3]))
    colors = [torch.randn(63, 3, generator=torch.Generator().manual_seed(1)).requires_grad_() for _ in range(2)]
    upstream = torch.randn(63, 3, generator=torch.Generator().manual_seed(2))

    values = ours(black._replace(colors=colors[0])).colors, theirs(colors[1])

    assert torch.equal(*values)
    for part in values:
        (part * upstream).sum().backward()
    torch.testing.assert_close(colors[0].grad, colors[1].grad, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours.color_gain.grad, theirs.gain.grad, rtol=1e-4, atol=1e-5)


def leaves_away_from(before: Gaussians, scale: float) -> Gaussians:
    x = away_from(before, scale)
    x.cholesky[:, ::2] = x.cholesky[:, ::2].clamp(min=0.01)
    return Gaussians(*(part.requires_grad_() for part in x))


def test_gradients_of_means_and_colours_pass_inside_and_stop_where_residuals_saturate():
    before = some_gaussians(100)
    quantizer = quantizer_of(before)
    x = leaves_away_from(before, 1.0)
    upstream = Gaussians(*(torch.randn(part.shape, generator=torch.Generator().manual_seed(3)) for part in x))

    values = quantizer(x)
    sum((a * b).sum() for a, b in zip(values, upstream, strict=True)).backward()

    ratios = (x.means - before.means).detach().numpy() / STEPS["point_scale"]
    inside = torch.from_numpy((ratios >= -128) & (ratios <= 127))
    assert 0.05 < inside.float().mean() < 0.95
    torch.testing.assert_close(x.means.grad, torch.where(inside, upstream.means, 0.0), rtol=1e-6, atol=0.0)
    codes = torch.from_numpy(quantizer.symbols(x)[:, 5:]).int()
    within = ((codes > -128) & (codes < 127)).all(dim=1)
    outside = ((codes == -128) | (codes == 127)).all(dim=1)
    assert within.any()
    torch.testing.assert_close(x.colors.grad[within], upstream.colors[within], rtol=1e-5, atol=1e-6)
    assert not x.colors.grad[outside].any()


def test_shapes_that_saturate_have_no_gradient():
    before = some_gaussians(63)
    cholesky = torch.tensor([[2.0**19, -(2.0**19) * 200.0, 2.0**19]]).expand(63, 3).clone().requires_grad_()
    quantizer = quantizer_of(before)

    quantizer(before._replace(cholesky=cholesky)).cholesky.sum().backward()

    assert (quantizer.symbols(before._replace(cholesky=cholesky))[:, 2:5] == [127, 127, -128]).all()
    assert not cholesky.grad.any()


def test_gradients_of_shapes_are_those_without_rounding():
    """With steps so fine that they hardly round, the whole is the identity."""
    before = some_gaussians(63)
    fine = np.array([2.0**-10, 2.0**-10, 2.0**-8], np.float32)
    quantizer = quantizer_of(before, shape_scale=fine)
    x = before.cholesky.clone()
    x[:, ::2] = x[:, ::2].clamp(min=0.0) * 1.02 + 0.01
    x[:, 1] += 0.02
    x.requires_grad_()
    upstream = torch.randn(63, 3, generator=torch.Generator().manual_seed(4))

    values = quantizer(before._replace(cholesky=x)).cholesky
    (values * upstream).sum().backward()

    torch.testing.assert_close(x.grad, upstream, rtol=5e-3, atol=5e-3)


def test_an_error_lifts_diagonals_that_lie_under_their_bound():
    """Those of thin Gaussians may, after residuals below zero; no error pushes them further down."""
    before = some_gaussians(63)
    cholesky = torch.tensor([[-0.4, 0.3, -0.2]]).expand(63, 3).clone().requires_grad_()
    quantizer = quantizer_of(before, shape_scale=np.array([0.2, 0.2, 0.2], np.float32))
    values = quantizer(before._replace(cholesky=cholesky)).cholesky[:, ::2]

    (lifted,) = torch.autograd.grad(-values.sum(), cholesky, retain_graph=True)
    (pushed,) = torch.autograd.grad(values.sum(), cholesky)

    inside = torch.from_numpy(quantizer.symbols(before._replace(cholesky=cholesky))[:, 2:4] > -128)
    assert inside.any()
    assert (lifted[:, ::2][inside] < 0).all()
    assert not pushed[:, ::2].any()


def straight_through(before: Gaussians, x: Gaussians, gains: Tensor) -> Gaussians:
    """Values, rounding having the gradient of what is rounded; in float64 and by plain operations."""
    steps = torch.from_numpy(STEP_OF).double() * torch.cat((torch.zeros(2), gains)).exp()
    old, new = (
        torch.cat(
            (
                means,
                (cholesky[:, ::2].clamp(min=0.0) + 0.5).log(),
                (cholesky[:, 1] / (cholesky[:, 2].clamp(min=0.0) + 0.5))[:, None],
                colors @ torch.tensor([[0.25, 0.5, -0.25], [0.5, 0.0, 0.5], [0.25, -0.5, -0.25]]).double(),
            ),
            dim=1,
        )
        for means, cholesky, colors in (before, x)
    )
    ratios = (new - old) / steps
    rounded = ratios + (ratios.round() - ratios).detach()
    saturated = (ratios < -128) | (ratios > 127)
    rounded = torch.where(saturated, ratios.detach().clamp(-128, 127).round(), rounded)
    moved = old + rounded * steps
    l1, l3 = moved[:, 2].exp(), moved[:, 3].exp()
    y, co, cg = moved[:, 5:].unbind(1)
    return Gaussians(
        moved[:, :2],
        torch.stack((l1 - 0.5, moved[:, 4] * l3.clamp(min=0.5), l3 - 0.5), dim=1),
        torch.stack((y - cg + co, y + cg, y - cg - co), dim=1),
    )


@pytest.mark.parametrize("scale", [0.02, 1.0], ids=["inside", "some saturated"])
def test_gradients_are_those_of_straight_through_rounding(scale):
    """Of every number and of the learned steps, as LSQ has them."""
    before = some_gaussians(63)
    quantizer = quantizer_of(before)
    gains = torch.tensor([0.1, -0.2, 0.3, -0.1, 0.2, 0.05], dtype=torch.float64)
    with torch.no_grad():
        quantizer.shape_gain.copy_(gains[:3])
        quantizer.color_gain.copy_(gains[3:])
    gains.requires_grad_()
    x = leaves_away_from(before, scale)
    double = [Gaussians(*(part.detach().double() for part in which)) for which in (before, x)]
    for part in double[1]:
        part.requires_grad_()
    upstream = [torch.randn(part.shape, generator=torch.Generator().manual_seed(5)) for part in x]

    values, expected = quantizer(x), straight_through(*double, gains)
    for ours, theirs, up in zip(values, expected, upstream, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-5, atol=1e-5)
        (ours * up).sum().backward(retain_graph=True)
        (theirs * up).sum().backward(retain_graph=True)

    saturated = np.isin(quantizer.symbols(x), (-128, 127)).any()
    assert saturated == (scale == 1.0)
    for ours, theirs in zip(x, double[1], strict=True):
        torch.testing.assert_close(ours.grad.double(), theirs.grad, rtol=1e-4, atol=1e-4)
    own = torch.cat((quantizer.shape_gain.grad, quantizer.color_gain.grad)).double()
    assert own.abs().min() > 0
    torch.testing.assert_close(own, gains.grad, rtol=1e-3, atol=1e-3 * float(gains.grad.abs().max()))


def test_steps_stay_within_their_limits_and_have_no_gradient_there():
    quantizer = quantizer_of(some_gaussians(63))
    with torch.no_grad():
        quantizer.shape_gain.copy_(torch.tensor([9.0, -9.0, 20.0]))
        quantizer.color_gain.copy_(torch.tensor([40.0, -80.0, 0.0]))

    side = quantizer.side()
    sum(part.sum() for part in quantizer(away_from(some_gaussians(63), 0.1))).backward()

    assert side["shape_scale"].tolist() == [0.5, 2.0**-10, 2.0**10]
    assert side["color_scale"].tolist() == [2.0**10, 2.0**-40, STEPS["color_scale"][2]]
    assert side["point_scale"].tolist() == STEPS["point_scale"].tolist()
    assert not quantizer.shape_gain.grad.any()
    assert (quantizer.color_gain.grad != 0).tolist() == [False, False, True]


@pytest.mark.parametrize("n", [0, 1, 63])
def test_bits_do_not_change_values_and_are_those_of_the_symbols(n):
    before = some_gaussians(n)
    quantizer = quantizer_of(before)
    x = Gaussians(*(part.requires_grad_() for part in away_from(before, 0.2)))
    tables = torch.rand(3, 256, generator=torch.Generator().manual_seed(1))
    rows = torch.randint(0, 3, (8, n), generator=torch.Generator().manual_seed(2))

    values, bits = quantizer.rated(x, CodeLengths(tables, rows.int()))

    assert torch.equal(bits_of(values), bits_of(quantizer(x)))
    symbols = torch.from_numpy(quantizer.symbols(x)).long() + 128
    assert bits.shape == (1,)
    assert float(bits.detach()) == pytest.approx(float(tables[rows.t(), symbols].sum()), rel=1e-5)
    bits.sum().backward()
    assert all(bool(part.grad.any()) == (n > 0) for part in x)


def test_codes_are_the_symbols():
    before = some_gaussians(63)
    quantizer = quantizer_of(before)
    x = away_from(before, 1.0)
    codes = quantizer.codes(x)
    assert codes.dtype == torch.int64
    assert np.array_equal(codes.numpy(), quantizer.symbols(x))


def test_steps_are_copies_of_what_they_began_with():
    steps = {name: step.copy() for name, step in STEPS.items()}
    quantizer = ResidualQuantizer(some_gaussians(1), **steps)
    for step in steps.values():
        step[:] = 7.0
    for name, step in quantizer.side().items():
        assert step.dtype == np.float32
        assert np.array_equal(step, STEPS[name])


def test_dequantize_refuses_mismatches():
    before = some_gaussians(63)
    good = some_residuals(63)
    with pytest.raises(ValueError, match=r"residuals are uint8 \[63, 8\], expected int8 \[63, 8\]"):
        residual.dequantize(good.view(np.uint8), **STEPS, before=before)
    for bad in (good[:62], good[:, :7]):
        with pytest.raises(ValueError, match=r"residuals are int8 \[6\d, \d\], expected int8 \[63, 8\]"):
            residual.dequantize(bad, **STEPS, before=before)
    for name, bad, shown in (
        ("point_scale", STEPS["point_scale"][:1], r"float32 \[7\]"),
        ("shape_scale", STEPS["shape_scale"].astype(np.float64), r"float64 \[8\]"),
        ("color_scale", np.ones(4, np.float32), r"float32 \[9\]"),
    ):
        with pytest.raises(ValueError, match=rf"steps of residuals are {shown}, expected float32 \[2\], \[3\], \[3\]"):
            residual.dequantize(good, **{**STEPS, name: bad}, before=before)
