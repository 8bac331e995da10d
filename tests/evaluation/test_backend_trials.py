from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from stgvcodec.evaluation import backend_trials
from stgvcodec.evaluation.backend_trials import _FailedError, try_backends
from stgvcodec.media import open_video, write_png
from stgvcodec.media.selection import Selection

ON_CPU = [("cpu", "numba"), ("cpu", "reference")]


@pytest.fixture
def source() -> np.ndarray:
    """The frames that are encoded. [2, 32, 32, 3]."""
    clip = Path(backend_trials.__file__).parents[1] / backend_trials._CLIP
    selection = Selection.parse(frames="66:68", resize="32x32")
    with open_video(clip, selection=selection) as video:
        return np.stack([frame.rgb for frame in video])


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch) -> None:
    monkeypatch.setattr(backend_trials, "gpu_obstacle", lambda: "torch finds no usable CUDA GPU here")


def decoding(pictures: dict[str, np.ndarray | str]):
    """A stand-in for the processes: each back end decodes these pictures, or fails with this message."""

    def run(_environment: object, command: str, *arguments: object) -> None:
        backend = str(arguments[arguments.index("--backend") + 1])
        made = pictures[backend]
        if isinstance(made, str):
            raise _FailedError(made)
        if command == "decode":
            folder = Path(str(arguments[1]))
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            for i, picture in enumerate(made):
                write_png(folder / f"{i:06d}.png", picture)

    return run


def test_the_first_back_end_that_works_encodes_and_the_others_decode(monkeypatch, tmp_path: Path, source) -> None:
    monkeypatch.setattr(backend_trials, "_run", decoding({"numba": source, "reference": source}))
    triton, numba, reference = try_backends(tmp_path)
    assert (triton.decodes, triton.reason) == (False, "torch finds no usable CUDA GPU here")
    assert (numba.encodes, numba.decodes, numba.reason) == (True, True, None)
    assert (reference.encodes, reference.decodes, reference.reason) == (None, True, None)


def test_where_one_fails_the_next_encodes(monkeypatch, tmp_path: Path, source) -> None:
    monkeypatch.setattr(backend_trials, "_run", decoding({"numba": "no LLVM here", "reference": source}))
    _, numba, reference = try_backends(tmp_path)
    assert (numba.encodes, numba.decodes, numba.reason) == (False, False, "no LLVM here")
    assert (reference.encodes, reference.decodes) == (True, True)


def test_other_frames_are_found_out(monkeypatch, tmp_path: Path, source) -> None:
    off = np.where(source < 200, source + 5, source - 5).astype(np.uint8)
    monkeypatch.setattr(backend_trials, "_run", decoding({"numba": source, "reference": off}))
    *_, reference = try_backends(tmp_path)
    assert (reference.decodes, reference.reason) == (False, "its frames are up to 5 levels off")

    noise = np.random.default_rng(0).integers(0, 256, source.shape, dtype=np.uint8)
    monkeypatch.setattr(backend_trials, "_run", decoding({"numba": noise, "reference": source}))
    _, numba, reference = try_backends(tmp_path)
    assert "dB, expected 15 or more" in (numba.reason or "")
    assert reference.encodes


def test_the_last_line_of_a_process_is_the_reason(tmp_path: Path) -> None:
    with pytest.raises(_FailedError, match=r"^.*missing: does not exist"):
        backend_trials._run(None, "decode", tmp_path / "missing", tmp_path / "out", "--device", "cpu")


def test_a_python_that_cannot_be_started_anew_is_named(monkeypatch) -> None:
    monkeypatch.setattr(backend_trials.sys, "executable", "/nowhere/python")
    with pytest.raises(_FailedError, match="/nowhere/python cannot be started anew: No such file"):
        backend_trials._run(None, "--version")


@pytest.mark.slow
def test_back_ends_of_this_machine_run(tmp_path: Path) -> None:
    trials = {(trial.device, trial.backend): trial for trial in try_backends(tmp_path)}
    for each in ON_CPU:
        assert trials[each].decodes, trials[each].reason


@pytest.mark.gpu
@pytest.mark.slow
def test_triton_runs_on_a_gpu(monkeypatch, tmp_path: Path) -> None:
    assert torch.cuda.is_available()
    monkeypatch.setattr(backend_trials, "gpu_obstacle", lambda: None)
    triton = next(iter(try_backends(tmp_path)))
    assert (triton.backend, triton.encodes, triton.decodes, triton.reason) == ("triton", True, True, None)
