"""What is hidden in a frame comes from those beside it, along the motion around it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from clips import panning_clip

from stgvcodec.fit.completion import completed
from stgvcodec.media.masks import filled
from stgvcodec.metrics.psnr import psnr_db

PAN = panning_clip(6, (2.5, -1.0))  # [6, 64, 96, 3]
WHOLE = (slice(None), slice(None))


def masks(*hidden):
    """Masks of the pan, with True in the rectangles (frames, rows, columns). [6, 64, 96] bool."""
    result = np.zeros(PAN.shape[:3], bool)
    for where in hidden:
        result[where] = True
    return result


def completion(clip, hidden, device="cpu"):
    """Smooth frames, completed frames and the pixels that count then, for a clip under masks."""
    smooth = np.stack([filled(frame, ~mask) for frame, mask in zip(clip, hidden, strict=True)])
    frames, known = completed(torch.from_numpy(smooth).to(device), torch.from_numpy(~hidden).to(device))
    return smooth, frames.cpu().numpy(), known.cpu().numpy()


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_squares_that_jump_are_filled_along_the_motion(device):
    rng = np.random.default_rng(0)
    places = [(t, y, x) for t in range(6) for y, x in zip(rng.integers(0, 52, 3), rng.integers(0, 84, 3), strict=True)]
    hidden = masks(*((t, slice(y, y + 12), slice(x, x + 12)) for t, y, x in places))

    smooth, frames, known = completion(PAN, hidden, device)

    new = known & hidden
    assert new.sum() > 0.95 * hidden.sum()
    assert psnr_db(PAN[new], frames[new]) > max(32.0, psnr_db(PAN[new], smooth[new]) + 10.0)
    np.testing.assert_array_equal(frames[~new], smooth[~new])


def test_what_is_hidden_in_several_frames_comes_from_beyond_them():
    hidden = masks((slice(1, 5), slice(20, 36), slice(30, 44)))

    smooth, frames, known = completion(PAN, hidden)

    assert known.all()
    for t in range(1, 5):
        assert psnr_db(PAN[t][hidden[t]], frames[t][hidden[t]]) > psnr_db(PAN[t][hidden[t]], smooth[t][hidden[t]]) + 8.0


def test_nothing_is_filled_across_a_cut():
    clip = np.concatenate([PAN[:3], 255 - PAN[3:, ::-1, ::-1]])
    hidden = masks((2, slice(20, 32), slice(30, 42)), (3, slice(40, 52), slice(60, 72)))

    _, frames, known = completion(clip, hidden)

    for t, beside in ((2, 1), (3, 4)):
        assert known[t].all()
        alone = [clip[[t, beside]], hidden[[t, beside]]]
        np.testing.assert_array_equal(frames[t], completion(*alone)[1][0])


def test_places_that_no_frame_shows_keep_smooth_colours_and_count():
    still = np.repeat(PAN[:1], 6, axis=0)
    hidden = masks((slice(None), slice(20, 50), slice(30, 70)))

    smooth, frames, known = completion(still, hidden)

    assert known.all()
    inner = (slice(None), slice(30, 40), slice(40, 60))
    np.testing.assert_array_equal(frames[inner], smooth[inner])


def test_a_frame_that_is_hidden_whole_is_left_to_the_others():
    hidden = masks((2, *WHOLE), (4, slice(0, 8), slice(0, 8)))

    smooth, frames, known = completion(PAN, hidden)

    assert not known[2].any()
    np.testing.assert_array_equal(frames[2], smooth[2])
    assert known[4].any()


def test_what_was_given_stays_as_it_was():
    hidden = masks((slice(1, 3), slice(20, 30), slice(30, 40)))
    frames, known = torch.from_numpy(PAN.copy()), torch.from_numpy(~hidden)

    completed(frames, known)

    np.testing.assert_array_equal(frames.numpy(), PAN)
    np.testing.assert_array_equal(known.numpy(), ~hidden)


@pytest.mark.parametrize("shape", [(1, 5, 7), (2, 1, 1), (3, 2, 63), (4, 100, 1)])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_any_size_length_and_share_is_completed(shape, share):
    rng = np.random.default_rng(0)
    clip = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    hidden = rng.random(shape) < share

    smooth, frames, known = completion(clip, hidden)

    assert (known >= ~hidden).all()
    np.testing.assert_array_equal(frames[~hidden], clip[~hidden])
    np.testing.assert_array_equal(frames[~known], smooth[~known])
