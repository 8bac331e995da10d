from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from clips import moving_clip, write_folder, write_video

from stgvcodec import EncodeConfig, Selection, encode, read_info
from stgvcodec.cli.encode_texts import gop_table, plan_text, summary
from stgvcodec.encoder.reports import EncodePlan, EncodeReport, GopReport
from stgvcodec.media import write_png
from stgvcodec.progress import Progress
from stgvcodec.tracks import TrackInfo

DRAFT = ("--preset", "draft", "--gaussians", "20", "--device", "cpu", "--frames", "0:2")


def gop_rows(text: str) -> list[list[str]]:
    lines = text.splitlines()
    header = next(i for i, line in enumerate(lines) if line.split()[:2] == ["GoP", "first"])
    return [line.split()[:4] for line in lines[header + 1 :]]


def test_summary_and_report_agree_with_the_file(cli, clip: Path, tmp_path: Path) -> None:
    destination, report_path = tmp_path / "out.stgv", tmp_path / "report.json"
    outcome = cli("encode", clip, destination, *DRAFT, "--gop", "1", "-v", "--json", report_path)
    assert outcome.code == 0
    n_bytes = destination.stat().st_size
    report = json.loads(report_path.read_text(), parse_constant=pytest.fail)
    assert report["file_bytes"] == n_bytes
    assert report["path"] == str(destination)
    assert report["bpp"] == pytest.approx(8 * n_bytes / (48 * 32 * 2))
    assert (report["width"], report["height"], report["n_frames"], report["bpp_target"]) == (48, 32, 2, None)
    assert [(gop["first_frame"], gop["n_frames"], gop["n_gaussians"]) for gop in report["gops"]] == [
        (0, 1, 20),
        (1, 1, 20),
    ]
    assert outcome.out.startswith(f"{destination}\n")
    assert f"{n_bytes:,} bytes".replace(",", " ") in outcome.out
    assert f"{report['psnr_db']:.2f} dB" in outcome.out
    assert "48x32, 2 frames in 2 GoPs" in outcome.out
    assert gop_rows(outcome.out) == [["0", "0", "1", "20"], ["1", "1", "1", "20"]]
    assert outcome.err.startswith("plan: 2 frames in GoPs of at most 1\n      20 Gaussians and a field of")
    assert (report["plan"]["n_gaussians"], report["plan"]["gop_lengths"]) == (20, [])
    assert re.search(r"^encoding: gop 0: \S+, step \d+/\d+, 0 of 2 frames done", outcome.err, re.MULTILINE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.stgv", "report.json"]


def test_images_have_the_rate_that_is_asked_for(cli, tmp_path: Path) -> None:
    write_folder(moving_clip(2), tmp_path / "images")
    arguments = (tmp_path / "out.stgv", *DRAFT, "--fps", "29.97")

    assert cli("encode", tmp_path / "images", *arguments).code == 0
    assert read_info(tmp_path / "out.stgv").frame_rate == Fraction(2997, 100)
    refused = cli("encode", write_video(moving_clip(2), tmp_path / "a.mkv", [0, 40]), *arguments, "-y")
    assert (refused.code, "fps is given for a video file" in refused.err) == (2, True)


def report_of(psnr_db: float, bpp_target: float | None) -> EncodeReport:
    gops = (
        GopReport(0, 10, 1200, 9_000, 31.0, {"means": 0.25, "colors": -0.001}, 4.2),
        GopReport(10, 1, 7, 250, math.inf, {"means": 0.0, "field": 1.5}, 0.1),
    )
    return EncodeReport(
        Path("out.stgv"), 9_300, 0.165, bpp_target, psnr_db, 200, 205, 11, 0, (), (), gops, 64.0, "cpu", "numba"
    )


def test_summary_names_the_target_and_how_far_off_it_is() -> None:
    assert summary(report_of(30.518, 0.15)).splitlines() == [
        "out.stgv",
        "  target     0.15 bits a pixel, reached +10.0 %",
        "  size       9 300 bytes",
        "  rate       0.1650 bits a pixel",
        "  quality    30.52 dB (PSNR of RGB, as decoded)",
        "  video      200x205, 11 frames in 2 GoPs",
        "  Gaussians  1 207",
        "  time       1 min 04 s on cpu, numba",
    ]


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"size_target": 10_000}, "  target     10 000 bytes, reached -7.0 %"),
        ({"psnr_target": 31.0}, "  target     31 dB, reached -0.48 dB"),
        ({"size_target": 10_000, "shortfall": "too plain"}, "  target     10 000 bytes, reached -7.0 %; too plain"),
    ],
    ids=["size", "PSNR", "shortfall"],
)
def test_summary_of_other_targets(values: dict[str, object], line: str) -> None:
    lines = summary(dataclasses.replace(report_of(30.518, None), **values)).splitlines()
    assert lines[1] == line


