"""Options that several commands share, and the objects they become.

A decorator adds its options to a command and hands it one value, so that commands take few arguments and build nothing
twice.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from stgvcodec.cli.paths import PATH

if TYPE_CHECKING:
    from stgvcodec.encoder.config import EncodeConfig
    from stgvcodec.media.output_formats import CodecOptions
    from stgvcodec.media.selection import Selection

# These names are written out, since the modules that define them import torch and `--help` must not; tests hold them
# equal.
PRESETS = ("draft", "fast", "medium", "slow", "veryslow", "paper")
PROFILES = ("compact", "paper")
DEVICES = ("auto", "cpu", "cuda")
BACKENDS = ("auto", "reference", "numba", "triton")
MATRICES = ("bt601", "bt709", "bt2020")
KEY_FRAMES = ("first", "middle", "auto")
INITIALIZATIONS = ("content", "random")

_Command = Callable[..., None]
_Value = TypeVar("_Value")


def device_options(command: _Command) -> _Command:
    """Add --device and --backend."""
    command = _backend_option(command)
    return click.option(
        "--device", type=click.Choice(DEVICES), default="auto", show_default=True, help="Where to compute."
    )(command)


def devices_options(command: _Command) -> _Command:
    """Add --device, which takes several devices, and --backend."""
    command = _backend_option(command)
    return click.option(
        "--device",
        type=DevicesType(),
        default="auto",
        show_default=True,
        help="Where to compute: auto, cpu, cuda (all GPUs), or some GPUs, such as cuda:0,2, a process for each.",
    )(command)


class DevicesType(click.types.StringParamType):
    """Names of devices with commas between; which of them there are is for the encoder to say."""

    name = "devices"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """Return what stands for it in the help."""
        return "DEVICES"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Complete the names that stand for themselves."""
        return [CompletionItem(name) for name in DEVICES if name.startswith(incomplete)]


def _backend_option(command: _Command) -> _Command:
    return click.option(
        "--backend",
        type=click.Choice(BACKENDS),
        default="auto",
        show_default=True,
        help="Implementation of the operators.",
    )(command)


def frames_option(command: _Command) -> _Command:
    """Add --frames, --time, --no-audio, --no-subtitles and --no-metadata; the command gets `selection`."""
    return _gathered(command, "selection", (_FRAMES, _TIME, *_CARRIED), _selection)


def selection_options(command: _Command) -> _Command:
    """Add --frames, --crop, --resize, --square, --stream and --keep-going; the command gets `selection`."""
    return _gathered(command, "selection", (_FRAMES, *_PICTURE), _selection)


def source_options(command: _Command) -> _Command:
    """Add --time, --no-audio, --no-subtitles and --no-metadata beside what `selection_options` adds; same argument."""
    return _gathered(command, "selection", (_FRAMES, _TIME, *_PICTURE, *_CARRIED), _selection)


def rendering_options(command: _Command) -> _Command:
    """Add --scale, --size, --roi, --fps and --repeat; the command gets `rendering`."""
    options = (
        *_RENDERED_SIZE,
        click.option(
            "--roi",
            metavar="X,Y,W,H",
            help="Keep this part of the picture, pixels of what is rendered.  [default: all of it]",
        ),
        _RENDERED_RATE,
        click.option("--repeat", is_flag=True, help="With --fps, repeat and leave out frames instead."),
    )
    return _gathered(command, "rendering", options, _rendering)


def playing_options(command: _Command) -> _Command:
    """Add --scale, --size and --fps; the command gets `rendering`."""
    return _gathered(command, "rendering", (*_RENDERED_SIZE, _RENDERED_RATE), _played)


def budget_options(command: _Command) -> _Command:
    """Add --max-memory and --max-work; the command gets `budget`."""
    options = (
        click.option(
            "--max-memory",
            metavar="BYTES",
            help="Refuse .stgv files that need more memory to decode; k, M, G: 10^3, 10^6, 10^9.  [default: 2G]",
        ),
        click.option(
            "--max-work",
            type=float,
            metavar="N",
            help="Refuse .stgv files whose frames may have more Gaussians a pixel, in the mean.  [default: 8192]",
        ),
    )
    return _gathered(command, "budget", options, _budget)


