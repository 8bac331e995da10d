"""Rate-distortion results on the disk, with the BD-rates that follow from their points."""

from __future__ import annotations

import dataclasses
from itertools import permutations
from pathlib import Path

from stgvcodec.errors import ConfigError, InputVideoError
from stgvcodec.media.atomic import atomic_output
from stgvcodec.metrics.bd_rate import bd_rate
from stgvcodec.report.rd_points import MEASURES, RdBdRate, RdResult, rd_from_json, rd_to_json


def read_results(path: str | Path) -> RdResult:
    """Read a file that `rate_distortion` wrote, and compute its BD-rates anew.

    Raises:
        ConfigError: the file is not one of these.
        InputVideoError: the file cannot be read.
        StgvError: the packages of the extra "rd" are not installed.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not text; expected a JSON file of 'stgvcodec rd'") from error
    except OSError as error:
        raise InputVideoError(f"{path}: cannot be read: {error.strerror}; expected a file of 'stgvcodec rd'") from error
    return with_bd_rates(rd_from_json(text, str(path)))


def with_bd_rates(result: RdResult) -> RdResult:
    """Return the result with the BD-rate of every series against every other one, by each measure that any has."""
    entries = []
    pairs = list(permutations(zip(result.labels, result.series, strict=True), 2))
    for measure in MEASURES:
        if not any(each.curve(measure) for each in result.series):
            continue
        for (label, series), (other_label, other) in pairs:
            found = bd_rate(anchor=other.curve(measure), test=series.curve(measure))
            entries.append(RdBdRate(label, other_label, measure, **dataclasses.asdict(found)))
    return dataclasses.replace(result, bd_rate=tuple(entries))


def write_results(path: str | Path, result: RdResult) -> None:
    """Write a result, complete or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    with atomic_output(path) as part:
        part.write_text(rd_to_json(result), encoding="utf-8")
