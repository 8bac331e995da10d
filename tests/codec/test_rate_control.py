from __future__ import annotations

import re

import numpy as np
import pytest
from clips import moving_clip, write_folder

from stgvcodec import EncodeConfig, encode, read_info
from stgvcodec.codec.rate_control import RateControl
from stgvcodec.errors import ConfigError

COLORS = {"n_frames": None, "color_stages": 2, "color_codebook_size": 8}


def control(bpp: float, **options) -> RateControl:
    return RateControl(bpp, **{"width": 640, "height": 360, "gop": 10, "fixed_gop": False, **COLORS, **options})


def noisy_clip(n_frames: int, width: int, height: int) -> np.ndarray:
    noise = np.random.default_rng(0).integers(-20, 20, (n_frames, height, width, 3))
    return np.clip(moving_clip(n_frames, width, height) + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("n_frames", "gop", "bpp"),
    [
        pytest.param(8, None, 2.0, id="short GoPs"),
        pytest.param(8, None, 6.0, id="many Gaussians"),
        pytest.param(8, 4, 3.0, id="GoP given"),
        pytest.param(9, 4, 4.0, id="last GoP of one frame"),
        pytest.param(16, None, 0.8, id="few Gaussians"),
    ],
)
def test_a_file_lands_within_a_tenth_of_its_target(tmp_path, n_frames, gop, bpp):
    source = write_folder(noisy_clip(n_frames, 64, 48), tmp_path / "clip")
    config = EncodeConfig(preset="tiny", gop=gop, bpp_target=bpp, scene_cut=False)

    report = encode(source, tmp_path / "a.stgv", config=config, device="cpu")

    on_disk = 8 * (tmp_path / "a.stgv").stat().st_size / (64 * 48 * n_frames)
    assert on_disk == report.bpp == pytest.approx(bpp, rel=0.1)
    assert report.bpp_target == bpp


@pytest.mark.parametrize("preset_gop", [None, 4], ids=["any GoP", "GoP of 4"])
@pytest.mark.parametrize("n_frames", [1, 8])
def test_a_target_too_low_is_refused_and_the_minimum_it_names_works(tmp_path, preset_gop, n_frames):
    source = write_folder(noisy_clip(n_frames, 64, 48), tmp_path / "clip")
    destination = tmp_path / "a.stgv"

    def attempt(bpp: float) -> float:
        config = EncodeConfig(preset="tiny", gop=preset_gop, bpp_target=bpp, scene_cut=False)
        return encode(source, destination, config=config, device="cpu").bpp

    with pytest.raises(ConfigError, match="minimum") as refusal:
        attempt(0.001)
    assert not destination.exists()
    minimum = float(re.search(r"minimum is ([0-9.]+) bpp", str(refusal.value))[1])

    with pytest.raises(ConfigError, match="minimum"):
        attempt(0.8 * minimum)
    assert attempt(1.02 * minimum) == pytest.approx(1.02 * minimum, rel=0.1)


def test_a_target_between_works_or_is_refused_but_never_missed(tmp_path):
    """Whatever the planner does: a file beyond its 10% must not be written without a word."""
    source = write_folder(noisy_clip(8, 64, 48), tmp_path / "clip")
    for bpp in (0.1, 0.2, 0.3, 0.4, 0.6):
        config = EncodeConfig(preset="tiny", bpp_target=bpp, scene_cut=False)
        try:
            reached = encode(source, tmp_path / "a.stgv", config=config, device="cpu").bpp
        except ConfigError as error:
            assert "minimum" in str(error)  # noqa: PT017
        else:
            assert reached == pytest.approx(bpp, rel=0.1)


def test_more_bits_get_more_gaussians_and_no_smaller_field(tmp_path):
    plans = [control(bpp).plan(10) for bpp in (0.05, 0.1, 0.2, 0.4, 0.8)]

    numbers = [plan.n_gaussians for plan in plans]
    widths = [plan.field.mlp_width for plan in plans]
    assert numbers == sorted(set(numbers))
    assert widths == sorted(widths)
    assert [plan.target_bytes for plan in plans] == sorted(plan.target_bytes for plan in plans)


def test_few_bits_get_longer_gops():
    lengths = [control(bpp).gop_length for bpp in (0.02, 0.05, 0.3, 2.0)]

    assert lengths == sorted(lengths, reverse=True)
    assert lengths[-1] == 10
    assert lengths[0] > 10


def test_a_given_gop_length_stays():
    for bpp in (0.05, 2.0):
        assert control(bpp, gop=7, fixed_gop=True).gop_length == 7


def test_what_one_gop_overspends_the_next_ones_save():
    plain, overspent, saved = (control(0.3) for _ in range(3))
    share = 0.3 * 640 * 360 * 10 / 8
    plain.spent(10, round(share))
    overspent.spent(10, round(1.1 * share))
    saved.spent(10, round(0.9 * share))

    targets = [rate.plan(10).target_bytes for rate in (overspent, plain, saved)]

    assert targets == sorted(set(targets))
    assert targets[2] - targets[0] == pytest.approx(0.2 * share, rel=0.05)


def test_gop_length_and_size_of_the_field_follow_the_target(tmp_path):
    source = write_folder(noisy_clip(8, 64, 48), tmp_path / "clip")
    for bpp in (1.5, 8.0):
        config = EncodeConfig(preset="tiny", bpp_target=bpp, scene_cut=False)
        encode(source, tmp_path / f"{bpp}.stgv", config=config, device="cpu")

    low, high = (read_info(tmp_path / f"{bpp}.stgv").gops[0] for bpp in (1.5, 8.0))
    assert low.n_gaussians < high.n_gaussians
    assert low.header["mlp_width"] <= high.header["mlp_width"]
