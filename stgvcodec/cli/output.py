"""Formatting of results as text and as JSON."""

from __future__ import annotations

import dataclasses
import json
import math
import numbers
import os
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, TypeAlias

import click

from stgvcodec.cli.pipes import STANDARD_OUTPUTS, STANDARD_STREAM
from stgvcodec.errors import ConfigError

if TYPE_CHECKING:
    from stgvcodec.tracks import TrackInfo

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


def plain(value: object) -> Json:
    """Return what JSON can hold of a value.

    Args:
        value: Value built of dataclasses, mappings, sequences, paths, fractions, numbers, strings and None.

    Returns:
        The value in dicts, lists, numbers and strings: a fraction as "24/1", a number that is not finite as None.

    Raises:
        TypeError: the value holds anything else.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Fraction):
        return f"{value.numerator}/{value.denominator}"
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, PurePath):
        return os.fspath(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [plain(item) for item in value]
    raise TypeError(f"cannot write a {type(value).__name__} as JSON: {value!r}")


def json_text(value: object) -> str:
    """Return a value as JSON text, without NaN or Infinity."""
    return json.dumps(plain(value), indent=2, allow_nan=False)


def check_json_path(path: Path | None, *others: Path) -> None:
    """Refuse, before any work, a report that could not be written or would overwrite something of the same run.

    Args:
        path: File for the report; None if no report was asked for.
        others: Input and output of the run, and what else it reads.

    Raises:
        ConfigError: one of `others` has the same name.
        OutputError: the report could not be written there.
    """
    if path is None:
        return
    if os.fspath(path) == STANDARD_STREAM:
        if any(os.fspath(other) == STANDARD_STREAM for other in others[1:2]):
            raise ConfigError("--json -: the output of the same run goes there too; choose another name")
        return
    from stgvcodec.media.atomic import check_output_file

    for other in others:
        if Path(os.path.realpath(path)) == Path(os.path.realpath(other)):
            raise ConfigError(f"--json {path}: is the input or output of the same run; choose another name")
    check_output_file(path)


def write_json(path: Path | None, value: object) -> None:
    """Write a report, complete or not at all, or to stdout if `path` is "-"; write nothing if it is None.

    Raises:
        OutputError: the report cannot be written.
    """
    if path is None:
        return
    if os.fspath(path) == STANDARD_STREAM:
        click.echo(json_text(value))
        return
    from stgvcodec.media.atomic import atomic_output

    with atomic_output(path) as part:
        part.write_text(json_text(value) + "\n", encoding="utf-8")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of aligned columns, the first to the left, the others to the right.

    Args:
        header: Column titles.
        rows: Cells of each row, as many as there are titles.

    Returns:
        Lines without a trailing newline, indented by two spaces.
    """
    lines = [header, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join(
        "  "
        + "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def facts(pairs: Sequence[tuple[str, str]]) -> str:
    """Return named values, one a line, with the values aligned.

    Returns:
        Lines without a trailing newline, indented by two spaces.
    """
    width = max(len(name) for name, _ in pairs)
    return "\n".join(f"  {name.ljust(width)}  {value}" for name, value in pairs)


def print_result(text: str) -> None:
    """Print a line or more on stdout."""
    click.echo(text)


def print_beside(text: str, *outputs: Path | None) -> None:
    """Print a line or more on stdout, or on stderr if one of the run's outputs goes to stdout already."""
    click.echo(text, err=any(path is not None and os.fspath(path) in STANDARD_OUTPUTS for path in outputs))


def number(n: int) -> str:
    """Format a count with its thousands apart: 1 048 576."""
    return f"{n:,}".replace(",", " ")


def counted(n: int, noun: str) -> str:
    """Format a count with its noun: 1 GoP, 2 GoPs."""
    return f"{number(n)} {noun}" if n == 1 else f"{number(n)} {noun}s"


def size(n_bytes: int) -> str:
    """Format a memory size: 512 B, 3.4 MiB."""
    value = float(n_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            break
        value /= 1024
    return f"{n_bytes} B" if unit == "B" else f"{value:.1f} {unit}"


def decibel(value_db: float | None) -> str:
    """Format a PSNR: 31.24 dB; "identical" for None or infinity."""
    return "identical" if value_db is None or math.isinf(value_db) else f"{value_db:.2f} dB"


def duration(seconds: float) -> str:
    """Format a time: 4.2 s, 3 min 05 s, 2 h 07 min."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def track(info: TrackInfo) -> tuple[str, str]:
    """Format what a track is: its kind, and its codec, rate, language, title and dispositions."""
    parts = [info.codec]
    if info.sample_rate:
        parts.append(f"{number(info.sample_rate)} Hz")
    if info.n_channels:
        parts.append(info.channel_layout or counted(info.n_channels, "channel"))
    parts += [info.tags[key] for key in ("language", "title") if key in info.tags]
    parts += [flag.replace("_", " ") for flag in info.dispositions]
    return "sound" if info.kind == "audio" else "subtitles", ", ".join(parts)


def name(path: Path | str) -> str:
    """Format a path or an address as a terminal can show it."""
    return click.format_filename(path)
