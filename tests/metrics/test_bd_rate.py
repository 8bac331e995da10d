from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy.interpolate import PchipInterpolator
from tolerances import F64, approx

from stgvcodec.errors import StgvError
from stgvcodec.metrics.bd_rate import bd_rate, check_bd_rate
from stgvcodec.report.rd_points import RdResult, rd_from_json

RESULTS = sorted(Path(__file__).parents[2].glob("results/*.json"))

ANCHOR = [(0.05, 30.0), (0.1, 33.0), (0.2, 35.5), (0.4, 37.5)]


def scaled(factor: float) -> list[tuple[float, float]]:
    return [(rate * factor, quality) for rate, quality in ANCHOR]


@pytest.mark.parametrize(("factor", "percent"), [(2.0, 100.0), (0.5, -50.0), (1.25, 25.0), (1.0, 0.0)])
def test_a_curve_of_scaled_rates_costs_just_that_factor(factor, percent):
    found = bd_rate(ANCHOR, scaled(factor))

    assert found.percent == approx(percent, "BD-rate, scaled rates", F64)
    assert (found.reason, found.overlap_db, found.overlap_share) == (None, (30.0, 37.5), 1.0)


def test_both_directions_belong_together():
    other = [(0.06, 29.0), (0.15, 33.4), (0.5, 36.0)]
    there, back = bd_rate(ANCHOR, other).percent, bd_rate(other, ANCHOR).percent

    assert there is not None
    assert back is not None
    assert (1 + there / 100) * (1 + back / 100) == pytest.approx(1)


def test_straight_curves_by_hand():
    # log10(rate) is linear in quality: the difference is 0.1 at 30 dB and 0.3 at 40 dB, 0.2 in the mean.
    anchor = [(10**-1.0, 30.0), (10**0.0, 40.0)]
    test = [(10**-0.9, 30.0), (10**0.3, 40.0)]

    assert bd_rate(anchor, test).percent == pytest.approx(100 * (10**0.2 - 1))


def integrated_bd_rate(anchor: list[tuple[float, float]], test: list[tuple[float, float]]) -> float:
    """The definition, by the midpoint rule over 200 000 qualities."""
    low, high = max(anchor[0][1], test[0][1]), min(anchor[-1][1], test[-1][1])
    n_steps = 200_000
    qualities = low + (np.arange(n_steps) + 0.5) / n_steps * (high - low)
    curves = [PchipInterpolator([q for _, q in each], [math.log10(r) for r, _ in each]) for each in (anchor, test)]
    return float(100 * (10 ** np.mean(curves[1](qualities) - curves[0](qualities)) - 1))


@pytest.mark.parametrize(
    ("test", "percent"),
    [
        ([(0.06, 29.0), (0.15, 33.4), (0.5, 36.0)], 43.36011049016308),
        ([(0.03, 31.0), (0.08, 34.2), (0.3, 38.1), (0.9, 40.0)], -43.76419167767162),
        ([(0.2, 36.9), (0.21, 36.95)], -36.624773364847215),
    ],
    ids=["dearer", "cheaper", "a short curve"],
)
def test_curved_curves_by_numeric_integration(test, percent):
    found = bd_rate(ANCHOR, test).percent

    assert found == approx(integrated_bd_rate(ANCHOR, test), "BD-rate, integration", F64)
    assert found == approx(percent, "BD-rate", F64)


def entries(result: RdResult) -> list[tuple[list[tuple[float, float]], list[tuple[float, float]], float | None]]:
    curves = dict(zip(result.labels, result.series, strict=True))
    return [(curves[e.against].curve(e.measure), curves[e.series].curve(e.measure), e.percent) for e in result.bd_rate]


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_published_figures_come_out_again(path):
    # They were taken by the package bjontegaard 1.3.
    found = entries(rd_from_json(path.read_text(), str(path)))

    assert sum(percent is not None for *_, percent in found) >= 2
    for anchor, test, percent in found:
        expected = None if percent is None else approx(percent, "BD-rate", F64)
        assert bd_rate(anchor, test).percent == expected


def test_only_the_common_range_counts():
    found = bd_rate(ANCHOR, [(0.1, 28.0), (0.2, 30.5), (0.4, 33.0)])

    assert found.overlap_db == (30.0, 33.0)
    assert found.overlap_share == pytest.approx(0.6)
    assert found.percent is not None
    assert found.percent > 200


def test_order_and_repeated_points_do_not_matter():
    assert bd_rate(ANCHOR[::-1], scaled(2)) == bd_rate(ANCHOR, [*scaled(2), scaled(2)[1]])


@pytest.mark.parametrize(
    ("test", "reason"),
    [
        ([(0.1, 20.0), (0.2, 25.0)], "no overlap in quality: 20.00 to 25.00 dB against 30.00 to 37.50 dB"),
        ([(0.1, 37.5), (0.2, 39.0)], "no overlap in quality"),
        ([(0.1, 31.0)], "the tested curve has 1 usable points, 2 are needed"),
        ([], "the tested curve has 0 usable points"),
        ([(0.1, 33.0), (0.2, 32.5), (0.3, 34.0)], "does not rise with its rate: 33.000 dB at 0.1000 bpp, 32.500 dB"),
        ([(0.1, 33.0), (0.1, 34.0)], "does not rise"),
    ],
)
def test_what_cannot_be_measured_is_a_reason_and_no_number(test, reason):
    found = bd_rate(ANCHOR, test)

    assert found.percent is None
    assert found.reason is not None
    assert reason in found.reason


@pytest.mark.parametrize("point", [(0.0, 30.0), (-1.0, 30.0), (0.1, math.inf), (math.nan, 30.0)])
def test_impossible_points_are_refused(point):
    with pytest.raises(ValueError, match="tested curve: got"):
        bd_rate(ANCHOR, [*ANCHOR, point])


def test_without_the_package_the_extra_is_named(hide_package):
    hide_package("scipy")
    with pytest.raises(StgvError, match=r"pip install 'stgvcodec\[rd\]'"):
        check_bd_rate()
