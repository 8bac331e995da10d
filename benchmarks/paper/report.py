"""`paper.md`: the tables with what was measured, the paper's figures beside, and commands for what was not run."""

from __future__ import annotations

import statistics
import textwrap
from pathlib import Path

from benchmarks.paper import rate_distortion
from benchmarks.paper.recipes import RECIPES
from benchmarks.paper.results import Results, Value, paper_figures
from benchmarks.paper.tables import MEASURES, TABLES, Column, Row, Table

_INTRODUCTION = """# The paper's tables

`python -m benchmarks.paper` makes this file of the rows of `paper.csv`, which were measured; the paper's own figures
(Lin et al. 2026, arXiv 2604.10910v1) stand in the columns "paper". A cell without a figure was not run, and the command
below its table fills it. Where "n of m" stands behind a figure, only so many GoPs of the clip were fitted; where "+-"
does, the figure is a mean over several seeds with its standard deviation. Rows of ablations (Tables IV and V, Fig. 9)
are compared over the GoPs that all of them have.
"""


def write_report(results: Results, folder: Path) -> Path:
    path = folder / "paper.md"
    parts = [_INTRODUCTION, *(_section(table, results) for table in TABLES.values()), rate_distortion.section(folder)]
    path.write_text("\n".join(parts), encoding="utf-8")
    return path


def _section(table: Table, results: Results) -> str:
    published = paper_figures()
    columns = [(column, any(_key(table, row, column) in published for row in table.rows)) for column in table.columns]
    measures = {column.measure for column in table.columns}
    # A measure that all columns share is named once.
    header = [MEASURES[measures.pop()][0] if len(measures) == 1 else ""]
    for column, has_paper in columns:
        header += [column.name if header[0] else column.title, *(["paper"] if has_paper else [])]
    compared = {column: _shared(table, column, results) for column in table.columns if table.is_ablation}
    lines = [_line(header), _line(["---"] * len(header))]
    for row in table.rows:
        cells = [row.label]
        for column, has_paper in columns:
            cells.append(_own(row, column, results, compared.get(column)))
            if has_paper:
                number = published.get(_key(table, row, column))
                cells.append("" if number is None else _number(number, column.measure))
        lines.append(_line(cells))
    recipes = {recipe.name for recipe, _ in table.cells()}
    conditions = results.conditions(recipes)
    notes = ["", wrapped(f"Measured: {'; '.join(conditions)}.")] if conditions else []
    missing = [clip for recipe, clip in table.cells() if not results.is_whole(recipe.name, clip)]
    notes += ["\nTo fill what is not whole:\n", command(table.name, missing)] if missing else []
    return "\n".join([f"## {table.title}\n", f"{wrapped(table.caption)}\n", *lines, *notes, ""])


def _shared(table: Table, column: Column, results: Results) -> dict[str, set[str]]:
    """The GoPs of each clip of a column that all rows have which have any."""
    recipes = [RECIPES[row.recipe].on(column.corruption).name for row in table.rows if row.recipe is not None]
    found = {clip: [frames for name in recipes if (frames := results.frames(name, clip))] for clip in column.clips}
    return {clip: set.intersection(*frames) if frames else set() for clip, frames in found.items()}


def _own(row: Row, column: Column, results: Results, frames: dict[str, set[str]] | None) -> str:
    if row.recipe is None:
        return ""
    value = results.mean(RECIPES[row.recipe].on(column.corruption).name, column.clips, column.measure, frames)
    return "" if value is None else _shown(value, column.measure)


def command(table: str, clips: list[str]) -> str:
    named = " ".join(dict.fromkeys(clips))
    data = "" if set(clips) == {"bunny"} else " --data DATA"
    return f"```sh\npython -m benchmarks.paper --only {table} --clips {named}{data} --device cuda\n```"


def wrapped(text: str) -> str:
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def _key(table: Table, row: Row, column: Column) -> tuple[str, str, str, str, str]:
    return (table.name, row.paper, column.clip, column.corruption, column.measure)


def _number(value: float, measure: str) -> str:
    _, factor, digits = MEASURES[measure]
    return f"{value * factor:.{digits}f}"


def _shown(value: Value, measure: str) -> str:
    text = _number(value.value, measure)
    if len(value.seeds) > 1:
        text += f" +- {_number(statistics.stdev(value.seeds), measure)}"
    return text if value.n_gops == value.n_all else f"{text} ({value.n_gops} of {value.n_all})"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