LANGUAGE = {"language": "eng", "title": "Film"}
SOUND = TrackInfo("audio", "opus", 48_000, 6, "", ("default",), LANGUAGE, 90, 9000, 0.0, 2.0)
SUBTITLES = TrackInfo("subtitle", "subrip", 0, 0, "", ("forced", "hearing_impaired"), {}, 3, 40, 0.5, 1.5)


@pytest.mark.parametrize(
    ("values", "lines"),
    [
        (
            {"tracks": (SOUND, SUBTITLES), "carried_bytes": 9900, "left_out": ("stream 3, data: not kept",)},
            [
                "  sound      opus, 48 000 Hz, 6 channels, eng, Film, default",
                "  subtitles  subrip, forced, hearing impaired",
                "  carried    9 900 bytes of the size are sound, subtitles and metadata",
                "  left out   stream 3, data: not kept",
            ],
        ),
        ({"carried_bytes": 60}, ["  carried    60 bytes of the size are metadata"]),
    ],
    ids=["tracks", "metadata"],
)
def test_summary_of_what_is_carried(values: dict[str, object], lines: list[str]) -> None:
    report = dataclasses.replace(report_of(30.518, None), **values)
    assert summary(report).splitlines()[-len(lines) :] == lines


PLAN = EncodePlan(
    n_frames=48,
    gop_lengths=(),
    longest_gop=10,
    n_gaussians=1440,
    n_field_parameters=6265,
    bpp_target=None,
    size_target=None,
    psnr_target=None,
    expected_bytes=None,
    expected_bpp=None,
)
MODEL = "1 440 Gaussians and a field of 6 265 parameters a GoP"
PLANS = {
    "no target": ({}, ["plan: 48 frames in GoPs of at most 10", f"      {MODEL}"]),
    "length unknown": ({"n_frames": None}, ["plan: frames in GoPs of at most 10", f"      {MODEL}"]),
    "bits": (
        {"bpp_target": 0.25, "gop_lengths": (18, 30), "longest_gop": 30, "expected_bytes": 86400, "expected_bpp": 0.25},
        [
            "plan: 48 frames in 2 GoPs of 18 to 30",
            f"      about {MODEL}",
            "      target 0.25 bits a pixel; 86 400 bytes, 0.2500 bits a pixel expected",
        ],
    ),
    "PSNR": (
        {"psnr_target": 32, "gop_lengths": (48,), "longest_gop": 48, "expected_bytes": 5000, "expected_bpp": 0.0145},
        [
            "plan: 48 frames in 1 GoP of 48",
            f"      about {MODEL}",
            "      target 32 dB; 5 000 bytes, 0.0145 bits a pixel at a guess, which the first GoP corrects",
        ],
    ),
    "several devices": (
        {"division": "by a process for each of cuda:0, cuda:2", "gops_at_once": 8},
        [
            "plan: 48 frames in GoPs of at most 10",
            f"      {MODEL}",
            "      8 GoPs at a time, by a process for each of cuda:0, cuda:2",
        ],
    ),
    "bytes beside the pictures": (
        {"size_target": 90_000, "gop_lengths": (48,), "longest_gop": 48, "expected_bytes": 86400, "expected_bpp": 0.25}
        | {"carried_bytes": 3600},
        [
            "plan: 48 frames in 1 GoP of 48",
            f"      about {MODEL}",
            "      target 90 000 bytes; 90 000 bytes, 3 600 of them beside the pictures, 0.2500 bits a pixel expected",
        ],
    ),
}


@pytest.mark.parametrize(("values", "lines"), PLANS.values(), ids=PLANS)
def test_the_plan_in_lines(values: dict[str, object], lines: list[str]) -> None:
    assert plan_text(dataclasses.replace(PLAN, **values)).splitlines() == lines


