"""Masked pixels have no part in an encode, and a decoder fills them in."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from clips import decoded_frames, panning_clip

from stgvcodec import EncodeConfig, Selection, encode
from stgvcodec.encoder.encode_gop import GopConfig, make_trainer
from stgvcodec.encoder.presets import FIELD_SIZES
from stgvcodec.errors import CancelledError, ConfigError
from stgvcodec.media.masks import filled
from stgvcodec.metrics.psnr import psnr_db

CLIP = panning_clip(4, (1.5, 0.5), 64, 48)  # [4, 48, 64, 3]


def holes(n=4, side=10, seed=0):
    """Squares at random places, others in each frame."""
    rng = np.random.default_rng(seed)
    masks = np.zeros(CLIP.shape[:3], bool)
    for mask in masks:
        for y, x in zip(rng.integers(0, 48 - side, n), rng.integers(0, 64 - side, n), strict=True):
            mask[y : y + side, x : x + side] = True
    return masks


def config(**options):
    if "bpp_target" not in options:
        options["n_gaussians"] = 60
    return EncodeConfig(preset="tiny", scene_cut=False, **options)


@pytest.mark.parametrize("target", [{}, {"bpp_target": 3.0}], ids=["no target", "a target"])
def test_what_is_masked_has_no_part_in_the_file_or_its_figures(tmp_path, target):
    """Two clips that differ under the masks alone give the same file."""
    masks = holes()
    other = np.where(masks[..., None], 255 - CLIP, CLIP)
    reports = [
        encode(clip, tmp_path / f"{i}.stgv", config=config(**target), mask=masks, fps=25, device="cpu")
        for i, clip in enumerate((CLIP, other))
    ]
    assert (tmp_path / "0.stgv").read_bytes() == (tmp_path / "1.stgv").read_bytes()

    decoded = decoded_frames(tmp_path / "0.stgv")
    known = [psnr_db(CLIP[t][~masks[t]], decoded[t][~masks[t]]) for t in range(4)]
    assert reports[0].psnr_db == pytest.approx(np.mean(known))
    plain = encode(CLIP, tmp_path / "plain.stgv", config=config(**target), fps=25, device="cpu")
    assert plain.psnr_db != reports[0].psnr_db


def test_holes_are_filled_from_other_frames(tmp_path):
    """Better than by the colours around them, since the same texture is seen in other frames."""
    masks = holes()
    longer = EncodeConfig(preset="draft", n_gaussians=250, scene_cut=False)
    encode(CLIP, tmp_path / "a.stgv", config=longer, mask=masks, fps=25, device="cpu")
    decoded = decoded_frames(tmp_path / "a.stgv")
    smooth = np.stack([filled(frame, ~mask) for frame, mask in zip(CLIP, masks, strict=True)])
    assert psnr_db(CLIP[masks], decoded[masks]) > psnr_db(CLIP[masks], smooth[masks]) + 3.0


def test_squares_that_jump_look_as_what_is_around_them(tmp_path):
    """Without completion these are 3.2 dB worse."""
    masks = holes(seed=2)
    longer = EncodeConfig(preset="draft", n_gaussians=250, scene_cut=False)
    encode(CLIP, tmp_path / "a.stgv", config=longer, mask=masks, fps=25, device="cpu")
    decoded = decoded_frames(tmp_path / "a.stgv")
    assert psnr_db(CLIP[masks], decoded[masks]) > psnr_db(CLIP[~masks], decoded[~masks]) - 1.5


def test_what_no_frame_shows_has_smooth_colours(tmp_path):
    """Without completion it has 20.5 dB to them."""
    masks = np.zeros(CLIP.shape[:3], bool)
    masks[:, 14:34, 20:44] = True
    still = np.repeat(CLIP[:1], 4, axis=0)
    longer = EncodeConfig(preset="draft", n_gaussians=250, scene_cut=False)
    encode(still, tmp_path / "a.stgv", config=longer, mask=masks, fps=25, device="cpu")
    smooth = np.stack([filled(frame, ~mask) for frame, mask in zip(still, masks, strict=True)])
    assert psnr_db(smooth[masks], decoded_frames(tmp_path / "a.stgv")[masks]) > 30.0


@pytest.mark.parametrize(("profile", "completes"), [("compact", True), ("paper", False)])
def test_profile_paper_trains_on_what_is_seen_alone(profile, completes):
    masks = holes()
    frames = np.stack([filled(frame, ~mask) for frame, mask in zip(CLIP, masks, strict=True)])
    planned = GopConfig.planned(
        config(profile=profile), 60, FIELD_SIZES[-1], None, device=torch.device("cpu"), backend="numba"
    )
    trainer = make_trainer(frames, planned, 0, ~masks)
    assert np.array_equal(trainer.known.numpy(), ~masks) != completes
    assert np.array_equal(trainer.frames.numpy(), frames) != completes


def test_masks_reach_the_trainer_of_every_gop(tmp_path, monkeypatch):
    seen = []

    def watched(frames, config, seed, known=None):
        seen.append(known)
        return make_trainer(frames, config, seed, known)

    monkeypatch.setattr("stgvcodec.encoder.encode_gop.make_trainer", watched)
    masks = holes()
    encode(
        CLIP, tmp_path / "a.stgv", config=config(gop=2), mask=masks, selection=Selection(frames=(1, 4)), fps=25,
        device="cpu",
    )  # fmt: skip
    np.testing.assert_array_equal(np.concatenate(seen), ~masks[1:4])


def test_a_frame_that_is_masked_whole_is_left_to_the_others(tmp_path):
    masks = np.zeros(CLIP.shape[:3], bool)
    masks[2] = True
    report = encode(CLIP, tmp_path / "a.stgv", config=config(), mask=masks, fps=25, device="cpu")
    assert np.isfinite(report.psnr_db)
    assert psnr_db(CLIP[2], decoded_frames(tmp_path / "a.stgv")[2]) > psnr_db(CLIP[2], np.full_like(CLIP[2], 128))


@pytest.mark.parametrize("target", [{}, {"bpp_target": 3.0}], ids=["no target", "a target"])
def test_an_encode_is_continued_with_the_same_masks_alone(tmp_path, target):
    path, n_seen = tmp_path / "a.stgv", []

    def stop(progress):
        n_seen.append(progress)
        if progress.frames_done:
            raise CancelledError("enough")

    options = {"config": config(gop=1, **target), "fps": 25, "device": "cpu"}
    with pytest.raises(CancelledError):
        encode(CLIP, path, mask=holes(), progress=stop, **options)
    for mask in (holes(seed=1), None):
        with pytest.raises(ConfigError, match="continue it with the same"):
            encode(CLIP, path, mask=mask, resume=True, **options)
    assert encode(CLIP, path, mask=holes(), resume=True, **options).n_gops_from_before >= 1
