from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from clips import panning_clip
from tolerances import approx, assert_close

from stgvcodec.fit import phase_run
from stgvcodec.fit.initialization import initial_gaussians
from stgvcodec.fit.paths import borders, follow_paths, path_loss
from stgvcodec.fit.phases import LearningRates, Phase
from stgvcodec.model.gaussians import bounded_cholesky
from stgvcodec.model.gop_model import Clock
from stgvcodec.ops.rasterize import rasterize

SHIFT = (3.0, -2.0)
MOTION = Phase(
    "motion",
    frames="all",
    n_steps=200,
    rates=LearningRates(mlp=6e-3),
    final_rate=0.03,
    frames_per_step=4,
    target="paths",
)


def panning_trainer(make_trainer, **options):
    frames = panning_clip(5, SHIFT)
    trainer = make_trainer(frames=frames, key_frame=2, **options)
    trainer.paths = follow_paths(torch.from_numpy(frames), 2)
    return trainer


@pytest.mark.parametrize("key_frame", [0, 2, 4])
def test_points_go_with_the_pan_both_ways(key_frame):
    paths = follow_paths(torch.from_numpy(panning_clip(5, SHIFT)), key_frame)

    assert paths.px.shape == (5, len(paths.means), 2)
    size = torch.tensor([96.0, 64.0])
    torch.testing.assert_close(paths.px[key_frame], (paths.means + 1.0) * 0.5 * size)
    moved = (paths.px - paths.px[key_frame]).median(dim=1).values
    expected = torch.tensor([[(t - key_frame) * s for s in SHIFT] for t in range(5)])
    assert_close(moved, expected, "paths, median in pixels")


def test_motion_is_the_median_distance():
    paths = follow_paths(torch.from_numpy(panning_clip(5, SHIFT)), 2)

    expected = np.hypot(*SHIFT) * np.median([2, 1, 0, 1, 2])
    assert paths.motion_px(2) == approx(expected, "paths, motion")
    assert follow_paths(torch.from_numpy(panning_clip(5, (0, 0))), 2).motion_px(2) < 1e-3


