"""The command `stgvcodec rd`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stgvcodec.cli import options, output, paths
from stgvcodec.cli.progress import shown_progress
from stgvcodec.cli.sections import SectionedCommand
from stgvcodec.cli.verbosity import Verbosity, verbosity_options
from stgvcodec.errors import ConfigError

if TYPE_CHECKING:
    from stgvcodec.encoder.config import EncodeConfig
    from stgvcodec.media.selection import Selection
    from stgvcodec.report.rd_points import RdResult

# These names are written out, since the module that defines them imports PyAV and `--help` must not; a test holds them
# equal.
ANCHORS = ("x264", "x264-psnr", "x265", "svtav1")
NO_ANCHORS = "none"
DEFAULT_RATES = "0.05,0.1,0.2,0.4"


@click.command("rd", cls=SectionedCommand, short_help="Draw rate-distortion curves beside classical codecs.")
@click.argument("inputs", metavar="INPUT...", nargs=-1, type=paths.VIDEO_OR_JSON_PATH)
@click.option(
    "--bpp", "rates", default=DEFAULT_RATES, show_default=True, metavar="LIST", help="Rates, bits a pixel and frame."
)
@click.option(
    "--anchors",
    default=",".join(ANCHORS),
    show_default=True,
    metavar="LIST",
    help="Classical codecs to compare with, or 'none'. x264-psnr is x264 with -tune psnr, as a comparison by PSNR "
    "should have it: it needs fewer bits at equal PSNR than x264 as it is.",
)
@click.option(
    "--profile",
    "profiles",
    metavar="LIST",
    help="Profiles of this codec, one curve each.  [default: compact; paper with --preset paper]",
)
@click.option("--preset", type=click.Choice(options.PRESETS), help="Effort of the fit.  [default: medium]")
@click.option("--gop", type=int, metavar="N", help="Most frames in a GoP.  [default: up to 64, as the content allows]")
@click.option("--seed", type=int, metavar="N", help="Seed of everything random.  [default: 0]")
@options.selection_options
@options.matrix_option
@options.device_options
@click.option(
    "--jobs",
    type=click.IntRange(1, 64),
    help="GoPs fitted at the same time.  [default: 4 on a GPU with Triton, else 1]",
)
@click.option(
    "--note",
    metavar="TEXT",
    help="What a reader should know; goes into the JSON and under the figure.  [default: none]",
)
@click.option(
    "-o", "--output", "figure", type=paths.PATH, metavar="FIGURE", help="Figure: .png, .pdf or .svg.  [default: none]"
)
@click.option(
    "--json",
    "json_path",
    type=paths.PATH,
    metavar="FILE",
    help="All points, written one by one and continued by a further run.  [default: FIGURE with .json]",
)
@click.option(
    "--table",
    "table_path",
    type=paths.PATH,
    metavar="FILE",
    help="Tables of all points, in Markdown.  [default: none]",
)
@click.option(
    "--against",
    metavar="LIST",
    help="What BD-rates in --table are against, a table each.  [default: x264 and x264-psnr, as far as all have them]",
)
@click.option(
    "--encode-only",
    is_flag=True,
    help="Only make this codec's files, for a further run, perhaps on another machine, to decode and measure.",
)
@click.option("--plot-only", is_flag=True, help="Encode nothing: take the points from JSON files.")
@verbosity_options
def rd_command(
    verbosity: Verbosity,
    inputs: tuple[Path, ...],
    *,
    rates: str,
    anchors: str,
    profiles: str | None,
    preset: str | None,
    gop: int | None,
    seed: int | None,
    selection: Selection,
    matrix: str | None,
    device: str,
    backend: str,
    jobs: int | None,
    note: str | None,
    figure: Path | None,
    json_path: Path | None,
    table_path: Path | None,
    against: str | None,
    encode_only: bool,
    plot_only: bool,
) -> None:
    """Encode INPUT at several rates, beside classical codecs, and draw quality against rate.

    Each file is decoded in a new process and measured as it lies on the disk. Anchors run through FFmpeg at the same
    rates, and below them as far as BD-rates need. The JSON file holds every point, and a further run makes only those
    that it lacks; the encoded files are kept beside it, in a folder of its name with ".d" behind.

    With --plot-only INPUT are such JSON files, drawn together, a pair of panels each; with --json that file is drawn.
    """
    if plot_only:
        if encode_only:
            raise click.UsageError("--encode-only and --plot-only leave nothing to do; drop one of them")
        paths = inputs if json_path is None else (json_path,)
        if not paths:
            raise click.UsageError("--plot-only has nothing to draw; name JSON files of earlier runs")
        if note is not None:
            raise click.UsageError("--note goes into the JSON, which --plot-only leaves as it is; run without one")
    else:
        if len(inputs) != 1:
            raise click.UsageError(f"got {len(inputs)} inputs, expected one video; JSON files go with --plot-only")
        if json_path is None and figure is None:
            raise click.UsageError("give -o FIGURE, --json FILE or both, for what comes of it")
        paths = (json_path or (figure or inputs[0]).with_suffix(".json"),)
    _check_outputs((figure, table_path), (*inputs, *paths))
    if figure is not None:
        from stgvcodec.report.rd_plot import check_figure

        check_figure(figure)
    if plot_only:
        from stgvcodec.evaluation.results import read_results

        results = [read_results(path) for path in paths]
    else:
        from stgvcodec.evaluation.rd_plan import RdPlan
        from stgvcodec.evaluation.rd_run import rate_distortion

        output.check_json_path(paths[0], inputs[0])
        plan = RdPlan(
            parse_rates(rates),
            _configs(profiles, preset, gop, seed),
            parse_anchors(anchors),
            encode_only=encode_only,
        )
        with shown_progress("rd", verbosity) as progress:
            done = rate_distortion(
                inputs[0],
                paths[0],
                plan=plan,
                selection=selection,
                matrix=matrix,
                device=device,
                backend=backend,
                jobs=jobs,
                note=note,
                progress=progress,
            )
        if done is None:
            return
        results = [done]
    _write_figure(figure, results)
    if verbosity.level >= 0:
        output.print_result("\n\n".join(summary(result) for result in results))
    _write_table(table_path, results, against)


def parse_rates(text: str) -> tuple[float, ...]:
    """Parse rates such as `0.05,0.1`.

    Raises:
        ConfigError: the text is something else.
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigError(f"--bpp {text}: expected numbers with commas between, such as {DEFAULT_RATES}") from error


