from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from fits import gop_config, stored_order, trained
from gops import in_order, same_gop

from stgvcodec.bitstream.payload.pack import pack_gop, unpack_gop
from stgvcodec.encoder.encode_gop import GopConfig
from stgvcodec.encoder.gop_symbols import PackedGop, gop_symbols
from stgvcodec.encoder.profiles import PROFILES
from stgvcodec.fit.phases import QUANTIZED_STREAMS
from stgvcodec.fit.trainer import GopTrainer


@pytest.fixture(scope="module", params=list(PROFILES))
def name(request) -> str:
    return request.param


@pytest.fixture(scope="module", params=[1, 3], ids="{} frames".format)
def fit(request, name) -> tuple[GopTrainer, GopConfig]:
    """A fit of 61 Gaussians with every quantiser in use; no test changes it."""
    config = gop_config(name, n_gaussians=61)
    return trained(config, request.param), config


def test_symbols_are_within_the_format(fit):
    trainer, config = fit
    symbols = gop_symbols(trainer)

    symbols.validate()
    assert symbols.header.n_gaussians == trainer.spec.n_gaussians == 61
    assert symbols.header.n_frames == trainer.spec.n_frames
    mode = int(config.profile.name == "compact")
    assert (symbols.header.point_mode, symbols.header.shape_mode, symbols.header.color_mode) == (mode,) * 3
    assert symbols.codebooks.shape == ((0, 0, 3) if mode else (2, 8, 3))
    # Nothing changes in a GoP of one frame, nor do shapes in the paper.
    has_head = config.profile.name == "compact" and trainer.spec.n_frames > 1
    assert symbols.header.shape_head == has_head
    assert len(symbols.mlp_scales) == (10 if has_head else 8)


def test_the_payload_holds_every_symbol(fit):
    symbols = gop_symbols(fit[0])

    unpacked = unpack_gop(pack_gop(symbols))

    assert same_gop(unpacked, in_order(symbols, stored_order(symbols)))


def test_taking_symbols_changes_nothing(fit):
    trainer, _ = fit
    before = {name: value.clone() for name, value in trainer.quantizers.state_dict().items()}

    first = gop_symbols(trainer)

    assert same_gop(first, gop_symbols(trainer))
    after = trainer.quantizers.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_before_fine_tuning_quantisers_are_fitted_to_what_is_there(name):
    """The quantisers are close to the parameters, as if they had just been switched on."""
    config = gop_config(name, n_gaussians=61, profile=PROFILES[name].with_codebooks(3, 32))
    trainer = trained(config, finetuned=False)
    assert trainer.quantizer_cost_db == {}

    gop_symbols(trainer).validate()

    assert trainer.quantizer_cost_db == {}
    with torch.no_grad():
        values = trainer.model.gop_parameters()
        seen, _ = trainer.quantizers.quantize(values, QUANTIZED_STREAMS)
        means_error, colors_error = (seen.means - values.means).abs(), (seen.colors - values.colors).abs()
        assert float(means_error.max()) < 0.05
        assert float(colors_error.mean()) < 0.1 * float(values.colors.std())
    assert trainer.psnr_db(QUANTIZED_STREAMS) > trainer.psnr_db() - 1.0


@pytest.mark.parametrize("kept", [[0], [60], [3, 4, 17], list(range(0, 61, 2)), list(range(61))], ids=len)
def test_some_gaussians_are_those_and_no_others(fit, kept):
    packed = PackedGop.of(fit[0])
    symbols = packed.symbols

    fewer = packed.with_gaussians(np.array(kept))

    some = fewer.symbols
    some.validate()
    assert some.header == dataclasses.replace(symbols.header, n_gaussians=len(kept))
    assert same_gop(some, dataclasses.replace(in_order(symbols, kept), header=some.header))
    assert fewer.payload == pack_gop(some)
    assert unpack_gop(fewer.payload).header == some.header