def codec_options(command: _Command) -> _Command:
    """Add --codec, --crf and --pix-fmt; the command gets `codec`."""
    options = (
        click.option(
            "--codec",
            metavar="NAME",
            help="Codec of a video file: h264, hevc, av1, vp9, ffv1 (lossless), or any encoder of FFmpeg that the "
            "container takes.  [default: as OUTPUT's suffix says]",
        ),
        click.option(
            "--crf",
            type=int,
            metavar="N",
            help="Constant rate factor of the codec, 0 the best.  [default: hardly any loss]",
        ),
        click.option(
            "--pix-fmt",
            "pixel_format",
            metavar="NAME",
            help="Samples, as FFmpeg calls them, such as yuv444p.  [default: yuv420p; RGB for lossless codecs]",
        ),
    )
    return _gathered(command, "codec", options, _codec)


def matrix_option(command: _Command) -> _Command:
    """Add --matrix."""
    return click.option(
        "--matrix",
        type=click.Choice(MATRICES),
        help="Read YUV sources with this colour matrix. [default: as they are tagged, untagged ones as BT.601]",
    )(command)


def image_rate_option(command: _Command) -> _Command:
    """Add --fps for sources without times; the command gets `fps`, a fraction or None."""

    def parsed(_context: click.Context, _parameter: click.Parameter, text: str | None) -> Fraction | None:
        from stgvcodec.media.selection import parse_rate

        return None if text is None else parse_rate(text)

    return click.option(
        "--fps",
        metavar="RATE",
        callback=parsed,
        help="Frames a second of images; videos keep their times.  [default: 24]",
    )(command)


def json_file_option(command: _Command) -> _Command:
    """Add --json FILE; the command gets `json_path`."""
    return click.option(
        "--json", "json_path", type=PATH, metavar="FILE", help="Write the report to FILE.  [default: none]"
    )(command)


def json_flag(command: _Command) -> _Command:
    """Add the flag --json; the command gets `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")(command)


def config_options(command: _Command) -> _Command:
    """Add the encoder's options; the command gets `config`."""
    options = (
        click.option("--preset", type=click.Choice(PRESETS), help="Effort of the fit.  [default: medium]"),
        click.option(
            "--profile",
            type=click.Choice(PROFILES),
            help="Quantisers and entropy models.  [default: compact; paper with --preset paper]",
        ),
        click.option(
            "--bpp-target",
            type=float,
            metavar="BPP",
            help="Rate of the pictures, bits a pixel and frame.  [default: none]",
        ),
        click.option(
            "--size-target",
            metavar="BYTES",
            help="File size to reach, bytes; k, M, G: 10^3, 10^6, 10^9.  [default: none]",
        ),
        click.option(
            "--psnr-target",
            type=float,
            metavar="DB",
            help="Mean PSNR of RGB to reach, dB; the first and the last GoP may be fitted twice.  [default: none]",
        ),
        click.option(
            "--gaussians",
            "n_gaussians",
            type=int,
            metavar="N",
            help="Gaussians in each GoP, in place of a target.  [default: one for 40 pixels of a frame; what "
            "a target needs, where there is one; by the paper with --preset paper]",
        ),
        click.option(
            "--gop",
            type=int,
            metavar="N",
            help="Most frames in a GoP.  [default: 10, and up to 64 with a target, as the content allows]",
        ),
        click.option(
            "--key-frame",
            type=click.Choice(KEY_FRAMES),
            help="Frame from which a GoP's Gaussians start; auto: the one closest to all others.  "
            "[default: middle; first with --preset paper]",
        ),
        click.option(
            "--init",
            "initialization",
            type=click.Choice(INITIALIZATIONS),
            help="Start Gaussians from the picture, or at random.  [default: content; random with --preset paper]",
        ),
        click.option("--no-scene-cut", is_flag=True, help="Let GoPs run across scene cuts."),
        click.option("--seed", type=int, metavar="N", help="Seed of everything random.  [default: 0]"),
        click.option(
            "--color-stages",
            type=int,
            metavar="N",
            help="Stages of the colour quantiser of --profile paper.  [default: 3; 2 with --preset paper]",
        ),
        click.option(
            "--color-codebook",
            "color_codebook_size",
            type=int,
            metavar="N",
            help="Codewords of each of its stages.  [default: 32; 8 with --preset paper]",
        ),
    )
    return _gathered(command, "config", options, _config)


