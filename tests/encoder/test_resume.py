"""An encode that is interrupted anywhere is continued to the file that it would have become."""

from __future__ import annotations

import dataclasses
import errno
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from clips import files_under, moving_clip
from track_clips import write_with_tracks

from stgvcodec import EncodeConfig, Selection, VideoDecoder, encode
from stgvcodec.encoder import encode as encoder
from stgvcodec.encoder.engines import gop_job
from stgvcodec.encoder.reports import EncodeReport
from stgvcodec.errors import ConfigError, OutputError, StgvError
from stgvcodec.media import durable
from stgvcodec.media.durable import DurableFile

OPTIONS = {
    "no target": {"n_gaussians": 20},
    "rate": {"bpp_target": 3.0},
    "quality": {"psnr_target": 22.0},
}
N_GOPS = 4


def config(name: str, **others: object) -> EncodeConfig:
    return EncodeConfig(**{"preset": "tiny", "gop": 3, **OPTIONS[name], **others})


class Stopped(BaseException):
    """Ends an encode at a chosen moment."""


@dataclasses.dataclass
class Job:
    """An encode that can be interrupted, and the file that it writes if it is not.

    Attributes:
        source: A video of ten frames.
        options: Arguments of `encode`.
        whole: Bytes of the file.
        n_fits: Number of fits, retries included.
    """

    source: Path
    options: dict[str, object]
    whole: bytes = b""
    n_fits: int = 0

    def run(self, destination: Path, **more: object) -> EncodeReport:
        return encode(self.source, destination, device="cpu", **{**self.options, **more})


@pytest.fixture(scope="session")
def source(tmp_path_factory) -> Path:
    """Ten frames with sound and subtitles."""
    path = tmp_path_factory.mktemp("source") / "clip.mkv"
    return write_source(path)


def write_source(path: Path, frames: np.ndarray | None = None, language: str = "eng") -> Path:
    frames = moving_clip(10, 32, 32) if frames is None else frames
    return write_with_tracks(path, [("flac", language)], [("subrip", "fra")], frames=frames)


@dataclasses.dataclass
class Fits:
    """Fits of GoPs.

    Attributes:
        begun: Indices of the GoPs, in the order in which their fits began.
        stop: Index of the GoP whose fit ends the encode.
    """

    begun: list[int] = dataclasses.field(default_factory=list)
    stop: int | None = None


@pytest.fixture
def fits(monkeypatch) -> Fits:
    seen = Fits()
    encode_gop = gop_job.encode_gop

    def watched(frames, config, seed, on_step, known, costs):
        # The seed is the index.
        if seed == seen.stop:
            raise Stopped
        seen.begun.append(seed)
        return encode_gop(frames, config, seed, on_step, known, costs)

    monkeypatch.setattr(gop_job, "encode_gop", watched)
    return seen


@pytest.fixture(scope="session")
def known() -> dict[tuple[str, int], Job]:
    """Jobs whose whole file is known, by the target and the number of GoPs at once."""
    return {}


@pytest.fixture
def make_job(known, source, fits, tmp_path) -> Callable[[str, int], Job]:
    def make(name: str, jobs: int) -> Job:
        if (name, jobs) not in known:
            job = Job(source, {"config": config(name), "jobs": jobs})
            path = tmp_path / "whole.stgv"
            report = job.run(path)
            assert len(report.gops) == N_GOPS
            assert len(report.tracks) == 2
            job.whole, job.n_fits = path.read_bytes(), len(fits.begun)
            path.unlink()
            fits.begun.clear()
            known[name, jobs] = job
        return known[name, jobs]

    return make


@pytest.fixture(
    params=[
        pytest.param((name, jobs), marks=[pytest.mark.slow] if name == "quality" else [], id=f"{name}, {jobs} at once")
        for name in OPTIONS
        for jobs in (1, 2)
    ]
)
def job(request, make_job) -> Job:
    return make_job(*request.param)


@pytest.fixture
def plain(make_job) -> Job:
    """One without a target."""
    return make_job("no target", 1)


def stop_at(gop: int) -> Callable[[object], None]:
    def watch(progress) -> None:
        if progress.phase.startswith(f"gop {gop}: joint"):
            raise Stopped

    return watch


def begun(job: Job, destination: Path, *, gop: int = 2) -> Path:
    """Interrupt an encode in a GoP, and return the part file."""
    with pytest.raises(Stopped):
        job.run(destination, progress=stop_at(gop))
    return destination.with_name(f"{destination.name}.part")


