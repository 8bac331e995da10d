"""The fit of a predicted GoP: from Gaussians that already fit, through what is added to them."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from clips import moving_clip
from test_fit_quantizers import COMPACT, SPEC
from test_trainer import poisoned, snapshot, unchanged

from stgvcodec.fit.phases import QUANTIZED_STREAMS, LearningRates, Phase
from stgvcodec.fit.predicted_quantizers import PredictedQuantizers
from stgvcodec.fit.schedule import GROUPS
from stgvcodec.fit.trainer import GopTrainer
from stgvcodec.model.deformation import DeformationField
from stgvcodec.model.gaussians import CanonicalGaussians
from stgvcodec.model.gop_model import GopModel, GopSpec
from stgvcodec.ops.threads import one_torch_thread
from stgvcodec.quant import Gaussians, ResidualQuantizer, residual

WIDTH, HEIGHT, N = 48, 32, 63
FIELD = SPEC.field
STEPS = {
    "point_scale": np.array([2e-3, 3e-3], np.float32),
    "shape_scale": np.array([0.06, 0.06, 0.06], np.float32),
    "color_scale": np.array([0.01, 0.012, 0.01], np.float32),
}
SLOW = LearningRates().with_slower_gaussians(0.1)
FINETUNING = Phase(
    "finetune",
    frames="all",
    n_steps=20,
    rates=LearningRates(means=0.03, cholesky=0.02, colors=2e-3, hash_tables=2e-3, mlp=4e-4, steps=2e-2),
    quantized=QUANTIZED_STREAMS,
)
CLIP = moving_clip(4, WIDTH, HEIGHT)


@pytest.fixture(scope="module")
def fitted() -> Gaussians:
    """Gaussians of the clip's first frame."""
    with one_torch_thread():
        trainer = trainer_of(CLIP[:1], scattered())
        trainer.run(Phase("key-frame", frames="key", n_steps=80))
        with torch.no_grad():
            return Gaussians(*(x.clone() for x in trainer.model.values()[:3]))


def scattered() -> Gaussians:
    means = 2.0 * torch.rand(N, 2, generator=torch.Generator().manual_seed(0)) - 1.0
    return Gaussians(means, torch.tensor([[3.0, 0.0, 3.0]]).repeat(N, 1), torch.full((N, 3), 0.2))


def trainer_of(
    frames: np.ndarray,
    gaussians: Gaussians,
    *,
    seed: int = 0,
    elasticity: float = 1.0,
    residuals: ResidualQuantizer | None = None,
    bit_weight: float | None = None,
) -> GopTrainer:
    field = DeformationField(FIELD, generator=torch.Generator().manual_seed(seed), device=torch.device("cpu"))
    return GopTrainer(
        torch.from_numpy(frames),
        GopModel(CanonicalGaussians(*gaussians, width=WIDTH, height=HEIGHT), field),
        GopSpec(WIDTH, HEIGHT, len(frames), N, FIELD),
        key_frame=0,
        quantizers=replace(COMPACT, elasticity=elasticity),
        rng=np.random.default_rng(seed),
        backend="auto",
        residuals=residuals,
        bit_weight=bit_weight,
    )


@pytest.fixture
def make_predicted(fitted) -> Callable[..., GopTrainer]:
    """Trainers of the clip's other frames, predicted from its first."""

    def make(**options: float) -> GopTrainer:
        return trainer_of(CLIP[1:], fitted, residuals=ResidualQuantizer(fitted, **STEPS), **options)

    return make


def gaussians_of(trainer: GopTrainer) -> Gaussians:
    with torch.no_grad():
        return Gaussians(*trainer.model.values()[:3])


def test_it_begins_with_what_predicts_it(make_predicted, fitted):
    """Nothing is lost where the quantisers are switched on before anything has moved."""
    trainer = make_predicted()
    assert isinstance(trainer.quantizers, PredictedQuantizers)
    assert not trainer.quantizers.residuals.symbols(gaussians_of(trainer)).any()

    trainer.run(replace(FINETUNING, n_steps=0))

    costs = [trainer.quantizer_cost_db[stream] for stream in ("means", "cholesky", "colors")]
    assert costs == pytest.approx([0.0] * 3, abs=1e-3)
    assert list(trainer.quantizer_cost_db) == list(QUANTIZED_STREAMS)