_RENDERED_SIZE = (
    click.option(
        "--scale",
        type=float,
        default=1.0,
        metavar="F",
        help="Render at F times the size; nothing is resampled.  [default: 1]",
    ),
    click.option(
        "--size", metavar="WxH", help="Render at this size in place of a scale, pixels.  [default: that of the video]"
    ),
)
_RENDERED_RATE = click.option(
    "--fps",
    metavar="RATE",
    help="Frames a second, rendered for each time also between frames.  [default: the frames, at their times]",
)
_FRAMES = click.option(
    "--frames", metavar="A:B", help="Frames A to B - 1, counted from 0; either end may be left out.  [default: all]"
)
_TIME = click.option(
    "--time",
    metavar="A:B",
    help="Frames that begin from A to before B, seconds from the first; A-B with clock times such as 0:59.5-1:02.  "
    "[default: all]",
)
_CROP = click.option(
    "--crop", metavar="WxH[+X+Y]", help="Part of the picture, pixels; centred without an offset.  [default: all of it]"
)
_RESIZE = click.option(
    "--resize", metavar="WxH", help="Resize to this size, pixels, after any crop.  [default: that of the source]"
)
_SQUARE = click.option(
    "--square", is_flag=True, help="Resample pixels that are not square, in their width, in place of keeping the ratio."
)
_STREAM = click.option(
    "--stream",
    type=click.IntRange(min=0),
    metavar="N",
    help="Video stream N of the file, as ffprobe counts.  [default: as ffmpeg chooses]",
)
_KEEP_GOING = click.option(
    "--keep-going", is_flag=True, help="Read on where the source is damaged, and say what was left out."
)
_PICTURE = (_CROP, _RESIZE, _SQUARE, _STREAM, _KEEP_GOING)
_CARRIED = (
    click.option("--no-audio", is_flag=True, help="Leave sound out."),
    click.option("--no-subtitles", is_flag=True, help="Leave subtitles out."),
    click.option("--no-metadata", is_flag=True, help="Leave out title, creation time and the like of the file."),
)


def _selection(**given: Any) -> Selection:
    from stgvcodec.media.selection import Selection

    return Selection.parse(**given)


def _rendering(*, scale: float, size: str | None, roi: str | None, fps: str | None, repeat: bool) -> dict[str, Any]:
    from stgvcodec.media.selection import parse_rate, parse_roi, parse_size

    return {
        "scale": scale,
        "size": None if size is None else parse_size(size, "size"),
        "roi": None if roi is None else parse_roi(roi),
        "fps": None if fps is None else parse_rate(fps),
        "repeat": repeat,
    }


def _played(*, scale: float, size: str | None, fps: str | None) -> dict[str, Any]:
    rendering = _rendering(scale=scale, size=size, roi=None, fps=fps, repeat=False)
    return {name: rendering[name] for name in ("scale", "size", "fps")}


def _budget(*, max_memory: str | None, max_work: float | None) -> dict[str, Any]:
    from stgvcodec.encoder.config import parse_bytes

    return {"max_memory": None if max_memory is None else parse_bytes(max_memory), "max_work": max_work}


def _codec(**given: Any) -> CodecOptions:
    from stgvcodec.media.output_formats import CodecOptions

    return CodecOptions(**given)


def _config(*, no_scene_cut: bool, size_target: str | None, **given: Any) -> EncodeConfig:
    from stgvcodec.encoder.config import EncodeConfig, parse_bytes

    if size_target is not None:
        given["size_target"] = parse_bytes(size_target)
    # What is not given is left to the defaults of EncodeConfig, which leaves most to the preset.
    return EncodeConfig(
        scene_cut=not no_scene_cut, **{name: value for name, value in given.items() if value is not None}
    )


def _gathered(
    command: _Command,
    name: str,
    options: tuple[Callable[[_Command], _Command], ...],
    build: Callable[..., _Value],
) -> _Command:
    """Add `options` to a command and pass what `build` makes of their values as one argument `name`."""

    @functools.wraps(command)
    def with_value(*args: Any, **values: Any) -> None:
        own = {key: values.pop(key) for key in own_names}
        command(*args, **values, **{name: build(**own)})

    n_before = len(getattr(with_value, "__click_params__", ()))
    decorated: _Command = with_value
    for option in reversed(options):
        decorated = option(decorated)
    own_names = [parameter.name for parameter in decorated.__click_params__[n_before:]]  # type: ignore[attr-defined]
    return decorated
