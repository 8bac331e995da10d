"""PSNR as a function of bits, corrected by each GoP that was fitted."""

from __future__ import annotations

import math
from dataclasses import dataclass

# Standard deviations, dB: the table's offset and slope for a new video, the offset's drift from GoP to GoP, and the
# noise of one GoP.
_OFFSET_DB = 4.0
_SLOPE_DB = 0.5
_DRIFT_DB = 0.4
_NOISE_DB = 0.2
_SLOPES = (0.4, 4.0)
_BITS_PER_PIXEL = (1e-4, 1e3)


@dataclass(frozen=True)
class QualityModel:
    """PSNR of a GoP, dB, from its bits for each pixel of the picture b, its change c and its texture t.

    It is `base + slope * log2(b) - change * log2(1 + c) - texture * log2((1 + t) / 7.5)`.

    Attributes:
        base: PSNR at one bit a pixel, no change, and a texture of 6.5 levels, dB.
        slope: Gain for each doubling of the GoP's bits, dB.
        change: Loss for each doubling of one plus the change that the GoP spans, dB.
        texture: Loss for each doubling of one plus `Content.texture`, against a texture of 6.5 levels, dB.
    """

    base: float
    slope: float
    change: float
    texture: float

    def psnr_db(self, bits_per_pixel: float, change: float, texture: float) -> float:
        """Return the PSNR that a GoP of so many bits for each pixel of the picture should reach, dB."""
        return (
            self.base
            + self.slope * math.log2(bits_per_pixel)
            - self.change * math.log2(1.0 + change)
            - self.texture * math.log2((texture + 1.0) / 7.5)
        )


@dataclass
class QualityFit:
    """A Kalman filter over two corrections to a profile's model, in which videos differ most: an offset and a slope.

    Args:
        model: Quality model of the profile.
        offset: Correction of PSNR, dB.
        slope: Correction of the slope, dB for each doubling.
        covariance: Covariance of both corrections: (offset, offset), (offset, slope), (slope, slope).
        centre: log2 of the bits a pixel around which the slope turns; None before the first GoP.
    """

    model: QualityModel
    offset: float = 0.0
    slope: float = 0.0
    covariance: tuple[float, float, float] = (_OFFSET_DB**2, 0.0, _SLOPE_DB**2)
    centre: float | None = None

    def psnr_db(self, bits_per_pixel: float, change: float, texture: float) -> float:
        """Return the PSNR that a GoP of so many bits for each pixel of the picture should reach, dB."""
        expected = self.model.psnr_db(bits_per_pixel, change, texture)
        return expected + self.offset + self.slope * self._distance(bits_per_pixel)

    def bits_per_pixel(self, psnr_db: float, change: float, texture: float) -> float:
        """Return the bits for each pixel of the picture with which a GoP should reach a PSNR."""
        at_one = self.psnr_db(1.0, change, texture)
        slope = min(max(self.model.slope + self.slope, _SLOPES[0]), _SLOPES[1])
        # The slope may have been clamped, so the line starts at the centre, where that does not matter.
        centre = self.centre or 0.0
        at_centre = at_one + (self.model.slope + self.slope) * centre
        exponent = centre + (psnr_db - at_centre) / slope
        low, high = (math.log2(limit) for limit in _BITS_PER_PIXEL)
        return float(2.0 ** min(max(exponent, low), high))

    def learn(self, bits_per_pixel: float, change: float, texture: float, psnr_db: float) -> None:
        """Correct the offset and the slope by a fitted GoP."""
        if self.centre is None:
            self.centre = math.log2(bits_per_pixel)
        x = self._distance(bits_per_pixel)
        error = psnr_db - self.psnr_db(bits_per_pixel, change, texture)
        oo, os, ss = self.covariance
        oo += _DRIFT_DB**2
        # Covariance of the prediction with (offset, slope), and its variance with noise.
        po, ps = oo + os * x, os + ss * x
        variance = po + ps * x + _NOISE_DB**2
        self.offset += po / variance * error
        self.slope += ps / variance * error
        self.covariance = (oo - po * po / variance, os - po * ps / variance, ss - ps * ps / variance)

    def _distance(self, bits_per_pixel: float) -> float:
        return 0.0 if self.centre is None else math.log2(bits_per_pixel) - self.centre
