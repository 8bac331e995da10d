"""The command `stgvcodec inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stgvcodec.cli import options, output, paths
from stgvcodec.cli.hints import check_address
from stgvcodec.cli.overwriting import check_overwrite, overwrite_options
from stgvcodec.cli.pipes import spooled
from stgvcodec.cli.progress import shown_progress
from stgvcodec.cli.sections import SectionedCommand
from stgvcodec.cli.verbosity import Verbosity, verbosity_options

if TYPE_CHECKING:
    from stgvcodec.evaluation.inspection.inspect import InspectionReport
    from stgvcodec.media.selection import Selection

# The default of `inspect`, whose module imports torch; a test holds both equal.
N_PICTURES = 8


@click.command("inspect", cls=SectionedCommand, short_help="Make a page that shows where a file's bytes go.")
@click.argument("file", metavar="FILE", type=paths.ENCODED_PATH)
@click.option("-o", "--output", "page", type=paths.PATH, required=True, metavar="OUTPUT", help="HTML file to write.")
@click.option(
    "--source",
    type=paths.VIDEO_PATH,
    metavar="VIDEO",
    help="What was encoded: adds PSNR, the source, the error, and decibels lost. Give --frames, --crop and --resize as "
    "for the encode.  [default: none]",
)
@click.option(
    "--pictures",
    type=click.IntRange(min=1),
    default=N_PICTURES,
    show_default=True,
    metavar="N",
    help="Most frames to show, spread over the GoPs.",
)
@overwrite_options
@options.selection_options
@options.matrix_option
@options.budget_options
@options.device_options
@verbosity_options
def inspect_command(
    verbosity: Verbosity,
    file: Path,
    *,
    page: Path,
    source: Path | None,
    pictures: int,
    yes: bool,
    no: bool,
    selection: Selection,
    matrix: str | None,
    budget: dict[str, Any],
    device: str,
    backend: str,
) -> None:
    """Make one HTML page that shows where the bytes of the .stgv file FILE go and what they are worth.

    The page needs no network and no other file. It has the bytes of each GoP by stream, frames with the bits that each
    part of them takes, Gaussians with their symbols and the bits of each, motion, histograms with the models that code
    them, decibels lost without each stream, and every byte with its section of the specification. Damaged files are
    shown as far as they go. FILE may be - or a named pipe.
    """
    check_address(file, "stgvcodec inspect - -o page.html")
    check_overwrite(file, page, yes=yes, no=no)
    from stgvcodec.evaluation.inspection.inspect import inspect
    from stgvcodec.media.atomic import refuse_same_file

    if source is not None:
        refuse_same_file(source, page)

    with spooled(file) as readable, shown_progress("inspecting", verbosity) as progress:
        report = inspect(
            readable,
            page,
            source=source,
            selection=selection,
            matrix=matrix,
            n_pictures=pictures,
            **budget,
            device=device,
            backend=backend,
            progress=progress,
        )
    if verbosity.level >= 0:
        output.print_result(summary(report))


def summary(report: InspectionReport) -> str:
    """Say what the page shows and what it leaves out."""
    extent = f"{output.counted(report.n_pictures, 'picture')}, {output.counted(report.n_gops, 'GoP')}"
    lines = [f"{output.name(report.page)}: {output.size(report.page_bytes)}, {extent}"]
    lines += [f"damaged: {fault}" for fault in report.damage]
    lines += [f"left out: {note}" for note in report.left_out]
    return "\n".join(lines)
