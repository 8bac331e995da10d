from __future__ import annotations

import numpy as np
import pytest
import torch
from dequantized import dequantized
from tensors import bits

from stgvcodec.quant import HalfFloatQuantizer


def test_every_finite_half_survives():
    patterns = np.arange(2**16, dtype=np.uint32).astype(np.uint16)
    patterns = patterns[np.isfinite(patterns.view(np.float16))]
    values = torch.from_numpy(patterns.view(np.float16).astype(np.float32))
    quantizer = HalfFloatQuantizer()
    assert np.array_equal(quantizer.symbols(values), patterns)
    assert torch.equal(bits(dequantized(quantizer, values)), bits(values))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(1 + 2**-11, 1.0, id="tie_to_even_down"),
        pytest.param(1 + 3 * 2**-11, 1 + 2**-9, id="tie_to_even_up"),
        pytest.param(1 + 2**-11 + 2**-20, 1 + 2**-10, id="above_tie"),
        pytest.param(2.0**-25, 0.0, id="tie_to_zero"),
        pytest.param(2.0**-24, 2.0**-24, id="smallest_subnormal"),
        pytest.param(70000.0, 65504.0, id="overflow"),
        pytest.param(-1e38, -65504.0, id="negative_overflow"),
        pytest.param(float("inf"), 65504.0, id="inf"),
        pytest.param(float("-inf"), -65504.0, id="minus_inf"),
        pytest.param(float("nan"), 0.0, id="nan"),
    ],
)
def test_rounding(value, expected):
    assert HalfFloatQuantizer()(torch.tensor([[value, value]])).tolist() == [[expected, expected]]


def test_agrees_with_numpy_on_random_values():
    x = torch.rand(10000, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
    symbols = HalfFloatQuantizer().symbols(x)
    assert symbols.dtype == np.uint16
    assert np.array_equal(symbols, x.numpy().astype(np.float16).view(np.uint16))


def test_gradient_is_the_identity_even_for_subnormals_and_overflow():
    x = torch.tensor([[0.3, 1e-7], [1e6, -3.0]], requires_grad=True)
    upstream = torch.tensor([[1e-9, 2.0], [3.0, -4e6]])
    HalfFloatQuantizer()(x).backward(upstream)
    # Through .half() the first would become 0 and the last -inf.
    assert torch.equal(x.grad, upstream)
