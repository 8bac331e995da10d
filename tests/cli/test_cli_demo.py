from __future__ import annotations

import importlib.resources
import json
import re
from pathlib import Path

import numpy as np
import pytest

from stgvcodec import Selection
from stgvcodec.cli import demo
from stgvcodec.media import open_video


def test_the_clip_is_shipped_and_long_enough() -> None:
    selection = Selection.parse(frames=demo.FRAMES, resize=demo.RESIZE)
    shipped = importlib.resources.files("stgvcodec") / demo.CLIP
    with importlib.resources.as_file(shipped) as clip, open_video(clip, selection=selection) as video:
        assert next(iter(video)).rgb.shape == (video.height, video.width, 3)
        assert video.n_frames is not None
        assert video.n_frames >= 24
        assert video.width >= 320
        assert video.height >= 176


@pytest.mark.slow
def test_demo_writes_what_it_says(cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "PRESET", "draft")
    monkeypatch.setattr(demo, "FRAMES", "0:3")
    monkeypatch.setattr(demo, "RESIZE", "64x36")
    monkeypatch.setattr(demo, "BPP_TARGET", 3.0)
    folder, report_path = tmp_path / "new" / "demo", tmp_path / "report.json"
    outcome = cli("demo", "--output", folder, "--json", report_path, "--device", "cpu")
    assert outcome.code == 0
    # It is said before anything is encoded.
    assert outcome.err.startswith("demo: encodes bunny.mp4")
    assert f"writes {folder / 'demo.stgv'}" in outcome.err
    # So is how long encoding takes, once a few steps have told.
    assert re.search(r"^plan: 3 frames .*\n(?:      .*\n)*      about \d+ s here\n", outcome.err, re.MULTILINE)
    assert sorted(path.name for path in folder.iterdir()) == ["demo.mp4", "demo.png", "demo.stgv"]

    report = json.loads(report_path.read_text(), parse_constant=pytest.fail)
    n_bytes = (folder / "demo.stgv").stat().st_size
    assert report["bpp"] == pytest.approx(8 * n_bytes / (64 * 36 * 3))
    # Two paths to the same number: the encoder's own report, and the comparison of the file with its source.
    assert report["psnr_db"] == pytest.approx(report["encode"]["psnr_db"], abs=1e-3)
    assert report["ms_ssim"] is None
    assert 0 <= report["compile_seconds"] == report["encode"]["compile_seconds"]
    assert 0 < report["render_seconds"] < report["decode_seconds"] < report["seconds"]
    for text in (f"{report['bpp']:.4f} bits a pixel", f"{report['psnr_db']:.2f} dB", "64x36, 3 frames", "demo.png"):
        assert text in outcome.out

    with open_video(folder / "demo.mp4") as video:
        assert len([frame.rgb for frame in video]) == 3
    with open_video(folder / "demo.png") as video:
        sheet = next(iter(video)).rgb
    assert sheet.shape[1] == 4 + 2 * (demo.MAGNIFICATION * 64 + 4)
    rows = np.split(sheet, 2)
    assert len({row[20:, 4 + i * 132 : 132 + i * 132].tobytes() for row in rows for i in range(2)}) == 4


def test_a_folder_that_cannot_be_made_is_one_line(cli, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cli("demo", "--output", tmp_path / "file").assert_refused(5, f"{tmp_path / 'file'}: cannot be made as a folder")


@pytest.mark.parametrize("is_compiled", [True, False])
def test_the_demo_says_first_what_it_makes_and_where(monkeypatch: pytest.MonkeyPatch, is_compiled: bool) -> None:
    monkeypatch.setattr("stgvcodec.ops.ans.is_compiled", lambda: is_compiled)

    text = demo.announcement(Path("somewhere"))

    assert text.startswith(
        "demo: encodes bunny.mp4 (Big Buck Bunny), 24 frames of 320x180, at 0.25 bits a pixel with preset draft,\n"
    )
    assert "\n      writes somewhere/demo.stgv, somewhere/demo.mp4, somewhere/demo.png\n" in text
    assert ("kernels are compiled first" in text) == (not is_compiled)