def test_processes_for_several_devices(cli, clip: Path, tmp_path: Path) -> None:
    options = ("--preset", "draft", "--gaussians", "20", "--gop", "3", "--device", "cpu,cpu")
    outcome = cli("encode", clip, tmp_path / "out.stgv", *options)
    assert outcome.code == 0
    assert "      2 GoPs at a time, by a process for each of cpu, cpu\n" in outcome.err
    assert re.search(r"^  time +\S+ s on cpu,cpu, numba$", outcome.out, re.MULTILINE)


@pytest.mark.parametrize("device", ["cuda:0,cpu", "gpu", "cpu,"])
def test_devices_that_make_no_sense_are_refused(cli, clip: Path, tmp_path: Path, device: str) -> None:
    cli("encode", clip, tmp_path / "out.stgv", "--device", device).assert_refused(2, f"device is '{device}', expected")


def test_a_target_is_planned_before_and_accounted_for_after(cli, clip: Path, tmp_path: Path) -> None:
    arguments = ("encode", clip, tmp_path / "out.stgv", *DRAFT[:2], "--device", "cpu", "--size-target", "2.5k")
    outcome = cli(*arguments, "--json", tmp_path / "report.json")
    assert outcome.code == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["size_target"], report["plan"]["size_target"]) == (2500, 2500)
    assert report["plan"]["gop_lengths"] == [gop["n_frames"] for gop in report["gops"]]
    assert re.search(r"plan: 6 frames in .*\n.*\n +target 2 500 bytes; 2 500 bytes, .* expected\n", outcome.err)
    assert re.search(r"^  target +2 500 bytes, reached [+-]\d", outcome.out, re.MULTILINE)
    assert [int(row[2]) for row in gop_rows(outcome.out)] == report["plan"]["gop_lengths"]


def test_gop_table_has_a_column_for_each_quantizer_if_asked() -> None:
    header, first, second = gop_table(report_of(math.inf, None), with_costs=True).splitlines()
    assert header.split("  ")[-3:] == ["cost: means", "cost: colors", "cost: field"]
    assert " ".join(first.split()) == "0 0 10 1200 9000 0.1756 31.00 dB 4.2 0.25 dB 0.00 dB 0.00 dB"
    assert " ".join(second.split()) == "1 10 1 7 250 0.0488 identical 0.1 0.00 dB 0.00 dB 1.50 dB"

    header, first, _ = gop_table(report_of(math.inf, None)).splitlines()
    assert header.split() == ["GoP", "first", "frames", "Gaussians", "bytes", "bpp", "PSNR"]
    assert " ".join(first.split()) == "0 0 10 1200 9000 0.1756 31.00 dB"


@pytest.mark.parametrize("where", ["missing/out.stgv", "folder"])
def test_an_unwritable_output_is_refused_before_the_work(cli, clip: Path, tmp_path: Path, where: str) -> None:
    (tmp_path / "folder").mkdir()
    cli("encode", clip, tmp_path / where, "--preset", "paper").assert_refused(5, where)
    assert [path.name for path in tmp_path.rglob("*")] == ["folder"]


@pytest.mark.parametrize(
    ("source", "options", "code", "said"),
    [
        ("clip", ("--frames", "500:510"), 2, "500:510"),
        ("clip", ("--crop", "64x64"), 2, "crop 64x64 does not fit.*48x32"),
        ("missing.mp4", (), 3, r"missing\.mp4"),
    ],
    ids=["frames", "crop", "missing"],
)
def test_what_cannot_be_encoded_is_one_line_without_a_plan(
    cli, clip: Path, tmp_path: Path, source: str, options: tuple[str, ...], code: int, said: str
) -> None:
    destination = tmp_path / "old.stgv"
    destination.write_bytes(b"kept")
    cli("encode", clip.with_name(source), destination, *options, "-y").assert_refused(code, said)
    assert destination.read_bytes() == b"kept"
    assert list(tmp_path.iterdir()) == [destination]


def test_a_range_of_time_is_encoded(cli, clip: Path, tmp_path: Path) -> None:
    options = ("--preset", "draft", "--gaussians", "9", "--device", "cpu", "-q", "--time", "0.08:0.2", "--json", "-")
    report = json.loads(cli("encode", clip, tmp_path / "out.stgv", *options).out)
    assert report["n_frames"] == 3  # at 24 frames a second these begin at 0.083, 0.125 and 0.167 s


