"""Landing a predicted GoP on its bytes: its Gaussians stay, residuals go."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch
from fits import fitted, gop_config, noisy_clip

from stgvcodec.bitstream.gop_predicted.payload import pack_predicted_gop, predicted_stream_bytes, unpack_predicted_gop
from stgvcodec.bitstream.gop_predicted.symbols import PredictedGopSymbols
from stgvcodec.encoder.encode_gop import GopConfig, encode_gop, fit_phases, make_trainer
from stgvcodec.encoder.gop_symbols import gop_symbols, packed
from stgvcodec.encoder.size_control import aim_at, resize_to, trimmed_payload
from stgvcodec.fit.resize import by_importance
from stgvcodec.fit.trainer import GopTrainer

N = 150
CLIP = noisy_clip(6)


@pytest.fixture(scope="module")
def config() -> GopConfig:
    """Predicted from a GoP of the clip's first three frames."""
    before = encode_gop(CLIP[:3], gop_config("compact", n_gaussians=N), 0).as_predecessor
    # What bits are worth after so short a fit leaves next to no residuals.
    return gop_config("compact", n_gaussians=7, before=dataclasses.replace(before, bit_weight=1e-8))


def predicted(config: GopConfig, *, finetuned: bool) -> GopTrainer:
    trainer = make_trainer(CLIP[3:], config, 0)
    phases, finetuning = fit_phases(config, 3, has_paths=False)
    for phase in (*phases, *(finetuning if finetuned else ())):
        trainer.run(phase)
    return trainer


@pytest.fixture(scope="module")
def finished(config) -> GopTrainer:
    """At the end of a fit; no test changes it."""
    return predicted(config, finetuned=True)


@pytest.fixture(scope="module")
def before_fine_tuning(config) -> GopTrainer:
    """Before its quantisers are in use; tests change copies of it."""
    return predicted(config, finetuned=False)


@pytest.fixture
def unquantized(before_fine_tuning) -> GopTrainer:
    return copy.deepcopy(before_fine_tuning)


def all_symbols(trainer: GopTrainer) -> PredictedGopSymbols:
    symbols = gop_symbols(trainer)
    assert isinstance(symbols, PredictedGopSymbols)
    return symbols


def target_of(trainer: GopTrainer, share: float) -> int:
    """Bytes that leave so much of the stream of residuals."""
    streams = predicted_stream_bytes(packed(all_symbols(trainer)))
    return sum(streams.values()) - round((1.0 - share) * streams["residuals"])


def set_of(trainer: GopTrainer) -> list[torch.Tensor]:
    return [x.detach().clone() for x in trainer.model.values()[:3]]


def test_the_gop_before_decides_how_many_gaussians_there_are(config, finished):
    assert config.n_gaussians != N
    assert finished.spec.n_gaussians == N
    assert unpack_predicted_gop(packed(all_symbols(finished))).header.n_gaussians == N


@pytest.mark.parametrize("share", [0.99, 0.9, 0.7, 0.5, 0.3, 0.15])
def test_a_trimmed_payload_is_never_too_large_and_drops_no_more_than_it_must(finished, share):
    target = target_of(finished, share)

    payload, n = trimmed_payload(finished, target)

    assert n == N == unpack_predicted_gop(payload).header.n_gaussians
    assert 0.97 * target <= len(payload) <= 1.004 * target


@pytest.mark.parametrize("target", [1, 300], ids="{} bytes".format)
def test_of_a_field_that_is_too_large_alone_no_residual_is_left(finished, target):
    payload, n = trimmed_payload(finished, target)

    assert n == N
    assert not unpack_predicted_gop(payload).residuals.any()
    assert len(payload) > target


@pytest.mark.parametrize("share", [0.9, 0.5, 0.2])
def test_trimming_leaves_out_whole_gaussians_and_nothing_else(finished, share):
    whole, left = all_symbols(finished), unpack_predicted_gop(trimmed_payload(finished, target_of(finished, share))[0])

    is_kept = (left.residuals == whole.residuals).all(axis=1)
    assert 0.02 * N < is_kept.sum() < 0.98 * N
    assert not left.residuals[~is_kept].any()
    assert packed(dataclasses.replace(left, residuals=whole.residuals)) == packed(whole)


