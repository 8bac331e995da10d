from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from clips import decoded_frames, read_frames
from gops import with_damaged_gop


def test_frames_report_and_text_agree(cli, encoded: Path, tmp_path: Path) -> None:
    outcome = cli("decode", encoded, tmp_path / "frames", "--device", "cpu", "--json", tmp_path / "report.json")
    assert outcome.code == 0
    assert np.array_equal(read_frames(tmp_path / "frames"), decoded_frames(encoded))
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["width"], report["height"], report["n_frames"], report["damage"]) == (48, 32, 6, [])
    assert 0 < report["render_seconds"] < report["seconds"]
    assert outcome.out.startswith(f"{tmp_path / 'frames'}\n")
    assert "48x32, 6 frames" in outcome.out
    assert outcome.err.startswith("decoding: rendering, 1 of 6 frames done")


def test_quiet_scaled_part_as_a_video(cli, encoded: Path, tmp_path: Path) -> None:
    options = ("--scale", "1.5", "--frames", "3:5", "--device", "cpu", "-q")
    assert cli("decode", encoded, tmp_path / "big.mp4", *options) == (0, "", "")
    assert read_frames(tmp_path / "big.mp4").shape == (2, 48, 72, 3)


def test_damage_is_refused_or_with_keep_going_passed_over(cli, encoded: Path, tmp_path: Path) -> None:
    source = tmp_path / "damaged.stgv"
    source.write_bytes(with_damaged_gop(encoded, 1))
    cli("decode", source, tmp_path / "out.mp4", "-q", "--device", "cpu").assert_refused(4, "GoP 1.*--keep-going")
    assert list(tmp_path.iterdir()) == [source]

    options = ("--keep-going", "--device", "cpu", "--json", tmp_path / "report.json")
    outcome = cli("decode", source, tmp_path / "frames", *options)
    assert outcome.code == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["n_frames"] == len(read_frames(tmp_path / "frames")) == 6
    assert "frames 4 to 5 are missing: the nearest frame that is intact is shown" in report["damage"]
    for what in report["damage"]:
        assert f"stgvcodec: damage: {what}\n" in outcome.err


@pytest.mark.parametrize(
    ("source", "options", "code", "said"),
    [("clip.stgv", ("--scale", "nan"), 2, "scale is "), ("missing.stgv", (), 3, r"missing\.stgv")],
    ids=["scale", "missing"],
)
def test_what_cannot_be_decoded_is_one_line(
    cli, encoded: Path, tmp_path: Path, source: str, options: tuple[str, ...], code: int, said: str
) -> None:
    arguments = ("decode", encoded.with_name(source), tmp_path / "out.mp4", *options, "--device", "cpu")
    cli(*arguments).assert_refused(code, said)
    assert list(tmp_path.iterdir()) == []


def test_size_part_time_and_rate_are_chosen(cli, encoded: Path, tmp_path: Path) -> None:
    options = ("--size", "96x32", "--roi", "8,4,40,20", "--time", "0:0.1", "--fps", "48", "--device", "cpu", "-q")
    assert cli("decode", encoded, tmp_path / "between", *options) == (0, "", "")
    between = read_frames(tmp_path / "between")
    assert cli("decode", encoded, tmp_path / "out", *options, "--repeat") == (0, "", "")
    frames = read_frames(tmp_path / "out")
    assert frames.shape == (6, 20, 40, 3)
    assert np.array_equal(frames[::2], frames[1::2])
    assert not np.array_equal(frames[1], frames[2])
    assert np.array_equal(frames[::2], between[::2])
    assert not np.array_equal(frames[1], between[1])
    refused = cli("decode", encoded, tmp_path / "more", "--frames", "0:2", "--time", "0:1")
    refused.assert_refused(2, "--frames and --time both choose frames")


def test_codec_and_samples_are_chosen(cli, encoded: Path, tmp_path: Path) -> None:
    options = ("--codec", "h264", "--crf", "0", "--pix-fmt", "rgb24", "--device", "cpu", "-q")
    assert cli("decode", encoded, tmp_path / "exact.mp4", *options) == (0, "", "")
    assert np.array_equal(read_frames(tmp_path / "exact.mp4"), decoded_frames(encoded))

    refused = cli("decode", encoded, tmp_path / "out.webm", *options)
    refused.assert_refused(
        2, r"out\.webm: got --codec h264: the container does not hold it; choose one of av1, vp9, vp8"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["exact.mp4"]
