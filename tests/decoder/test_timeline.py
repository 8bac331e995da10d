"""Times that are computed from the index are those of a list of all timestamps."""

from __future__ import annotations

import dataclasses
from bisect import bisect_left, bisect_right
from fractions import Fraction
from itertools import pairwise

import pytest
from gops import HEADER
from hypothesis import given
from hypothesis import strategies as st

from stgvcodec.bitstream.container.index import GopEntry, GopTiming
from stgvcodec.decoder.timeline import Timeline


@st.composite
def gops_and_pts(draw):
    """Some GoPs of a few frames each, steady and uneven, and the timestamps of all frames in one list."""
    now, pts, gops = draw(st.integers(-50, 50)), [], []
    for _ in range(draw(st.integers(1, 5))):
        steps = draw(st.one_of(st.lists(st.integers(1, 30), max_size=5), st.just([3, 3, 3])))
        own = [now]
        for step in steps:
            own.append(own[-1] + step)
        gops.append(GopEntry(GopTiming.from_pts(len(pts), own), 1, 0, 0))
        pts += own
        now = own[-1] + draw(st.integers(1, 30))
    return gops, pts


@given(gops_and_pts(), st.sampled_from([0, 7]), st.data())
def test_times_are_those_of_a_list(made, last, data):
    gops, pts = made
    header = dataclasses.replace(HEADER, time_base=Fraction(1, 30), last_frame_duration=last)
    times = Timeline(gops, header)
    seconds = [float(each * header.time_base) for each in pts]
    durations = [float((after - before) * header.time_base) for before, after in pairwise(pts)]

    assert list(times.pts) == pts
    assert times.pts[-1] == pts[-1]
    assert times.pts[1:3] == pts[1:3]
    assert [times.seconds(i) for i in range(len(pts))] == seconds
    assert [times.duration(i) for i in range(len(pts) - 1)] == durations
    assert times.duration(len(pts) - 1) == float(last * header.time_base or 1 / header.frame_rate)
    assert (times.begin, times.pts.is_uneven()) == (seconds[0], len(set(durations_in_ticks(pts))) > 1)

    start, stop = sorted(data.draw(st.lists(st.floats(times.begin, times.end), min_size=2, max_size=2)))
    if start < times.end:
        first = bisect_right(seconds, start) - 1
        assert times.index_at(start) == first
        expected = range(first, max(bisect_left(seconds, stop), first + (stop > start)))
        assert times.indices_within(start, stop) == expected
    for outside in (times.begin - 1, times.end):
        with pytest.raises(IndexError, match="no frame is played"):
            times.index_at(outside)


@given(gops_and_pts(), st.data())
def test_a_missing_frame_is_the_nearest_one_at_its_own_time(made, data):
    gops, pts = made
    lost = data.draw(st.sets(st.integers(0, len(gops) - 1), max_size=len(gops) - 1))
    kept = [gop for i, gop in enumerate(gops) if i not in lost]
    times = Timeline(kept, HEADER, [gops[i].timing for i in sorted(lost)])
    there = [(gop.first_frame + k, (i, k)) for i, gop in enumerate(kept) for k in range(gop.n_frames)]

    assert list(times.pts) == pts
    for index in range(len(pts)):
        nearest = min(there, key=lambda each: abs(each[0] - index))
        assert times.pts.place(index) == nearest[1]
        assert times.pts.is_missing(index) == (nearest[0] != index)
        assert times.index_at(times.seconds(index)) == index


def durations_in_ticks(pts):
    return [after - before for before, after in pairwise(pts)]
