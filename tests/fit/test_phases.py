from __future__ import annotations

import dataclasses
import math

import pytest

from stgvcodec.fit.phases import QUANTIZED_STREAMS, LearningRates, Phase, finetuning_phases, in_two


def test_a_phase_is_frozen_data():
    phase = Phase("joint", frames="all", n_steps=5)

    with pytest.raises(dataclasses.FrozenInstanceError):
        phase.n_steps = 6
    assert phase == Phase("joint", frames="all", n_steps=5)


@pytest.mark.parametrize("n_steps", [1, 6, 60, 1001])
def test_finetuning_switches_on_one_stream_after_the_other(n_steps):
    rates = LearningRates(means=0.5)

    phases = finetuning_phases(n_steps, rates, frames_per_step=2)

    assert [phase.quantized for phase in phases] == [QUANTIZED_STREAMS[:n] for n in (1, 2, 3, 4)]
    assert [phase.name for phase in phases] == [f"finetune-{stream}" for stream in QUANTIZED_STREAMS]
    for phase in phases:
        assert phase.frames == "all"
        assert phase.rates == rates
        assert phase.frames_per_step == 2
        assert phase.n_steps >= 1


def test_finetuning_spends_half_its_steps_with_everything_on():
    phases = finetuning_phases(600, LearningRates())

    assert phases[-1].n_steps == 300
    assert sum(phase.n_steps for phase in phases) == 600


@pytest.mark.parametrize("share", [0.0, 0.37, 0.5, 1.0], ids="share {}".format)
def test_a_phase_in_two_has_the_rates_of_the_whole(share):
    rates = LearningRates(means=1.0, cholesky=0.5, colors=0.25, hash_tables=2.0, mlp=3.0)
    whole = Phase("joint", frames="all", n_steps=400, rates=rates, final_rate=0.01, gaussian_final_rate=0.2)

    parts = in_two(whole, share)

    assert sum(part.n_steps for part in parts) == whole.n_steps
    assert [part.name for part in parts] == ["joint", "joint-resized"]
    assert math.prod(part.final_rate for part in parts) == pytest.approx(whole.final_rate)
    assert math.prod(part.gaussian_final_rate for part in parts) == pytest.approx(0.2)
    for name, own in (("mlp", 0.01), ("hash_tables", 0.01), ("means", 0.2), ("cholesky", 0.2), ("colors", 0.2)):
        assert getattr(parts[0].rates, name) == getattr(rates, name)
        assert getattr(parts[1].rates, name) == pytest.approx(getattr(rates, name) * own**share)


def test_the_field_is_held_as_long_in_a_phase_that_is_cut_in_two():
    whole = Phase("joint", frames="all", n_steps=400, field_held=0.1)

    first, second = in_two(whole, 0.5)

    assert round(first.field_held * first.n_steps) == 40
    assert second.field_held == 0.0
