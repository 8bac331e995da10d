from __future__ import annotations

import dataclasses

import pytest
from rate_simulation import plain_content

from stgvcodec.encoder.lookahead.gop_length import adaptive_lengths, fixed_lengths, frames_in_memory
from stgvcodec.encoder.rate_control.cost_model import COST_MODELS, GopLengthModel

QUIET, BUSY = 0.01, 0.5


@pytest.mark.parametrize("n_frames", [1, 2, 3, 63, 64, 65, 127, 128, 129, 200, 1000])
@pytest.mark.parametrize("change", [0.0, QUIET, 0.1, BUSY, 1.0])
def test_every_frame_is_in_a_gop_and_gops_are_even(n_frames, change):
    lengths = adaptive_lengths(plain_content(n_frames, change=change), 4.0, 64, scene_cut=True)

    assert sum(lengths) == n_frames
    assert max(lengths) - min(lengths) <= 1
    assert max(lengths) <= 64
    assert max(lengths) * change <= 6.0 + 2 * change


def test_quiet_content_gets_the_longest_and_busy_content_short_ones():
    lengths = [
        max(adaptive_lengths(plain_content(640, change=change), 4.0, 64, scene_cut=True))
        for change in (0.0, QUIET, 0.1, BUSY, 4.0)
    ]

    assert lengths == [64, 64, 40, 8, 1]


def test_a_burst_of_motion_is_cut_finer_than_what_is_around_it():
    content = plain_content(180)
    change = (QUIET,) * 80 + (BUSY,) * 20 + (QUIET,) * 80
    content = dataclasses.replace(content, change=change)

    lengths = adaptive_lengths(content, 2.0, 64, scene_cut=True)

    starts = [sum(lengths[:i]) for i in range(len(lengths))]
    busy = [n for start, n in zip(starts, lengths, strict=True) if 80 <= start < 96]
    assert max(busy) < 8
    assert lengths[0] > 25
    assert lengths[-1] > 25


def test_a_scene_begins_a_gop_and_its_first_change_is_none():
    content = plain_content(90, change=QUIET, cuts=(30,))
    content = dataclasses.replace(content, change=(0.0,) + (QUIET,) * 29 + (1.0,) + (QUIET,) * 59)

    assert adaptive_lengths(content, 0.9, 64, scene_cut=True) == (30, 60)
    across = adaptive_lengths(content, 20.0, 64, scene_cut=False)
    assert len(across) == 2
    assert min(across) > 40


@pytest.mark.parametrize(
    ("gop", "scene_cut", "expected"), [(10, True, (10, 2, 10, 3)), (10, False, (10, 10, 5)), (40, False, (25,))]
)
def test_a_length_that_is_given_stays(gop, scene_cut, expected):
    assert fixed_lengths(plain_content(25, cuts=(12,)), gop, scene_cut=scene_cut) == expected


def test_gops_of_wild_content_are_as_long_as_can_be_afforded():
    content = plain_content(60, change=1.0)

    assert adaptive_lengths(content, 1.0, 64, scene_cut=True) == (1,) * 60
    assert adaptive_lengths(content, 1.0, 64, scene_cut=True, shortest=5) == (5,) * 12
    assert adaptive_lengths(content, 1.0, 3, scene_cut=True, shortest=5) == (3,) * 20
    assert adaptive_lengths(plain_content(6, change=1.0), 1.0, 64, scene_cut=True, shortest=5) == (6,)


def test_twice_the_change_at_a_power_of_two_is_a_quarter_of_the_length():
    lengths = [
        adaptive_lengths(plain_content(128, change=change), 1.0, 64, scene_cut=True, power=2.0)[0]
        for change in (0.125, 0.25, 0.5)
    ]

    assert lengths == [64, 16, 4]


def test_a_long_video_of_one_scene_is_cut():
    """With a search over all lengths, 100 000 frames would take hours."""
    lengths = adaptive_lengths(plain_content(100_000, change=0.3), 4.0, 64, scene_cut=True)

    assert sum(lengths) == 100_000


@pytest.mark.parametrize(("width", "height"), [(320, 180), (1280, 720), (1920, 1080), (3840, 2160), (8192, 8192)])
def test_five_gops_fit_in_two_gibibytes(width, height):
    length = frames_in_memory(width * height)

    assert length >= 1
    assert length == 1 or 5 * length * width * height * 3 <= 2 << 30


@pytest.mark.parametrize("profile", COST_MODELS)
def test_fewer_bits_and_fewer_pixels_may_span_more_change(profile):
    model: GopLengthModel = COST_MODELS[profile].gop_length

    rates = [model.budget(bpp, 57_600) for bpp in (0.02, 0.1, 0.5, 1.0)]
    assert rates == sorted(rates, reverse=True)
    assert model.budget(0.1, 57_600) == pytest.approx(model.change)
    assert model.budget(0.1, 921_600) <= model.change