def test_an_interrupted_encode_is_continued_to_the_same_file(job, fits, tmp_path):
    """Every GoP is interrupted in turn, and no finished one is fitted again."""
    for fits.stop in range(1, N_GOPS):
        with pytest.raises(Stopped) as stopped:
            job.run(tmp_path / "a.stgv", resume=True)
        if job.options["jobs"] == 1:
            assert f"{fits.stop} finished GoP" in stopped.value.__notes__[0]
            assert files_under(tmp_path) == ["a.stgv.part"]
    fits.stop = None

    report = job.run(tmp_path / "a.stgv", resume=True)

    assert files_under(tmp_path) == ["a.stgv"]
    assert (tmp_path / "a.stgv").read_bytes() == job.whole
    assert report.n_gops_from_before >= N_GOPS - job.options["jobs"]
    if job.options["jobs"] == 1:
        assert len(fits.begun) == job.n_fits


@pytest.mark.slow
def test_every_state_of_the_disk_is_continued_to_the_same_file(job, tmp_path, monkeypatch):
    """The folder is copied before, within and after every change of a file: so a killed process leaves it."""
    folder = tmp_path / "run"
    folder.mkdir()
    copies: list[Path] = []
    states: list[dict[str, bytes]] = []

    def copy() -> None:
        state = {path.name: path.read_bytes() for path in folder.iterdir()}
        if state not in states:
            states.append(state)
            copies.append(tmp_path / f"{len(copies)}")
            shutil.copytree(folder, copies[-1])

    def around(function: Callable) -> Callable:
        def copied(*arguments, **options):
            copy()
            result = function(*arguments, **options)
            copy()
            return result

        return copied

    write_all = durable._write_all

    def halves(file, data) -> None:
        for part in (data[: len(data) // 2], data[len(data) // 2 :]):
            write_all(file, part)
            copy()

    with monkeypatch.context() as patch:
        patch.setattr(durable, "_write_all", halves)
        patch.setattr("os.fsync", around(os.fsync))
        for name in ("replace", "unlink"):
            patch.setattr(Path, name, around(getattr(Path, name)))
        job.run(folder / "a.stgv")

    assert len(copies) > 2 * N_GOPS
    n_kept = []
    for each in copies:
        if (each / "a.stgv").exists():
            assert (each / "a.stgv").read_bytes() == job.whole
        report = job.run(each / "a.stgv", resume=True)
        n_kept.append(report.n_gops_from_before)
        assert (each / "a.stgv").read_bytes() == job.whole
        assert files_under(each) == ["a.stgv"]
    # Each piece that was flushed is kept; behind the last copy the file is complete and nothing else is there.
    assert n_kept[:-1] == sorted(n_kept[:-1])
    assert set(n_kept[:-1]) >= set(range(N_GOPS))


def test_a_part_file_plays_up_to_where_it_got(plain, tmp_path):
    part = begun(plain, tmp_path / "a.stgv", gop=2)
    whole = tmp_path / "whole.stgv"
    whole.write_bytes(plain.whole)

    with (
        VideoDecoder(part, keep_going=True, device="cpu") as decoder,
        VideoDecoder(whole, device="cpu") as complete,
    ):
        assert len(decoder) == 6
        lost = f"so that frames behind {len(decoder) - 1} may be missing"
        assert decoder.damage == (f"byte {part.stat().st_size}: the end chunk is missing or damaged, {lost}",)
        assert np.array_equal(decoder[:], complete[:6])


def test_the_part_file_is_left_alone_unless_something_is_said_of_it(plain, fits, tmp_path):
    part = begun(plain, tmp_path / "a.stgv")
    before = part.read_bytes()
    fits.begun.clear()

    with pytest.raises(OutputError, match=r"2 finished GoPs; continue it with --resume, or start anew with -y$"):
        plain.run(tmp_path / "a.stgv")
    assert fits.begun == []
    assert part.read_bytes() == before

    with pytest.raises(Stopped) as stopped:
        plain.run(tmp_path / "a.stgv", progress=stop_at(0), resume=False)
    assert not hasattr(stopped.value, "__notes__")
    assert part.read_bytes() == before

    assert plain.run(tmp_path / "a.stgv", resume=False).n_gops_from_before == 0
    assert (tmp_path / "a.stgv").read_bytes() == plain.whole
    assert files_under(tmp_path) == ["a.stgv"]


def test_without_a_part_file_an_encode_that_is_to_be_continued_starts(plain, tmp_path):
    assert plain.run(tmp_path / "a.stgv", resume=True).n_gops_from_before == 0
    assert (tmp_path / "a.stgv").read_bytes() == plain.whole


OTHERS = {
    "seed 0, got seed 1": {"seed": 1},
    "gop 3, got gop 4": {"gop": 4},
    "back end numba, got back end reference": {"backend": "reference"},
    "audio True, got audio False": {"selection": Selection(audio=False)},
    r"frames None, got frames \[0, 9\]": {"selection": Selection(frames=(0, 9))},
    "matrix None, got matrix bt709": {"matrix": "bt709"},
}


@pytest.mark.parametrize("said", OTHERS)
def test_another_job_is_refused_and_said_to_differ(plain, fits, tmp_path, said):
    part = begun(plain, tmp_path / "a.stgv")
    before = part.read_bytes()
    fits.begun.clear()
    others = dict(OTHERS[said])
    fields = {field: others.pop(field) for field in ("seed", "gop") if field in others}
    others["config"] = config("no target", **fields)

    with pytest.raises(ConfigError, match=rf"a\.stgv\.part: was begun with {said}; continue it with the same"):
        plain.run(tmp_path / "a.stgv", resume=True, **others)
    assert fits.begun == []
    assert part.read_bytes() == before


def test_another_version_is_refused(plain, tmp_path, monkeypatch):
    begun(plain, tmp_path / "a.stgv")
    monkeypatch.setattr(encoder, "__version__", "99.0")

    with pytest.raises(ConfigError, match=r"was begun with stgvcodec .*, got stgvcodec 99\.0; continue"):
        plain.run(tmp_path / "a.stgv", resume=True)


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda path: write_source(path, moving_clip(10, 32, 32, phase=0.1)), "frames"),
        (lambda path: write_source(path, moving_clip(10, 48, 32)), "checksum of the frames|its size, times, sound"),
        (lambda path: write_source(path, language="deu"), "its size, times, sound or metadata differ"),
    ],
    ids=["pictures", "size", "sound"],
)
def test_another_source_is_refused(source, tmp_path, name, change, said):
    copy = tmp_path / "clip.mkv"
    shutil.copy(source, copy)
    job = Job(copy, {"config": config(name)})
    part = begun(job, tmp_path / "a.stgv")
    before = part.read_bytes()
    copy.unlink()
    change(copy)

    with pytest.raises(ConfigError, match=said):
        job.run(tmp_path / "a.stgv", resume=True)
    assert part.read_bytes() == before


