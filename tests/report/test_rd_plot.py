from __future__ import annotations

import re
from pathlib import Path

import av
import numpy as np
import pytest
from rd_results import OURS, X264, result, series

from stgvcodec.errors import ConfigError, StgvError
from stgvcodec.report.rd_plot import check_figure, draw_rd, series_styles

FLAT = series("stgv", "stgv paper (flat bits)", [(0.15, 30.0, 0.95), (0.3, 33.0, 0.97)], {"counted": "flat"})


def grey(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return next(container.decode(video=0)).to_ndarray(format="gray")


def test_a_png_shows_curves_on_white(tmp_path):
    draw_rd([result(OURS, X264)], tmp_path / "a", ".png")
    draw_rd([result(OURS, X264), result(OURS, X264, name="b.mp4")], tmp_path / "b", ".png")

    one, two = grey(tmp_path / "a"), grey(tmp_path / "b")
    assert one.shape[1] == two.shape[1] == round(7.16 * 300)
    assert two.shape[0] > 1.7 * one.shape[0]
    assert np.median(one) == 255
    assert one.min() < 80


def test_text_in_a_vector_figure(tmp_path):
    draw_rd([result(OURS, X264, note="It is old")], tmp_path / "a", ".svg")

    svg = (tmp_path / "a").read_text()
    text = " ".join(re.findall(r"<text[^>]*>([^<]*)</text>", svg))
    for words in (
        "stgv paper",
        "x264 medium",
        "rate (bits per pixel)",
        "PSNR, RGB (dB)",
        "waves, 320x180, 16 frames",
        "44.50 dB",
        "It is old.",
    ):
        assert words in text


@pytest.mark.parametrize("suffix", [".pdf", ".svg", ".png"])
def test_the_same_data_give_the_same_file(tmp_path, suffix):
    for name in ("a", "b"):
        draw_rd([result(OURS, X264)], tmp_path / name, suffix)

    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_curves_without_ms_ssim_or_of_a_single_point_are_drawn(tmp_path):
    lonely = series("stgv", "stgv paper", [(0.1, 30.0)])
    draw_rd([result(lonely, ceiling=29.0), result()], tmp_path / "a", ".svg")

    assert "MS-SSIM needs pictures" in (tmp_path / "a").read_text()
    assert "4:2:0 without coding" in (tmp_path / "a").read_text()


def test_styles_differ_without_colour_and_are_the_same_in_all_clips():
    anchors = [series(name, name, [(0.1, 30.0)]) for name in ("x264", "x264-psnr", "x265", "svtav1")]
    compact = series("stgv", "stgv compact", [(0.1, 30.0)])
    derived = FLAT.__class__(FLAT.codec, FLAT.label, FLAT.settings, FLAT.points, derived=True)
    styles = series_styles([result(anchors[0], compact), result(OURS, derived, *anchors)])

    own = ["stgv compact", "stgv paper", "stgv paper (flat bits)"]
    assert list(styles) == [*own, "x264", "x264-psnr", "x265", "svtav1"]
    assert len({(style.line, style.marker) for style in styles.values()}) == 7
    assert styles["stgv paper (flat bits)"].color == styles["stgv paper"].color
    assert [style.filled for style in styles.values()] == [True, True, *[False] * 5]


def test_other_formats_are_refused():
    with pytest.raises(ConfigError, match=r"rd.jpg: got the suffix '.jpg', expected .png, .pdf, .svg"):
        check_figure(Path("rd.jpg"))
    with pytest.raises(ValueError, match="no results"):
        draw_rd([], Path("a"), ".png")


def test_without_matplotlib_the_extra_is_named(hide_package):
    hide_package("matplotlib")
    with pytest.raises(StgvError, match=r"pip install 'stgvcodec\[rd\]'"):
        check_figure(Path("rd.png"))
