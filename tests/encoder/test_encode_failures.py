from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from clips import files_under, moving_clip, write_folder

from stgvcodec import EncodeConfig, Selection, VideoDecoder, encode
from stgvcodec.encoder import encode as encoder
from stgvcodec.encoder.engines import gop_job
from stgvcodec.encoder.presets import PRESETS
from stgvcodec.errors import (
    BackendUnavailableError,
    CancelledError,
    ConfigError,
    InputVideoError,
    OutputError,
    StgvError,
)
from stgvcodec.fit.phases import Phase
from stgvcodec.media import Crop, write_png


def tiny(**options) -> EncodeConfig:
    return EncodeConfig(preset="tiny", n_gaussians=20, scene_cut=False, **options)


@pytest.fixture(params=["new name", "existing file"])
def destination(request, tmp_path) -> Callable[[], Path]:
    """A path to write to; after the test, the same files must be there as before it, but for what `take_part` takes."""
    path = tmp_path / "out" / "a.stgv"
    path.parent.mkdir()
    if request.param == "existing file":
        path.write_bytes(b"precious")
    before = files_under(path.parent)

    yield path

    assert files_under(path.parent) == before
    if request.param == "existing file":
        assert path.read_bytes() == b"precious"


def take_part(destination: Path) -> int:
    """Take away the part file that an encode has left; return the number of frames that it has."""
    part = destination.with_name(f"{destination.name}.part")
    with VideoDecoder(part, keep_going=True, device="cpu") as decoder:
        n_frames = len(decoder)
    part.unlink()
    return n_frames


def missing(folder: Path) -> Path:
    return folder / "missing.mp4"


def mixed_sizes(folder: Path) -> Path:
    """The sixth image differs, so that the failure comes when a GoP is already written."""
    path = write_folder(moving_clip(6), folder / "mixed")
    write_png(path / "005.png", moving_clip(1, 50, 30)[0])
    return path


def damaged_image(folder: Path) -> Path:
    path = write_folder(moving_clip(6), folder / "damaged")
    (path / "005.png").write_bytes((path / "005.png").read_bytes()[:200])
    return path