def test_what_no_encode_has_written_is_not_overwritten(plain, tmp_path):
    (tmp_path / "a.stgv.part").write_bytes(b"half of a download")
    for resume in (None, True, False):
        with pytest.raises(OutputError, match="is in the way, and no encode has written it; move it"):
            plain.run(tmp_path / "a.stgv", resume=resume)
    assert (tmp_path / "a.stgv.part").read_bytes() == b"half of a download"


def test_two_encodes_do_not_write_one_file(plain, tmp_path):
    part = begun(plain, tmp_path / "a.stgv")
    other = DurableFile(part, "other")
    assert other.open()
    for resume in (None, True, False):
        with pytest.raises(OutputError, match="another process is writing it; wait for it to end"):
            plain.run(tmp_path / "a.stgv", resume=resume)
    other.close()
    plain.run(tmp_path / "a.stgv", resume=True)
    assert (tmp_path / "a.stgv").read_bytes() == plain.whole


@pytest.mark.parametrize("name", ["n" * 250 + ".stgv", "n" * 250 + ".part", "ä" * 127])
def test_names_may_be_as_long_as_the_file_system_takes(plain, tmp_path, name):
    begun_name = None
    with pytest.raises(Stopped):
        plain.run(tmp_path / name, progress=stop_at(2))
    (begun_name,) = files_under(tmp_path)
    assert begun_name != name

    assert plain.run(tmp_path / name, resume=True).n_gops_from_before == 2
    assert files_under(tmp_path) == [name]


