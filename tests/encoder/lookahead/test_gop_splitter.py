from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from clips import moving_clip, video_frames

from stgvcodec.encoder.lookahead.gop_splitter import split_gops
from stgvcodec.encoder.lookahead.scene_cuts import scene_cuts


def cuts(frames: Sequence[np.ndarray]) -> list[int]:
    return [t for t, (_, is_cut) in enumerate(scene_cuts(video_frames(np.stack(frames)))) if is_cut]


def lengths(frames: np.ndarray, gop: int, *, scene_cut: bool) -> list[int]:
    return [len(part.pts) for part in split_gops(video_frames(frames), lambda: gop, scene_cut=scene_cut)]


def texture(width: int, height: int, seed: int) -> np.ndarray:
    """Blobs of several sizes, as of a real scene. [H, W, 3] uint8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    picture = np.zeros((height, width, 3)) + rng.uniform(60, 190, 3)
    for _ in range(60):
        cx, cy, radius = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(6, 30)
        picture[np.hypot(x - cx, y - cy) < radius] = rng.uniform(0, 255, 3)
    return picture.astype(np.uint8)


SCENES = [texture(96, 64, seed) for seed in range(3)]


@pytest.mark.parametrize(("width", "height"), [(96, 64), (63, 37), (5, 4)])
def test_a_cut_is_found_where_it_is(width, height):
    first = moving_clip(6, width, height) // 4
    second = 255 - moving_clip(5, width, height, phase=2.0) // 4

    assert cuts([*first, *second]) == [6]


BLACK_TO_FIRST = [(SCENES[0] * (t / 15)).astype(np.uint8) for t in range(16)]
FIRST_TO_SECOND = [((SCENES[0] * (15.0 - t) + SCENES[1] * float(t)) / 15).astype(np.uint8) for t in range(16)]
# After the one bright frame of a camera's flash, the scene goes on.
FLASH = (SCENES[0] // 2 + 128).astype(np.uint8)
WIDE = texture(400, 64, 5)
NOISE = np.random.default_rng(0).normal(0, 12, (10, *SCENES[0].shape))


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        pytest.param([SCENES[i] for i in (0, 0, 0, 1, 1, 1, 2, 2, 2, 0, 0)], [3, 6, 9], id="quick sequence"),
        pytest.param([SCENES[i] for i in (0, 0, 0, 1, 2, 2, 2)], [3, 4], id="one frame after the other"),
        pytest.param([SCENES[0]], [], id="first frame"),
        pytest.param([np.full((8, 8, 3), 255, np.uint8)], [], id="first frame, white"),
        *(
            pytest.param([WIDE[:, speed * t : speed * t + 96] for t in range(20)], [], id=f"pan by {speed}")
            for speed in (1, 3, 6)
        ),
        pytest.param(BLACK_TO_FIRST, [], id="fade in"),
        pytest.param(BLACK_TO_FIRST[::-1], [], id="fade out"),
        pytest.param(FIRST_TO_SECOND, [], id="dissolve"),
        pytest.param([SCENES[0]] * 4 + [FLASH] + [SCENES[0]] * 4, [], id="flash"),
        pytest.param(list(np.clip(SCENES[0] + NOISE, 0, 255).astype(np.uint8)), [], id="noise"),
    ],
)
def test_cuts_are_found_and_nothing_else_is_taken_for_one(frames, expected):
    assert cuts(frames) == expected


@pytest.mark.parametrize(
    ("n_frames", "gop", "expected"),
    [(7, 4, [4, 3]), (8, 4, [4, 4]), (9, 4, [4, 4, 1]), (3, 10, [3]), (3, 1, [1, 1, 1]), (1, 4, [1]), (0, 4, [])],
)
def test_gops_are_full_but_the_last(n_frames, gop, expected):
    frames = moving_clip(max(n_frames, 1))[:n_frames]

    assert lengths(frames, gop, scene_cut=False) == expected


def test_nothing_is_lost_or_reordered():
    frames = moving_clip(7)

    gops = list(split_gops(video_frames(frames), lambda: 3, scene_cut=False))

    np.testing.assert_array_equal(np.concatenate([gop.frames for gop in gops]), frames)
    assert [stamp for gop in gops for stamp in gop.pts] == [10 * t for t in range(7)]


def test_a_gop_ends_at_a_cut_and_the_next_is_counted_from_there():
    frames = np.stack([SCENES[0]] * 5 + [SCENES[1]] * 6)

    assert lengths(frames, 4, scene_cut=True) == [4, 1, 4, 2]
    assert lengths(frames, 4, scene_cut=False) == [4, 4, 3]


def test_the_length_is_asked_once_a_gop():
    answers = iter([2, 3, 1, 9])

    gops = list(split_gops(video_frames(moving_clip(8)), lambda: next(answers), scene_cut=False))

    assert [len(gop.pts) for gop in gops] == [2, 3, 1, 2]


def test_at_most_a_gop_of_frames_and_two_are_read_ahead():
    n_read = 0

    def frames():
        nonlocal n_read
        for frame in video_frames(moving_clip(12)):
            n_read += 1
            yield frame

    parts = split_gops(frames(), lambda: 4, scene_cut=False)
    for n_gops in (1, 2):
        next(parts)
        assert n_read <= 4 * n_gops + 2
