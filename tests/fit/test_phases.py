from __future__ import annotations

import dataclasses
import math
from itertools import pairwise

import numpy as np
import pytest

from stgvcodec.fit.phases import QUANTIZED_STREAMS, LearningRates, Phase, cut, finetuning_phases


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


@pytest.mark.parametrize("shares", [(0.0,), (0.37,), (1.0,), (0.15, 0.3, 0.5)], ids="shares {}".format)
def test_a_phase_in_parts_has_the_rates_of_the_whole(shares):
    rates = LearningRates(means=1.0, cholesky=0.5, colors=0.25, hash_tables=2.0, mlp=3.0)
    whole = Phase("joint", frames="all", n_steps=400, rates=rates, final_rate=0.01)

    parts = cut(whole, shares)

    n = len(shares) + 1
    assert [part.name for part in parts] == [f"joint {i}/{n}" for i in range(1, n + 1)]
    assert [part.n_steps for part in parts] == [round(400 * share) for share in np.diff((0.0, *shares, 1.0))]
    assert math.prod(part.final_rate for part in parts) == pytest.approx(whole.final_rate)
    for name in ("mlp", "hash_tables", "means", "cholesky", "colors"):
        assert getattr(parts[0].rates, name) == getattr(rates, name)
        assert getattr(parts[-1].rates, name) == pytest.approx(getattr(rates, name) * 0.01 ** shares[-1])


def test_a_phase_that_is_not_cut_is_itself():
    whole = Phase("joint", frames="all", n_steps=400)

    assert cut(whole, ()) == (whole,)


@pytest.mark.parametrize("shares", [(0.5,), (0.05, 0.5), (0.025, 0.075, 0.1)], ids="shares {}".format)
def test_the_field_is_held_as_long_in_a_phase_that_is_cut(shares):
    whole = Phase("joint", frames="all", n_steps=400, field_held=0.1)

    held = [round(part.field_held * part.n_steps) for part in cut(whole, shares)]

    steps = [0, *(round(400 * share) for share in shares), 400]
    assert held == [max(0, min(end, 40) - begin) for begin, end in pairwise(steps)]
