from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from stgvcodec import VideoDecoder
from stgvcodec.media import open_video


def compared(cli, *arguments: object) -> dict[str, object]:
    outcome = cli("compare", *arguments, "--device", "cpu", "--json", "-q")
    assert (outcome.code, outcome.err) == (0, "")
    return json.loads(outcome.out, parse_constant=pytest.fail)


def psnr_db(reference: np.ndarray, distorted: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((reference.astype(np.float64) - distorted) ** 2)))


def test_a_stgv_file_is_measured_on_its_own_frames(cli, clip: Path, encoded: Path) -> None:
    comparison = compared(cli, clip, encoded)
    with open_video(clip) as video, VideoDecoder(encoded, device="cpu") as decoder:
        expected = [psnr_db(frame.rgb, decoder[i].permute(1, 2, 0).numpy()) for i, frame in enumerate(video)]
    assert (comparison["n_frames"], comparison["n_identical_frames"], comparison["ms_ssim"]) == (6, 0, None)
    assert [frame["psnr_db"] for frame in comparison["per_frame"]] == pytest.approx(expected, abs=1e-6)
    assert comparison["psnr_db"] == pytest.approx(np.mean(expected), abs=1e-6)


def test_identical_frames_have_no_psnr(cli, clip: Path) -> None:
    comparison = compared(cli, clip, clip)
    assert (comparison["psnr_db"], comparison["n_identical_frames"]) == (None, 6)
    assert all(frame["psnr_db"] is None for frame in comparison["per_frame"])


def test_the_selection_applies_to_both_sides(cli, clip: Path, encoded: Path) -> None:
    assert compared(cli, clip, clip, "--frames", "1:3", "--crop", "20x10+3+4")["n_identical_frames"] == 2
    whole, part = compared(cli, clip, encoded), compared(cli, clip, encoded, "--frames", "1:3")
    assert [frame["psnr_db"] for frame in part["per_frame"]] == [frame["psnr_db"] for frame in whole["per_frame"][1:3]]


def test_the_options_of_a_quiet_encode_find_the_same_part_of_the_source(cli, clip: Path, tmp_path: Path) -> None:
    selection = ("--frames", "3:5", "--crop", "30x20+5+6")
    report, path = tmp_path / "report.json", tmp_path / "part.stgv"
    options = ("--preset", "draft", "--gaussians", "20", "--device", "cpu", "--json", report, "-q")
    assert cli("encode", clip, path, *selection, *options) == (0, "", "")
    comparison = compared(cli, clip, path, *selection)
    assert comparison["n_frames"] == 2
    assert comparison["psnr_db"] == pytest.approx(json.loads(report.read_text())["psnr_db"], abs=1e-3)


def test_text_says_both_measures(cli, clip: Path, encoded: Path) -> None:
    expected = compared(cli, clip, encoded)["psnr_db"]
    outcome = cli("compare", clip, encoded, "--device", "cpu", "-v")
    assert outcome.code == 0
    assert f"PSNR     {expected:.2f} dB" in outcome.out
    assert "MS-SSIM  none: the short side is 160 pixels or less" in outcome.out
    assert re.search(r"^  5 +[\d.]+ dB$", outcome.out, re.MULTILINE)
    assert outcome.err.startswith("comparing: ")


def test_different_sizes_are_one_line(cli, clip: Path, tmp_path: Path) -> None:
    from stgvcodec.media import write_png

    for i in range(6):
        write_png(tmp_path / f"{i}.png", np.zeros((30, 48, 3), np.uint8))
    outcome = cli("compare", clip, tmp_path, "--json")
    assert outcome.code != 0
    assert outcome.out == ""
    assert re.search(r"^stgvcodec: error: .*48x3[02].*48x3[02].*\n\Z", outcome.err, re.MULTILINE)


def test_a_missing_side_is_one_line(cli, clip: Path, tmp_path: Path) -> None:
    outcome = cli("compare", clip, tmp_path / "missing.mp4")
    assert outcome.code == 3
    assert re.fullmatch(r"stgvcodec: error: .*missing\.mp4.*\n", outcome.err)
