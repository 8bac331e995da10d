"""Starts and limits of these two quantisers and the meaning of their symbols; tests/ops holds their gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tensors import normal
from tolerances import approx

from stgvcodec.ops.code_length import CodeLengths
from stgvcodec.quant import LogShearQuantizer, YcocgQuantizer


@pytest.mark.parametrize("step", [0.03, 0.2])
def test_diagonals_err_by_half_a_step_of_their_size(step):
    quantizer = LogShearQuantizer(initial_step=step)
    first, shear, last = normal(500, 3).unbind(1)
    x = torch.stack((3 * first.abs(), shear, 20 * last.abs()), dim=1)
    values = quantizer(x)
    for i in (0, 2):
        ratio = (values[:, i] + 0.5) / (x[:, i] + 0.5)
        assert (ratio.log().abs() <= 0.5001 * np.log1p(step) + 1e-6).all()
    shear_error = (values[:, 1] - x[:, 1]).abs() / (values[:, 2] + 0.5)
    assert (shear_error[shear_error < 1.0] <= 0.5001 * step).all()


def test_ycocg_errs_by_half_a_step_of_each_component():
    quantizer = YcocgQuantizer(initial_step=0.02)
    x = 0.3 * normal(500, 3)
    quantizer.initialize(x)
    r, g, b = (quantizer(x) - x).unbind(1)
    y_step, co_step, cg_step = quantizer.scale().tolist()
    symbols = quantizer.symbol_tensor(x)
    inside = ((symbols > 0) & (symbols < 255)).all(dim=1)
    assert inside.float().mean() > 0.99
    for error, step in (((r + 2 * g + b) / 4, y_step), ((r - b) / 2, co_step), ((2 * g - r - b) / 4, cg_step)):
        assert (error[inside].abs() <= 0.5001 * step).all()


def test_ycocg_widens_its_steps_only_where_colours_would_not_be_reached():
    quantizer = YcocgQuantizer(initial_step=0.01)
    quantizer.initialize(0.1 * normal(400, 3))
    narrow = quantizer.scale()
    quantizer.initialize(4.0 * normal(400, 3))
    assert narrow.tolist() == pytest.approx([0.01, 0.012, 0.01])
    assert (quantizer.scale() > narrow).all()


def test_grey_and_round_have_the_middle_symbols():
    grey = torch.tensor([[0.5, 0.5, 0.5]])
    assert YcocgQuantizer(initial_step=0.01).symbols(grey)[0].tolist() == [178, 128, 128]
    assert LogShearQuantizer(initial_step=0.1).symbols(torch.tensor([[0.0, 0.0, 0.0]]))[0].tolist() == [0, 0, 128]


@pytest.mark.parametrize("quantizer", [LogShearQuantizer(), YcocgQuantizer()], ids=["log_shear", "ycocg"])
def test_bits_do_not_change_values_and_are_those_of_the_symbols(quantizer):
    x = normal(63, 3)
    quantizer.initialize(x)
    tables = torch.rand(2, 256, generator=torch.Generator().manual_seed(1))
    rows = torch.randint(0, 2, (3, 63), generator=torch.Generator().manual_seed(2))

    values, bits = quantizer.rated(x, CodeLengths(tables, rows.int()))

    assert torch.equal(values, quantizer(x))
    symbols = torch.from_numpy(quantizer.symbols(x)).long()
    assert float(bits.sum().detach()) == approx(float(tables[rows.t(), symbols].sum()), "bits")


@pytest.mark.parametrize("quantizer", [LogShearQuantizer(), YcocgQuantizer()], ids=["log_shear", "ycocg"])
def test_refuses_inputs(quantizer):
    for call in (quantizer.initialize, quantizer, quantizer.symbols):
        with pytest.raises(ValueError, match=r"expected torch.float32 \[N, 3\]"):
            call(torch.zeros(4, 2))
