from __future__ import annotations

import pytest

from stgvcodec.codec.config import EncodeConfig
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
        ({"seed": -1}, "got -1"),
        ({"seed": 1 << 63}, "seed"),
        ({"bpp_target": 0.0}, "above 0"),
        ({"bpp_target": -0.1}, "above 0"),
        ({"bpp_target": float("nan")}, "above 0"),
        ({"bpp_target": float("inf")}, "above 0"),
        ({"bpp_target": 0.1, "n_gaussians": 100}, "drop one"),
    ],
    ids=str,
)
def test_impossible_options_are_refused(options, named):
    with pytest.raises(ConfigError, match=named):
        EncodeConfig(**options)


@pytest.mark.parametrize(
    "options",
    [{"preset": preset} for preset in ("draft", "fast", "medium", "slow", "paper")]
    + [
        {"n_gaussians": 1, "gop": 1, "seed": (1 << 63) - 1},
        {"color_stages": 1, "color_codebook_size": 1},
        {"color_stages": 8, "color_codebook_size": 256},
        {"bpp_target": 0.1, "gop": 5, "key_frame": "auto", "initialization": "random"},
    ],
    ids=str,
)
def test_possible_options_are_taken(options):
    config = EncodeConfig(**options)

    assert {name: getattr(config, name) for name in options} == options
