"""`stgvcodec encode INPUT... -o FOLDER`."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from clips import files_under, moving_clip, write_folder

from stgvcodec import EncodeConfig, Selection, VideoDecoder
from stgvcodec.cli.exits import EXIT_UNEXPECTED, error_line, exit_code_for
from stgvcodec.encoder import encode_several
from stgvcodec.errors import ConfigError, InputVideoError

QUICK = ("--preset", "draft", "--gaussians", "9", "--gop", "2", "--device", "cpu")


@pytest.fixture
def clips(tmp_path: Path) -> list[Path]:
    """Three folders of images, of 2, 3 and 4 frames."""
    folder = tmp_path / "in"
    folder.mkdir()
    return [write_folder(moving_clip(n, 32, 32, phase=n), folder / f"clip{n}") for n in (2, 3, 4)]


def error_lines(text: str) -> list[str]:
    return [line.removeprefix("stgvcodec: error: ") for line in text.splitlines() if "error" in line]


@pytest.mark.parametrize("device", ["cpu", pytest.param("cpu,cpu", marks=pytest.mark.slow)])
def test_each_video_becomes_the_file_that_it_becomes_alone(cli, clips, tmp_path: Path, device: str) -> None:
    out = tmp_path / "new" / "out"

    outcome = cli("encode", *clips, "-o", out, *QUICK, "--device", device, "--json", tmp_path / "report.json")

    assert outcome.code == 0
    assert files_under(out) == ["clip2.stgv", "clip3.stgv", "clip4.stgv"]
    for clip in clips:
        assert cli("encode", clip, tmp_path / "alone.stgv", *QUICK, "-q", "-y").code == 0
        assert (out / f"{clip.name}.stgv").read_bytes() == (tmp_path / "alone.stgv").read_bytes()
        assert re.search(rf"^{clip}\nplan: ", outcome.err, re.MULTILINE)
        n_frames = clip.name[-1]
        assert re.search(
            rf"^{out / clip.name}\.stgv: [\d ]+ bytes, .* dB, {n_frames} frames, ", outcome.out, re.MULTILINE
        )
    report = json.loads((tmp_path / "report.json").read_text())
    assert [each["n_frames"] for each in report["encoded"]] == [2, 3, 4]
    assert report["failed"] == []


def test_one_that_fails_is_told_at_the_end_and_the_others_are_encoded(cli, clips, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    out = tmp_path / "out"

    sources = (clips[0], broken, tmp_path / "missing.mp4", clips[1])
    outcome = cli("encode", *sources, "-o", out, *QUICK, "--json", tmp_path / "report.json")

    assert outcome.code == InputVideoError.exit_code
    assert files_under(out) == ["clip2.stgv", "clip3.stgv"]
    told = error_lines(outcome.err)
    assert outcome.err.index(f"WARNING: {broken} was not encoded: ") < outcome.err.index(f"\n{clips[1]}\nplan: ")
    assert [line.partition(": ")[0] for line in told[:2]] == [str(broken), str(tmp_path / "missing.mp4")]
    assert told[2] == "2 of 4 videos were not encoded"
    assert outcome.err.splitlines()[-3:] == [f"stgvcodec: error: {line}" for line in told]
    report = json.loads((tmp_path / "report.json").read_text())
    assert [each["error"] for each in report["failed"]] == told[:2]
    assert [each["path"] for each in report["failed"]] == list(map(str, sources[1:3]))


def test_failures_of_two_kinds_have_exit_code_1(cli, clips, tmp_path: Path) -> None:
    encoded = tmp_path / "clip2.stgv"
    encoded.write_bytes(b"")

    outcome = cli("encode", encoded, tmp_path / "missing.mp4", clips[0], "-o", tmp_path / "out", *QUICK)

    assert outcome.code == 1
    assert f"{encoded}: is encoded already" in outcome.err
    assert files_under(tmp_path / "out") == ["clip2.stgv"]


def test_a_bug_in_one_does_not_end_the_others(cli, clips, tmp_path: Path, monkeypatch) -> None:
    encode_by = encode_several.encode_by

    def sometimes(engine, source, destination, **options):
        if source == clips[1]:
            raise KeyError("bug")
        return encode_by(engine, source, destination, **options)

    monkeypatch.setattr(encode_several, "encode_by", sometimes)

    outcome = cli("encode", *clips, "-o", tmp_path / "out", *QUICK)

    assert outcome.code == EXIT_UNEXPECTED
    told, summary = error_lines(outcome.err)
    assert told == f"{clips[1]}: unexpected KeyError: 'bug'"
    assert summary == "1 of 3 videos was not encoded"
    assert "Traceback" not in outcome.err
    assert "Traceback" in cli("encode", clips[1], "-o", tmp_path / "more", *QUICK, "-v").err
    assert files_under(tmp_path / "out") == ["clip2.stgv", "clip4.stgv"]


def test_the_line_of_an_error_names_its_file_once() -> None:
    error = ConfigError("a.mp4: bad\n  thing")
    error.add_note("1 finished GoP is kept")
    assert error_line(error, "a.mp4") == "a.mp4: bad thing; 1 finished GoP is kept"
    assert error_line(ConfigError("bad"), "a.mp4") == "a.mp4: bad"
    assert (exit_code_for(error), exit_code_for(KeyError())) == (ConfigError.exit_code, EXIT_UNEXPECTED)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("a.mp4", "b.mp4", "a.mkv"), r"a\.mp4 and .*a\.mkv would both be encoded to .*out/a\.stgv"),
        (("a.mp4", "A.mkv"), "would both be encoded to"),
        (("-", "a.mp4"), "-: a pipe has no name"),
        (("frame_%04d.png", "a.mp4"), r"frame_%04d\.png: stands for several images"),
        (("frame_*.png", "a.mp4"), r"frame_\*\.png: stands for several images"),
    ],
)
def test_names_that_do_not_do_are_refused_before_the_work(cli, tmp_path: Path, names, said: str) -> None:
    sources = [name if name == "-" else tmp_path / name for name in names]
    cli("encode", *sources, "-o", tmp_path / "out").assert_refused(2, said)
    assert files_under(tmp_path) == []


def test_an_output_that_looks_like_a_file_is_refused(cli, clips, tmp_path: Path) -> None:
    cli("encode", clips[0], "-o", tmp_path / "a.stgv").assert_refused(2, "is to be a folder; for one file leave -o out")
    (tmp_path / "file").write_bytes(b"kept")
    cli("encode", clips[0], "-o", tmp_path / "file").assert_refused(5, "cannot be made a folder")


def test_several_inputs_without_a_folder_are_told_the_option(cli) -> None:
    cli("encode", "a.mp4", "b.mp4", "c.mp4").assert_refused(2, "several inputs take -o FOLDER")


def test_files_that_are_there_are_kept_unless_y_says_otherwise(cli, clips, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "clip3.stgv").write_bytes(b"kept")

    cli("encode", *clips, "-o", out, *QUICK).assert_refused(5, r"clip3\.stgv: exists already")
    cli("encode", *clips, "-o", out, *QUICK, "-n").assert_refused(1, r"clip3\.stgv: exists already")
    assert files_under(out) == ["clip3.stgv"]

    assert cli("encode", *clips, "-o", out, *QUICK, "-y", "-q").code == 0
    assert (out / "clip3.stgv").read_bytes() != b"kept"


def test_resume_continues_what_was_begun_and_leaves_what_is_complete(cli, clips, tmp_path: Path, monkeypatch) -> None:
    out = tmp_path / "out"
    whole = tmp_path / "whole"
    assert cli("encode", *clips, "-o", whole, *QUICK, "-q").code == 0
    encode_by = encode_several.encode_by

    def interrupted(engine, source, destination, **options):
        def stop(progress) -> None:
            if progress.phase == "gop 0: finished":
                raise InputVideoError("gone")

        return encode_by(
            engine, source, destination, **{**options, **({"progress": stop} if source == clips[2] else {})}
        )

    with monkeypatch.context() as patch:
        patch.setattr(encode_several, "encode_by", interrupted)
        outcome = cli("encode", *clips, "-o", out, *QUICK, "-q")
    assert outcome.code == InputVideoError.exit_code
    assert f"gone; 1 finished GoP is kept in {out / 'clip4.stgv.part'}: continue with --resume" in outcome.err
    assert files_under(out) == ["clip2.stgv", "clip3.stgv", "clip4.stgv.part"]
    shutil.copy(out / "clip2.stgv", tmp_path / "before")
    os.utime(out / "clip2.stgv", (1, 1))

    outcome = cli("encode", *clips, "-o", out, *QUICK, "--resume", "--json", tmp_path / "report.json")

    assert outcome.code == 0
    assert outcome.err.startswith("2 files complete already\n")
    assert (out / "clip2.stgv").stat().st_mtime == 1
    (report,) = json.loads((tmp_path / "report.json").read_text())["encoded"]
    assert report["n_gops_from_before"] == 1
    for path in whole.iterdir():
        assert (out / path.name).read_bytes() == path.read_bytes()


def test_resume_tells_complete_files_of_other_sources(cli, clips, tmp_path: Path) -> None:
    """One file is of a longer video, and one is no longer whole; the third is left as it is."""
    out = tmp_path / "out"
    assert cli("encode", *clips, "-o", out, *QUICK, "-q").code == 0
    (clips[1] / "003.png").write_bytes((clips[1] / "002.png").read_bytes())
    (out / "clip4.stgv").write_bytes(b"")

    outcome = cli("encode", *clips, "-o", out, *QUICK, "--resume", "--json", tmp_path / "report.json")

    assert outcome.code == 1
    assert outcome.err.startswith("1 file complete already\n")
    longer, cut, summary = error_lines(outcome.err)
    assert longer.startswith(f"{clips[1]}: {out / 'clip3.stgv'}: is there, of another source or with other options: ")
    assert cut.startswith(f"{clips[2]}: ")
    assert summary == "2 of 3 videos were not encoded"
    assert [each["path"] for each in json.loads((tmp_path / "report.json").read_text())["failed"]] == [
        str(clips[1]),
        str(clips[2]),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("device", ["cpu", "cpu,cpu"])
def test_a_signal_ends_all_and_what_is_complete_stays(clips, tmp_path: Path, device: str) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "stgvcodec", "encode", *map(str, clips), "-o", str(out), "--device", device]
    options = ["--preset", "veryslow", "--gaussians", "30", "--gop", "2"]
    with subprocess.Popen([*command, *options], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if "clip2.stgv: " in line:
                break
        process.send_signal(signal.SIGINT)
        _, complaint = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT
    assert "interrupted by SIGINT" in complaint
    with VideoDecoder(out / "clip2.stgv") as decoder:
        assert len(decoder) == 2
    assert not (out / "clip4.stgv").exists()


def test_progress_is_that_of_all_videos(clips, tmp_path: Path) -> None:
    seen = []
    options = {"config": EncodeConfig(preset="draft", n_gaussians=9, gop=2), "selection": Selection()}
    pairs = [(clip, tmp_path / f"{clip.name}.stgv") for clip in clips]

    report = encode_several.encode_several(pairs, options=options, device="cpu", progress=seen.append)

    assert [each.n_frames for each in report.encoded] == [2, 3, 4]
    names = list(dict.fromkeys(each.phase.partition(":")[0] for each in seen))
    assert names == ["clip2", "clip3", "clip4"]
    fractions = [each.fraction for each in seen]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert max(each.fraction for each in seen if each.phase.startswith("clip2")) == pytest.approx(1 / 3)
