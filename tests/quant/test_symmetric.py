from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tolerances import approx

from stgvcodec.quant import SymmetricQuantizer


@pytest.mark.parametrize(
    ("x", "symbol", "grad_x", "grad_scale"),
    [
        pytest.param(0.7, 1, 1.0, 1 - 1.4, id="inside"),
        pytest.param(-0.7, -1, 1.0, -1 + 1.4, id="inside_negative"),
        pytest.param(0.25, 0, 1.0, 0 - 0.5, id="tie_to_even"),
        pytest.param(1.5, 3, 1.0, 0.0, id="at_upper_clamp"),
        pytest.param(-2.0, -4, 1.0, 0.0, id="at_lower_clamp"),
        pytest.param(1.6, 3, 0.0, 3.0, id="just_above"),
        pytest.param(-2.1, -4, 0.0, -4.0, id="just_below"),
        pytest.param(50.0, 3, 0.0, 3.0, id="far_above"),
        pytest.param(0.0, 0, 1.0, 0.0, id="zero"),
    ],
)
def test_gradients_by_hand(x, symbol, grad_x, grad_scale):
    quantizer = SymmetricQuantizer(bits=3)
    quantizer.unit.fill_(0.5)
    values = torch.tensor([[x]], requires_grad=True)
    upstream = -2.0
    result = quantizer(values)
    result.backward(torch.tensor([[upstream]]))
    assert quantizer.symbols(values).tolist() == [[symbol]]
    assert result.item() == symbol * 0.5
    assert values.grad.item() == upstream * grad_x
    assert quantizer.gain.grad.item() == approx(
        0.5 * upstream * grad_scale / math.sqrt(1 * 3), "quantiser, gradient by hand"
    )


def test_each_group_has_its_own_scale_and_gradient():
    quantizer = SymmetricQuantizer([4, 0, 2], bits=3)
    quantizer.unit.copy_(torch.tensor([1.0, 1.0, 10.0]))
    result = quantizer(torch.tensor([0.75, 9.0, 0.0, -9.0, 4.0, 90.0]))
    assert result.tolist() == [1.0, 3.0, 0.0, -4.0, 0.0, 30.0]
    result.backward(torch.tensor([1.0, 1.0, 1.0, 2.0, 1.0, 1.0]))
    first = (0.25 + 3.0 + 0.0 - 8.0) / math.sqrt(4 * 3)
    last = 10.0 * (-0.4 + 3.0) / math.sqrt(2 * 3)
    assert quantizer.gain.grad.tolist() == pytest.approx([first, 0.0, last])


def test_grouped_equals_separate_quantisers():
    x = torch.randn(30, generator=torch.Generator().manual_seed(0)) * torch.logspace(-4, 2, 30)
    sizes = (7, 3, 20)
    grouped = SymmetricQuantizer(sizes)
    grouped.initialize(x)
    start = 0
    for size in sizes:
        single = SymmetricQuantizer()
        single.initialize(x[start : start + size])
        assert torch.equal(single(x[start : start + size]), grouped(x)[start : start + size])
        start += size


def test_zero_stays_exactly_zero_without_a_sign():
    x = torch.tensor([0.0, -0.0, -1e-9, 1e-9, 1.0])
    quantizer = SymmetricQuantizer()
    quantizer.initialize(x)
    value = quantizer(x).detach()
    assert value[:4].view(torch.int32).tolist() == [0, 0, 0, 0]
    assert value[4] != 0


@pytest.mark.parametrize("kind", ["normal", "uniform", "laplace", "one_outlier"])
def test_initial_scale_beats_both_plain_choices(kind):
    generator = torch.Generator().manual_seed(0)
    uniform = torch.rand(5000, generator=generator) * 2 - 1
    x = {
        "normal": torch.randn(5000, generator=generator),
        "uniform": uniform,
        "laplace": -torch.sign(uniform) * torch.log1p(-uniform.abs()),
        "one_outlier": torch.cat([uniform[1:] * 1e-4, torch.tensor([0.01])]),
    }[kind]
    quantizer = SymmetricQuantizer()
    quantizer.initialize(x)
    fitted = (quantizer(x) - x).square().mean().item()
    for scale in (2 * x.abs().mean() / math.sqrt(127), x.abs().max() / 127):
        plain = SymmetricQuantizer()
        plain.unit.fill_(scale.item())
        assert fitted <= (plain(x) - x).square().mean().item()
    # The uniform distribution's 2^-16 of the energy, with room for long tails; the outlier alone has its own price.
    assert fitted < (0.02 if kind == "one_outlier" else 2.5e-4) * x.square().mean().item()


@pytest.mark.parametrize("shape", [(0,), (0, 2), (6,), (3, 2), (1,)])
def test_all_zero_groups(shape):
    x = torch.zeros(shape)
    quantizer = SymmetricQuantizer()
    quantizer.initialize(x)
    assert quantizer.side()["scales"] > 0
    assert not quantizer.symbols(x).any()
    assert torch.equal(quantizer(x), x)


def test_learned_scale_reduces_the_error():
    x = torch.randn(3000, generator=torch.Generator().manual_seed(0))
    fitted = SymmetricQuantizer(bits=4)
    fitted.initialize(x)
    best = (fitted(x) - x).square().mean().item()
    for start in (0.05, 2.0):
        quantizer = SymmetricQuantizer(bits=4)
        quantizer.unit.fill_(start)
        optimizer = torch.optim.SGD(quantizer.parameters(), lr=0.3)
        before = (quantizer(x) - x).square().mean().item()
        for _ in range(300):
            optimizer.zero_grad()
            (quantizer(x) - x).square().sum().div(20).backward()
            optimizer.step()
        after = (quantizer(x) - x).square().mean().item()
        assert after < 0.5 * before
        assert after < 1.02 * best


def test_uses_every_symbol():
    symbols = np.arange(-128, 128).astype(np.int8)
    quantizer = SymmetricQuantizer()
    values = torch.arange(-128, 128) * 0.5
    quantizer.unit.fill_(0.5)
    assert np.array_equal(quantizer.symbols(values), symbols)
    assert quantizer.symbols(values * 3).min() == -128
    assert quantizer.symbols(values * 3).max() == 127


@pytest.mark.parametrize("bits", [1, 9])
def test_refuses_bits(bits):
    with pytest.raises(ValueError, match=f"bits is {bits}, expected 2 to 8"):
        SymmetricQuantizer(bits=bits)


@pytest.mark.parametrize("sizes", [[], [3, -1]])
def test_refuses_group_sizes(sizes):
    with pytest.raises(ValueError, match="group_sizes is"):
        SymmetricQuantizer(sizes)


def test_refuses_inputs():
    with pytest.raises(ValueError, match=r"expected torch\.float32"):
        SymmetricQuantizer()(torch.zeros(3, dtype=torch.float64))
    for shape in ((4,), (5, 2), (5, 1)):
        with pytest.raises(ValueError, match=r"got shape \[.*\], expected 5 values in one dimension"):
            SymmetricQuantizer([2, 3])(torch.zeros(shape))
