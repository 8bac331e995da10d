from __future__ import annotations

import math

import pytest

from stgvcodec.evaluation.rate_search import QualityGrid, search_quality

GRID = QualityGrid(best=1.0, worst=51.0, start=28.0, step=0.125, per_octave=6.0)


class Codec:
    """Rates by a formula; counts encodes and refuses to encode anything twice or off the grid."""

    def __init__(self, octave: float = 5.0, bend: float = 0.0) -> None:
        self.octave, self.bend = octave, bend
        self.tried: list[float] = []

    def rate(self, quality: float) -> float:
        return 2.0 ** ((30 - quality) / self.octave - self.bend * (quality - 25) ** 3) / 10

    def __call__(self, quality: float) -> float:
        assert quality not in self.tried
        assert GRID.best <= quality <= GRID.worst
        assert (quality - GRID.best) % GRID.step == 0
        self.tried.append(quality)
        return self.rate(quality)


@pytest.mark.parametrize("target", [0.02, 0.1, 0.11, 0.5, 1.5])
@pytest.mark.parametrize(("octave", "bend"), [(5.0, 0.0), (6.5, 0.0), (9.0, 1e-4), (4.0, 2e-4)])
def test_the_closest_grid_point_is_found_in_a_few_encodes(target: float, octave: float, bend: float) -> None:
    codec = Codec(octave, bend)
    found = search_quality(target, GRID, codec, {})

    grid = [GRID.best + GRID.step * i for i in range(401)]
    best = min(abs(math.log(codec.rate(each) / target)) for each in grid)
    assert abs(math.log(codec.rate(found) / target)) <= max(best, math.log(1.01)) + 1e-12
    assert len(codec.tried) <= 8


@pytest.mark.parametrize(("target", "end"), [(1e-6, 51.0), (1e6, 1.0)])
def test_beyond_the_end_the_end_is_the_answer(target: float, end: float) -> None:
    assert search_quality(target, GRID, Codec(), {}) == end


def test_what_is_known_is_not_encoded_again() -> None:
    known: dict[float, float] = {}
    codec = Codec()
    first = search_quality(0.1, GRID, codec, known)
    n_encodes = len(codec.tried)

    assert search_quality(0.1, GRID, codec, known) == first
    assert len(codec.tried) == n_encodes
    assert set(known) == set(codec.tried)


def test_a_coarse_grid_gives_its_closest() -> None:
    coarse = QualityGrid(best=1.0, worst=63.0, start=40.0, step=1.0, per_octave=8.0)
    found = search_quality(0.1, coarse, lambda quality: 2.0 ** ((30.4 - quality) / 5) / 10, {})

    assert found == 30.0


def test_rates_that_jump_about_still_end() -> None:
    found = search_quality(0.1, GRID, lambda quality: 0.1 * (2 if round(quality * 8) % 2 else 0.5), {})

    assert GRID.best <= found <= GRID.worst


def test_snapping_stays_on_the_grid_and_inside() -> None:
    assert [GRID.snapped(each) for each in (-3, 1.06, 1.07, 50.99, 99)] == [1.0, 1.0, 1.125, 51.0, 51.0]
