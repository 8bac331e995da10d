from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from stgvcodec.errors import BackendUnavailableError
from stgvcodec.ops.dequantize import GopCodes, dequantize
from stgvcodec.quant import affine, half_float, residual_vq, symmetric

SHAPES = {
    "one Gaussian": (1, 1, 1, (1,)),
    "63 Gaussians": (63, 3, 5, (7, 1, 130)),
    "more than a program": (300, 2, 32, (1030, 16, 500)),
    "256 codewords, 8 stages": (20, 8, 256, (64,)),
    "no Gaussian": (0, 2, 4, (10, 6)),
    "no weights": (5, 1, 2, ()),
    "an empty group": (5, 1, 2, (9, 0, 3)),
}


def codes_of(shape, seed: int = 0) -> GopCodes:
    """Codes of every value, scales over the format's range, codewords with negative zeros."""
    n, n_stages, n_codewords, groups = shape
    rng = np.random.default_rng(seed)

    def numbers(*size: int, power: int = 20) -> torch.Tensor:
        return torch.from_numpy(np.exp2(rng.uniform(-power, power, size)).astype(np.float32))

    codebooks = rng.normal(0, 1, (n_stages, n_codewords, 3)).astype(np.float16)
    codebooks[:, 0] = -0.0
    return GopCodes(
        means=torch.from_numpy(rng.uniform(-1.1, 1.1, (n, 2)).astype(np.float16)),
        cholesky=torch.from_numpy(rng.integers(0, 256, (n, 3), np.uint8)),
        cholesky_scale=numbers(3),
        cholesky_offset=-numbers(3),
        color_indices=torch.from_numpy(rng.integers(0, n_codewords, (n, n_stages)).astype(np.uint8)),
        codebooks=torch.from_numpy(codebooks),
        weights=torch.from_numpy(rng.integers(-128, 128, sum(groups)).astype(np.int8)),
        weight_ends=torch.from_numpy(np.cumsum(groups).astype(np.int32)),
        weight_scales=numbers(len(groups), power=90),
    )


def assert_same_bits(actual: torch.Tensor, expected: torch.Tensor) -> None:
    assert actual.dtype == expected.dtype == torch.float32
    assert torch.equal(actual.cpu().view(torch.int32), expected.cpu().view(torch.int32))


def of_the_quantisers(codes: GopCodes) -> tuple[torch.Tensor, ...]:
    ends = [0, *codes.weight_ends.tolist()]
    sizes = [b - a for a, b in pairwise(ends)]
    weights = (
        symmetric.dequantize(codes.weights.numpy(), codes.weight_scales.numpy(), group_sizes=sizes)
        if sizes
        else torch.empty(0)
    )
    return (
        half_float.dequantize(codes.means.numpy().view(np.uint16)),
        affine.dequantize(codes.cholesky.numpy(), codes.cholesky_scale.numpy(), codes.cholesky_offset.numpy()),
        residual_vq.dequantize(codes.color_indices.numpy(), codes.codebooks.numpy().view(np.uint16)),
        weights,
    )


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_reference_has_the_bits_of_the_quantisers(shape):
    codes = codes_of(shape)
    for actual, expected in zip(dequantize(codes, backend="reference"), of_the_quantisers(codes), strict=True):
        assert_same_bits(actual, expected)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_triton_has_the_same_bits(shape, triton_device):
    codes = codes_of(shape)
    on_device = GopCodes(*(tensor.to(triton_device) for tensor in codes))
    expected = dequantize(codes, backend="reference")
    for actual, wanted in zip(dequantize(on_device, backend="triton"), expected, strict=True):
        assert actual.device.type == triton_device.type
        assert_same_bits(actual, wanted)


@pytest.mark.gpu
def test_paper_size_on_the_gpu():
    codes = codes_of((20_000, 3, 32, (1024 * 2,) * 8 + (1024 * 4,) * 8 + (9000, 128, 16384)))
    on_device = GopCodes(*(tensor.cuda() for tensor in codes))
    first, second = (dequantize(on_device, backend="triton") for _ in range(2))
    for a, b, wanted in zip(first, second, of_the_quantisers(codes), strict=True):
        assert_same_bits(a, wanted)
        assert_same_bits(b, wanted)


REFUSED = {
    "dtype": ({"means": torch.zeros(5, 2)}, "means is torch.float32"),
    "shape": ({"cholesky": torch.zeros(4, 3, dtype=torch.uint8)}, r"cholesky is torch.uint8 \[4, 3\]"),
    "codebooks": ({"codebooks": torch.zeros(3, 3, dtype=torch.float16)}, "color_indices is|codebooks is"),
    "groups": ({"weight_ends": torch.zeros(2, dtype=torch.int32)}, "weight_ends is"),
    "no groups": (
        {"weight_ends": torch.zeros(0, dtype=torch.int32), "weight_scales": torch.zeros(0)},
        "12 weights have no group",
    ),
    "strides": ({"cholesky": torch.zeros(3, 5, dtype=torch.uint8).T}, "cholesky is not contiguous"),
}


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(changes, message):
    codes = codes_of((5, 1, 2, (9, 0, 3)))._replace(**changes)
    with pytest.raises(ValueError, match=message):
        dequantize(codes)


def test_there_is_no_numba():
    with pytest.raises(BackendUnavailableError, match="does not have this operator"):
        dequantize(codes_of((1, 1, 1, (1,))), backend="numba")
