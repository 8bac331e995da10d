from __future__ import annotations

import math

import pytest
import torch
from tolerances import approx, assert_close

from stgvcodec.quant import AffineQuantizer


def _example() -> AffineQuantizer:
    """One component of 2 bits, whose symbols 0 to 3 stand for -1, -0.5, 0 and 0.5."""
    quantizer = AffineQuantizer(1, bits=2)
    quantizer.unit.fill_(0.5)
    quantizer.anchor.fill_(-1.0)
    return quantizer


@pytest.mark.parametrize(
    ("x", "symbol", "grad_x", "grad_scale", "grad_offset"),
    [
        pytest.param(-0.4, 1, 1.0, 1 - 1.2, 0.0, id="inside_rounded_down"),
        pytest.param(-0.15, 2, 1.0, 2 - 1.7, 0.0, id="inside_rounded_up"),
        pytest.param(-0.75, 0, 1.0, 0 - 0.5, 0.0, id="tie_to_even"),
        pytest.param(-1.0, 0, 1.0, 0.0, 0.0, id="at_lower_clamp"),
        pytest.param(0.5, 3, 1.0, 0.0, 0.0, id="at_upper_clamp"),
        pytest.param(-1.1, 0, 0.0, 0.0, 1.0, id="just_below"),
        pytest.param(0.6, 3, 0.0, 3.0, 1.0, id="just_above"),
        pytest.param(-9.0, 0, 0.0, 0.0, 1.0, id="far_below"),
        pytest.param(9.0, 3, 0.0, 3.0, 1.0, id="far_above"),
    ],
)
def test_gradients_by_hand(x, symbol, grad_x, grad_scale, grad_offset):
    quantizer = _example()
    values = torch.tensor([[x]], requires_grad=True)
    upstream = 2.0
    result = quantizer(values)
    result.backward(torch.tensor([[upstream]]))
    assert quantizer.symbols(values).tolist() == [[symbol]]
    assert result.item() == symbol * 0.5 - 1.0
    assert values.grad.item() == upstream * grad_x
    damping = upstream / math.sqrt(1 * 3)
    # gain and shift are relative: d scale / d gain = scale = 0.5, d offset / d shift = unit = 0.5.
    assert quantizer.gain.grad.item() == approx(0.5 * damping * grad_scale, "quantiser, gradient by hand")
    assert quantizer.shift.grad.item() == approx(0.5 * damping * grad_offset, "quantiser, gradient by hand")


def test_gradients_of_scale_and_offset_sum_over_the_values_of_a_component():
    quantizer = AffineQuantizer(2, bits=2)
    x = torch.tensor([[0.25, 5.0], [7.0, 1.25], [-2.0, 6.0]])
    quantizer(x).backward(torch.tensor([[1.0, 1.0], [10.0, 10.0], [100.0, 100.0]]))
    damping = 1 / math.sqrt(3 * 3)
    assert quantizer.gain.grad.tolist() == pytest.approx([damping * (-0.25 + 30.0), damping * (3.0 - 2.5 + 300.0)])
    assert quantizer.shift.grad.tolist() == pytest.approx([damping * 110.0, damping * 101.0])


def test_rounds_rather_than_floors():
    x = torch.rand(20000, 3, generator=torch.Generator().manual_seed(0))
    quantizer = AffineQuantizer()
    quantizer.initialize(x)
    step = quantizer.scale().detach()
    error = (quantizer(x) - x).square().mean(dim=0).detach()
    floor = torch.floor((x - quantizer.offset()) / step) * step + quantizer.offset()
    assert error.numpy() == approx((step.square() / 12).numpy(), "quantiser, mean error")
    assert ((floor - x).square().mean(dim=0) / error).detach().numpy() == approx(4.0, "quantiser, mean error")


