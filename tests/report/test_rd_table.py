from __future__ import annotations

import dataclasses

import pytest
from rd_results import OURS, X264, result, series

from stgvcodec.errors import ConfigError
from stgvcodec.report.rd_points import PSNR, RdBdRate
from stgvcodec.report.rd_table import AGAINST, anchor_label, clip_facts, clip_title, markdown_tables, usual_anchors


def with_entry(name: str, percent: float | None, reason: str | None = None, share: float = 1.0):
    entry = RdBdRate("stgv paper", "x264 medium", PSNR, percent, reason, (30.0, 35.0), share)
    return dataclasses.replace(result(OURS, X264, name=name), bd_rate=(entry,))


def rows(text: str) -> dict[str, list[str]]:
    """The first table: the first cell of each row, and the others."""
    lines = [line for line in text.split("###")[0].splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {first: rest for first, *rest in cells}


def test_a_row_a_series_and_a_column_a_clip_and_measure():
    text = markdown_tables([with_entry("a.mp4", 120.53), with_entry("b.mp4", -3.04)], ["x264"])

    table = rows(text)
    assert table[""] == ["a, PSNR", "a, MS-SSIM", "b, PSNR", "b, MS-SSIM"]
    assert table["stgv paper"] == ["+120.5 %", "none", "-3.0 %", "none"]
    assert table["x264 medium"] == ["0"] * 4
    assert text.startswith("BD-rate against x264 medium")
    assert "| stgv paper | 0.2000 | 33.00 | 0.97000 | 15.23 |  | 1.5 | 0.25 | cpu |" in text


def test_reasons_and_small_overlaps_are_said():
    text = markdown_tables(
        [with_entry("a.mp4", None, "no overlap in quality"), with_entry("b.mp4", 50.0, share=0.4)], ["x264"]
    )

    assert rows(text)["stgv paper"][0] == "none"
    assert "a, stgv paper, PSNR: no overlap in quality." in text
    assert "b, stgv paper, PSNR: over 30.00 to 35.00 dB, 40 % of its range." in text


def test_a_series_that_a_clip_lacks_is_an_empty_cell():
    extra = series("svtav1", "SVT-AV1 preset 8", [(0.1, 35.0), (0.2, 37.0)])
    text = markdown_tables([result(OURS, X264, extra, name="a.mp4"), result(OURS, X264, name="b.mp4")], ["x264"])

    assert rows(text)["SVT-AV1 preset 8"] == ["none", "none", "", ""]


def test_a_table_for_each_that_is_measured_against():
    tuned = series("x264-psnr", "x264 medium -tune psnr", [(0.02, 29.0), (0.4, 40.0)])
    text = markdown_tables([result(OURS, X264, tuned)], ["x264-psnr", "stgv paper"])

    blocks = text.split("\n\n")
    assert [block.split(":")[0] for block in blocks if block.startswith("BD-rate")] == [
        "BD-rate against x264 medium -tune psnr",
        "BD-rate against stgv paper",
    ]
    assert [block.count("| 0 |") for block in blocks if block.startswith("|  |")][:2] == [1, 1]
    assert text.count("### ") == 1
    assert "\n\n\n" not in text
    assert text.endswith("|\n")


def test_against_both_kinds_of_x264_where_every_clip_has_them():
    tuned = series("x264-psnr", "x264 medium -tune psnr", [(0.02, 29.0), (0.4, 40.0)])

    assert usual_anchors([result(OURS, X264, tuned), result(OURS, tuned, X264)]) == AGAINST
    assert usual_anchors([result(OURS, X264, tuned), result(OURS, X264)]) == ("x264",)
    assert usual_anchors([result(OURS, tuned)]) == ("x264-psnr",)
    assert usual_anchors([result(OURS)]) == ("x264",)


def test_what_is_measured_against_is_named_by_codec_or_label():
    twins = result(OURS, series("stgv", "stgv compact", [(0.1, 31.0)], {"profile": "compact"}), X264)

    assert anchor_label(twins, "x264") == "x264 medium"
    assert anchor_label(twins, "stgv compact") == "stgv compact"
    for name in ("x265", "stgv"):
        with pytest.raises(ConfigError, match=f"'{name}' to measure against, expected one of: stgv paper, stgv comp"):
            anchor_label(twins, name)


def test_facts_of_a_clip():
    assert clip_title(result()) == "waves, 320x180, 16 frames"
    assert clip_facts(result(note="It is old")) == [
        "8-bit 4:2:0 without any coding, the ceiling of the anchors: 44.50 dB, MS-SSIM 0.99000.",
        "It is old.",
    ]
    assert "no loss at all" in clip_facts(result(ceiling=None))[0]
