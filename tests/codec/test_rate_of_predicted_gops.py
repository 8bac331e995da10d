"""Landing on targets where some GoPs are predicted from the one before, with made-up fits."""

from __future__ import annotations

import math

import pytest
from rate_simulation import HEIGHT, WIDTH, FakeFit, plain_content, simulated

from stgvcodec.codec.reports import EncodeReport
from stgvcodec.encoder.rate_control.controllers import PREDICTED_SHARE

ALIKE = {
    "none": lambda index: False,
    "all": lambda index: True,
    "every other": lambda index: index % 2 == 1,
    "the first half": lambda index: index < 6,
}


def kinds(report: EncodeReport) -> list[bool]:
    return [gop.is_key for gop in report.gops]


@pytest.mark.parametrize("alike", ALIKE)
@pytest.mark.parametrize("bpp", [0.02, 0.1, 1.0])
def test_a_file_lands_on_its_rate_whatever_is_predicted(monkeypatch, tmp_path, alike, bpp):
    for n_frames in (60, 129, 200):
        fit = FakeFit(landing=lambda index: 0.99, is_alike=ALIKE[alike])
        options = {"bpp_target": bpp, "gop": 20, "key_interval": 1000}
        report = simulated(monkeypatch, tmp_path, plain_content(n_frames), fit, **options)

        on_disk = 8 * (tmp_path / "a.stgv").stat().st_size / (WIDTH * HEIGHT * n_frames)
        assert 0.98 * bpp <= on_disk <= 1.02 * bpp
        assert kinds(report) == [i == 0 or not ALIKE[alike](i) for i in range(len(report.gops))]


def test_predicted_gops_get_less_and_key_gops_more(monkeypatch, tmp_path):
    fit = FakeFit(is_alike=lambda index: True)
    report = simulated(monkeypatch, tmp_path, plain_content(200), fit, bpp_target=0.1, gop=20, key_interval=100)

    payloads = [config.target_bytes for _, config in fit.configs]
    assert kinds(report) == [index % 5 == 0 for index in range(10)]
    key = [payload for payload, is_key in zip(payloads, kinds(report), strict=True) if is_key]
    predicted = [payload for payload, is_key in zip(payloads, kinds(report), strict=True) if not is_key]
    assert max(key) == pytest.approx(min(key), rel=0.01)
    assert max(predicted) == pytest.approx(min(predicted), rel=0.01)
    assert predicted[0] / key[0] == pytest.approx(PREDICTED_SHARE, abs=0.02)


@pytest.mark.parametrize(
    ("key_interval", "expected"),
    [(1, [0, 1, 2, 3, 4, 5]), (19, [0, 1, 2, 3, 4, 5]), (20, [0, 2, 4]), (39, [0, 3]), (60, [0])],
)
def test_key_gops_are_never_further_apart_than_asked(monkeypatch, tmp_path, key_interval, expected):
    fit = FakeFit(is_alike=lambda index: True)
    options = {"bpp_target": 0.1, "gop": 10, "key_interval": key_interval}
    report = simulated(monkeypatch, tmp_path, plain_content(60), fit, **options)

    assert [i for i, is_key in enumerate(kinds(report)) if is_key] == expected


def test_bytes_left_by_gops_that_turn_out_key_come_from_those_behind(monkeypatch, tmp_path):
    """The first is planned as if all others were predicted; as the second is not, the rest is shared as among keys."""
    fit = FakeFit()
    simulated(monkeypatch, tmp_path, plain_content(100), fit, bpp_target=0.1, gop=10, key_interval=1000)

    first, *others = [config.target_bytes for _, config in fit.configs]
    assert first / others[0] > 1.2
    assert max(others) == pytest.approx(min(others), rel=0.02)


def test_what_predicted_gops_leave_makes_the_last_one_a_key_gop(monkeypatch, tmp_path):
    """They use half of their bytes: in the end there is more than a predicted GoP can use."""
    fit = FakeFit(is_alike=lambda index: True, landing=lambda index: 1.0 if index in (0, 5) else 0.7)
    options = {"bpp_target": 0.1, "gop": 20, "key_interval": 1000}
    report = simulated(monkeypatch, tmp_path, plain_content(120), fit, **options)

    assert kinds(report) == [True, False, False, False, False, True]
    assert 0.098 <= report.bpp <= 0.102
    assert [config.fills_target for _, config in fit.configs] == [False] * 5 + [True]


@pytest.mark.parametrize("alike", ALIKE)
def test_the_mean_lands_on_its_psnr(monkeypatch, tmp_path, alike):
    """Predicted GoPs reach in the share of the bytes what key GoPs reach."""

    def psnr_db(index: int, bits_per_pixel: float) -> float:
        is_predicted = index > 0 and ALIKE[alike](index)
        return 31.0 + 2.0 * math.log2(bits_per_pixel / (0.5 if is_predicted else 1.0))

    fit = FakeFit(psnr_db=psnr_db, is_alike=ALIKE[alike])
    options = {"psnr_target": 30.0, "gop": 20, "key_interval": 1000}
    report = simulated(monkeypatch, tmp_path, plain_content(200), fit, **options)

    assert report.psnr_db == pytest.approx(30.0, abs=0.3)


def test_plans_with_prediction_are_the_same_for_any_jobs(monkeypatch, tmp_path):
    plans = []
    for jobs in (1, 4):
        fit = FakeFit(is_alike=ALIKE["every other"])
        options = {"bpp_target": 0.1, "gop": 10, "key_interval": 40}
        simulated(monkeypatch, tmp_path, plain_content(90), fit, jobs=jobs, **options)
        plans.append([(seed, config.target_bytes, config.before is None) for seed, config in fit.configs])
    assert plans[0] == plans[1]