@pytest.mark.parametrize("bits", [4, 6, 8])
def test_initialisation_is_no_worse_than_min_max_and_better_with_long_tails(bits):
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(20000, 3, generator=generator)
    x = torch.stack([normal[:, 0], (2 * normal[:, 1]).exp(), torch.cat([normal[1:, 2], torch.tensor([500.0])])], dim=1)
    quantizer, min_max = AffineQuantizer(bits=bits), AffineQuantizer(bits=bits)
    quantizer.initialize(x)
    min_max.unit.copy_((x.amax(dim=0) - x.amin(dim=0)) / min_max.max_symbol)
    min_max.anchor.copy_(x.amin(dim=0))
    fitted = (quantizer(x) - x).square().mean(dim=0)
    plain = (min_max(x) - x).square().mean(dim=0)
    assert (fitted <= plain).all()
    assert (fitted < 0.9 * plain).any() or bits == 8


@pytest.mark.parametrize(
    "x",
    [
        pytest.param([[1.3, -0.2, 7.7]], id="one_gaussian"),
        pytest.param([[0.1, 0.0, -3.3]] * 5, id="all_equal"),
        pytest.param([[1.0, 2.0, 3.0], [1.25, 2.5, 2.0]], id="two_gaussians"),
    ],
)
def test_what_fits_the_symbols_is_exact(x):
    values = torch.tensor(x)
    quantizer = AffineQuantizer()
    quantizer.initialize(values)
    assert_close(quantizer(values), values, "quantiser, exact values")
    if len(set(map(tuple, x))) == 1:
        assert torch.equal(quantizer(values), values)


def test_learned_scale_and_offset_reduce_the_error():
    x = torch.randn(2000, 3, generator=torch.Generator().manual_seed(1)) + torch.tensor([0.0, 5.0, -5.0])
    quantizer = AffineQuantizer(bits=4)
    quantizer.unit.fill_(1.0)
    quantizer.anchor.copy_(torch.tensor([-1.0, 4.0, -6.0]))
    optimizer = torch.optim.SGD(quantizer.parameters(), lr=0.4)
    before = (quantizer(x) - x).square().mean(dim=0).detach()
    for _ in range(300):
        optimizer.zero_grad()
        (quantizer(x) - x).square().sum().div(20).backward()
        optimizer.step()
    after = (quantizer(x) - x).square().mean(dim=0).detach()
    assert (after < 0.1 * before).all()
    fitted = AffineQuantizer(bits=4)
    fitted.initialize(x)
    assert (after < 1.1 * (fitted(x) - x).square().mean(dim=0)).all()


def test_initialise_with_nothing_changes_nothing():
    quantizer = AffineQuantizer()
    quantizer.initialize(torch.zeros(0, 3))
    assert quantizer.scale().tolist() == [1.0, 1.0, 1.0]
    assert quantizer.symbols(torch.zeros(0, 3)).shape == (0, 3)


def test_side_does_not_alias_the_module():
    quantizer = AffineQuantizer()
    side = quantizer.side()
    with torch.no_grad():
        quantizer.gain.add_(1.0)
        quantizer.shift.add_(1.0)
    assert side["scale"].tolist() == [1.0, 1.0, 1.0]
    assert side["offset"].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bits": 0}, "bits is 0, expected 1 to 8"),
        ({"bits": 9}, "bits is 9, expected 1 to 8"),
        ({"n_components": 0}, "n_components is 0"),
    ],
    ids=str,
)
def test_refuses_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        AffineQuantizer(**arguments)


@pytest.mark.parametrize(
    "x",
    [
        pytest.param(torch.zeros(4, 2), id="components"),
        pytest.param(torch.zeros(3), id="dimensions"),
        pytest.param(torch.zeros(4, 3, dtype=torch.float64), id="dtype"),
    ],
)
def test_refuses_inputs(x):
    for method in (AffineQuantizer().forward, AffineQuantizer().symbols, AffineQuantizer().initialize):
        with pytest.raises(ValueError, match=r"affine quantiser got .* expected torch.float32 \[N, 3\]"):
            method(x)
