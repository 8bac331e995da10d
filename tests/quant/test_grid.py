from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from dequantized import dequantized
from tensors import bits, normal

from stgvcodec.quant import GridQuantizer


def fitted(x: torch.Tensor, cell: float, backend: str = "auto") -> GridQuantizer:
    quantizer = GridQuantizer(backend=backend).to(x.device)
    quantizer.initialize(x, torch.tensor([cell, 2 * cell], device=x.device))
    return quantizer


def points(n: int) -> torch.Tensor:
    return 0.6 * normal(n, 2, seed=n)


@pytest.mark.parametrize("backend", ["reference", "triton"])
@pytest.mark.parametrize("n", [0, 1, 63])
@pytest.mark.parametrize("cell", [1e-7, 3e-3, 0.5])
def test_forward_is_what_is_decoded(triton_device, n, cell, backend):
    """A cell that `MAX_CELL` would not reach is widened; what is no number has a cell all the same."""
    x = points(n).to(triton_device)
    quantizer = fitted(x, cell, backend)
    x = torch.cat((x, torch.tensor([[math.nan, math.inf], [-math.inf, 9.0]], device=triton_device))).requires_grad_()

    values = quantizer(x)

    symbols = quantizer.symbols(x)
    assert symbols.dtype == np.uint16
    assert torch.equal(bits(values), bits(dequantized(quantizer, x)))
    assert torch.isfinite(values).all()
    values.sum().backward()
    assert (x.grad[:n] == 1.0).all()
    assert not x.grad[torch.isinf(x)].any()


@pytest.mark.parametrize("n", [1, 63, 2000])
def test_the_grid_covers_the_means_to_half_a_cell(n):
    x = points(n)
    quantizer = fitted(x, 3e-3)
    error = (quantizer(x) - x).abs()
    scale = torch.from_numpy(quantizer.side()["scale"])
    assert (error <= 0.5001 * scale + 1e-6).all()
    assert (scale >= torch.tensor([3e-3, 6e-3])).all()
    assert (scale <= 1.02 * torch.tensor([3e-3, 6e-3])).all()


def test_means_may_leave_the_box_that_they_were_found_in_on_every_side():
    """The cells are as narrow as they can be, so that the grid ends close behind the means."""
    x = points(63)
    quantizer = fitted(x, 1e-7)
    low, high = x.amin(dim=0), x.amax(dim=0)
    corners = torch.stack((low - 0.01, high + 0.01))
    assert (quantizer(corners) - corners).abs().max() < 2e-4


def test_sides_are_short_numbers():
    """Half of each float32 is zero, which costs next to nothing."""
    side = fitted(points(63), 3e-3).side()
    for array in side.values():
        assert not (array.view(np.uint32) & 0xFFFF).any()
