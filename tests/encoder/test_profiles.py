from __future__ import annotations

import pytest

from stgvcodec.bitstream.container.file_header import PROFILES as PROFILE_IDS
from stgvcodec.cli import options
from stgvcodec.encoder import config
from stgvcodec.encoder.presets import PRESETS
from stgvcodec.encoder.profiles import PROFILES
from stgvcodec.encoder.rate_control.cost_model import COST_MODELS
from stgvcodec.fit.phases import QUANTIZED_STREAMS
from stgvcodec.fit.quantizers import QuantizerConfig

EFFORTS = ("draft", "fast", "medium", "slow", "veryslow", "paper")


def n_steps(phases):
    return sum(phase.n_steps for phase in phases)


def test_every_list_of_profiles_names_the_same():
    assert set(PROFILES) == set(PROFILE_IDS) == set(COST_MODELS)
    assert tuple(PROFILES) == config.PROFILES == options.PROFILES  # the first is the default
    assert all(profile.name == name for name, profile in PROFILES.items())


def test_quantisers_are_those_of_the_profile():
    kinds = {
        name: (profile.quantizers.points, profile.quantizers.shapes, profile.quantizers.colors)
        for name, profile in PROFILES.items()
    }

    assert kinds == {"compact": ("grid", "log-shear", "ycocg"), "paper": ("half", "cholesky", "rvq")}
    assert PROFILES["paper"].quantizers == QuantizerConfig()
    assert [PROFILES[name].has_shape_head for name in ("compact", "paper")] == [True, False]
    assert [PROFILES[name].quantizers.relative_lmbda > 0 for name in ("compact", "paper")] == [True, False]


@pytest.mark.parametrize("preset", EFFORTS)
@pytest.mark.parametrize("profile", PROFILES)
def test_finetuning_keeps_the_number_of_steps_and_ends_with_every_quantiser_on(profile, preset):
    given = PRESETS[preset].finetuning

    finetuning = PROFILES[profile].finetuning(given)

    assert n_steps(finetuning) == n_steps(given)
    assert finetuning[-1].quantized == QUANTIZED_STREAMS
    assert {phase.frames for phase in finetuning} == {"all"}
    assert len({phase.name for phase in finetuning}) == len(finetuning)


@pytest.mark.parametrize("preset", EFFORTS)
def test_paper_keeps_the_phases_of_the_preset(preset):
    assert PROFILES["paper"].finetuning(PRESETS[preset].finetuning) == PRESETS[preset].finetuning


@pytest.mark.parametrize("preset", EFFORTS)
def test_compact_has_all_quantisers_on_from_the_first_step(preset):
    (phase,) = PROFILES["compact"].finetuning(PRESETS[preset].finetuning)
    last = PRESETS[preset].finetuning[-1]

    assert (phase.name, phase.quantized) == ("finetune", QUANTIZED_STREAMS)
    assert phase.frames_per_step == last.frames_per_step
    # The rates are the preset's and fall further, but for those of the quantisers' steps.
    for group in ("means", "cholesky", "colors", "hash_tables", "mlp"):
        assert getattr(phase.rates, group) == getattr(last.rates, group)
    assert phase.final_rate < last.final_rate


def test_learned_steps_go_as_far_in_fewer_steps_of_fine_tuning():
    rates = [PROFILES["compact"].finetuning(PRESETS[name].finetuning)[0].rates.steps for name in EFFORTS[:4]]

    assert rates == sorted(rates, reverse=True)
    assert rates[0] > rates[-1]


@pytest.mark.parametrize("profile", PROFILES)
def test_no_finetuning_stays_none(profile):
    assert PROFILES[profile].finetuning(()) == ()


@pytest.mark.parametrize("profile", PROFILES)
def test_codebooks_change_nothing_else(profile):
    given = PROFILES[profile]
    changed = given.with_codebooks(3, 32)

    assert (changed.quantizers.color_stages, changed.quantizers.color_codebook_size) == (3, 32)
    sizes = given.quantizers.color_stages, given.quantizers.color_codebook_size
    assert changed.with_codebooks(*sizes) == given
