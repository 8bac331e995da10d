from __future__ import annotations

import dataclasses
import json

import pytest
from rd_results import OURS, X264, point, result, series

from stgvcodec.errors import ConfigError
from stgvcodec.report.rd_points import MS_SSIM, PSNR, SCHEMA, RdBdRate, rd_from_json, rd_to_json

ENTRY = RdBdRate("stgv paper", "x264 medium", PSNR, 120.5, None, (30.0, 35.0), 1.0)
NO_ENTRY = RdBdRate("stgv paper", "x264 medium", MS_SSIM, None, "no overlap", None, 0.0)
FULL = dataclasses.replace(result(OURS, X264, note="a note"), bd_rate=(ENTRY, NO_ENTRY))


def test_a_result_survives_the_file():
    assert rd_from_json(rd_to_json(FULL), "rd.json") == FULL


def test_ours_and_anchors_have_one_schema():
    values = json.loads(rd_to_json(FULL), parse_constant=pytest.fail)

    assert values["schema"] == SCHEMA == "stgvcodec-rd/1"
    keys = {tuple(sorted(p)) for each in values["series"] for p in each["points"]}
    assert keys == {tuple(sorted(dataclasses.asdict(point(0.1, 30.0))))}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "rd.json: is not JSON"),
        ("[]", "got the schema None, expected 'stgvcodec-rd/1'"),
        ('{"schema": "compressai/1"}', "got the schema 'compressai/1'"),
        ('{"schema": "stgvcodec-rd/1"}', "does not fit the schema"),
        (rd_to_json(FULL).replace('"bpp": 0.2', '"bpp": -1'), "does not fit the schema.*-1"),
        (rd_to_json(FULL).replace('"vmaf"', '"wmaf"'), "does not fit the schema.*wmaf"),
    ],
    ids=["broken", "list", "other", "empty", "negative", "unknown field"],
)
def test_other_files_are_refused(text, said):
    with pytest.raises(ConfigError, match=said):
        rd_from_json(text, "rd.json")


def test_points_are_sorted_and_found_by_the_rate_asked_for():
    grown = OURS.with_point(point(0.15, 31.0, requested_bpp=0.16))

    assert [each.bpp for each in grown.points] == [0.1, 0.15, 0.2, 0.4]
    assert grown.point_at(0.16) == grown.points[1]
    assert grown.point_at(0.15) is None


def test_curves_leave_out_what_was_not_measured():
    curve = series("x264", "x", [(0.1, 30.0, None), (0.2, None, 1.0), (0.4, 35.0, 0.99)])

    assert curve.curve(PSNR) == [(0.1, 30.0), (0.4, 35.0)]
    assert curve.curve(MS_SSIM) == [(0.4, pytest.approx(20.0))]


def test_equal_settings_are_one_series_and_others_another():
    one = result(OURS, X264)
    grown = one.with_series(OURS.with_point(point(0.8, 36.0)))
    other = grown.with_series(series("stgv", "stgv paper", [(0.1, 31.0)], {"preset": "slow"}))

    assert [len(each.points) for each in grown.series] == [4, 3]
    assert len(other.series) == 3
    assert other.labels == ("stgv paper (preset fast)", "x264 medium", "stgv paper (preset slow)")
    assert other.find("stgv", {"preset": "slow"}) == other.series[2]
    assert other.find("stgv", {"preset": "paper"}) is None