@pytest.mark.parametrize("share", [0.9, 0.5, 0.2])
def test_trimming_keeps_the_most_energetic_residuals(finished, share):
    """By the sum of their squares over the Gaussian's rank in importance: least first, and no further than it must."""
    whole = all_symbols(finished)
    rank = by_importance(finished.model.gaussians, finished.spec.low_pass).argsort().numpy()
    worth = (whole.residuals.astype(int) ** 2).sum(axis=1) / (1.0 + rank)
    target = target_of(finished, share)

    left = unpack_predicted_gop(trimmed_payload(finished, target)[0]).residuals

    is_kept = (left == whole.residuals).all(axis=1)
    assert worth[is_kept].min() >= worth[~is_kept].max()
    last = np.flatnonzero(~is_kept)[worth[~is_kept].argmax()]
    left[last] = whole.residuals[last]
    assert len(packed(dataclasses.replace(whole, residuals=left))) > 1.004 * target


def test_of_residuals_alike_those_of_important_gaussians_stay(finished, monkeypatch):
    symbols = all_symbols(finished)
    signs = np.random.default_rng(0).choice([-3, 3], symbols.residuals.shape).astype(np.int8)
    alike = dataclasses.replace(symbols, residuals=signs)
    monkeypatch.setattr("stgvcodec.encoder.size_control.gop_symbols", lambda _: alike)

    payload, _ = trimmed_payload(finished, len(packed(symbols)) - 200)

    is_kept = unpack_predicted_gop(payload).residuals.any(axis=1)
    order = by_importance(finished.model.gaussians, finished.spec.low_pass).numpy()
    n = int(is_kept.sum())
    assert 0 < n < N
    assert set(np.flatnonzero(is_kept)) == set(order[:n].tolist())


@pytest.mark.parametrize("slack", [None, 1.0, 1.3, 1 / 1.0035], ids="{}".format)
def test_what_fits_keeps_everything(finished, slack):
    symbols = all_symbols(finished)
    whole = pack_predicted_gop(symbols)

    payload, n = trimmed_payload(finished, None if slack is None else round(slack * len(whole)))

    assert (payload, n) == (whole, N)
    assert np.array_equal(unpack_predicted_gop(payload).residuals, symbols.residuals)
    assert symbols.residuals.any()


@pytest.mark.parametrize("share", [0.3, 1.0, 3.0])
def test_resizing_changes_nothing(unquantized, share):
    model, before = unquantized.model, set_of(unquantized)

    assert not resize_to(unquantized, round(share * len(packed(gop_symbols(unquantized)))), 0.03)

    assert unquantized.model is model
    assert unquantized.spec.n_gaussians == N
    assert all(torch.equal(a, b) for a, b in zip(set_of(unquantized), before, strict=True))
    assert unquantized.target_bits is None


@pytest.mark.parametrize("share", [0.8, 1.0, 1.15])
def test_aiming_chooses_steps_that_cost_a_little_more_than_the_target_and_leaves_the_set(unquantized, share):
    model, before = unquantized.model, set_of(unquantized)
    target = round(share * len(packed(gop_symbols(unquantized))))

    aim_at(unquantized, target)

    n_bytes = len(packed(gop_symbols(unquantized)))
    assert 0.92 * n_bytes == pytest.approx(target, rel=0.03)
    bits = float(unquantized.quantizers.estimated_bits(unquantized.model.values()))
    assert unquantized.target_bits == pytest.approx(0.99 * bits * target / n_bytes, rel=1e-3)
    assert unquantized.model is model
    assert unquantized.spec.n_gaussians == N
    assert all(torch.equal(a, b) for a, b in zip(set_of(unquantized), before, strict=True))


@pytest.mark.parametrize("share", [0.75, 0.9, 1.15])
def test_a_predicted_gop_lands_on_its_bytes(monkeypatch, config, finished, share):
    target = round(share * len(packed(all_symbols(finished))))

    config = dataclasses.replace(config, target_bytes=target, fills_target=True)
    trainer, payload = fitted(monkeypatch, CLIP[3:], config)

    assert 0.98 * target <= len(payload.bytes) <= 1.004 * target
    assert not payload.is_key
    assert payload.stats.n_gaussians == trainer.spec.n_gaussians == N
    assert unpack_predicted_gop(payload.bytes).residuals.any()
