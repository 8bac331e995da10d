"""Frames that another process reads by name are the very same, or are not taken."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path

import numpy as np
import pytest
from clips import moving_clip, write_video

from stgvcodec.encoder.engines.gop_origin import GopOrigin
from stgvcodec.encoder.fitted_gop import frames_crc
from stgvcodec.errors import InputVideoError
from stgvcodec.media import open_video
from stgvcodec.media.masks import MaskedFrames, opened_masks
from stgvcodec.media.selection import Selection
from stgvcodec.media.shared_source import shared_source

CASES = Path(__file__).parents[2] / "media" / "cases"


def origin_of(path: Path, frames: list, known: np.ndarray | None = None) -> GopOrigin:
    crc = frames_crc(np.stack([frame.rgb for frame in frames]), known)
    origin = GopOrigin(shared_source(path, Selection(), None, None), tuple(frame.pts for frame in frames), crc)
    return pickle.loads(pickle.dumps(origin))


def test_frames_whose_key_frame_is_not_found_at_once_are_looked_for_earlier():
    path = CASES / "opengop_uncut.ts"
    with open_video(path) as video:
        frames = list(video)
        origins = [origin_of(path, frames[first : first + 4]) for first in range(0, len(frames), 4)]
        at_once = []
        for origin in origins:
            try:
                at_once.append(frames_crc(np.stack(video.frames_at(origin.pts))) == origin.crc)
            except InputVideoError:
                at_once.append(False)
    assert not all(at_once)
    found = np.concatenate([origin.read(None) for origin in origins])
    assert np.array_equal(found, np.stack([frame.rgb for frame in frames]))


def test_pixels_that_masks_hide_are_filled_as_they_were(tmp_path):
    path = write_video(moving_clip(6), tmp_path / "clip.mkv", [40 * t for t in range(6)])
    masks = np.random.default_rng(0).random((6, 32, 48)) < 0.2
    with open_video(path) as video, opened_masks(masks, video) as opened:
        frames = list(MaskedFrames(video, opened))[2:5]
    known = np.stack([frame.known for frame in frames])
    assert np.array_equal(origin_of(path, frames, known).read(known), np.stack([frame.rgb for frame in frames]))


def test_frames_that_differ_are_not_taken(tmp_path):
    path = write_video(moving_clip(4), tmp_path / "clip.mkv", [40 * t for t in range(4)])
    with open_video(path) as video:
        origin = origin_of(path, list(video))
    others = dataclasses.replace(origin, crc=origin.crc ^ 1)
    with pytest.raises(InputVideoError, match=r"clip.mkv: gives other frames here"):
        others.read(None)
    path.write_bytes(b"")
    with pytest.raises(InputVideoError, match=r"clip.mkv: is empty"):
        origin.read(None)