@pytest.mark.parametrize(
    ("make", "n_kept"),
    [(missing, 0), (mixed_sizes, 4), (damaged_image, 4)],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_bad_source_leaves_what_was_finished(destination, tmp_path, make, n_kept):
    source = make(tmp_path)

    with pytest.raises(InputVideoError, match=r"expected|cannot|not"):
        encode(source, destination, config=tiny(), device="cpu")
    assert not n_kept or take_part(destination) == n_kept


@pytest.mark.parametrize(
    "selection",
    [Selection(frames=(7, 9)), Selection(crop=Crop(49, 32)), Selection(crop=Crop(10, 10, 40, 0))],
    ids=["frames", "crop size", "crop offset"],
)
def test_an_impossible_selection_leaves_no_file(destination, clip_folder, selection):
    with pytest.raises(ConfigError, match="expected"):
        encode(clip_folder, destination, config=tiny(), selection=selection, device="cpu")


@pytest.mark.parametrize(
    ("error", "raised"),
    [(KeyboardInterrupt, KeyboardInterrupt), (RuntimeError, RuntimeError), (MemoryError, StgvError)],
)
@pytest.mark.parametrize(("at", "n_kept"), [("gop 0: key-frame", 0), ("gop 0: finetune", 0), ("gop 1: joint", 4)])
def test_an_interrupt_leaves_what_was_finished(destination, clip_folder, error, raised, at, n_kept):
    """The progress callback raises, in the first GoP or when one is already written."""
    seen = []

    def interrupt(progress) -> None:
        seen.append(progress.phase)
        if progress.phase == at:
            raise error

    with pytest.raises(raised) as caught:
        encode(clip_folder, destination, config=tiny(), device="cpu", progress=interrupt)
    note = f"1 finished GoP is kept in {destination}.part: continue with --resume"
    assert getattr(caught.value, "__notes__", []) == ([note] if n_kept else [])
    assert not n_kept or take_part(destination) == n_kept
    assert seen[-1] == at
    assert seen.count(at) == 1


@pytest.mark.parametrize(
    ("at", "jobs", "n_kept"),
    [
        ("before", 1, 0),
        ("looking ahead", 1, 0),
        ("gop 0: key-frame", 1, 0),
        ("gop 1: joint", 1, 4),
        ("gop 0: joint", 2, 0),
    ],
)
def test_a_cancelled_encode_leaves_what_was_finished(destination, tmp_path, clip, monkeypatch, at, jobs, n_kept):
    """The token is set between two steps; what was kept of the frames goes too."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr("stgvcodec.media.frames._SPOOL_BYTES", 0)
    monkeypatch.setattr(encoder, "PROGRESS_INTERVAL_SECONDS", 0.0)
    cancel, seen = threading.Event(), []

    def watch(progress) -> None:
        seen.append(progress.phase)
        if progress.phase.startswith(at):
            cancel.set()

    if at == "before":
        cancel.set()
    config = EncodeConfig(preset="tiny", bpp_target=3.0, gop=4, scene_cut=False) if at == "looking ahead" else tiny()
    with pytest.raises(CancelledError, match=r"^cancelled by the caller(\n1 finished GoP is kept in .*)?$"):
        encode(iter(clip), destination, config=config, fps=25, device="cpu", jobs=jobs, progress=watch, cancel=cancel)
    assert not any("finetune" in phase for phase in seen if phase.startswith(at))
    assert files_under(tmp_path / "temporary") == []
    assert not n_kept or take_part(destination) == n_kept


def test_an_error_of_the_frames_is_the_callers(destination, clip):
    def failing():
        yield from clip[:5]
        raise LookupError("the camera is gone")

    with pytest.raises(LookupError, match="the camera is gone"):
        encode(failing(), destination, config=tiny(), fps=25, device="cpu")
    assert take_part(destination) == 4


def test_a_disk_that_fails_at_once_leaves_no_file(destination, clip_folder, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("stgvcodec.media.durable._write_all", full)
    with pytest.raises(OutputError, match="No space left"):
        encode(clip_folder, destination, config=tiny(), device="cpu")


def test_nothing_is_under_the_final_name_while_encoding(clip_folder, tmp_path):
    destination = tmp_path / "a.stgv"
    seen = []

    encode(clip_folder, destination, config=tiny(), device="cpu", progress=lambda _: seen.append(destination.exists()))

    assert not any(seen)
    assert files_under(tmp_path) == ["a.stgv"]


@pytest.mark.parametrize(("name", "said"), [("", "folder"), ("nowhere/a.stgv", "does not exist")])
def test_the_destination_is_checked_before_any_work(clip_folder, tmp_path, name, said):
    def never(_progress) -> None:
        raise AssertionError("training began")

    with pytest.raises(OutputError, match=said):
        encode(clip_folder, tmp_path / name, config=tiny(), device="cpu", progress=never)
    assert files_under(tmp_path) == []


def test_the_source_cannot_be_the_destination(clip_video):
    before = clip_video.read_bytes()

    with pytest.raises(ConfigError, match="overwrite"):
        encode(clip_video, clip_video, config=tiny(), device="cpu")
    assert clip_video.read_bytes() == before


@pytest.mark.parametrize(
    ("request_", "error", "named"),
    [
        ({"backend": "triton", "device": "cpu"}, BackendUnavailableError, "triton"),
        ({"device": "tpu"}, ConfigError, "tpu"),
        ({"matrix": "bt470", "device": "cpu"}, ConfigError, "bt470"),
    ],
    ids=["triton on a CPU", "unknown device", "unknown matrix"],
)
def test_what_cannot_be_met_is_refused(clip_folder, destination, request_, error, named, monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)  # It lets triton run on a CPU.
    with pytest.raises(error, match=named):
        encode(clip_folder, destination, config=tiny(), **request_)


def test_a_device_without_enough_memory_is_named(clip_folder, tmp_path, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("stgvcodec.fit.phase_run.splat_loss", full)
    with pytest.raises(StgvError, match=r"not enough memory to fit .* Gaussians to .*--jobs 1"):
        encode(clip_folder, tmp_path / "a.stgv", config=EncodeConfig(preset="tiny", n_gaussians=20))
    assert not (tmp_path / "a.stgv").exists()


@pytest.mark.slow
def test_a_failing_gop_ends_the_others_that_are_under_way(tmp_path, monkeypatch):
    """With three at once, the second fails at its first step while the others have a million to go."""
    folder = write_folder(moving_clip(6), tmp_path / "clip")
    endless = dataclasses.replace(PRESETS["tiny"], name="endless", phases=(Phase("joint", "all", 10**6),))
    monkeypatch.setitem(PRESETS, "endless", endless)
    encode_gop = gop_job.encode_gop

    def failing(frames, config, seed, on_step, known, costs):
        if seed == 1:
            raise OutputError("no")
        return encode_gop(frames, config, seed, on_step, known, costs)

    monkeypatch.setattr(gop_job, "encode_gop", failing)
    config = EncodeConfig(preset="endless", n_gaussians=20, gop=2, scene_cut=False)
    with pytest.raises(OutputError, match="no"):
        encode(folder, tmp_path / "a.stgv", config=config, jobs=3)
