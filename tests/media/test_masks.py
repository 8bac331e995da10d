"""Masks are aligned with frames, cropped and resized with them, and nothing is left of what they hide."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from clips import moving_clip, write_folder, write_video

from stgvcodec.errors import ConfigError, InputVideoError
from stgvcodec.media import open_video
from stgvcodec.media.colour import ColorTags
from stgvcodec.media.masks import MaskedFrames, filled, opened_masks
from stgvcodec.media.output_formats import CodecOptions
from stgvcodec.media.selection import Crop, Selection
from stgvcodec.media.writer import open_writer

CLIP = moving_clip(5)  # [5, 32, 48, 3]
MASKS = np.random.default_rng(0).random((5, 32, 48)) < 0.2


def as_pictures(masks):
    return np.repeat(np.where(masks, 255, 0).astype(np.uint8)[..., None], 3, axis=3)


def lossless(masks, path):
    tags = ColorTags(1, 13, 0, True)
    with open_writer(
        path, width=48, height=32, frame_rate=Fraction(25), time_base=Fraction(1, 25), color=tags,
        codec=CodecOptions("ffv1"),
    ) as writer:  # fmt: skip
        for pts, picture in enumerate(as_pictures(masks)):
            writer.write(picture, pts)
    return path


KINDS = {
    "array": lambda folder: MASKS,
    "bytes": lambda folder: MASKS.astype(np.uint8) * 7,
    "tensor": lambda folder: torch.from_numpy(MASKS),
    "folder": lambda folder: write_folder(as_pictures(MASKS), folder / "masks"),
    "video": lambda folder: lossless(MASKS, folder / "masks.mkv"),
}


def masked(folder, source, **selection):
    clip = write_video(CLIP, folder / "clip.mkv", [40 * t for t in range(5)])
    with open_video(clip, selection=Selection(**selection)) as video, opened_masks(source, video) as masks:
        return list(MaskedFrames(video, masks)), list(video)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_each_frame_has_its_mask(tmp_path, kind):
    source = kind(tmp_path)
    for frames in (None, (1, 4)):
        found, plain = masked(tmp_path, source, frames=frames)
        expected = MASKS[slice(*frames) if frames else slice(None)]
        assert len(found) == len(plain) == len(expected)
        for frame, same, mask in zip(found, plain, expected, strict=True):
            np.testing.assert_array_equal(frame.known, ~mask)
            np.testing.assert_array_equal(frame.rgb[~mask], same.rgb[~mask])
            assert frame.pts == same.pts


def test_one_mask_is_that_of_every_frame(tmp_path):
    image = write_folder(as_pictures(MASKS[:1]), tmp_path / "one")
    for source in (MASKS[0], image, next(image.iterdir())):
        found, _ = masked(tmp_path, source, frames=(2, 4))
        assert [frame.known.tolist() for frame in found] == [(~MASKS[0]).tolist()] * 2


def test_one_mask_goes_with_frames_that_are_selected_by_time(tmp_path):
    for source in (MASKS[0], write_folder(as_pictures(MASKS[:1]), tmp_path / "one")):
        found, plain = masked(tmp_path, source, time=(None, Fraction(1, 10)))
        assert len(found) == len(plain) == 3
        assert all((frame.known == ~MASKS[0]).all() for frame in found)


def test_masks_are_cropped_and_resized_with_the_frames(tmp_path):
    mask = np.zeros((32, 48), bool)
    mask[8:16, 8:16] = True
    found, _ = masked(tmp_path, mask, resize=(24, 16))
    known = found[0].known
    assert known.shape == (16, 24)
    assert not known[4:8, 4:8].any()
    assert known[:3].all()
    assert known[9:].all()


WRONG = {
    "too few": (MASKS[:3], {}, InputVideoError, "has 3 masks, expected one for each frame"),
    "too many": (np.concatenate([MASKS, MASKS]), {}, InputVideoError, "has more than the 5 masks"),
    "size": (MASKS[:, :20], {}, InputVideoError, "masks of 48x20, expected 48x32"),
    "size before it is changed": (MASKS[:, ::2], {"resize": (24, 8)}, InputVideoError, "of 48x16, expected 48x32"),
    "time": (MASKS, {"time": (None, Fraction(1))}, ConfigError, "select frames with --frames in place of --time"),
    "all": (np.ones((32, 48), bool), {}, ConfigError, "the mask hides every pixel, and nothing is left to encode"),
    "all of a crop": (np.eye(32, 48) == 0, {"crop": Crop(4, 4, 40, 0)}, ConfigError, "the mask hides every pixel"),
    "floats": (MASKS.astype(np.float32), {}, ConfigError, r"the mask is float32 \[5, 32, 48\]"),
    "colours": (as_pictures(MASKS), {}, ConfigError, r"the mask is uint8 \[5, 32, 48, 3\]"),
}


@pytest.mark.parametrize(("source", "selection", "error", "said"), WRONG.values(), ids=WRONG)
def test_masks_that_do_not_fit_are_refused(tmp_path, source, selection, error, said):
    with pytest.raises(error, match=said):
        masked(tmp_path, source, **selection)


@pytest.mark.parametrize("n_masks", [3, 7])
def test_a_wrong_number_of_masks_is_said_before_any_is_read(tmp_path, caplog, n_masks):
    clip = write_folder(CLIP, tmp_path / "clip")
    with open_video(clip) as video, opened_masks(np.zeros((n_masks, 32, 48), bool), video):
        assert f"has {n_masks} masks, and {clip} should have 5 frames" in caplog.text


@pytest.mark.parametrize(("height", "width"), [(1, 1), (17, 33), (64, 64), (1, 40)])
def test_what_is_filled_in_comes_from_known_pixels_alone(height, width):
    rng = np.random.default_rng(1)
    picture = rng.integers(0, 256, (height, width, 3), np.uint8)
    known = rng.random((height, width)) < 0.5
    other = np.where(known[..., None], picture, 255 - picture)
    result = filled(picture, known)
    np.testing.assert_array_equal(result, filled(other, known))
    np.testing.assert_array_equal(result[known], picture[known])
    if known.any():
        # Means of known pixels do not go beyond them.
        assert (result >= picture[known].min(axis=0)).all()
        assert (result <= picture[known].max(axis=0)).all()


def test_a_hole_in_a_gradient_is_filled_smoothly():
    x = np.arange(64, dtype=np.uint8)
    picture = np.repeat(np.broadcast_to(3 * x, (48, 64))[..., None], 3, axis=2)
    known = np.ones((48, 64), bool)
    known[12:36, 20:44] = False
    error = filled(picture, known).astype(int) - picture
    assert np.abs(error).mean() < 2
    assert np.abs(error).max() < 45


def test_without_a_known_pixel_the_picture_is_grey():
    assert (filled(CLIP[0], np.zeros((32, 48), bool)) == 128).all()
    np.testing.assert_array_equal(filled(CLIP[0], np.ones((32, 48), bool)), CLIP[0])
