"""What every quantiser promises: forward is the decoder's value, bit for bit, for any input."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from dequantized import dequantized
from tensors import bits, normal
from torch import Tensor

from stgvcodec import quant
from stgvcodec.ops.dequantize import reference

ROWS = 12
GROUP_SHARES = (0, 5, 0, 6, 1)

INPUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "normal": lambda noise: noise,
    "tiny": lambda noise: noise * 1e-30,
    "subnormal": lambda noise: noise * 1e-41,
    "huge": lambda noise: noise * 1e30,
    "overflow": lambda noise: torch.sign(noise) * torch.finfo(torch.float32).max,
    "around_half_max": lambda noise: torch.sign(noise) * (65504 + 40 * noise.abs()),
    "all_equal": lambda noise: torch.full_like(noise, 0.3),
    "all_zero": torch.zeros_like,
    "negative_zero": lambda noise: torch.full_like(noise, -0.0),
    "two_values": lambda noise: torch.where(noise > 0, 1.7, -0.1),
    "almost_equal": lambda noise: 1.0 + torch.sign(noise) * 2.0**-23,
    "one_outlier": lambda noise: torch.where(torch.arange(len(noise))[:, None] == 0, 1e6, noise * 1e-3),
    "nan_and_inf": lambda noise: torch.where(noise > 1, torch.inf, torch.where(noise < -1, torch.nan, noise)),
    "minus_inf": lambda noise: torch.where(noise > 0, -torch.inf, noise),
}


def _grouped(n_rows: int) -> quant.SymmetricQuantizer:
    sizes = [share * n_rows // ROWS for share in GROUP_SHARES]
    sizes[3] += n_rows - sum(sizes)
    return quant.SymmetricQuantizer([3 * size for size in sizes])


QUANTIZERS: dict[str, Callable[[int], torch.nn.Module]] = {
    "half_float": lambda _: quant.HalfFloatQuantizer(),
    "affine8": lambda _: quant.AffineQuantizer(),
    "affine1": lambda _: quant.AffineQuantizer(bits=1),
    "affine6": lambda _: quant.AffineQuantizer(bits=6),
    "residual_vq": lambda _: quant.ResidualVectorQuantizer(),
    "residual_vq_1x1": lambda _: quant.ResidualVectorQuantizer(n_stages=1, codebook_size=1),
    "residual_vq_3x256": lambda _: quant.ResidualVectorQuantizer(n_stages=3, codebook_size=256),
    "symmetric8": lambda _: quant.SymmetricQuantizer(),
    "symmetric2": lambda _: quant.SymmetricQuantizer(bits=2),
    "symmetric_grouped": _grouped,
    "log_shear": lambda _: quant.LogShearQuantizer(),
    "log_shear_fine": lambda _: quant.LogShearQuantizer(initial_step=0.005),
    "ycocg": lambda _: quant.YcocgQuantizer(),
}
NAMES = tuple(QUANTIZERS)


def _laid_out(quantizer: torch.nn.Module, x: Tensor) -> Tensor:
    """The values as the quantiser takes them: groups are parts of a flat vector."""
    return x.reshape(-1) if getattr(quantizer, "group_sizes", None) is not None else x


def _forward(quantizer: torch.nn.Module, x: Tensor) -> Tensor:
    result = quantizer(x)
    return result[0] if isinstance(result, tuple) else result


def _assert_one_value(quantizer: torch.nn.Module, x: Tensor) -> None:
    value = _forward(quantizer, x)
    decoded = dequantized(quantizer, x)
    assert value.dtype == decoded.dtype == torch.float32
    assert value.shape == decoded.shape == x.shape
    assert torch.equal(bits(value), bits(decoded))
    assert torch.isfinite(value).all()
    for array in quantizer.side().values():
        as_float = array.view(np.float16) if array.dtype == np.uint16 else array
        assert np.isfinite(as_float).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n_rows", [0, 1, 2, 100])
@pytest.mark.parametrize("kind", INPUTS)
def test_forward_is_what_is_decoded(name, n_rows, kind):
    noise = normal(n_rows, 3, seed=n_rows)
    quantizer = QUANTIZERS[name](n_rows)
    x = _laid_out(quantizer, INPUTS[kind](noise)).requires_grad_()
    _assert_one_value(quantizer, x)
    quantizer.initialize(x)
    _assert_one_value(quantizer, x)
    for parameter in quantizer.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    _assert_one_value(quantizer, x)
    _forward(quantizer, x).sum().backward()
    assert torch.isfinite(x.grad).all()
    for parameter in quantizer.parameters():
        assert torch.isfinite(parameter.grad).all()


@pytest.mark.parametrize("name", NAMES)
def test_forward_is_what_is_decoded_during_training(name):
    generator = torch.Generator().manual_seed(3)
    quantizer = QUANTIZERS[name](200)
    x = _laid_out(quantizer, torch.randn(200, 3, generator=generator)).requires_grad_()
    quantizer.initialize(x)
    optimizer = torch.optim.Adam([x, *quantizer.parameters()], lr=0.02)
    for step in range(25):
        optimizer.zero_grad()
        (_forward(quantizer, x) - torch.randn(x.shape, generator=generator)).square().mean().backward()
        optimizer.step()
        if isinstance(quantizer, quant.ResidualVectorQuantizer):
            quantizer.update(x)
            if step % 10 == 9:
                quantizer.restart_unused(x)
        _assert_one_value(quantizer, x)


def test_naive_straight_through_would_differ():
    x = normal(20000, 3)
    quantizer = quant.ResidualVectorQuantizer()
    quantizer.initialize(x)
    decoded = dequantized(quantizer, x)
    naive = x + (decoded - x)
    assert (naive != decoded).float().mean() > 0.01


def test_product_and_sum_round_one_after_the_other():
    generator = np.random.default_rng(0)
    symbols = generator.integers(0, 256, (5000, 3), dtype=np.uint8)
    scale = generator.random(3, dtype=np.float32)
    offset = generator.standard_normal(3, dtype=np.float32)
    two_roundings = (symbols.astype(np.float32) * scale).astype(np.float32) + offset
    fused = (symbols.astype(np.float64) * scale + offset).astype(np.float32)
    assert (two_roundings != fused).any()
    assert np.array_equal(reference.affine(symbols, scale, offset), two_roundings)


@pytest.mark.parametrize("name", ["affine8", "residual_vq", "symmetric8", "symmetric_grouped", "log_shear", "ycocg"])
def test_same_symbols_and_side_for_any_number_of_threads(name):
    x = normal(20000, 3)
    results = []
    for n_threads in (1, 2, 3):
        torch.set_num_threads(n_threads)
        quantizer = QUANTIZERS[name](20000)
        x = _laid_out(quantizer, x)
        quantizer.initialize(x)
        if isinstance(quantizer, quant.ResidualVectorQuantizer):
            for _ in range(3):
                quantizer.update(x)
            quantizer.restart_unused(x)
        results.append((quantizer.symbols(x), quantizer.side()))
    for symbols, side in results[1:]:
        assert np.array_equal(symbols, results[0][0])
        assert all(array.tobytes() == results[0][1][key].tobytes() for key, array in side.items())


@pytest.mark.parametrize("name", NAMES)
def test_state_dict_restores_symbols_and_side(name):
    trained = QUANTIZERS[name](ROWS)
    x = _laid_out(trained, normal(ROWS, 3, seed=1))
    trained.initialize(x)
    restored = QUANTIZERS[name](ROWS)
    restored.load_state_dict(trained.state_dict())
    assert np.array_equal(trained.symbols(x), restored.symbols(x))
    for key, array in trained.side().items():
        assert array.tobytes() == restored.side()[key].tobytes()


# Under the interpreter 256 codewords take seconds.
@pytest.mark.parametrize("name", [name for name in NAMES if name != "residual_vq_3x256"])
def test_triton_decodes_the_same_bits(name, triton_device):
    """Its scales may differ in the last place from the reference's; what it transmits is what it computes with."""
    quantizer = QUANTIZERS[name](20)
    for module in quantizer.modules():
        module.backend = "triton"
    x = _laid_out(quantizer, normal(20, 3, seed=2)).to(triton_device)
    quantizer.to(triton_device).initialize(x)
    for parameter in quantizer.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    _assert_one_value(quantizer, x)


@pytest.mark.gpu
@pytest.mark.parametrize("name", NAMES)
def test_cuda_decodes_the_same_bits(name):
    quantizer = QUANTIZERS[name](5000).cuda()
    x = _laid_out(quantizer, normal(5000, 3, seed=2)).cuda()
    quantizer.initialize(x)
    for parameter in quantizer.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    value = _forward(quantizer, x)
    assert torch.equal(bits(value), bits(dequantized(quantizer, x)))
