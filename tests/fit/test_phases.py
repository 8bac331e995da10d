from __future__ import annotations

import dataclasses

import pytest

from stgvcodec.fit.phases import QUANTIZED_STREAMS, LearningRates, Phase, finetuning_phases


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
