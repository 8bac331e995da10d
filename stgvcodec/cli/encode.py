"""The command `stgvcodec encode`."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stgvcodec.cli import options, output, paths
from stgvcodec.cli.encode_all import encode_all
from stgvcodec.cli.encode_texts import gop_table, print_plan, summary
from stgvcodec.cli.exits import interruptible
from stgvcodec.cli.hints import check_paths, known_address
from stgvcodec.cli.overwriting import check_overwrite, overwrite_options
from stgvcodec.cli.pipes import piped_out, spooled
from stgvcodec.cli.progress import shown_progress
from stgvcodec.cli.sections import SectionedCommand
from stgvcodec.cli.verbosity import Verbosity, verbosity_options

if TYPE_CHECKING:
    from stgvcodec.encoder.config import EncodeConfig
    from stgvcodec.media.selection import Selection


@click.command("encode", cls=SectionedCommand, short_help="Encode a video into a .stgv file.")
@click.argument("source", metavar="INPUT", type=paths.VIDEO_PATH)
@click.argument("others", metavar="OUTPUT | INPUT... -o FOLDER", nargs=-1, type=paths.ANY_VIDEO_PATH)
@options.config_options
@options.source_options
@click.option(
    "--mask",
    type=paths.PATH,
    metavar="MASKS",
    help="An image, a folder of images or a video; pixels that are not 0 are ignored, and filled in by decoding.  "
    "[default: none]",
)
@options.image_rate_option
@options.matrix_option
@options.devices_options
@click.option(
    "--jobs",
    type=click.IntRange(1, 64),
    help="GoPs fitted at the same time on each device.  [default: 4 on a GPU with Triton, else 1]",
)
@click.option(
    "--engine",
    default="local",
    show_default=True,
    metavar="ENGINE",
    help="What fits: local, this machine; ray, or the address of a cluster of Ray, ray://HOST:PORT.",
)
@click.option(
    "-o",
    "--output",
    "folder",
    type=paths.FOLDER_PATH,
    metavar="FOLDER",
    help="Encode each INPUT to a file of its name in FOLDER.  [default: OUTPUT names the one file]",
)
@click.option(
    "--resume", is_flag=True, help="Continue an encode that was interrupted, from OUTPUT.part; if there is none, start."
)
@options.json_file_option
@overwrite_options
@verbosity_options
def encode_command(
    verbosity: Verbosity,
    source: Path,
    others: tuple[Path, ...],
    *,
    config: EncodeConfig,
    selection: Selection,
    mask: Path | None,
    fps: Fraction | None,
    matrix: str | None,
    device: str,
    backend: str,
    jobs: int | None,
    engine: str,
    folder: Path | None,
    resume: bool,
    json_path: Path | None,
    yes: bool,
    no: bool,
) -> None:
    """Encode INPUT, a video file or a folder of images, into the .stgv file OUTPUT.

    INPUT may be a name in quotes that stands for several images, such as 'frame_%04d.png' or 'frame_*.png'. It may also
    be - or a named pipe, of which a copy is made, since it is read twice. OUTPUT may be one, too. Both may be addresses
    such as s3://bucket/in.mp4, where the package fsspec is installed.

    Finished GoPs are flushed to OUTPUT.part. Where the encode is interrupted, by a signal, a full disk or a crash, that
    file stays. The same command with --resume continues it to the file that it would have become; decode --keep-going
    plays it. With -y, and without --resume, it is replaced.

    With -o several videos are encoded, each by the same options. Where one fails the others go on, and the end says
    which. With --resume those are left as they are whose file is complete.
    """
    if folder is not None:
        encode_all(
            (source, *others),
            folder,
            verbosity,
            {"config": config, "selection": selection, "mask": mask, "fps": fps, "matrix": matrix},
            device=device,
            backend=backend,
            jobs=jobs,
            engine=engine,
            resume=resume,
            json_path=json_path,
            yes=yes,
            no=no,
        )
        return
    destination = _only(others)
    check_paths("encode", source, destination)
    source_url, url = known_address(source), known_address(destination)
    output.check_json_path(json_path, source, destination, *([] if mask is None else [mask]))
    check_overwrite(source, destination, json_path, yes=yes, no=no)
    from stgvcodec.encoder.encode import encode

    with (
        spooled(source) if source_url is None else nullcontext(source_url) as readable,
        piped_out(destination) if url is None else nullcontext(url) as written,
        shown_progress("encoding", verbosity) as progress,
        interruptible() as cancel,
    ):
        report = encode(
            readable,
            written,
            config=config,
            selection=selection,
            mask=mask,
            fps=fps,
            matrix=matrix,
            device=device,
            backend=backend,
            jobs=jobs,
            engine=engine,
            progress=progress,
            plan=None if verbosity.level < 0 else print_plan,
            cancel=cancel,
            # An answer on the terminal is about OUTPUT alone.
            resume=True if resume else False if yes else None,
        )
    report = dataclasses.replace(report, path=url or destination)
    output.write_json(json_path, report)
    if verbosity.level >= 0:
        output.print_beside(summary(report), destination, json_path)
        output.print_beside(gop_table(report, with_costs=verbosity.level > 0), destination, json_path)


def _only(others: tuple[Path, ...]) -> Path:
    """Return OUTPUT where it is the one argument behind INPUT.

    Raises:
        UsageError: there are more or none.
    """
    if not others:
        raise click.UsageError("Missing argument 'OUTPUT'", click.get_current_context())
    if len(others) > 1:
        extra = " ".join(map(click.format_filename, others[1:]))
        message = f"Got unexpected extra arguments ({extra}): several inputs take -o FOLDER"
        raise click.UsageError(message, click.get_current_context())
    return others[0]
