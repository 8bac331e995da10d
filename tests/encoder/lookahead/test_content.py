from __future__ import annotations

import numpy as np
import pytest
from clips import moving_clip, video_frames

from stgvcodec.encoder.lookahead.content import measure_content, picture_change, small_picture


def texture(width: int, height: int, seed: int) -> np.ndarray:
    """Soft blobs on all scales. [H, W, 3] uint8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    picture = np.zeros((height, width))
    for _ in range(150):
        cx, cy, radius = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(4, 20)
        picture += rng.uniform(-40, 40) * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / radius**2)
    return np.repeat(np.clip(128 + picture, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def pan(speed: int) -> np.ndarray:
    wide = texture(400, 96, 1)
    return np.stack([wide[:, 20 + speed * t : 20 + speed * t + 160] for t in range(8)])


def mean_change(frames: np.ndarray) -> float:
    return float(np.mean(measure_content(video_frames(frames)).change[1:]))


def test_a_still_does_not_change():
    still = np.repeat(texture(160, 96, 0)[None], 5, axis=0)

    assert measure_content(video_frames(still)).change == (0.0,) * 5


def test_noise_of_a_camera_is_little_change():
    noise = np.random.default_rng(0).normal(0, 2, (5, 96, 160, 3))
    noisy = np.clip(texture(160, 96, 0) + noise, 0, 255).astype(np.uint8)

    assert mean_change(noisy) < 0.25


def test_faster_motion_changes_more():
    changes = [mean_change(pan(speed)) for speed in (0, 1, 3, 8)]

    assert changes == sorted(changes)
    assert changes[0] == 0.0
    assert changes[-1] > 2 * changes[1]


def test_motion_that_can_be_followed_is_less_than_another_picture():
    unrelated = np.stack([texture(160, 96, seed) for seed in range(6)])

    assert mean_change(pan(2)) < 0.4 * mean_change(unrelated)
    assert 0.4 < mean_change(unrelated) <= 1.0


def test_size_matters_little():
    """The same scene is measured at four times the pixels."""
    large = np.repeat(np.repeat(pan(1), 2, axis=1), 2, axis=2)

    assert mean_change(large) == pytest.approx(mean_change(pan(1)), rel=0.2)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 8), (9, 1), (63, 37), (181, 182), (500, 270)])
def test_any_size(width, height):
    content = measure_content(video_frames(moving_clip(3, width, height)))

    assert content.n_frames == 3 == len(content.detail) == len(content.is_cut)
    assert content.pts == (0, 10, 20)
    assert all(0.0 <= change <= 1.0 for change in content.change)
    assert min(small_picture(moving_clip(1, width, height)[0]).shape) <= 180


def test_a_flat_picture_has_no_detail_and_a_cut_is_marked():
    black, bright = np.zeros((3, 48, 64, 3), np.uint8), np.full((3, 48, 64, 3), 200, np.uint8)

    content = measure_content(video_frames(np.concatenate((black, bright))))

    assert content.detail == content.texture == (0.0,) * 6
    assert content.is_cut == (False, False, False, True, False, False)


def test_texture_is_the_mean_gradient_of_the_frame_itself():
    """A checkerboard of single pixels is all gradient; block means, on which detail is measured, do not see it."""
    board = (np.indices((180, 240)).sum(axis=0) % 2 * 40).astype(np.uint8)
    ramp = np.tile((np.arange(240) % 256).astype(np.uint8), (180, 1))

    textures = [
        measure_content(video_frames(np.repeat(picture[None, :, :, None], 3, axis=3))).texture
        for picture in (board, ramp)
    ]

    assert textures[0] == (40.0,)
    assert textures[1] == (0.5,)


def test_change_is_symmetric_in_what_appears_and_what_goes():
    with_square = small_picture(texture(160, 96, 0))
    without = with_square.copy()
    with_square[30:60, 40:90] = 255.0

    there, back = picture_change(without, with_square), picture_change(with_square, without)
    assert there > 0.1
    assert back > 0.1


def test_frames_are_counted_as_they_are_read():
    seen: list[int] = []

    measure_content(video_frames(moving_clip(4)), seen.append)

    assert seen == [1, 2, 3, 4]