@pytest.mark.parametrize("shape", [(2, 1, 1, 3), (3, 2, 5, 3), (20, 8, 8, 3)])
def test_any_size_and_length_has_paths(shape):
    frames = torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))

    paths = follow_paths(frames, shape[0] // 2)

    assert paths.px.shape[0] == shape[0]
    assert bool(paths.px.isfinite().all())


def test_points_are_spread_over_the_picture_and_not_too_many():
    paths = follow_paths(torch.zeros(2, 90, 400, 3, dtype=torch.uint8), 0)

    assert 800 <= len(paths.means) <= 1200
    assert paths.means.amin(dim=0).tolist() == approx([-1, -1], "paths, spread")
    assert paths.means.amax(dim=0).tolist() == approx([1, 1], "paths, spread")


def test_the_loss_is_the_distance_and_reaches_the_field_alone(make_trainer):
    trainer = panning_trainer(make_trainer)
    picked = torch.tensor([0, 2])
    at = Clock(trainer.spec, picked.device).at(picked)

    loss = path_loss(trainer.paths, trainer.model.gop_parameters().field, trainer.spec, picked, at, backend="reference")

    # The heads start at zero: nothing moves yet.
    stay = trainer.paths.px[2]
    far = (stay - trainer.paths.px[0]).norm(dim=1)
    expected = 0.5 * (torch.sqrt(far**2 + 1).mean() + 1.0)
    assert float(loss.detach()) == approx(float(expected), "sum")
    loss.backward()
    assert all(parameter.grad is None for parameter in trainer.model.gaussians.parameters())
    assert any(float(parameter.grad.abs().max()) > 0 for parameter in trainer.model.field.parameters())


def test_borders_are_what_a_pan_brings_into_the_picture():
    """Content moves right by 3 and up by 2 a frame: the first frame shows what lies right and below."""
    frames = torch.from_numpy(panning_clip(5, (-3.0, -2.0)))

    first, last = borders(frames, 2)

    for border, frame, shift in ((first, 0, 6.0), (last, 4, -6.0)):
        assert torch.equal(border.picture, frames[frame] / 255.0)
        rows, columns = border.pixels // 96, border.pixels % 96
        moved = border.here_px - torch.stack((columns, rows), dim=1) - 0.5
        expected = [-shift, -shift * 2 / 3]
        assert moved.median(dim=0).values.tolist() == approx(expected, "paths, border in pixels")
        x, y = border.here_px.unbind(1)
        outside = (x < -2) | (x > 98) | (y < -2) | (y > 66)
        assert bool(outside.all())
        # A band of 6 columns and one of 4 rows, less the margin.
        assert len(border.pixels) == approx(4 * 64 + 2 * 96, "paths, pixels of a border")


def test_a_still_gop_has_nothing_beside_it():
    assert borders(torch.from_numpy(panning_clip(3, (0.0, 0.0))), 1) == []
    assert borders(torch.from_numpy(panning_clip(1, (0.0, 0.0))), 0) == []


def test_gaussians_start_beside_the_picture_too_and_draw_what_comes_in(make_trainer):
    frames = torch.from_numpy(panning_clip(5, (-6.0, 0.0)))
    beside = borders(frames, 2)
    picture = frames[2] / 255.0
    options = {"method": "content", "means_space": "pixels", "backend": "numba"}

    found = initial_gaussians(picture, 300, rng=np.random.default_rng(0), beside=beside, **options)
    alone = initial_gaussians(picture, 300, rng=np.random.default_rng(0), **options)

    x = (found.means[:, 0].detach() + 1.0) * 48.0
    right, left = int((x > 97).sum()), int((x < -1).sum())
    assert 5 < left < 40
    assert 5 < right < 40
    assert bool((alone.means.abs() <= 1.0).all())
    # Moved by what the paths say, they draw the last frame's new columns.
    errors = []
    for gaussians in (found, alone):
        drawn = rasterize(
            (gaussians.means.detach()[None] + 1.0) * torch.tensor([48.0, 32.0]) - torch.tensor([12.0, 0.0]),
            bounded_cholesky(gaussians.cholesky.detach()),
            gaussians.colors.detach()[None],
            height=64,
            width=96,
            backend="numba",
        )[0]
        errors.append(float((drawn - frames[4] / 255.0)[:, -8:].square().mean()))
    assert errors[0] < 0.25 * errors[1]


def test_a_phase_on_paths_trains_the_field_alone_until_it_follows(make_trainer):
    trainer = panning_trainer(make_trainer)
    before = [parameter.detach().clone() for parameter in trainer.model.gaussians.parameters()]
    losses: list[float] = []

    trainer.run(MOTION, lambda phase, step, loss: losses.append(float(loss)))

    after = list(trainer.model.gaussians.parameters())
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))
    assert losses[0] > 3.0
    assert np.mean(losses[-5:]) < 1.2  # 1 is no distance at all
    assert trainer.n_rollbacks == 0


def test_a_pan_is_drawn_better_by_a_field_that_started_on_the_paths(make_trainer):
    """The same steps on pictures alone do not find motion of several Gaussians' size."""
    psnrs = []
    for phases in ((MOTION,), ()):
        trainer = panning_trainer(make_trainer, n_gaussians=400)
        for phase in (*phases, Phase("joint", frames="all", n_steps=60, final_rate=0.2)):
            trainer.run(phase)
        psnrs.append(trainer.psnr_db())
    assert psnrs[0] > psnrs[1] + 1.0


def test_memory_that_runs_out_halves_the_frames_of_a_step_on_paths_too(make_trainer, monkeypatch):
    trainer = panning_trainer(make_trainer)
    whole = phase_run.path_loss

    def short_of_memory(paths, field, spec, picked, at, **rest):
        if len(picked) > 2:
            raise torch.OutOfMemoryError
        return whole(paths, field, spec, picked, at, **rest)

    monkeypatch.setattr(phase_run, "path_loss", short_of_memory)
    steps: list[int] = []

    trainer.run(dataclasses.replace(MOTION, n_steps=3), lambda phase, step, loss: steps.append(step))

    assert steps == [1, 1, 2, 2, 3, 3]
