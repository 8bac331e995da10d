from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from stgvcodec import VideoDecoder
from stgvcodec.media import open_video


def pictures(path: Path) -> np.ndarray:
    with open_video(path) as video:
        return np.stack([frame.rgb for frame in video])


def test_a_fresh_process_writes_the_decoders_frames(fresh_cli, encoded: Path, tmp_path: Path) -> None:
    outcome = fresh_cli("decode", encoded, tmp_path / "frames", "--device", "cpu", "--json", tmp_path / "report.json")
    assert outcome.code == 0
    with VideoDecoder(encoded, device="cpu") as decoder:
        expected = decoder[:].permute(0, 2, 3, 1).numpy()
    assert np.array_equal(pictures(tmp_path / "frames"), expected)
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["width"], report["height"], report["n_frames"], report["damage"]) == (48, 32, 6, [])
    assert 0 < report["render_seconds"] < report["seconds"]
    assert outcome.out.startswith(f"{tmp_path / 'frames'}\n")
    assert "48x32, 6 frames" in outcome.out
    assert outcome.err.startswith("decoding: rendering, 1 of 6 frames done")


def test_scale_and_frames(cli, encoded: Path, tmp_path: Path) -> None:
    outcome = cli("decode", encoded, tmp_path / "big", "--scale", "1.5", "--frames", "3:5", "--device", "cpu")
    assert outcome.code == 0
    assert pictures(tmp_path / "big").shape == (2, 48, 72, 3)


def test_quiet_video(cli, encoded: Path, tmp_path: Path) -> None:
    outcome = cli("decode", encoded, tmp_path / "out.mp4", "-q", "--device", "cpu")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
    assert pictures(tmp_path / "out.mp4").shape == (6, 32, 48, 3)


def damaged(encoded: Path, folder: Path, kind: str) -> Path:
    content = bytearray(encoded.read_bytes())
    if kind == "cut":
        del content[-40:]
    elif kind == "flipped":
        # In the second half of the file: the second GoP, the first stays intact.
        content[len(content) * 3 // 4] ^= 0x10
    elif kind == "other":
        content = bytearray(b"RIFF" + bytes(500))
    elif kind == "empty":
        content.clear()
    path = folder / f"{kind}.stgv"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("kind", ["cut", "flipped", "other", "empty"])
def test_a_damaged_file_is_one_line_and_writes_nothing(cli, encoded: Path, tmp_path: Path, kind: str) -> None:
    source = damaged(encoded, tmp_path, kind)
    outcome = cli("decode", source, tmp_path / "out.mp4", "-q", "--device", "cpu")
    assert outcome.code == 4
    assert outcome.out == ""
    assert re.fullmatch(r"stgvcodec: error: .*\n", outcome.err)
    assert list(tmp_path.iterdir()) == [source]


def test_keep_going_renders_what_is_intact_and_says_what_is_not(cli, encoded: Path, tmp_path: Path) -> None:
    source = damaged(encoded, tmp_path, "flipped")
    options = ("--keep-going", "--device", "cpu", "--json", tmp_path / "report.json")
    outcome = cli("decode", source, tmp_path / "frames", *options)
    assert outcome.code == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["n_frames"] == len(pictures(tmp_path / "frames")) == 4
    assert report["damage"]
    for what in report["damage"]:
        assert f"stgvcodec: skipped: {what}\n" in outcome.err


def test_a_missing_file_is_one_line(cli, tmp_path: Path) -> None:
    outcome = cli("decode", tmp_path / "missing.stgv", tmp_path / "out.mp4")
    assert outcome.code == 3
    assert re.fullmatch(r"stgvcodec: error: .*missing\.stgv.*\n", outcome.err)


@pytest.mark.parametrize("scale", ["0", "-1", "nan", "1e9"])
def test_an_impossible_scale_is_refused(cli, encoded: Path, tmp_path: Path, scale: str) -> None:
    outcome = cli("decode", encoded, tmp_path / "out.mp4", "--scale", scale, "--device", "cpu")
    assert outcome.code == 2
    assert re.fullmatch(r"stgvcodec: error: scale is .*\n", outcome.err)
    assert list(tmp_path.iterdir()) == []
