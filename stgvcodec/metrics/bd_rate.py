"""Bjontegaard delta rate between two rate-distortion curves, or why there is none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from stgvcodec.errors import StgvError

METHOD = "SciPy's PCHIP (piecewise cubic) of log10 of the rate over quality, mean over the common range of quality"
"""Description of what `bd_rate` computes, which is written beside its figures."""

MIN_POINTS = 2
"""Smallest number of points of a curve; four or more are customary."""

RdPair = tuple[float, float]
"""Point of a rate-distortion curve: (rate in bits per pixel, quality in dB)."""


@dataclass(frozen=True)
class BdRate:
    """Difference of rate between a tested curve and an anchor.

    Attributes:
        percent: Mean difference of rate at equal quality, percent of the anchor's rate. Below 0 the tested curve needs
            fewer bits than the anchor, above 0 more. None if it cannot be measured.
        reason: Why it cannot be measured; None if it can.
        overlap_db: Range of quality (low, high) that both curves cover, dB; None if there is none.
        overlap_share: Part of the tested curve's range of quality that lies in `overlap_db`, 0 to 1.
    """

    percent: float | None
    reason: str | None = None
    overlap_db: tuple[float, float] | None = None
    overlap_share: float = 0.0


def bd_rate(anchor: Sequence[RdPair], test: Sequence[RdPair]) -> BdRate:
    """Compare the rates of two curves at equal quality.

    The logarithm of each curve's rate is interpolated over quality by PCHIP, which follows rising points without
    overshoot. The mean difference of the two over the range of quality that both cover, as a factor of rate, is the
    result (Bjontegaard 2001, ITU-T VCEG-M33, with PCHIP in place of one cubic).

    Args:
        anchor: Points of the curve that is compared with, in any order; equal points count once.
        test: Points of the curve that is measured, in any order; equal points count once.

    Returns:
        The difference, or the reason why there is none: too few points, a curve whose quality does not rise with its
        rate, or no quality that both reach. Nothing is extrapolated.

    Raises:
        StgvError: SciPy is not installed.
        ValueError: a rate is not above 0, or a value is not finite.
    """
    curves = []
    for name, points in (("anchor", anchor), ("tested curve", test)):
        curve = sorted(set(points))
        if any(not (math.isfinite(rate) and math.isfinite(quality) and rate > 0) for rate, quality in curve):
            raise ValueError(f"{name}: got {curve}, expected finite values and rates above 0")
        if len(curve) < MIN_POINTS:
            return BdRate(None, f"the {name} has {len(curve)} usable points, {MIN_POINTS} are needed")
        for (rate, quality), (next_rate, next_quality) in pairwise(curve):
            if next_rate == rate or next_quality <= quality:
                return BdRate(
                    None,
                    f"quality of the {name} does not rise with its rate: {quality:.3f} dB at {rate:.4f} bpp, "
                    f"{next_quality:.3f} dB at {next_rate:.4f} bpp",
                )
        curves.append(curve)
    (anchor_low, anchor_high), (test_low, test_high) = ((curve[0][1], curve[-1][1]) for curve in curves)
    low, high = max(anchor_low, test_low), min(anchor_high, test_high)
    if low >= high:
        return BdRate(
            None,
            f"no overlap in quality: {test_low:.2f} to {test_high:.2f} dB against {anchor_low:.2f} to "
            f"{anchor_high:.2f} dB of the anchor",
        )
    pchip = _pchip()
    # The operations and their order are those of the package bjontegaard 1.3, so that figures agree to the last digit.
    anchor_area, test_area = (
        pchip([quality for _, quality in curve], np.log10([rate for rate, _ in curve])).integrate(low, high)
        for curve in curves
    )
    percent = (10 ** ((test_area - anchor_area) / (high - low)) - 1) * 100
    return BdRate(float(percent), None, (low, high), (high - low) / (test_high - test_low))


def check_bd_rate() -> None:
    """Refuse, before any work, to measure without SciPy.

    Raises:
        StgvError: SciPy is not installed.
    """
    _pchip()


def _pchip() -> Any:
    try:
        from scipy.interpolate import PchipInterpolator
    except ImportError as error:
        raise StgvError(
            f"BD-rates need the package scipy ({error}); install it with: pip install 'stgvcodec[rd]'"
        ) from error
    return PchipInterpolator
