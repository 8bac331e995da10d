"""What to type in place of what ffmpeg's users type, of arguments in the wrong order, and of addresses."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from stgvcodec.errors import ConfigError

_PART = "a part is taken by --time A:B, in seconds, or --frames A:B"
_SAID = "-q says less and -v more"
_EVERYWHERE = {
    "-i": "the input is the first argument, without an option",
    "-f": "the suffix of the output says its kind",
    "-ss": _PART,
    "-t": _PART,
    "-to": _PART,
    "-vframes": _PART,
    "-frames": _PART,
    "-loglevel": _SAID,
    "-v": _SAID,
    "-hide_banner": "leave it out",
    "-nostdin": "leave it out",
    "-threads": "the environment variable STGV_THREADS sets the number of threads",
    "-an": "use --no-audio",
    "-sn": "use --no-subtitles",
    "-dn": "leave it out, since data streams are not kept",
    "-map_metadata": "use --no-metadata",
    **dict.fromkeys(("-c:a", "-acodec", "-c:s", "-scodec"), "sound and subtitles are kept as they are"),
}
_RATE = "use --psnr-target DB for a quality, --size-target BYTES for a size, --bpp-target BPP for a rate"
_ENCODE = {
    **dict.fromkeys(("-crf", "--crf", "-qp", "-q", "-b", "-maxrate"), _RATE),
    **dict.fromkeys(("-r", "-fps"), "--fps RATE is the rate of images; the times of a video are kept"),
    **dict.fromkeys(("-s", "--size", "--scale"), "use --resize WxH"),
    **dict.fromkeys(("-vf", "-filter"), "use --crop WxH+X+Y and --resize WxH"),
    **dict.fromkeys(("-c", "-vcodec", "--codec"), "the codec is this one; --preset and --profile set it"),
    **dict.fromkeys(("-pix_fmt", "--pix-fmt"), "pictures are coded as 8-bit RGB"),
    "--roi": "use --crop WxH+X+Y",
    "-preset": "use --preset NAME",
    "-g": "use --gop N",
    "-map": "use --stream N",
}
_DECODE = {
    "-o": "the output is the second argument, without an option",
    **dict.fromkeys(("-crf", "-qp", "-q", "-b"), "use --crf N, with --codec NAME"),
    **dict.fromkeys(("-r", "-fps"), "use --fps RATE"),
    **dict.fromkeys(("-s", "--resize"), "use --size WxH or --scale F"),
    **dict.fromkeys(("-vf", "-filter"), "use --size WxH, --scale F, --roi X,Y,W,H and --fps RATE"),
    **dict.fromkeys(("-c", "-vcodec"), "use --codec NAME"),
    "--crop": "use --roi X,Y,W,H",
    "-pix_fmt": "use --pix-fmt NAME",
}
_HINTS: Mapping[str, Mapping[str, str]] = {"encode": {**_EVERYWHERE, **_ENCODE}, "decode": {**_EVERYWHERE, **_DECODE}}

# A name that pathlib has read has lost all but one of the two slashes, or of the three before an absolute path.
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(?=[^/])")
_SCHEMES_OF_PATHS = ("file", "local")
_ENCODED = ".stgv"


def usage_hint(error: click.UsageError, arguments: Sequence[str]) -> str | None:
    """Return what to do in place of the wrong use of a command; None where click's message says enough.

    Args:
        error: The wrong use that click found.
        arguments: Arguments of the process.
    """
    if error.ctx is None:
        return None
    if not isinstance(error, click.NoSuchOption):
        if "unexpected extra argument" in error.message and _are_images(arguments):
            return (
                "Got too many arguments: to encode several images, put the name in quotes, so that the shell leaves it "
                "as it is: 'frame_*.png'"
            )
        return None
    hints = _HINTS.get(error.ctx.info_name or "", {})
    own = {name for parameter in error.ctx.command.params for name in parameter.opts}
    for argument in arguments:
        # ffmpeg names streams behind a colon: -c:v, -b:v, -filter:v.
        option = argument.partition("=")[0]
        hint = hints.get(option) or hints.get(option.partition(":")[0])
        if argument not in own and hint is not None:
            return f"No such option '{option}': {hint}"
    return None


def check_paths(command: str, source: Path, destination: Path) -> None:
    """Refuse arguments that were swapped, and sources that are addresses, and say what to type.

    Args:
        command: "encode" or "decode".
        source: The input.
        destination: The output.

    Raises:
        ConfigError: one of these is the case.
        OutputError: the output is an address that can only be read.
    """
    first, second = shlex.quote(os.fspath(source)), shlex.quote(os.fspath(destination))
    source_is_encoded, destination_is_encoded = (path.suffix.lower() == _ENCODED for path in (source, destination))
    is_swapped = source_is_encoded and not destination_is_encoded
    if command == "decode":
        is_swapped = destination_is_encoded and not source_is_encoded
    if is_swapped:
        raise ConfigError(
            f"the arguments look swapped: the input comes first; try: stgvcodec {command} {second} {first}"
        )
    if command == "encode" and source_is_encoded:
        raise ConfigError(
            f"{source}: is encoded already; to do it anew, try: "
            f"stgvcodec decode {first} - | stgvcodec encode - {second}"
        )
    if is_address(source) and known_address(source) is None:
        check_address(source, f"stgvcodec {command} - {second}", _remedy())
    if not is_address(destination):
        return
    from stgvcodec.media.addresses import check_writable

    check_writable(_url(destination))
    if known_address(destination) is None:
        expected = f"write a file, or {_remedy() or 'check its scheme'}"
        raise ConfigError(f"{_url(destination)}: is an address that nothing here writes to; {expected}")


def _remedy() -> str | None:
    """Say what to install for addresses; None if it is there."""
    from stgvcodec.media.addresses import is_known

    return None if is_known("file://") else "install fsspec, which reads addresses: pip install 'stgvcodec[remote]'"


def _url(path: Path) -> str:
    def restored(match: re.Match[str]) -> str:
        return f"{match[1]}:{'///' if match[1].lower() in _SCHEMES_OF_PATHS else '//'}"

    return _ADDRESS.sub(restored, os.fspath(path), count=1)


def is_address(path: Path) -> bool:
    """Tell whether an argument is an address."""
    return _ADDRESS.match(os.fspath(path)) is not None


def known_address(path: Path) -> str | None:
    """Return the address that an argument is, if the package fsspec is there and knows its scheme."""
    if not is_address(path):
        return None
    from stgvcodec.media.addresses import is_known

    return _url(path) if is_known(_url(path)) else None


def check_address(source: Path, command: str, remedy: str | None = None) -> None:
    """Refuse a source that is an address, and say what to type.

    Args:
        source: The input.
        command: The command that reads its standard input in place of the source.
        remedy: What makes the command take addresses; None: nothing does.

    Raises:
        ConfigError: it is an address.
    """
    match = _ADDRESS.match(os.fspath(source))
    if match is None:
        return
    url = shlex.quote(_url(source))
    is_web = match[1].lower() in ("http", "https", "ftp")
    if is_web:
        advice = f"try: curl -L {url} | {command}"
    elif command.startswith("stgvcodec encode "):
        advice = f"try: ffmpeg -i {url} -c copy -f matroska - | {command}"
    else:
        # ffmpeg reads no .stgv files.
        advice = f"copy it to one first, or pipe it to: {command}"
    raise ConfigError(f"{url}: is an address, expected a file; {'; or '.join(filter(None, (advice, remedy)))}")


def _are_images(arguments: Sequence[str]) -> bool:
    from stgvcodec.media.image_folder import IMAGE_SUFFIXES

    suffixes = [Path(argument).suffix.lower() for argument in arguments if not argument.startswith("-")]
    return sum(suffix in IMAGE_SUFFIXES for suffix in suffixes) > 1
