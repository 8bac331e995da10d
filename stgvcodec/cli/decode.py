"""The command `stgvcodec decode`."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stgvcodec.cli import options, output, paths
from stgvcodec.cli.exits import interruptible
from stgvcodec.cli.hints import check_paths, known_address
from stgvcodec.cli.overwriting import check_overwrite, overwrite_options
from stgvcodec.cli.pipes import spooled
from stgvcodec.cli.progress import shown_progress
from stgvcodec.cli.sections import SectionedCommand
from stgvcodec.cli.verbosity import Verbosity, verbosity_options

if TYPE_CHECKING:
    from stgvcodec.decoder.decode_file import DecodeReport
    from stgvcodec.media.output_formats import CodecOptions
    from stgvcodec.media.selection import Selection


@click.command("decode", cls=SectionedCommand, short_help="Decode a .stgv file into a video.")
@click.argument("source", metavar="INPUT", type=paths.ENCODED_PATH)
@click.argument("destination", metavar="OUTPUT", type=paths.PATH)
@options.rendering_options
@click.option(
    "--keep-going", is_flag=True, help="Render a damaged file, and the nearest intact frame for one that is lost."
)
@click.option(
    "--follow",
    is_flag=True,
    help="Decode INPUT, which may be the OUTPUT of an encode that runs, while it is written.",
)
@options.frames_option
@options.codec_options
@options.budget_options
@options.device_options
@options.json_file_option
@overwrite_options
@verbosity_options
def decode_command(
    verbosity: Verbosity,
    source: Path,
    destination: Path,
    *,
    rendering: dict[str, Any],
    keep_going: bool,
    follow: bool,
    selection: Selection,
    codec: CodecOptions,
    budget: dict[str, Any],
    device: str,
    backend: str,
    json_path: Path | None,
    yes: bool,
    no: bool,
) -> None:
    """Decode the .stgv file INPUT into OUTPUT, a video file, or a folder of PNGs where OUTPUT has no suffix.

    Video files are .mp4, .mov, .mkv and .avi (H.264), .webm (VP9), .gif and .y4m; --codec chooses another codec.
    A name such as frame_%04d.png (.jpg, .tif, .webp, .bmp) numbers images from 0.

    INPUT may be - or a named pipe. So may OUTPUT; the frames come as y4m then: stgvcodec decode in.stgv - | ffplay -
    Where the package fsspec is installed, INPUT and a video file as OUTPUT may be addresses such as s3://bucket/a.mp4.
    """
    check_paths("decode", source, destination)
    source_url, url = known_address(source), known_address(destination)
    output.check_json_path(json_path, source, destination)
    check_overwrite(source, destination, json_path, yes=yes, no=no)
    from stgvcodec.decoder.decode_file import decode

    with (
        spooled(source) if source_url is None else nullcontext(source_url) as readable,
        shown_progress("decoding", verbosity) as progress,
        interruptible() as cancel,
    ):
        report = decode(
            readable,
            url or destination,
            **rendering,
            keep_going=keep_going,
            follow=follow,
            selection=selection,
            codec=codec,
            **budget,
            device=device,
            backend=backend,
            progress=progress,
            cancel=cancel,
        )
    output.write_json(json_path, report)
    for what in report.damage:
        click.echo(f"stgvcodec: damage: {what}", err=True)
    if verbosity.level >= 0:
        output.print_beside(summary(report), destination, json_path)


def summary(report: DecodeReport) -> str:
    """Return what was written, in a few lines."""
    pairs = [
        ("video", f"{report.width}x{report.height}, {output.counted(report.n_frames, 'frame')}"),
        ("time", f"{output.duration(report.seconds)} on {report.device}, {report.backend}"),
    ]
    if report.render_seconds > 0:
        rate = report.n_frames / report.render_seconds
        pairs.append(("rendering", f"{output.duration(report.render_seconds)} of it, {rate:.1f} frames a second"))
    pairs += [output.track(track) for track in report.tracks]
    if report.damage:
        pairs.append(("damage", f"{output.counted(len(report.damage), 'fault')}, listed above"))
    return f"{output.name(report.path)}\n{output.facts(pairs)}"