def test_a_target_below_the_smallest_file_names_the_minimum(cli, clip: Path, tmp_path: Path) -> None:
    outcome = cli("encode", clip, tmp_path / "out.stgv", "--bpp-target", "0.0001")
    assert outcome.code == 2
    assert re.search(r"^stgvcodec: error: .*0\.0001.*minimum is [\d.]+.*\n\Z", outcome.err, re.MULTILINE)
    assert list(tmp_path.iterdir()) == []


def iter_until(lines: Iterable[str], beginning: str) -> Iterator[str]:
    """Yield lines up to the first that begins like this."""
    for line in lines:
        yield line
        if line.startswith(beginning):
            return
    pytest.fail(f"no line begins with {beginning!r}")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_it_and_leaves_what_was_there(clip: Path, tmp_path: Path, name: str) -> None:
    destination = tmp_path / "out.stgv"
    destination.write_bytes(b"kept")
    command = [sys.executable, "-m", "stgvcodec", "encode", str(clip), str(destination), "-y", "--preset", "paper"]
    process = subprocess.Popen([*command, "--gaussians", "50"], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    with process.stderr:
        # What is compiled, the plan, then progress. Before the first GoP is finished there is nothing to keep.
        said = list(iter_until(process.stderr, "encoding: gop 0"))
        plan = said.index(next(line for line in said if line.startswith("plan: ")))
        assert all(line.startswith("encoding: compiling") for line in said[:plan])
        assert any(re.fullmatch(r" +about .* here\n", line) for line in said[plan:])
        assert list(tmp_path.iterdir()) == [destination]
        os.kill(process.pid, getattr(signal, name))
        rest = process.stderr.read()
    assert process.wait() == 128 + getattr(signal, name)
    assert rest.splitlines()[-1] == f"stgvcodec: error: interrupted by {name}; unfinished output was removed"
    assert destination.read_bytes() == b"kept"
    assert list(tmp_path.iterdir()) == [destination]


def test_an_encode_that_was_interrupted_is_continued_or_begun_anew(cli, clip: Path, tmp_path: Path) -> None:
    destination, part, report = tmp_path / "out.stgv", tmp_path / "out.stgv.part", tmp_path / "report.json"
    command = ("encode", clip, destination, *DRAFT, "--gop", "1", "--json", report)
    assert cli(*command, "--resume").code == 0
    whole = destination.read_bytes()
    for written in (destination, report):
        written.unlink()

    def stop(progress: Progress) -> None:
        if progress.frames_done:
            raise KeyboardInterrupt

    def interrupt() -> None:
        config = EncodeConfig(preset="draft", n_gaussians=20, gop=1)
        with pytest.raises(KeyboardInterrupt):
            encode(clip, destination, config=config, selection=Selection((0, 2)), device="cpu", progress=stop)

    interrupt()
    cli(*command).assert_refused(5, r"out\.stgv\.part: is there .* with 1 finished GoP; continue it with --resume, or")
    cli(*command, "--resume", "--seed", "1").assert_refused(2, "was begun with seed 0, got seed 1; continue it with")
    outcome = cli(*command, "--resume", "-y")
    assert outcome.code == 0
    assert "continued" in outcome.out
    assert json.loads(report.read_text())["n_gops_from_before"] == 1
    assert destination.read_bytes() == whole
    assert not part.exists()

    interrupt()
    outcome = cli(*command, "-y")
    assert outcome.code == 0
    assert json.loads(report.read_text())["n_gops_from_before"] == 0
    assert destination.read_bytes() == whole
    assert not part.exists()


def test_masked_pixels_are_ignored(cli, clip: Path, tmp_path: Path) -> None:
    frames = moving_clip(2)
    picture = np.zeros(frames.shape[1:], np.uint8)
    picture[4:20, 8:24] = 255
    write_png(tmp_path / "mask.png", picture)
    files = []
    for i in range(2):
        source = write_folder(np.where(picture, 50 * i, frames).astype(np.uint8), tmp_path / f"in{i}")
        assert cli("encode", source, tmp_path / f"{i}.stgv", *DRAFT, "--mask", tmp_path / "mask.png").code == 0
        files.append((tmp_path / f"{i}.stgv").read_bytes())
    assert files[0] == files[1]
    refused = cli("encode", clip, tmp_path / "out.stgv", *DRAFT, "--mask", tmp_path / "missing.png")
    refused.assert_refused(3, r"missing\.png")