def parse_anchors(text: str) -> tuple[str, ...]:
    """Parse names such as `x264,x265`; the text `none` gives no names."""
    return () if text.strip() == NO_ANCHORS else _names(text)


def summary(result: RdResult) -> str:
    """Return what there is to say of one clip: every point, every BD-rate of this codec's curves, and remarks."""
    from stgvcodec.report.rd_table import clip_facts, clip_title

    parts = [clip_title(result), point_table(result), bd_rate_table(result), "\n".join(clip_facts(result))]
    vmaf = result.measures.get("vmaf", "")
    if vmaf.startswith("not measured"):
        parts.append(f"VMAF {vmaf}.")
    return "\n\n".join(part for part in parts if part)


def point_table(result: RdResult) -> str:
    """Return a table with a line for each point."""
    from stgvcodec.report.rd_table import number

    header = ["codec", "asked", "bpp", "bytes", "PSNR", "MS-SSIM", "dB", "VMAF", "encoding", "decoding, s", "on"]
    rows = [
        [
            label,
            number(point.requested_bpp, 3),
            f"{point.bpp:.4f}",
            output.number(point.bytes),
            output.decibel(point.psnr_db),
            number(point.ms_ssim, 5),
            number(point.ms_ssim_db, 2),
            number(point.vmaf, 2),
            output.duration(point.encode_seconds),
            number(point.decode_seconds, 2),
            point.device,
        ]
        for label, series in zip(result.labels, result.series, strict=True)
        for point in series.points
    ]
    return output.table(header, rows)


def bd_rate_table(result: RdResult) -> str:
    """Return the BD-rates of this codec's curves against anchors, losses as plainly as gains; "" without anchors."""
    from stgvcodec.report.rd_points import MEASURES
    from stgvcodec.report.rd_table import NONE, percent

    labels = list(zip(result.labels, result.series, strict=True))
    rows: list[list[str]] = []
    reasons: list[str] = []
    for label in (label for label, series in labels if series.codec == "stgv"):
        for anchor in (label for label, series in labels if series.codec != "stgv"):
            cells = []
            for measure, name in MEASURES.items():
                entry = result.bd_rate_of(label, anchor, measure)
                if entry is None:
                    cells += [NONE, ""]
                    continue
                if entry.reason is not None:
                    reasons.append(f"  {label} against {anchor}, {name}: {entry.reason}")
                share = "" if entry.percent is None else f"{100 * entry.overlap_share:.0f} %"
                cells += [percent(entry), share]
            rows.append([label, anchor, *cells])
    if not rows:
        return ""
    titles = [title for name in MEASURES.values() for title in (f"BD-rate by {name}", "of its range")]
    return "\n".join([output.table(["codec", "against", *titles], rows), *reasons])


def _configs(profiles: str | None, preset: str | None, gop: int | None, seed: int | None) -> tuple[EncodeConfig, ...]:
    from stgvcodec.encoder.config import EncodeConfig

    given: dict[str, Any] = {"preset": preset, "gop": gop, "seed": seed}
    values = {name: value for name, value in given.items() if value is not None}
    names = (EncodeConfig(**values).profile,) if profiles is None else _names(profiles)
    if len(set(names)) < len(names):
        raise ConfigError(f"--profile {profiles}: names a profile twice, expected each once; drop one")
    return tuple(EncodeConfig(profile=name, **values) for name in names)


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


def _check_outputs(files: tuple[Path | None, ...], taken: tuple[Path, ...]) -> None:
    """Refuse, before any work, outputs that could not be written or would overwrite something of the same run."""
    from stgvcodec.media.atomic import check_output_file, refuse_same_file

    written: list[Path] = []
    for path in files:
        if path is None:
            continue
        for other in (*taken, *written):
            refuse_same_file(other, path)
        check_output_file(path)
        written.append(path)


def _write_figure(path: Path | None, results: list[RdResult]) -> None:
    if path is None:
        return
    from stgvcodec.media.atomic import atomic_output
    from stgvcodec.report.rd_plot import draw_rd

    with atomic_output(path) as part:
        draw_rd(results, part, path.suffix.lower())


def _write_table(path: Path | None, results: list[RdResult], against: str | None) -> None:
    if path is None:
        return
    from stgvcodec.media.atomic import atomic_output
    from stgvcodec.report.rd_table import markdown_tables, usual_anchors

    text = markdown_tables(results, usual_anchors(results) if against is None else _names(against))
    with atomic_output(path) as part:
        part.write_text(text, encoding="utf-8")
