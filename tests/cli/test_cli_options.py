from __future__ import annotations

import click
import pytest

from stgvcodec import EncodeConfig, Selection, device
from stgvcodec.cli import options, paths
from stgvcodec.cli.encode import encode_command
from stgvcodec.encoder import config, presets
from stgvcodec.media import MATRICES, Crop
from stgvcodec.ops import backends


def parsed(decorator, *arguments: str) -> dict[str, object]:
    """What a command with these options is given."""
    seen: dict[str, object] = {}

    @click.command()
    @decorator
    def command(**values: object) -> None:
        seen.update(values)

    command.main(list(arguments), standalone_mode=False)
    return seen


def test_choices_are_those_of_the_codec() -> None:
    assert tuple(presets.PRESETS) == options.PRESETS
    assert device.DEVICES == options.DEVICES
    assert backends.BACKENDS == options.BACKENDS
    assert config.PROFILES == options.PROFILES
    assert config.KEY_FRAMES == options.KEY_FRAMES
    assert config.INITIALIZATIONS == options.INITIALIZATIONS
    assert tuple(MATRICES) == options.MATRICES


@pytest.mark.parametrize(
    ("option", "default"),
    [
        ("preset", EncodeConfig().preset),
        ("profile", f"{EncodeConfig().profile}; {EncodeConfig(preset='paper').profile} with --preset paper"),
        ("seed", str(EncodeConfig().seed)),
    ],
)
def test_defaults_in_the_help_are_those_of_the_codec(option: str, default: str) -> None:
    parameter = next(p for p in encode_command.params if p.name == option)
    assert isinstance(parameter, click.Option)
    assert parameter.help is not None
    assert parameter.help.endswith(f"[default: {default}]")


def test_nothing_given_leaves_the_defaults() -> None:
    assert parsed(options.config_options) == {"config": EncodeConfig()}
    assert parsed(options.selection_options) == {"selection": Selection()}
    assert parsed(options.source_options) == {"selection": Selection()}
    assert parsed(options.frames_option) == {"selection": Selection()}


def test_every_encoder_option_arrives() -> None:
    given = (
        "--preset paper --gaussians 123 --gop 7 --key-frame middle --init random --no-scene-cut --seed 5 "
        "--color-stages 3 --color-codebook 16"
    )
    assert parsed(options.config_options, *given.split())["config"] == EncodeConfig(
        preset="paper",
        n_gaussians=123,
        gop=7,
        key_frame="middle",
        initialization="random",
        scene_cut=False,
        seed=5,
        color_stages=3,
        color_codebook_size=16,
    )
    for arguments, wanted in (
        (("--bpp-target", "0.25"), EncodeConfig(bpp_target=0.25)),
        (("--size-target", "1.5M"), EncodeConfig(size_target=1_500_000)),
        (("--psnr-target", "31.5"), EncodeConfig(psnr_target=31.5)),
        (("--profile", "paper"), EncodeConfig(profile="paper")),
        (("--profile", "compact", "--preset", "paper"), EncodeConfig(preset="paper", profile="compact")),
    ):
        assert parsed(options.config_options, *arguments)["config"] == wanted


def test_zero_is_a_value_and_not_left_out() -> None:
    assert parsed(options.config_options, "--seed", "0")["config"] == EncodeConfig(seed=0)
    with pytest.raises(config.ConfigError, match="colour stages: got 0"):
        parsed(options.config_options, "--color-stages", "0")


def test_frames_crop_and_resize_become_one_selection() -> None:
    given = ("--frames", "3:9", "--crop", "40x20+1+2", "--resize", "20x10")
    expected = Selection(frames=(3, 9), crop=Crop(40, 20, 1, 2), resize=(20, 10))
    assert parsed(options.selection_options, *given) == {"selection": expected}


@pytest.mark.parametrize("decorator", [options.source_options, options.frames_option])
def test_what_is_left_out_beside_the_pictures(decorator) -> None:
    for name in ("audio", "subtitles", "metadata"):
        expected = Selection(frames=(1, 2), **{name: False})
        assert parsed(decorator, "--frames", "1:2", f"--no-{name}") == {"selection": expected}
    given = ("--no-audio", "--no-subtitles", "--no-metadata")
    assert parsed(decorator, *given) == {"selection": Selection().pictures_only}


def test_options_keep_the_order_in_which_they_are_declared() -> None:
    names = [parameter.name for parameter in encode_command.params]
    assert names[:3] == ["source", "others", "preset"]
    assert names[-12:] == [
        "matrix",
        "device",
        "backend",
        "jobs",
        "engine",
        "folder",
        "resume",
        "json_path",
        "yes",
        "no",
        "quiet",
        "verbose",
    ]


def test_a_name_that_no_file_can_have_is_refused() -> None:
    with pytest.raises(click.BadParameter, match="the name is too long; choose a shorter one"):
        paths.PATH.convert("a" * 300, None, None)
