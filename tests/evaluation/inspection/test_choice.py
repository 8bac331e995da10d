from __future__ import annotations

import doctest

import pytest

from stgvcodec.evaluation.inspection import choice
from stgvcodec.evaluation.inspection.choice import by_halves, chosen_frames, spread


@pytest.mark.parametrize(("n", "most"), [(1, 1), (2, 1), (7, 2), (12, 5), (40, 8), (8, 40)])
def test_a_spread_is_even_and_has_the_ends(n, most):
    chosen = spread(n, most)
    assert len(chosen) == len(set(chosen)) == min(n, most)
    assert chosen == sorted(chosen)
    if most > 1:
        assert (chosen[0], chosen[-1]) == (0, n - 1)


@pytest.mark.parametrize(
    ("frames", "most", "n_chosen"), [([24], 8, 8), ([8] * 5, 8, 5), ([8, 8], 9, 8), ([1, 1, 1], 8, 3), ([], 8, 0)]
)
def test_no_more_frames_are_chosen_than_asked_for(frames, most, n_chosen):
    chosen = chosen_frames(frames, most)
    assert sum(map(len, chosen.values())) == n_chosen
    assert all(0 <= k < frames[gop] for gop, found in chosen.items() for k in found)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 8, 100])
def test_halves_are_an_order_of_all(n):
    assert sorted(by_halves(n)) == list(range(n))


def test_examples():
    result = doctest.testmod(choice)
    assert (result.failed, result.attempted) == (0, 3)
