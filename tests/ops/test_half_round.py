from __future__ import annotations

import math

import pytest
import torch
from tensors import bits, normal

from stgvcodec.ops.half_round import half_round

SPECIAL = [math.nan, math.inf, -math.inf, -0.0, 65504.0, 65519.9, 65520.0, -7e4, 1e38, 2.0**-24, 2.0**-25, 3e-8, 1e-41]


@pytest.mark.parametrize("shape", [(0, 2), (1, 2), (63, 2), (700,), (2, 3, 5)], ids=str)
def test_triton_gives_the_bits_of_the_reference(triton_device, shape):
    x = normal(*shape).mul_(3.0)
    x.view(-1)[: len(SPECIAL)] = torch.tensor(SPECIAL)[: x.numel()]
    x = x.to(triton_device).requires_grad_()
    values = half_round(x, backend="triton")
    truth = half_round(x, backend="reference")
    assert values.shape == x.shape
    assert torch.equal(bits(values), bits(truth))
    assert torch.isfinite(values).all()
    upstream = normal(*shape, seed=1).to(triton_device)
    values.backward(upstream)
    assert torch.equal(x.grad, upstream)


def test_a_transposed_input(triton_device):
    x = normal(5, 7).to(triton_device).t()
    assert torch.equal(half_round(x, backend="triton"), half_round(x, backend="reference"))


def test_refuses_other_dtypes():
    with pytest.raises(ValueError, match=r"x is torch.float64, expected torch.float32"):
        half_round(torch.zeros(2, dtype=torch.float64))


@pytest.mark.gpu
def test_every_half_and_what_lies_between():
    patterns = torch.arange(2**16, dtype=torch.int32, device="cuda").to(torch.int16)
    halves = patterns.view(torch.float16).float()
    for x in (halves, torch.nextafter(halves, halves * 2), (halves + halves.roll(1)) / 2):
        values, truth = half_round(x, backend="triton"), half_round(x, backend="reference")
        assert torch.equal(bits(values), bits(truth))
