"""A fit by Triton's kernels is the fit by the reference; on a GPU as a CUDA graph too."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from clips import moving_clip, panning_clip
from fits import COMPACT, FINE_RATES
from tensors import CPU
from tolerances import approx

from stgvcodec.fit import phase_run
from stgvcodec.fit.paths import Paths, follow_paths
from stgvcodec.fit.phases import QUANTIZED_STREAMS, Phase
from stgvcodec.fit.trainer import STRETCH, GopTrainer


def losses_of(trainer: GopTrainer, phases: list[Phase]) -> list[float]:
    losses: list[torch.Tensor] = []
    for phase in phases:
        trainer.run(phase, lambda *report: losses.append(report[2]))
    return torch.stack(losses).tolist()


@pytest.mark.slow
@pytest.mark.parametrize("config", [None, COMPACT], ids=["paper", "compact"])
def test_a_fit_has_the_losses_of_the_reference(make_trainer, triton_device, config):
    phases = [
        Phase("key-frame", frames="key", n_steps=1),
        Phase("joint", frames="all", n_steps=2, frames_per_step=2),
        Phase("finetune", frames="all", n_steps=1, rates=FINE_RATES, quantized=QUANTIZED_STREAMS),
    ]
    frames = moving_clip(2)[:, :18, :20].copy()
    found, expected = (
        losses_of(make_trainer(2, 10, frames=frames, backend=backend, device=device, config=config), phases)
        for backend, device in (("triton", triton_device), ("reference", CPU))
    )

    assert found == approx(expected, "fit, losses")


@pytest.mark.slow
def test_a_phase_on_paths_has_the_losses_of_the_reference(make_trainer, triton_device):
    frames = panning_clip(3, (2.0, -1.0), 20, 18)
    phases = [Phase("motion", frames="all", n_steps=3, rates=FINE_RATES, frames_per_step=2, target="paths")]

    def losses(backend: str, device: torch.device) -> list[float]:
        trainer = make_trainer(3, 10, frames=frames, backend=backend, device=device)
        paths = follow_paths(torch.from_numpy(frames).to(device), 0)
        trainer.paths = Paths(paths.means[::9], paths.px[:, ::9])
        return losses_of(trainer, phases)

    assert losses("triton", triton_device) == approx(losses("reference", CPU), "fit, losses")


@pytest.fixture
def on_gpu(make_trainer):
    def make(backend: str, **options: Any) -> GopTrainer:
        frames = moving_clip(4, 320, 180)
        return make_trainer(4, 600, frames=frames, backend=backend, device=torch.device("cuda"), **options)

    return make


PHASES = [
    Phase("key-frame", frames="key", n_steps=30),
    Phase("joint", frames="all", n_steps=STRETCH + 30),
    Phase("finetune", frames="all", n_steps=40, rates=FINE_RATES, quantized=QUANTIZED_STREAMS),
]


@pytest.mark.gpu
@pytest.mark.parametrize("config", [None, COMPACT], ids=["paper", "compact"])
def test_graphs_reach_what_eager_steps_of_the_reference_reach(on_gpu, caplog, config):
    triton, reference = on_gpu("triton", config=config), on_gpu("reference", config=config)
    first, *_ = losses_of(triton, PHASES), losses_of(reference, PHASES)

    assert not any("CUDA graph" in message for message in caplog.messages)
    assert np.isfinite(first).all()
    expected = reference.psnr_db(QUANTIZED_STREAMS)
    assert triton.psnr_db(QUANTIZED_STREAMS) == approx(expected, "fit, PSNR of a GPU in dB")


@pytest.mark.gpu
@pytest.mark.parametrize("target", ["pictures", "paths"])
def test_steps_after_the_first_are_replays(on_gpu, monkeypatch, target):
    calls = []
    step = phase_run.PhaseRun._step
    monkeypatch.setattr(phase_run.PhaseRun, "_step", lambda run: (calls.append(1), step(run))[1])

    trainer = on_gpu("triton")
    trainer.paths = follow_paths(trainer.frames, 0)
    trainer.run(Phase("joint", frames="all", n_steps=50, target=target))

    assert len(calls) == 2  # One as it is written, one captured.


@pytest.mark.gpu
def test_too_little_room_for_pairs_is_noticed_and_made_good(on_gpu, monkeypatch):
    roomy = on_gpu("triton")
    losses_of(roomy, PHASES)
    monkeypatch.setattr(phase_run, "_FIRST_GUESS", 1)
    trainer = on_gpu("triton")
    losses_of(trainer, PHASES)

    assert trainer.n_rollbacks == 0
    expected = roomy.psnr_db(QUANTIZED_STREAMS)
    assert trainer.psnr_db(QUANTIZED_STREAMS) == approx(expected, "fit, PSNR with little room in dB")


@pytest.mark.gpu
def test_where_capture_fails_steps_run_eagerly_and_the_log_says_so(on_gpu, monkeypatch, caplog):
    optimizer_step = None

    def waiting(*arguments):
        torch.cuda.synchronize()
        return optimizer_step(*arguments)

    trainer = on_gpu("triton")
    optimizer_step = trainer.optimizer.step
    monkeypatch.setattr(trainer.optimizer, "step", waiting)
    before = trainer.psnr_db()
    trainer.run(dataclasses.replace(PHASES[1], n_steps=20))

    assert any("without a CUDA graph" in message for message in caplog.messages)
    assert trainer.psnr_db() > before
