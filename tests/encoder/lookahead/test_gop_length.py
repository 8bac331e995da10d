from __future__ import annotations

import pytest
from rate_simulation import plain_content

from stgvcodec.encoder.lookahead.gop_length import adaptive_lengths, fixed_lengths, frames_in_memory
from stgvcodec.encoder.rate_control.cost_model import COST_MODELS, GopLengthModel


@pytest.mark.parametrize("n_frames", [1, 2, 3, 63, 64, 65, 127, 128, 129, 200, 1000])
@pytest.mark.parametrize("wanted", [1.0, 2.5, 10.0, 64.0, 1000.0])
def test_every_frame_is_in_a_gop_and_gops_are_even(n_frames, wanted):
    lengths = adaptive_lengths(plain_content(n_frames), (wanted,) * n_frames, 64, scene_cut=True)

    assert sum(lengths) == n_frames
    assert max(lengths) - min(lengths) <= 1
    assert max(lengths) <= min(64, 1.5 * wanted + 1)


def test_what_is_left_of_a_scene_is_a_gop_of_its_own_rather_than_a_longer_one():
    lengths = [adaptive_lengths(plain_content(n), (20.0,) * n, 64, scene_cut=True) for n in (20, 25, 27, 45, 47)]

    assert [len(each) for each in lengths] == [1, 1, 2, 2, 3]


def test_gops_are_as_long_as_their_content_wants():
    lengths = [
        max(adaptive_lengths(plain_content(640), (wanted,) * 640, 64, scene_cut=True))
        for wanted in (1000.0, 64.0, 40.0, 8.0, 0.1)
    ]

    assert lengths == [64, 64, 40, 8, 1]


def test_a_burst_of_motion_is_cut_finer_than_what_is_around_it():
    wanted = (60.0,) * 80 + (4.0,) * 20 + (60.0,) * 80

    lengths = adaptive_lengths(plain_content(180), wanted, 64, scene_cut=True)

    starts = [sum(lengths[:i]) for i in range(len(lengths))]
    busy = [n for start, n in zip(starts, lengths, strict=True) if 80 <= start < 96]
    assert max(busy) < 8
    assert lengths[0] > 25
    assert lengths[-1] > 25


def test_a_scene_begins_a_gop_and_its_first_change_is_none():
    content = plain_content(90, cuts=(30,))
    wanted = (64.0,) * 30 + (1.0,) + (64.0,) * 59

    assert adaptive_lengths(content, wanted, 64, scene_cut=True) == (30, 60)
    # Where scenes do not count, the cut is a frame that wants a GoP of its own.
    assert len(adaptive_lengths(content, wanted, 64, scene_cut=False)) == 3


@pytest.mark.parametrize(
    ("gop", "scene_cut", "expected"), [(10, True, (10, 2, 10, 3)), (10, False, (10, 10, 5)), (40, False, (25,))]
)
def test_a_length_that_is_given_stays(gop, scene_cut, expected):
    assert fixed_lengths(plain_content(25, cuts=(12,)), gop, scene_cut=scene_cut) == expected


def test_gops_of_wild_content_are_as_long_as_can_be_afforded():
    content, wanted = plain_content(60), (0.5,) * 60

    assert adaptive_lengths(content, wanted, 64, scene_cut=True) == (1,) * 60
    assert adaptive_lengths(content, wanted, 64, scene_cut=True, shortest=5) == (5,) * 12
    assert adaptive_lengths(content, wanted, 3, scene_cut=True, shortest=5) == (3,) * 20
    assert adaptive_lengths(plain_content(6), wanted[:6], 64, scene_cut=True, shortest=5) == (6,)


def test_a_long_video_is_cut_quickly():
    lengths = adaptive_lengths(plain_content(100_000), (13.0,) * 100_000, 64, scene_cut=True)

    assert sum(lengths) == 100_000


@pytest.mark.parametrize(("width", "height"), [(320, 180), (1280, 720), (1920, 1080), (3840, 2160), (8192, 8192)])
def test_five_gops_fit_in_two_gibibytes(width, height):
    length = frames_in_memory(width * height)

    assert length >= 1
    assert length == 1 or 5 * length * width * height * 3 <= 2 << 30


@pytest.mark.parametrize("profile", COST_MODELS)
def test_bits_and_change_ask_for_shorter_gops_and_texture_for_longer_ones(profile):
    model: GopLengthModel = COST_MODELS[profile].gop_length

    by_rate = [model.wanted(bpp, 0.3, 6.5) for bpp in (0.02, 0.05, 0.1, 0.2)]
    by_change = [model.wanted(0.1, change, 6.5) for change in (0.05, 0.1, 0.3, 1.0)]
    by_texture = [model.wanted(0.1, 0.3, texture) for texture in (12.0, 8.0, 6.5, 4.0)]

    for lengths in (by_rate, by_change, by_texture):
        assert lengths == sorted(set(lengths), reverse=True)
    assert model.wanted(0.1, 0.3, 6.5) == pytest.approx(model.frames)
    assert model.wanted(0.1, 0.0, 6.5) == model.longest
    assert model.wanted(0.1, 0.3, 0.0) == model.wanted(100.0, 1.0, 6.5) == model.shortest
