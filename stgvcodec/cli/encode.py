"""`stgvcodec encode`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from stgvcodec.cli import options, output
from stgvcodec.cli.progress import shown_progress
from stgvcodec.cli.verbosity import Verbosity, verbosity_options

if TYPE_CHECKING:
    from stgvcodec.codec.config import EncodeConfig
    from stgvcodec.codec.reports import EncodeReport
    from stgvcodec.media.selection import Selection


@click.command("encode", short_help="Encode a video into a .stgv file.")
@click.argument("source", metavar="INPUT", type=options.PATH)
@click.argument("destination", metavar="OUTPUT", type=options.PATH)
@options.config_options
@options.selection_options
@options.matrix_option
@options.device_options
@click.option(
    "--jobs",
    type=click.IntRange(1, 64),
    help="GoPs fitted at the same time; by default 4 on a GPU with Triton, else 1.",
)
@options.json_file_option
@verbosity_options
def encode_command(
    verbosity: Verbosity,
    source: Path,
    destination: Path,
    *,
    config: EncodeConfig,
    selection: Selection,
    matrix: str | None,
    device: str,
    backend: str,
    jobs: int | None,
    json_path: Path | None,
) -> None:
    """Encode INPUT, a video file or a folder of images, into the .stgv file OUTPUT."""
    output.check_json_path(json_path, source, destination)
    from stgvcodec import encode

    with shown_progress("encoding", verbosity) as progress:
        report = encode(
            source,
            destination,
            config=config,
            selection=selection,
            matrix=matrix,
            device=device,
            backend=backend,
            jobs=jobs,
            progress=progress,
        )
    output.write_json(json_path, report)
    if verbosity.level >= 0:
        output.print_result(summary(report))
    if verbosity.level > 0:
        output.print_result(gop_table(report))


def summary(report: EncodeReport) -> str:
    """What was written, in a few lines."""
    rate = f"{report.bpp:.4f} bits a pixel"
    if report.bpp_target is not None:
        off = 100 * (report.bpp / report.bpp_target - 1)
        rate += f", {off:+.1f} % off the target of {report.bpp_target:g}"
    extent = f"{output.counted(report.n_frames, 'frame')} in {output.counted(len(report.gops), 'GoP')}"
    n_gaussians = sum(gop.n_gaussians for gop in report.gops)
    pairs = [
        ("size", f"{output.number(report.file_bytes)} bytes"),
        ("rate", rate),
        ("quality", f"{output.decibel(report.psnr_db)} (PSNR of RGB, as decoded)"),
        ("video", f"{report.width}x{report.height}, {extent}"),
        ("Gaussians", output.number(n_gaussians)),
        ("time", f"{output.duration(report.seconds)} on {report.device}, {report.backend}"),
    ]
    n_rollbacks = sum(gop.n_rollbacks for gop in report.gops)
    if n_rollbacks:
        pairs.append(("diverged", f"{output.counted(n_rollbacks, 'time')}, each taken back and continued more slowly"))
    if report.audio_dropped:
        pairs.append(("sound", "not kept in this release"))
    return f"{output.name(report.path)}\n{output.facts(pairs)}"


def gop_table(report: EncodeReport) -> str:
    """A line for each GoP, with what each quantiser cost when it was switched on."""
    streams = list(dict.fromkeys(stream for gop in report.gops for stream in gop.quantizer_cost_db))
    header = ["GoP", "first", "frames", "Gaussians", "bytes", "bpp", "PSNR", "seconds"]
    rows = []
    for i, gop in enumerate(report.gops):
        bpp = 8 * gop.n_bytes / (report.width * report.height * gop.n_frames)
        # Adding 0.0 turns a cost of -0.00 into 0.00.
        costs = [f"{round(gop.quantizer_cost_db.get(s, 0.0), 2) + 0.0:.2f} dB" for s in streams]
        counts = [str(n) for n in (i, gop.first_frame, gop.n_frames, gop.n_gaussians, gop.n_bytes)]
        rows.append([*counts, f"{bpp:.4f}", output.decibel(gop.psnr_db), f"{gop.seconds:.1f}", *costs])
    return output.table([*header, *(f"cost: {stream}" for stream in streams)], rows)