def test_training_lowers_the_error_and_keeps_the_gaussians(make_predicted, fitted):
    trainer = make_predicted()
    before = trainer.psnr_db()

    trainer.run(Phase("joint", frames="all", n_steps=30, rates=SLOW, final_rate=0.3))
    joint = trainer.psnr_db()
    trainer.run(FINETUNING)

    assert joint > before + 1.0
    assert trainer.psnr_db(QUANTIZED_STREAMS) > before + 1.0
    assert trainer.spec.n_gaussians == N
    assert [len(x) for x in gaussians_of(trainer)] == [N] * 3
    residuals = trainer.quantizers.residuals
    symbols = residuals.symbols(gaussians_of(trainer))
    assert 0.0 < (symbols != 0).mean() < 0.9
    decoded = residual.dequantize(symbols, **residuals.side(), before=fitted)
    quantized, _ = trainer.quantizers.quantize(trainer.model.values(), QUANTIZED_STREAMS)
    assert all(torch.equal(a, b) for a, b in zip(decoded, quantized[:3], strict=True))


def test_slower_gaussians_change_less():
    rates = LearningRates()
    slower = rates.with_slower_gaussians(0.1)
    assert (slower.means, slower.cholesky, slower.colors) == pytest.approx((0.03, 0.02, 2e-3))
    assert (slower.hash_tables, slower.mlp, slower.steps) == (rates.hash_tables, rates.mlp, rates.steps)


def test_parameter_groups_have_the_steps_of_residuals(make_predicted):
    trainer = make_predicted()
    groups = trainer.parameter_groups()
    residuals = trainer.quantizers.residuals

    assert set(groups) == set(GROUPS) == set(trainer.optimizer.names)
    assert groups["cholesky_steps"] == [residuals.shape_gain]
    assert groups["color_steps"] == [residuals.color_gain]
    assert len(groups["field_steps"]) == 1


def test_steps_are_learned_but_for_those_of_means(make_predicted):
    trainer = make_predicted()
    trainer.run(Phase("joint", frames="all", n_steps=10, rates=SLOW))
    steps = snapshot(trainer.quantizers)

    trainer.run(FINETUNING)

    assert len(steps) == 3
    for before, now in zip(steps, trainer.quantizers.parameters(), strict=True):
        assert not torch.equal(before, now)
    side = trainer.quantizers.residuals.side()
    assert np.array_equal(side["point_scale"], STEPS["point_scale"])
    assert (side["shape_scale"] != STEPS["shape_scale"]).all()
    assert (side["color_scale"] != STEPS["color_scale"]).all()


@pytest.mark.parametrize("bit_weight", [0.0, 3e-7, 1e-4])
def test_without_a_target_bits_weigh_what_they_are_said_to(make_predicted, bit_weight):
    trainer = make_predicted(bit_weight=bit_weight)

    trainer.run(FINETUNING)

    assert float(trainer.quantizers.rate_weight) == pytest.approx(bit_weight)


def test_without_a_weight_that_is_given_it_follows_from_the_error(make_predicted):
    phase = replace(FINETUNING, frames="key", n_steps=1, rates=LearningRates().scaled(0.0))
    weights, errors = [], []
    for elasticity in (0.5, 1.0):
        trainer = make_predicted(elasticity=elasticity)
        trainer.run(phase, lambda _, __, loss: errors.append(float(loss)))
        weights.append(float(trainer.quantizers.rate_weight))
    bits = float(trainer.quantizers.estimated_bits(trainer.model.values()))

    assert weights[0] == pytest.approx(0.5 * weights[1])
    # A step's picture is not clamped.
    assert weights[1] == pytest.approx(errors[1] / bits, rel=0.02)


