"""Rate-distortion curves as a figure for print: quality against rate, with a pair of panels for each clip."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from stgvcodec.errors import ConfigError, StgvError
from stgvcodec.report.rd_points import MEASURES, MS_SSIM, PSNR, RdResult
from stgvcodec.report.rd_table import clip_facts, clip_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".png", ".pdf", ".svg")
"""Suffixes of the figures that can be written."""

# The figure spans both columns of a paper.
_WIDTH_INCHES = 7.16
_PANEL_HEIGHT_INCHES = 2.45
# Margins around a panel's axes: for labels to the left and below, for a title above. The gap between two panels is in
# widths of their axes.
_LEFT_INCHES, _RIGHT_INCHES, _BELOW_INCHES, _ABOVE_INCHES = 0.5, 0.08, 0.42, 0.26
_BETWEEN = 0.21
_LEGEND_INCHES = 0.26
_LINE_INCHES = 0.135
_CAPTION_CHARACTERS = 150
_DPI = 300
_MOST_IN_LEGEND_ROW = 4

FONT = {
    "font.family": "sans-serif",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7.5,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.2,
    "lines.markersize": 4.2,
    # Text stays text in vector figures, and a figure of the same data is the same file.
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "stgvcodec",
}
"""Sizes of text and lines of a figure for print."""


class Style(NamedTuple):
    """Style of a series; marker, line and brightness each tell it from the others."""

    color: str
    line: Any
    marker: str
    filled: bool


# This codec's series are dark with filled markers, the anchors grey with open ones.
_OWN_STYLES = (
    Style("#00306e", "-", "o", True),
    Style("#8c2d04", "-", "s", True),
    Style("#1b1b1b", "-", "D", True),
)
_DERIVED_STYLES = (
    Style("#00306e", (0, (1, 1.2)), "p", False),
    Style("#8c2d04", (0, (1, 1.2)), "h", False),
)
_ANCHOR_STYLES = (
    Style("#6e6e6e", (0, (5, 1.6)), "^", False),
    Style("#6e6e6e", (0, (5, 1.4, 1, 1.4)), "v", False),
    Style("#9a9a9a", "-", "D", False),
    Style("#9a9a9a", (0, (2, 1.2)), "X", False),
)


def check_figure(path: Path) -> None:
    """Refuse, before any work, a figure that could not be drawn.

    Raises:
        ConfigError: the suffix is none of `FORMATS`.
        StgvError: matplotlib is not installed.
    """
    if path.suffix.lower() not in FORMATS:
        raise ConfigError(f"{path}: got the suffix '{path.suffix}', expected {', '.join(FORMATS)} for a figure")
    _matplotlib()


def draw_rd(results: Sequence[RdResult], path: Path, suffix: str) -> None:
    """Draw PSNR and MS-SSIM, both in dB, against bits per pixel on a logarithmic axis.

    Args:
        results: Results, one for each clip, from top to bottom.
        path: File that will be written.
        suffix: Format of the file, one of `FORMATS`, whatever `path` ends with.

    Raises:
        ValueError: there are no results.
        StgvError: matplotlib is not installed.
    """
    if not results:
        raise ValueError("no results to draw, expected at least one")
    matplotlib = _matplotlib()
    from matplotlib.figure import Figure

    with matplotlib.rc_context(FONT):
        styles = series_styles(results)
        captions = _captions(results)
        n_legend_rows = -(-len(styles) // _legend_columns(len(styles)))
        legend = _LEGEND_INCHES + _LINE_INCHES * (n_legend_rows - 1)
        caption = _LINE_INCHES * (len(captions) + 0.5)
        panels = _PANEL_HEIGHT_INCHES * len(results)
        height = panels + legend + caption
        figure = Figure(figsize=(_WIDTH_INCHES, height))
        axes = figure.subplots(len(results), len(MEASURES), squeeze=False)
        # The margins are set by hand: matplotlib's own layouts collapse with several rows beside a legend and captions.
        figure.subplots_adjust(
            left=_LEFT_INCHES / _WIDTH_INCHES,
            right=1.0 - _RIGHT_INCHES / _WIDTH_INCHES,
            bottom=(caption + _BELOW_INCHES) / height,
            top=1.0 - (legend + _ABOVE_INCHES) / height,
            wspace=_BETWEEN,
            hspace=(_BELOW_INCHES + _ABOVE_INCHES) / (_PANEL_HEIGHT_INCHES - _BELOW_INCHES - _ABOVE_INCHES),
        )
        for row, result in zip(axes, results, strict=True):
            for panel, measure in zip(row, MEASURES, strict=True):
                _draw_panel(panel, result, measure, styles)
            row[0].set_title(clip_title(result), loc="left", fontweight="bold")
        _draw_legend(figure, styles)
        figure.text(0.008, 0.06 / height, "\n".join(captions), va="bottom", ha="left", fontsize=6.5, linespacing=1.35)
        date = {"CreationDate": None} if suffix == ".pdf" else {"Date": None} if suffix == ".svg" else {}
        figure.savefig(path, format=suffix.removeprefix("."), dpi=_DPI, metadata=date)


def series_styles(results: Sequence[RdResult]) -> dict[str, Style]:
    """Choose a style for each label, the same in all clips, and return the styles in the order of the legend."""
    kinds: dict[str, str] = {}
    for result in results:
        for label, series in zip(result.labels, result.series, strict=True):
            kinds.setdefault(label, "derived" if series.derived else "own" if series.codec == "stgv" else "anchor")
    pools = {"own": cycle(_OWN_STYLES), "derived": cycle(_DERIVED_STYLES), "anchor": cycle(_ANCHOR_STYLES)}
    styles = {label: next(pools[kind]) for label, kind in kinds.items()}
    for label in (label for label, kind in kinds.items() if kind == "derived"):
        # A derived series counts the files of another series, and is drawn in that one's colour.
        for other in (other for other, kind in kinds.items() if kind == "own" and label.startswith(other)):
            styles[label] = styles[label]._replace(color=styles[other].color)
    order = ("own", "derived", "anchor")
    return {label: styles[label] for label in sorted(kinds, key=lambda label: order.index(kinds[label]))}


def _draw_panel(panel: Axes, result: RdResult, measure: str, styles: dict[str, Style]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    panel.set_xlabel("rate (bits per pixel)")
    panel.set_ylabel("PSNR, RGB (dB)" if measure == PSNR else "MS-SSIM, RGB (dB)")
    panel.spines[["top", "right"]].set_visible(False)
    curves = {label: series.curve(measure) for label, series in zip(result.labels, result.series, strict=True)}
    if not any(curves.values()):
        reason = "MS-SSIM needs pictures\nof more than 160 pixels a side" if measure == MS_SSIM else "no points"
        panel.text(0.5, 0.5, reason, transform=panel.transAxes, ha="center", va="center", color="#555555")
        panel.set_xticks([])
        panel.set_yticks([])
        return
    for label, curve in curves.items():
        style = styles[label]
        panel.plot(
            [bpp for bpp, _ in curve],
            [quality for _, quality in curve],
            color=style.color,
            linestyle=style.line,
            marker=style.marker,
            markerfacecolor=style.color if style.filled else "white",
            markeredgewidth=0.9,
            zorder=4 if style.filled else 3,
            clip_on=False,
        )
    panel.set_xscale("log")
    panel.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda bpp, _: f"{bpp:g}"))
    panel.xaxis.set_minor_locator(LogLocator(subs=tuple(range(1, 10))))
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.yaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 2.5, 5, 10], min_n_ticks=4))
    panel.grid(which="major", color="#dddddd", linewidth=0.5)
    panel.set_axisbelow(True)
    panel.margins(x=0.04, y=0.06)
    ceiling = result.source.yuv420_psnr_db
    if measure == PSNR and ceiling is not None and ceiling < panel.get_ylim()[1]:
        panel.axhline(ceiling, color="black", linewidth=0.5, linestyle=(0, (1, 2)))
        panel.annotate(
            "4:2:0 without coding", (0.01, ceiling), xycoords=("axes fraction", "data"), fontsize=6.5, va="bottom"
        )


def _draw_legend(figure: Figure, styles: dict[str, Style]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [],
            [],
            color=style.color,
            linestyle=style.line,
            marker=style.marker,
            markerfacecolor=style.color if style.filled else "white",
            markeredgewidth=0.9,
            label=label,
        )
        for label, style in styles.items()
    ]
    n_columns = _legend_columns(len(handles))
    n_rows = -(-len(handles) // n_columns)
    # matplotlib fills a legend column by column, but it is read row by row.
    by_rows = [handle for column in range(n_columns) for handle in islice(handles, column, None, n_columns)]
    figure.legend(
        handles=by_rows if n_rows > 1 else handles,
        loc="upper center",
        ncols=n_columns,
        frameon=False,
        handlelength=3.2,
        columnspacing=1.6,
        borderaxespad=0.1,
    )


def _legend_columns(n_labels: int) -> int:
    n_rows = -(-n_labels // _MOST_IN_LEGEND_ROW)
    return -(-n_labels // n_rows) if n_rows else 1


def _captions(results: Sequence[RdResult]) -> list[str]:
    """Return the lines under the figure, which state the facts of each clip."""
    lines: list[str] = []
    for result in results:
        name = f"{clip_title(result).split(',')[0]}: " if len(results) > 1 else ""
        lines += textwrap.wrap(name + " ".join(clip_facts(result)), _CAPTION_CHARACTERS)
    if any(series.curve(MS_SSIM) for result in results for series in result.series):
        lines.append("MS-SSIM x is drawn as -10 log10(1 - x).")
    return lines


def _matplotlib() -> Any:
    try:
        import matplotlib
    except ImportError as error:
        raise StgvError(
            f"figures need the package matplotlib ({error}); install it with: pip install 'stgvcodec[rd]'"
        ) from error
    return matplotlib
