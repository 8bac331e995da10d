"""A job that was sent elsewhere gives the payload that it gives here, as bytes and numbers."""

from __future__ import annotations

import dataclasses
import pickle

import pytest
from clips import moving_clip
from fits import CPU, gop_config

from stgvcodec import EncodeConfig
from stgvcodec.encoder.encode_gop import GopConfig, encode_gop
from stgvcodec.encoder.engines.gop_job import FitProgress, GopJob, fit_gop
from stgvcodec.encoder.engines.threads import Threads
from stgvcodec.encoder.presets import FIELD_SIZES, PRESETS
from stgvcodec.encoder.step_costs import StepCosts


def make_job(**values: object) -> GopJob:
    frames = moving_clip(2, 32, 48)
    return dataclasses.replace(GopJob(3, frames, None, gop_config("compact"), 8, StepCosts()), **values)


def no_check() -> None:
    return


def leaves(value: object) -> list[object]:
    """What a dataclass, and those in it, hold in the end."""
    if dataclasses.is_dataclass(value):
        value = [getattr(value, field.name) for field in dataclasses.fields(value)]
    if isinstance(value, dict):
        value = [*value, *value.values()]
    return [leaf for each in value for leaf in leaves(each)] if isinstance(value, list | tuple) else [value]


def test_a_job_that_was_pickled_gives_the_same_bytes() -> None:
    job = make_job()
    sent = pickle.loads(pickle.dumps(job))

    payload = Threads(CPU, "numba", 1).fit(sent, None, no_check)

    assert payload.bytes == encode_gop(job.frames, job.config, 8).bytes
    assert {type(leaf) for leaf in leaves(payload)} <= {bytes, int, float, str}


def test_progress_is_numbers_and_says_when_each_phase_ends() -> None:
    told: list[FitProgress] = []

    fit_gop(make_job(), told.append, no_check)

    assert {type(leaf) for each in told for leaf in leaves(each)} <= {int, float, str, type(None)}
    ended = [each.phase for each in told if each.step == each.n_steps]
    assert ended[:2] == ["key-frame", "joint"]
    shares = [each.share for each in told]
    assert shares == sorted(shares)


def test_what_the_check_raises_ends_the_fit() -> None:
    steps = []

    def check() -> None:
        steps.append(1)
        if len(steps) == 3:
            raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        fit_gop(make_job(), None, check)
    assert len(steps) == 3


def test_options_take_the_place_of_what_a_preset_says() -> None:
    def planned(**options: object) -> GopConfig:
        config = EncodeConfig(preset="fast", **options)
        return GopConfig.planned(config, 70, FIELD_SIZES[-1], 900, device=CPU, backend="numba")

    plain, changed = planned(), planned(key_frame="first", initialization="random")

    assert (plain.n_gaussians, plain.field, plain.target_bytes) == (70, FIELD_SIZES[-1], 900)
    assert plain.preset == PRESETS["fast"]
    assert (plain.key_frame, plain.initialization) == (PRESETS["fast"].key_frame, PRESETS["fast"].initialization)
    assert (changed.key_frame, changed.initialization) == ("first", "random")
