"""The command `stgvcodec compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stgvcodec.cli import options, output, paths
from stgvcodec.cli.pipes import spooled
from stgvcodec.cli.progress import shown_progress
from stgvcodec.cli.sections import SectionedCommand
from stgvcodec.cli.verbosity import Verbosity, verbosity_options

if TYPE_CHECKING:
    from stgvcodec.evaluation.compare import Comparison
    from stgvcodec.media.selection import Selection


@click.command("compare", cls=SectionedCommand, short_help="Measure one video against another.")
@click.argument("reference", metavar="REFERENCE", type=paths.ANY_VIDEO_PATH)
@click.argument("distorted", metavar="DISTORTED", type=paths.ANY_VIDEO_PATH)
@options.selection_options
@options.matrix_option
@options.budget_options
@options.device_options
@options.json_flag
@verbosity_options
def compare_command(
    verbosity: Verbosity,
    reference: Path,
    distorted: Path,
    *,
    selection: Selection,
    matrix: str | None,
    budget: dict[str, Any],
    device: str,
    backend: str,
    as_json: bool,
) -> None:
    """Measure DISTORTED against REFERENCE; each a video file, a folder of images or a .stgv file.

    A .stgv file is measured on its own RGB frames. --frames, --crop and --resize apply to both sides; one that has
    that size or that many frames already, as a file encoded with the same options has, is taken as it is. One side may
    be -, and both may be named pipes.
    """
    from stgvcodec.evaluation.compare import compare

    with (
        spooled(reference) as first,
        spooled(distorted) as second,
        shown_progress("comparing", verbosity) as progress,
    ):
        comparison = compare(
            first,
            second,
            selection=selection,
            matrix=matrix,
            **budget,
            device=device,
            backend=backend,
            progress=progress,
        )
    if as_json:
        output.print_result(output.json_text(comparison))
        return
    output.print_result(summary(comparison))
    if verbosity.level > 0:
        output.print_result(frame_table(comparison))


def summary(comparison: Comparison) -> str:
    """Return both measures in a few lines."""
    pairs = [
        ("PSNR", output.decibel(comparison.psnr_db)),
        ("MS-SSIM", quality(comparison.ms_ssim)),
        ("frames", f"{output.number(comparison.n_frames)}, {output.number(comparison.n_identical_frames)} identical"),
    ]
    return output.facts(pairs)


def frame_table(comparison: Comparison) -> str:
    """Return a table with a line for each frame."""
    rows = [
        [str(frame.index), output.decibel(frame.psnr_db), "" if frame.ms_ssim is None else f"{frame.ms_ssim:.5f}"]
        for frame in comparison.per_frame
    ]
    return output.table(["frame", "PSNR", "MS-SSIM"], rows)


def quality(ms_ssim: float | None) -> str:
    """Return an MS-SSIM as text, or why there is none."""
    return "none: the short side is 160 pixels or less" if ms_ssim is None else f"{ms_ssim:.5f}"
