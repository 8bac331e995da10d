"""How the syntax tables and test values of the package look in bitstream_spec.md."""

from __future__ import annotations

import math
from pathlib import Path

SPEC = Path(__file__).parents[2] / "bitstream_spec.md"


def number(value):
    mantissa, exponent = math.frexp(abs(value))
    if mantissa == 0.5 and not 0 <= exponent - 1 <= 16:
        return f"{'-' if value < 0 else ''}2^{exponent - 1}"
    return str(int(value))


def element_rows(table):
    """The Markdown rows of a syntax table."""
    rows = ["| element | type | shape | min | max | meaning |", "|---|---|---|---|---|---|"]
    for element in table:
        shape = "".join(f"[{size}]" for size in element.shape)
        bounds = f"{number(element.minimum)} | {number(element.maximum)}"
        rows.append(f"| {element.name} | {element.type} | {shape} | {bounds} | {element.doc} |")
    return rows


def limit_rows(limits):
    """The Markdown rows of the limits."""
    return ["| limit | largest |", "|---|---|", *(f"| {name} | {number(value)} |" for name, value in limits.items())]


def _rows_from(lines, start):
    stop = start
    while stop < len(lines) and lines[stop].startswith("|"):
        stop += 1
    return lines[start:stop]


def rows_after(marker):
    """The Markdown table that follows a line of the spec."""
    lines = SPEC.read_text(encoding="utf-8").splitlines()
    start = lines.index(marker) + 1
    while not lines[start].startswith("|"):
        assert not lines[start].strip(), f"no table follows {marker!r}"
        start += 1
    return _rows_from(lines, start)


def _cells(rows):
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


def cells_after(marker):
    """The cells of the table that follows a line of the spec, without its head."""
    return _cells(rows_after(marker))


def cells_below(head):
    """The cells of the table of the spec that has this head, without the head."""
    lines = SPEC.read_text(encoding="utf-8").splitlines()
    return _cells(_rows_from(lines, lines.index(head)))
