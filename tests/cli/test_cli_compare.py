from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from clips import moving_clip, write_folder

from stgvcodec import Selection, compare
from stgvcodec.cli import output
from stgvcodec.media import Crop


def compared(cli, *arguments: object) -> dict[str, object]:
    outcome = cli("compare", *arguments, "--device", "cpu", "--json", "-q")
    assert (outcome.code, outcome.err) == (0, "")
    return json.loads(outcome.out, parse_constant=pytest.fail)


@pytest.mark.parametrize(
    ("options", "selection"),
    [
        ((), Selection()),
        (("--frames", "1:3", "--crop", "20x10+3+4"), Selection(frames=(1, 3), crop=Crop(20, 10, 3, 4))),
    ],
    ids=["whole", "part"],
)
def test_json_is_the_comparison(cli, clip: Path, encoded: Path, options: tuple[str, ...], selection: Selection) -> None:
    for pair in ((clip, encoded), (clip, clip)):
        expected = output.plain(compare(*pair, device="cpu", selection=selection))
        assert compared(cli, *pair, *options) == expected
        assert (expected["psnr_db"] is None) == (expected["n_identical_frames"] > 0) == (pair[1] == clip)


def test_the_options_of_a_quiet_encode_find_the_same_part_of_the_source(cli, clip: Path, tmp_path: Path) -> None:
    selection = ("--frames", "3:5", "--crop", "30x20+5+6")
    report, path = tmp_path / "report.json", tmp_path / "part.stgv"
    options = ("--preset", "draft", "--gaussians", "20", "--device", "cpu", "--json", report, "-q")
    assert cli("encode", clip, path, *selection, *options) == (0, "", "")
    comparison = compared(cli, clip, path, *selection)
    assert comparison["n_frames"] == 2
    assert comparison["psnr_db"] == pytest.approx(json.loads(report.read_text())["psnr_db"], abs=1e-3)


def test_text_says_both_measures(cli, clip: Path, encoded: Path) -> None:
    outcome = cli("compare", clip, encoded, "--device", "cpu", "-v")
    assert outcome.code == 0
    assert f"PSNR     {compare(clip, encoded, device='cpu').psnr_db:.2f} dB" in outcome.out
    assert "MS-SSIM  none: the short side is 160 pixels or less" in outcome.out
    assert re.search(r"^  5 +[\d.]+ dB$", outcome.out, re.MULTILINE)
    assert outcome.err.startswith("comparing: ")


def test_sides_that_cannot_be_compared_are_one_line(cli, clip: Path, tmp_path: Path) -> None:
    cli("compare", clip, tmp_path / "missing.mp4").assert_refused(3, r"missing\.mp4")
    other = write_folder(moving_clip(6, 48, 30), tmp_path / "other")
    cli("compare", clip, other, "--json", "-q").assert_refused(2, r"48x3[02].*48x3[02]")
