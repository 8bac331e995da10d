"""Rate-distortion results of several clips as tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from stgvcodec.errors import ConfigError
from stgvcodec.report.rd_points import MEASURES, RdBdRate, RdResult

NONE = "none"
"""Text of a cell whose BD-rate cannot be measured; the reason is said below the table."""

# A footnote says so if a BD-rate covers less than this share of a curve. The threshold is the customary one, that of
# the package bjontegaard.
_LEAST_OVERLAP = 0.75

AGAINST = ("x264", "x264-psnr")
"""Codecs that BD-rates are against unless others are asked for: x264 as people use it, and as PSNR sees it."""


def markdown_tables(results: Sequence[RdResult], against: Sequence[str]) -> str:
    """Write tables of BD-rates, with a row for each series and a column for each clip and measure, and all points.

    Args:
        results: Results, one for each clip.
        against: Codecs or labels of the series that the others are measured against, such as "x264", a table each.

    Returns:
        Text in Markdown, with a trailing newline. A positive BD-rate is a loss: that much more rate at equal quality.

    Raises:
        ConfigError: a clip has no such series, or several of them.
    """
    lines: list[str] = []
    for name in against:
        anchors = [anchor_label(result, name) for result in results]
        lines += [
            f"BD-rate against {anchors[0]}: rate at equal quality, below 0 % less, above 0 % more than it needs.",
            "",
            *_bd_rate_table(results, anchors),
            *_footnotes(results, anchors),
            "",
        ]
    for result in results:
        lines += [f"### {clip_title(result)}", "", *clip_facts(result), "", *_point_table(result), ""]
    return "\n".join(lines)


def usual_anchors(results: Sequence[RdResult]) -> tuple[str, ...]:
    """Return those codecs of `AGAINST` that every clip has a series of; the first of them if there is none."""
    codecs = [{series.codec for series in result.series} for result in results]
    return tuple(name for name in AGAINST if all(name in each for each in codecs)) or AGAINST[:1]


def anchor_label(result: RdResult, against: str) -> str:
    """Return the label of the series that a codec's name or a label means.

    Raises:
        ConfigError: there is no such series, or more than one.
    """
    labels = result.labels
    if against in labels:
        return against
    found = [label for label, each in zip(labels, result.series, strict=True) if each.codec == against]
    if len(found) != 1:
        what = "no series" if not found else f"{len(found)} series"
        raise ConfigError(
            f"{result.source.name}: has {what} '{against}' to measure against, expected one of: {', '.join(labels)}"
        )
    return found[0]


def clip_title(result: RdResult) -> str:
    """Describe a clip in a few words: bunny, 1280x640, 132 frames."""
    source = result.source
    stem = source.name.rsplit(".", 1)[0]
    return f"{stem}, {source.width}x{source.height}, {source.n_frames} frame{'' if source.n_frames == 1 else 's'}"


def clip_facts(result: RdResult) -> list[str]:
    """Return the sentences that belong beside a clip's curves: on the ceiling of 4:2:0, and the note."""
    source = result.source
    ceiling = "no loss at all" if source.yuv420_psnr_db is None else f"{source.yuv420_psnr_db:.2f} dB"
    if source.yuv420_ms_ssim is not None:
        ceiling += f", MS-SSIM {source.yuv420_ms_ssim:.5f}"
    facts = [f"8-bit 4:2:0 without any coding, the ceiling of the anchors: {ceiling}."]
    if result.note:
        facts.append(f"{result.note.rstrip('.')}.")
    return facts


def percent(entry: RdBdRate | None) -> str:
    """Write a BD-rate with its sign, such as +12.3 % or -4.0 %; `NONE` if there is none."""
    return NONE if entry is None or entry.percent is None else f"{entry.percent:+.1f} %"


def _bd_rate_table(results: Sequence[RdResult], anchors: Sequence[str]) -> Iterator[str]:
    columns = [(i, measure) for i in range(len(results)) for measure in MEASURES if _has(results[i], measure)]
    titles = [f"{results[i].source.name.rsplit('.', 1)[0]}, {MEASURES[measure]}" for i, measure in columns]
    yield _row(["", *titles])
    yield _row(["---", *["---:"] * len(columns)])
    for label in dict.fromkeys(label for result in results for label in result.labels):
        cells = []
        for i, measure in columns:
            if label == anchors[i]:
                cells.append("0")
            elif label not in results[i].labels:
                cells.append("")
            else:
                cells.append(percent(results[i].bd_rate_of(label, anchors[i], measure)))
        yield _row([label, *cells])


def _footnotes(results: Sequence[RdResult], anchors: Sequence[str]) -> Iterator[str]:
    for result, anchor in zip(results, anchors, strict=True):
        for entry in result.bd_rate:
            if entry.against != anchor:
                continue
            name = f"{result.source.name.rsplit('.', 1)[0]}, {entry.series}, {MEASURES[entry.measure]}"
            if entry.reason is not None:
                yield f"\n{name}: {entry.reason}."
            elif entry.overlap_db is not None and entry.overlap_share < _LEAST_OVERLAP:
                low, high = entry.overlap_db
                yield f"\n{name}: over {low:.2f} to {high:.2f} dB, {100 * entry.overlap_share:.0f} % of its range."


def _point_table(result: RdResult) -> Iterator[str]:
    yield _row(["", "bpp", "PSNR", "MS-SSIM", "MS-SSIM, dB", "VMAF", "encoding, s", "decoding, s", "on"])
    yield _row(["---", *["---:"] * 7, "---"])
    for label, series in zip(result.labels, result.series, strict=True):
        for point in series.points:
            figures = [
                f"{point.bpp:.4f}",
                number(point.psnr_db, 2, "identical"),
                number(point.ms_ssim, 5),
                number(point.ms_ssim_db, 2),
                number(point.vmaf, 2),
                f"{point.encode_seconds:.1f}",
                number(point.decode_seconds, 2),
            ]
            yield _row([label, *figures, point.device])


def number(value: float | None, n_digits: int, missing: str = "") -> str:
    """Write a value with `n_digits` digits behind the point, or `missing` if there is no value."""
    return missing if value is None else f"{value:.{n_digits}f}"


def _has(result: RdResult, measure: str) -> bool:
    return any(series.curve(measure) for series in result.series)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