@pytest.mark.parametrize(("share", "pressed"), [(0.3, 1), (3.0, -1)], ids=["fewer", "more"])
def test_a_target_presses_on_the_weight_that_is_given(make_predicted, share, pressed):
    bit_weight = 1e-7
    trainer = make_predicted(bit_weight=bit_weight)
    trainer.run(Phase("joint", frames="all", n_steps=10, rates=SLOW))
    trainer.run(replace(FINETUNING, n_steps=0))
    trainer.target_bits = share * float(trainer.quantizers.estimated_bits(trainer.model.values()))

    trainer.run(FINETUNING)

    pressure = float(trainer.quantizers.rate_weight) / bit_weight
    assert math.copysign(1, pressure - 1.0) == pressed
    assert 1 / 8.001 <= pressure <= 8.001


def test_bits_that_weigh_more_are_fewer(make_predicted):
    """A weight that leaves next to nothing but zeros, and one that leaves things alone."""
    zeros, bits = [], []
    for bit_weight in (0.0, 1e-4):
        trainer = make_predicted(bit_weight=bit_weight)
        trainer.run(Phase("joint", frames="all", n_steps=20))
        trainer.run(FINETUNING)
        values = trainer.model.values()
        trainer.quantizers.refresh_rate(values)
        bits.append(float(trainer.quantizers.estimated_bits(values)))
        zeros.append(float((trainer.quantizers.residuals.symbols(gaussians_of(trainer)) == 0).mean()))

    assert bits[1] < 0.96 * bits[0]
    assert zeros[1] > zeros[0] + 0.1


def test_a_fit_that_diverges_at_any_rate_keeps_its_last_good_state(make_predicted, monkeypatch, caplog):
    """Gaussians, field, steps and tables of the rate."""
    trainer = make_predicted(bit_weight=1e-7)
    trainer.run(Phase("joint", frames="all", n_steps=10, rates=SLOW))
    trainer.run(replace(FINETUNING, n_steps=5))
    model, steps = snapshot(trainer.model), snapshot(trainer.quantizers)
    buffers = [buffer.clone() for buffer in trainer.quantizers.buffers()]
    poisoned(trainer, monkeypatch, at=1, times=10**6)

    trainer.run(replace(FINETUNING, n_steps=3))

    assert any("any rate" in message for message in caplog.messages)
    assert unchanged(trainer.model, model)
    assert unchanged(trainer.quantizers, steps)
    by_name = dict(zip([name for name, _ in trainer.quantizers.named_buffers()], buffers, strict=True))
    for name, buffer in trainer.quantizers.named_buffers():
        # Counted anew at the start of a phase.
        if not name.startswith("rate."):
            assert torch.equal(buffer, by_name[name]), name


def test_a_fit_that_was_taken_back_goes_on(make_predicted, monkeypatch):
    trainer, undisturbed = make_predicted(bit_weight=1e-7), make_predicted(bit_weight=1e-7)
    undisturbed.run(FINETUNING)
    poisoned(trainer, monkeypatch, at=6)

    trainer.run(FINETUNING)

    assert trainer.n_rollbacks == 1
    assert trainer.psnr_db(QUANTIZED_STREAMS) == pytest.approx(undisturbed.psnr_db(QUANTIZED_STREAMS), abs=1.0)


def test_same_seed_same_parameters(make_predicted):
    models = []
    for _ in range(2):
        trainer = make_predicted(seed=3, bit_weight=1e-7)
        trainer.run(Phase("joint", frames="all", n_steps=5, rates=SLOW))
        trainer.run(replace(FINETUNING, n_steps=5))
        models.append([*snapshot(trainer.model), *snapshot(trainer.quantizers)])
    assert all(torch.equal(a, b) for a, b in zip(*models, strict=True))


def test_a_copy_trains_apart(make_predicted, fitted):
    """As the codec copies trainers; what predicts stays what it is."""
    before = [x.clone() for x in fitted]
    trainer = make_predicted(bit_weight=1e-7)
    other = copy.deepcopy(trainer)
    model = snapshot(trainer.model)

    other.run(replace(FINETUNING, n_steps=3))

    assert unchanged(trainer.model, model)
    assert not unchanged(other.model, model)
    assert all(torch.equal(a, b) for a, b in zip(fitted, before, strict=True))
