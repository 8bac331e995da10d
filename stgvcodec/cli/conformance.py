"""The command `stgvcodec conformance`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from stgvcodec.cli import options, output, paths
from stgvcodec.cli.sections import SectionedCommand
from stgvcodec.cli.verbosity import Verbosity, verbosity_options
from stgvcodec.errors import StgvError

if TYPE_CHECKING:
    from stgvcodec.evaluation.conformance import Conformance


@click.command(
    "conformance", cls=SectionedCommand, short_help="Hold this machine's back ends to files with known frames."
)
@click.argument("folder", metavar="DIR", type=paths.FOLDER_PATH)
@options.json_flag
@verbosity_options
def conformance_command(verbosity: Verbosity, folder: Path, *, as_json: bool) -> None:
    """Decode the .stgv files in DIR on every back end at hand, and compare symbols and frames with the expected ones.

    The frames of name.stgv are the PNGs in the folder DIR/name; the hashes of its symbols are in DIR/hashes.json, if
    that is there. tests/golden of the source tree is such a folder. The exit code is 1 where a back end is outside of
    the bound of the specification.
    """
    from stgvcodec.evaluation.conformance import check_conformance

    results = list(check_conformance(folder))
    if as_json:
        output.print_result(output.json_text(results))
    else:
        output.print_result(f"{table(results)}\n\n{bound()}")
    for result in results:
        if result.error is not None:
            click.echo(f"stgvcodec: {result.device}, {result.backend}: {result.error}", err=True)
    n_outside = sum(not result.within_bound for result in results)
    if n_outside:
        raise StgvError(
            f"{folder}: {n_outside} of {len(results)} results are outside of the bound; report the table with the "
            "output of stgvcodec --version"
        )


def table(results: list[Conformance]) -> str:
    """Return a table with a line for each file and back end."""
    rows = []
    for result in results:
        found = [
            str(result.n_frames),
            _symbols(result),
            str(result.max_difference),
            output.number(result.n_differing_pixels),
            output.number(result.n_samples_beyond),
            "ok" if result.within_bound else "outside",
        ]
        if result.error is not None:
            found = ["", "", "", "", "", "error"]
        rows.append([output.name(Path(result.path.name)), result.device, result.backend, *found])
    titles = ["file", "device", "back end", "frames", "symbols", "largest", "pixels", "beyond 1", "bound"]
    return output.table(titles, rows)


def bound() -> str:
    """Return what the columns count, and the bound of the specification."""
    from stgvcodec.evaluation.conformance import MOST, SHARE, USUAL

    return (
        "largest: largest difference of a sample, levels; pixels: how many differ; beyond 1: samples that differ by "
        f"more than {USUAL} level\nbound: the same symbols; in each frame {100 - 100 * SHARE:g} % of the samples "
        f"within {USUAL} level, all within {MOST} (bitstream_spec.md, section 7.7)"
    )


def _symbols(result: Conformance) -> str:
    return {None: "no hash", True: "same", False: "differ"}[result.symbols_identical]
