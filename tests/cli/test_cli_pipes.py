"""Pipes in and out, as ffmpeg's users write them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from clips import moving_clip, write_folder

from stgvcodec.decoder.video_decoder import VideoDecoder
from stgvcodec.media import open_video

STGVCODEC = f"{sys.executable} -m stgvcodec"
pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs a shell")


def shell(command: str, cwd: Path, **options: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["bash", "-o", "pipefail", "-c", command], cwd=cwd, capture_output=True, **options)  # type: ignore[call-overload, no-any-return]


@pytest.fixture(scope="module")
def ffmpeg() -> str:
    return pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()  # type: ignore[no-any-return]


@pytest.mark.slow
def test_frames_go_through_pipes_from_ffmpeg_to_ffmpeg(tmp_path, ffmpeg):
    """y4m in, a file, y4m out; nothing but frames goes to the standard output."""
    source = f"{ffmpeg} -v error -f lavfi -i testsrc=size=64x48:rate=25:duration=0.2 -f yuv4mpegpipe -pix_fmt yuv444p -"
    fit = "--preset draft --gaussians 30 --device cpu"

    done = shell(f"{source} | {STGVCODEC} encode - a.stgv {fit}", tmp_path)
    assert done.returncode == 0, done.stderr
    done = shell(f"{STGVCODEC} decode a.stgv - --device cpu | {ffmpeg} -v error -i - -f framemd5 out.txt", tmp_path)
    assert done.returncode == 0, done.stderr
    assert b"frames a second" in done.stderr

    sums = [line for line in (tmp_path / "out.txt").read_text().splitlines() if not line.startswith("#")]
    assert len(sums) == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.stgv", "out.txt"]


@pytest.mark.slow
def test_frames_go_through_a_pipe_while_they_are_encoded(tmp_path):
    write_folder(moving_clip(6), tmp_path / "in")
    encode = f"{STGVCODEC} encode in a.stgv --preset draft --gaussians 30 --gop 2 --device cpu -q"
    done = shell(f"{encode} & {STGVCODEC} decode a.stgv - --follow --device cpu; wait $!", tmp_path)
    assert done.returncode == 0, done.stderr
    assert b"waiting for it, or for a.stgv.part" in done.stderr
    assert shell(f"{STGVCODEC} decode a.stgv - --device cpu", tmp_path).stdout == done.stdout


@pytest.mark.slow
def test_what_is_piped_out_is_the_file_that_would_be_written(encoded, tmp_path):
    decode = f"{STGVCODEC} decode {encoded}"

    assert shell(f"{decode} out.y4m --device cpu", tmp_path).returncode == 0
    done = shell(f"{decode} - --device cpu", tmp_path)

    assert done.stdout == (tmp_path / "out.y4m").read_bytes()


@pytest.mark.slow
def test_an_encoded_file_goes_through_a_pipe_and_leaves_none_behind(tmp_path):
    """A report beside it does not get between its bytes."""
    write_folder(moving_clip(3), tmp_path / "in")
    encode = f"{STGVCODEC} encode in - --preset draft --gaussians 30 --device cpu --json report.json"

    done = shell(f"{encode} | {STGVCODEC} info - --json", tmp_path)

    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["path"], report["file_bytes"]) == ("-", json.loads(done.stdout)["file_bytes"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "report.json"]


@pytest.mark.slow
def test_frames_go_into_a_named_pipe(encoded, tmp_path):
    decode = f"{STGVCODEC} decode {encoded}"
    os.mkfifo(tmp_path / "pipe")

    into_pipe = shell(f"cat pipe & {decode} pipe --device cpu -q; wait", tmp_path)
    with_report = shell(f"{decode} - --device cpu --json report.json", tmp_path)

    assert into_pipe.stdout == with_report.stdout
    assert into_pipe.stdout.startswith(b"YUV4MPEG2")
    assert (tmp_path / "pipe").is_fifo()
    os.mkfifo(tmp_path / "pipe.mp4")
    refused = shell(f"{decode} pipe.mp4 --device cpu", tmp_path)
    assert (refused.returncode, b"is a pipe, which takes y4m alone" in refused.stderr) == (2, True)


@pytest.mark.slow
def test_a_file_is_read_from_a_pipe(encoded, tmp_path):
    direct = shell(f"{STGVCODEC} info {encoded} --json", tmp_path)
    for command in (f"cat {encoded} | {STGVCODEC} info - --json", f"{STGVCODEC} info <(cat {encoded}) --json"):
        piped = shell(command, tmp_path)
        assert piped.returncode == 0, piped.stderr
        a, b = (json.loads(done.stdout) for done in (direct, piped))
        assert {**a, "path": ""} == {**b, "path": ""}

    done = shell(f"cat {encoded} | {STGVCODEC} decode - out.y4m --device cpu", tmp_path)
    assert done.returncode == 0, done.stderr
    with open_video(tmp_path / "out.y4m") as video, VideoDecoder(encoded, device="cpu") as decoder:
        assert sum(1 for _ in video) == len(decoder)


@pytest.mark.slow
def test_one_side_of_a_comparison_comes_through_a_pipe(encoded, tmp_path):
    direct = shell(f"{STGVCODEC} compare {encoded} {encoded} --json --device cpu", tmp_path)
    piped = shell(f"cat {encoded} | {STGVCODEC} compare {encoded} - --json --device cpu", tmp_path)

    assert piped.returncode == 0, piped.stderr
    assert piped.stdout == direct.stdout


@pytest.mark.slow
def test_a_report_goes_to_the_standard_output(encoded, tmp_path):
    done = shell(f"{STGVCODEC} decode {encoded} out.y4m --json - --device cpu", tmp_path)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["path"] == "out.y4m"
    assert b"frames a second" in done.stderr
    done = shell(f"{STGVCODEC} decode {encoded} - --json - --device cpu", tmp_path)
    assert done.returncode == 2
    assert b"--json -: the output of the same run goes there too" in done.stderr


@pytest.mark.slow
def test_a_player_that_is_closed_is_no_error(encoded, tmp_path):
    done = shell(f"{{ {STGVCODEC} decode {encoded} - --device cpu; echo rc=$? >&2; }} | head -c 100", tmp_path)

    assert len(done.stdout) == 100
    assert done.stderr.splitlines()[-1] in (b"rc=141", b"rc=0")
    assert b"rror" not in done.stderr


@pytest.mark.slow
def test_a_pipe_without_a_video_is_refused_in_a_line(tmp_path):
    write_folder(moving_clip(2), tmp_path / "clip")
    for command, message in (
        (f"printf '' | {STGVCODEC} encode - a.stgv", "standard input: is empty (0 bytes); expected a video"),
        (f"echo text | {STGVCODEC} encode - a.stgv", "standard input: cannot be read as video: got"),
        (f"echo text | {STGVCODEC} info -", "not a .stgv file"),
    ):
        done = shell(command, tmp_path)
        assert done.returncode in (3, 4), done.stderr
        assert message in done.stderr.decode(), done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip"]


@pytest.mark.slow
def test_nothing_is_left_in_the_folder_for_temporary_files(encoded, tmp_path):
    folder = tmp_path / "tmp"
    folder.mkdir()
    for command in (f"cat {encoded} | {STGVCODEC} info -", f"echo text | {STGVCODEC} encode - {tmp_path}/a.stgv"):
        shell(command, tmp_path, env={**os.environ, "TMPDIR": str(folder)})

    assert list(folder.iterdir()) == []
