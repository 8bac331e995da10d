from __future__ import annotations

import pytest

from stgvcodec.bitstream.container.gaps import find_gaps
from stgvcodec.bitstream.container.index import GopEntry, GopTiming

INDEX = [
    GopTiming.from_pts(0, [7, 10, 15]),
    GopTiming.from_pts(3, [20, 30]),
    GopTiming.from_pts(5, [41]),
    GopTiming.from_pts(6, [50, 60, 61]),
]
SHOWN = "the nearest frame that is intact is shown"


def gops(*kept):
    return [GopEntry(INDEX[i], 1, 0, 0) for i in kept]


def pts_of(gaps):
    return [(timing.first_frame, list(timing.pts)) for timing in gaps.timings]


@pytest.mark.parametrize(
    ("kept", "notes"),
    [
        ((0, 1, 2, 3), []),
        ((0, 3), [f"frames 3 to 5 are missing: {SHOWN}"]),
        ((1, 3), [f"frames 0 to 2 are missing: {SHOWN}", f"frame 5 is missing: {SHOWN}"]),
        ((1,), [f"frames 0 to 2 are missing: {SHOWN}", f"frames 5 to 8 are missing: {SHOWN}"]),
    ],
)
def test_an_intact_index_says_when_missing_frames_are_shown(kept, notes):
    gaps = find_gaps(gops(*kept), INDEX, 9, 5)
    assert gaps.timings == [timing for i, timing in enumerate(INDEX) if i not in kept]
    assert gaps.notes == notes


# (GoPs that are left, what is filled in, what is said)
SPREAD = {
    "in the middle": ((0, 3), [(3, [23, 32, 41])], [f"frames 3 to 5 are missing: {SHOWN}"]),
    "at the start": ((1, 2, 3), [(0, [5, 10, 15])], [f"frames 0 to 2 are missing: {SHOWN}"]),
    "at the end": ((0, 1), [], ["frames 5 to 8 are missing and left out: nothing says when they are shown"]),
}


@pytest.mark.parametrize(("kept", "filled", "notes"), SPREAD.values(), ids=SPREAD)
def test_without_an_index_times_are_spread_evenly(kept, filled, notes):
    gaps = find_gaps(gops(*kept), [], 9, 5)
    assert (pts_of(gaps), gaps.notes) == (filled, notes)


def test_an_index_that_does_not_agree_with_what_is_there_says_nothing():
    other = [GopTiming.from_pts(0, [7, 10, 16]), *INDEX[1:]]
    assert find_gaps(gops(0, 3), other, 9, 5) == find_gaps(gops(0, 3), [], 9, 5)


@pytest.mark.parametrize(
    ("first_frame", "pts", "why"),
    [(6, 18, "no times"), (3 + 100_001, 2**40, "too many"), (6, 2**62 + 15, "no times")],
)
def test_what_cannot_be_filled_is_left_out(first_frame, pts, why):
    after = GopEntry(GopTiming.from_pts(first_frame, [pts]), 1, 0, 0)
    gaps = find_gaps([*gops(0), after], [], None, 5)
    assert gaps.timings == []
    (note,) = gaps.notes
    assert note.startswith(f"frames 3 to {first_frame - 1} are missing and left out: ")
    assert why in note
