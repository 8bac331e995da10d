"""A few steps of each kind say how long an encode takes, and what share of it is done."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from clips import moving_clip, noisy_clip, panning_clip
from fits import gop_config

from stgvcodec import EncodeConfig
from stgvcodec.cli.progress import TimeLeft
from stgvcodec.encoder import calibration, gop_scheduler
from stgvcodec.encoder.calibration import calibrate
from stgvcodec.encoder.encode import encode
from stgvcodec.encoder.encode_gop import encode_gop, expected_fit_seconds, fit_stages
from stgvcodec.encoder.presets import PRESETS
from stgvcodec.encoder.step_costs import StepCosts
from stgvcodec.fit.phases import Phase
from stgvcodec.fit.trainer import GopTrainer

COSTS = StepCosts(setup_seconds=40.0, path_seconds=0.1, frame_seconds=1.0, quantized_seconds=3.0, finish_seconds=7.0)


class FakeClock:
    """Time that passes with steps alone: those of a kind take what `COSTS` says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        run = GopTrainer.run

        def timed(trainer, phase, on_step=None):
            def passing(phase, step, loss):
                self.now += COSTS.step_seconds(phase)
                if on_step is not None:
                    on_step(phase, step, loss)

            run(trainer, phase, passing)

        monkeypatch.setattr(GopTrainer, "run", timed)
        monkeypatch.setattr(calibration.time, "perf_counter", lambda: self.now)


def draft_config():
    """A configuration of preset draft, with all its kinds of steps, and few of them."""
    preset = PRESETS["draft"]
    shorter = [dataclasses.replace(phase, n_steps=phase.n_steps // 10) for phase in preset.phases]
    finetuning = tuple(dataclasses.replace(phase, n_steps=6) for phase in preset.finetuning)
    preset = dataclasses.replace(preset, phases=tuple(shorter), finetuning=finetuning)
    return gop_config("compact", preset=preset, n_gaussians=600)


def test_steps_of_each_kind_are_measured(monkeypatch):
    FakeClock(monkeypatch)

    costs = calibrate(panning_clip(4, (8.0, 2.0)), draft_config(), seed=0)

    assert costs.path_seconds == pytest.approx(COSTS.path_seconds)
    assert costs.frame_seconds == pytest.approx(COSTS.frame_seconds)
    assert costs.quantized_seconds == pytest.approx(COSTS.quantized_seconds)


def test_where_nothing_moves_there_are_no_paths_to_measure(monkeypatch):
    FakeClock(monkeypatch)

    costs = calibrate(noisy_clip(1), draft_config(), seed=0)

    assert costs.path_seconds == 0.0
    assert costs.quantized_seconds == pytest.approx(COSTS.quantized_seconds)


def test_a_phase_that_gives_up_costs_what_others_do(monkeypatch):
    """A phase whose loss diverges again and again ends before its steps."""
    run = GopTrainer.run
    monkeypatch.setattr(
        GopTrainer, "run", lambda self, phase, on_step=None: phase.quantized or run(self, phase, on_step)
    )

    costs = calibrate(panning_clip(4, (8.0, 2.0)), draft_config(), seed=0)

    assert costs.quantized_seconds == costs.frame_seconds > 0


def test_a_fit_is_as_long_as_its_parts():
    phases = [
        Phase("a", frames="all", n_steps=10, target="paths"),
        Phase("b", frames="all", n_steps=20, frames_per_step=2),
        Phase("c", frames="all", n_steps=5, quantized=("means",)),
    ]
    assert COSTS.fit_seconds(phases) == 40.0 + 10 * 0.1 + 20 * 2 * 1.0 + 5 * 3.0 + 7.0


def test_a_touch_up_counts_by_how_often_there_is_one_and_gaussians_are_added_twice():
    config = gop_config("compact", preset=PRESETS["draft"], n_gaussians=100)
    free = fit_stages(config, 10, has_paths=True)
    costs = dataclasses.replace(COSTS, densify_seconds=11.0)
    seconds = expected_fit_seconds(free, config, costs)
    assert seconds == pytest.approx(COSTS.fit_seconds(stage.phase for stage in free) + 2 * 11.0)

    config = dataclasses.replace(config, target_bytes=1000)
    stages = fit_stages(config, 10, has_paths=True)
    touch_up = dataclasses.replace(stages[-1].phase, n_steps=stages[-1].phase.n_steps // 4)
    more = expected_fit_seconds(stages, config, costs) - seconds
    assert more == pytest.approx(0.2 * COSTS.phase_seconds(touch_up))


def test_the_time_left_is_right_from_a_tenth_on(monkeypatch):
    """Steps on paths, on pictures and through quantisers cost ten times as much as each other and more."""
    clock = FakeClock(monkeypatch)
    config = draft_config()
    frames = panning_clip(6, (8.0, 2.0))
    said, kinds = [], set()
    time_left = TimeLeft()

    def on_step(phase, _step, share, _loss):
        kinds.add((phase.target, bool(phase.quantized)))
        said.append((clock.now, share, time_left.after(share, clock.now)))

    costs = dataclasses.replace(COSTS, setup_seconds=0.0, finish_seconds=0.0)
    encode_gop(frames, config, 0, on_step, None, costs)

    assert kinds == {("paths", False), ("pictures", False), ("pictures", True)}
    begin, end = said[0][0], said[-1][0]
    late = [(now, left) for now, share, left in said if share >= 0.1]
    assert len(late) > 20
    for now, left in late:
        assert left == pytest.approx(end - now, rel=0.2, abs=0.01 * (end - begin))
    shares = [share for _, share, _ in said]
    assert all(a < b for a, b in itertools.pairwise(shares))
    assert shares[-1] == pytest.approx(1.0)


def test_the_plan_says_how_long_it_and_a_draft_take(monkeypatch, tmp_path):
    monkeypatch.setattr(gop_scheduler, "calibrate", lambda *_: COSTS)
    plans = []
    frames = moving_clip(25)

    encode(frames, tmp_path / "a.stgv", config=EncodeConfig(preset="draft", n_gaussians=9), fps=25, plan=plans.append)

    stages = [fit_stages(gop_config("compact", preset=PRESETS["draft"]), n, has_paths=True) for n in (10, 10, 5)]
    seconds = sum(COSTS.fit_seconds(stage.phase for stage in each) for each in stages)
    assert plans[0].expected_seconds == pytest.approx(seconds)
    assert plans[0].draft_seconds is None
    assert plans[0].lost == ()


def test_an_encode_that_nobody_watches_is_not_calibrated(monkeypatch, tmp_path):
    monkeypatch.setattr(gop_scheduler, "calibrate", lambda *_: pytest.fail("calibrated"))

    report = encode(moving_clip(2), tmp_path / "a.stgv", config=EncodeConfig(preset="draft", n_gaussians=9), fps=25)

    assert report.plan is not None
    assert report.plan.expected_seconds is None
