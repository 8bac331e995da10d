from __future__ import annotations

import pytest

from stgvcodec.encoder.config import EncodeConfig, parse_bytes
from stgvcodec.errors import ConfigError


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"preset": "fastest"}, "fastest"),
        ({"profile": "compact2"}, "compact2"),
        ({"key_frame": "last"}, "last"),
        ({"initialization": "zeros"}, "zeros"),
        ({"n_gaussians": 0}, "got 0"),
        ({"n_gaussians": -5}, "got -5"),
        ({"n_gaussians": (1 << 22) + 1}, "expected 1 to"),
        ({"gop": 0}, "got 0"),
        ({"gop": 100_000}, "got 100000"),
        ({"color_stages": 9}, "got 9"),
        ({"color_stages": 0}, "got 0"),
        ({"color_codebook_size": 257}, "got 257"),
        ({"color_codebook_size": 0}, "got 0"),
        ({"color_stages": 2}, "profile compact has no codebooks for colours"),
        ({"profile": "compact", "color_codebook_size": 8}, "drop them or use profile paper"),
        ({"preset": "paper", "profile": "compact", "color_stages": 2}, "profile compact has no codebooks for colours"),
        ({"seed": -1}, "got -1"),
        ({"seed": 1 << 63}, "seed"),
        ({"bpp_target": 0.0}, "above 0"),
        ({"bpp_target": -0.1}, "above 0"),
        ({"bpp_target": float("nan")}, "above 0"),
        ({"bpp_target": float("inf")}, "above 0"),
        ({"bpp_target": 0.1, "n_gaussians": 100}, "a bpp target and a number of Gaussians .* drop one of them"),
        ({"bpp_target": 0.1, "size_target": 100}, "a bpp target and a size target"),
        ({"size_target": 9_000, "psnr_target": 30.0}, "a size target and a PSNR target"),
        ({"psnr_target": 30.0, "n_gaussians": 5}, "a PSNR target and a number of Gaussians"),
        ({"bpp_target": 0.1, "size_target": 9, "psnr_target": 30.0}, "drop all but one of them"),
        ({"size_target": 0}, "got 0"),
        ({"psnr_target": 0.0}, "above 0"),
        ({"psnr_target": float("nan")}, "above 0"),
    ],
    ids=str,
)
def test_impossible_options_are_refused(options, named):
    with pytest.raises(ConfigError, match=named):
        EncodeConfig(**options)


@pytest.mark.parametrize(
    "options",
    [{"preset": preset} for preset in ("draft", "fast", "medium", "slow", "veryslow", "paper")]
    + [
        {"n_gaussians": 1, "gop": 1, "seed": (1 << 63) - 1},
        {"profile": "paper", "color_stages": 1, "color_codebook_size": 1},
        {"profile": "paper", "color_stages": 8, "color_codebook_size": 256},
        {"preset": "paper", "color_stages": 3},
        {"preset": "paper", "profile": "compact"},
        {"size_target": 12_345, "gop": 5},
        {"psnr_target": 31.5},
        {"bpp_target": 0.1, "gop": 5, "key_frame": "auto", "initialization": "random"},
    ],
    ids=str,
)
def test_possible_options_are_taken(options):
    config = EncodeConfig(**options)

    assert {name: getattr(config, name) for name in options} == options


@pytest.mark.parametrize("preset", ["draft", "fast", "medium", "slow", "veryslow", "paper"])
def test_the_default_profile_is_compact_but_for_the_papers_preset(preset):
    assert EncodeConfig(preset=preset).profile == ("paper" if preset == "paper" else "compact")
    assert EncodeConfig(preset=preset, profile="paper").profile == "paper"


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [("12345", 12_345), ("500k", 500_000), ("1.5M", 1_500_000), ("2g", 2_000_000_000), (" 40KB ", 40_000), ("7B", 7)],
)
def test_sizes_are_read_as_typed(text, n_bytes):
    assert parse_bytes(text) == n_bytes


@pytest.mark.parametrize("text", ["", "k", "-5", "1.5.2M", "10 MiB", "5t", "1e6", "nan"])
def test_other_sizes_are_refused(text):
    with pytest.raises(ConfigError, match="such as 500k"):
        parse_bytes(text)
