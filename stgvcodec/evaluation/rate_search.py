"""Search for the constant quality at which a classical codec spends a given rate."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

# Relative distance from the target that is close enough: far below the 3% that a comparison at equal rates allows.
_TOLERANCE = 0.01
_MAX_ENCODES = 12
# After this many encodes that missed the target, every other one halves the bracket, whatever the curve is like.
_INTERPOLATIONS = 4


@dataclass(frozen=True)
class QualityGrid:
    """Constant qualities that a codec takes; a higher one costs fewer bits.

    Attributes:
        best: Lowest value, which costs the most bits.
        worst: Highest value, which costs the fewest bits.
        start: Value at which a search begins that knows nothing.
        step: Distance between neighbouring values; `best` is one of them.
        per_octave: Difference of the value that about halves the rate.
    """

    best: float
    worst: float
    start: float
    step: float
    per_octave: float

    def snapped(self, quality: float) -> float:
        """Return the nearest value on the grid, inside its ends."""
        inside = min(self.worst, max(self.best, quality))
        return min(self.worst, self.best + self.step * round((inside - self.best) / self.step))


def search_quality(
    target_bpp: float, grid: QualityGrid, rate_of: Callable[[float], float], known: dict[float, float]
) -> float:
    """Return the quality whose rate is closest to a target.

    Args:
        target_bpp: Bits per pixel and frame.
        grid: The codec's qualities.
        rate_of: Encodes at a quality and returns the bpp; called only for qualities that are not known.
        known: Quality -> bpp of earlier encodes; those made here are added.

    Returns:
        A quality of `known`: within 1% of the target where the grid and a few encodes allow, else the closest found,
        which is an end of the grid for a target beyond it.
    """
    for n_encodes in range(_MAX_ENCODES):
        if known and _distance(known[_closest(known, target_bpp)], target_bpp) <= math.log1p(_TOLERANCE):
            break
        quality = _next(target_bpp, grid, known, n_encodes)
        if quality is None or quality in known:
            break
        known[quality] = rate_of(quality)
    return _closest(known, target_bpp)


def _next(target_bpp: float, grid: QualityGrid, known: dict[float, float], n_encodes: int) -> float | None:
    """Return the quality to try next; None when the bracket is as narrow as the grid."""
    above = max((quality for quality, bpp in known.items() if bpp >= target_bpp), default=None)
    below = min((quality for quality, bpp in known.items() if bpp < target_bpp), default=None)
    if above is None and below is None:
        return grid.snapped(grid.start)
    if below is None:
        assert above is not None
        octaves = math.log2(known[above] / target_bpp)
        return grid.snapped(above + max(grid.step, grid.per_octave * octaves))
    if above is None:
        octaves = math.log2(target_bpp / known[below])
        return grid.snapped(below - max(grid.step, grid.per_octave * octaves))
    if below - above < 1.5 * grid.step:
        return None
    if n_encodes < _INTERPOLATIONS or n_encodes % 2:
        share = math.log(known[above] / target_bpp) / math.log(known[above] / known[below])
    else:
        share = 0.5
    quality = grid.snapped(above + share * (below - above))
    return min(below - grid.step, max(above + grid.step, quality))


def _closest(known: dict[float, float], target_bpp: float) -> float:
    return min(known, key=lambda quality: _distance(known[quality], target_bpp))


def _distance(bpp: float, target_bpp: float) -> float:
    return abs(math.log(bpp / target_bpp))