@pytest.mark.parametrize("n_whole", [0, 1, 3])
def test_a_full_disk_leaves_what_was_finished(plain, tmp_path, monkeypatch, n_whole):
    write_all, pieces = durable._write_all, []

    def full(file, data) -> None:
        pieces.append(data)
        if len(pieces) > n_whole:
            write_all(file, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        write_all(file, data)

    with monkeypatch.context() as patch:
        patch.setattr(durable, "_write_all", full)
        with pytest.raises(OutputError, match="cannot be written: No space left on device") as caught:
            plain.run(tmp_path / "a.stgv")
    kept = {0: [], 1: ["1 finished GoP is"], 3: ["3 finished GoPs are"]}[n_whole]
    assert [note.split(" kept")[0] for note in getattr(caught.value, "__notes__", [])] == kept
    assert files_under(tmp_path) == (["a.stgv.part"] if n_whole else [])

    assert plain.run(tmp_path / "a.stgv", resume=True).n_gops_from_before == n_whole
    assert (tmp_path / "a.stgv").read_bytes() == plain.whole


def test_a_disk_that_is_full_at_the_end_leaves_everything(plain, tmp_path, monkeypatch):
    """The complete file is put together behind the last GoP."""

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(DurableFile, "blocks", full)
        with pytest.raises(OutputError, match="No space left"):
            plain.run(tmp_path / "a.stgv")
    assert files_under(tmp_path) == ["a.stgv.part"]

    assert plain.run(tmp_path / "a.stgv", resume=True).n_gops_from_before == N_GOPS
    assert (tmp_path / "a.stgv").read_bytes() == plain.whole


@pytest.mark.parametrize("gop", range(N_GOPS))
def test_a_folder_that_is_removed_is_made_again(plain, tmp_path, caplog, gop):
    folder = tmp_path / "out"
    folder.mkdir()

    def remove(progress) -> None:
        if progress.phase == f"gop {gop}: joint" and folder.exists() and not caplog.records:
            shutil.rmtree(folder)

    plain.run(folder / "a.stgv", progress=remove)

    assert files_under(folder) == ["a.stgv"]
    assert (folder / "a.stgv").read_bytes() == plain.whole
    assert caplog.messages[0] == f"{folder}: was removed while it was written to: it is made again"


def test_a_folder_that_is_moved_keeps_what_was_finished(plain, tmp_path):
    folder, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    folder.mkdir()

    def move(progress) -> None:
        if progress.phase == "gop 2: joint" and not elsewhere.exists():
            folder.rename(elsewhere)
            folder.mkdir()

    with pytest.raises(OutputError, match="was moved while it was written; move it back and continue with --resume"):
        plain.run(folder / "a.stgv", progress=move)
    assert files_under(folder) == []

    assert plain.run(elsewhere / "a.stgv", resume=True).n_gops_from_before == 2
    assert (elsewhere / "a.stgv").read_bytes() == plain.whole


def test_a_gop_that_is_finished_before_its_turn_is_kept(plain, tmp_path, monkeypatch, fits):
    """With two at once the second is finished while the first is held up, and then the encode ends."""
    held = threading.Event()
    counted, hold = gop_job.encode_gop, encoder.PartFile.hold

    def first_waits(frames, config, seed, on_step, known, costs):
        if seed == 0:
            held.wait(60)
            raise StgvError("the first one fails")
        return counted(frames, config, seed, on_step, known, costs)

    def told(part, gop) -> None:
        hold(part, gop)
        held.set()

    with monkeypatch.context() as patch:
        patch.setattr(gop_job, "encode_gop", first_waits)
        patch.setattr(encoder.PartFile, "hold", told)
        with pytest.raises(StgvError, match="the first one fails"):
            plain.run(tmp_path / "a.stgv", jobs=2)
    assert fits.begun == [1]
    assert files_under(tmp_path) == ["a.stgv.part"]
    fits.begun.clear()

    report = plain.run(tmp_path / "a.stgv", jobs=2, resume=True)

    assert (tmp_path / "a.stgv").read_bytes() == plain.whole
    assert sorted(fits.begun) == [0, 2, 3]
    assert report.n_gops_from_before == 1


def test_the_report_of_a_continued_encode_has_the_figures_of_all_gops(plain, tmp_path):
    once = plain.run(tmp_path / "once.stgv")
    begun(plain, tmp_path / "a.stgv", gop=2)
    report = plain.run(tmp_path / "a.stgv", resume=True)

    def figures(report: EncodeReport) -> list[object]:
        return [dataclasses.replace(gop, seconds=0.0) for gop in report.gops]

    assert figures(report) == figures(once)
    assert (report.file_bytes, report.bpp, report.psnr_db) == (once.file_bytes, once.bpp, once.psnr_db)
    assert (report.tracks, report.carried_bytes) == (once.tracks, once.carried_bytes)
    assert (report.n_gops_from_before, once.n_gops_from_before) == (2, 0)


def test_frames_of_a_generator_are_continued(fits, tmp_path):
    clip = moving_clip(10, 32, 32)
    options = {"config": config("rate"), "fps": 25, "device": "cpu"}
    encode(iter(clip), tmp_path / "whole.stgv", **options)
    with pytest.raises(Stopped):
        encode(iter(clip), tmp_path / "a.stgv", progress=stop_at(2), **options)

    assert encode(iter(clip), tmp_path / "a.stgv", resume=True, **options).n_gops_from_before == 2
    assert (tmp_path / "a.stgv").read_bytes() == (tmp_path / "whole.stgv").read_bytes()
