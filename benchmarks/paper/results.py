"""Rows that were measured, one for each GoP, in a CSV file that grows as they are done; and the paper's own figures."""

from __future__ import annotations

import csv
import statistics
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.paper.measure import Figures
from benchmarks.paper.tables import SUMS

_KEY = ("recipe", "clip", "frames", "seed")
_CONDITIONS = ("clip_gops", "size", "preset", "backend", "device", "at_once", "commit")
COLUMNS = (*_KEY, *Figures._fields, *_CONDITIONS)
PAPER = Path(__file__).with_name("paper.csv")

Key = tuple[str, str, str, str]


@dataclass(frozen=True)
class Value:
    """A figure of a clip: the mean over seeds, and how many of its GoPs it comes from.

    Attributes:
        value: The figure.
        n_gops: GoPs that were measured, for every seed.
        n_all: GoPs of the clip.
        seeds: Figure of each seed.
    """

    value: float
    n_gops: int
    n_all: int
    seeds: tuple[float, ...]


class Results:
    """The rows of a CSV file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, str]] = []
        self._lock = threading.Lock()
        if path.exists():
            _drop_unfinished_line(path)
            with path.open(newline="") as file:
                reader = csv.DictReader(file)
                if tuple(reader.fieldnames or ()) != COLUMNS:
                    raise SystemExit(f"{path}: has other columns than this benchmark writes; move it away")
                self.rows = list(reader)

    def has(self, key: Key) -> bool:
        return any(tuple(row[name] for name in _KEY) == key for row in self.rows)

    def add(self, key: Key, figures: Figures, conditions: Iterable[object]) -> None:
        """Append a row to the file at once."""
        values = (*key, *("" if figure is None else figure for figure in figures), *conditions)
        row = {name: str(value) for name, value in zip(COLUMNS, values, strict=True)}
        with self._lock:
            is_new = not self.path.exists()
            with self.path.open("a", newline="") as file:
                writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
                if is_new:
                    writer.writeheader()
                writer.writerow(row)
            self.rows.append(row)

    def frames(self, recipe: str, clip: str) -> set[str]:
        """Ranges of the GoPs of a clip that were run by a recipe, with any seed."""
        return {row["frames"] for row in self.rows if (row["recipe"], row["clip"]) == (recipe, clip)}

    def value(self, recipe: str, clip: str, measure: str, frames: set[str] | None = None) -> Value | None:
        """A measure of a clip by a recipe, over all GoPs and seeds that were run; None if there is no such row.

        Of `frames`, if they are given, only these GoPs are taken.
        """
        rows = [
            row
            for row in self.rows
            if (row["recipe"], row["clip"]) == (recipe, clip)
            and row[measure]
            and (frames is None or row["frames"] in frames)
        ]
        if not rows:
            return None
        by_seed: dict[str, list[dict[str, str]]] = {}
        for row in rows:
            by_seed.setdefault(row["seed"], []).append(row)
        seeds = tuple(_of_gops(part, measure) for part in by_seed.values())
        n_gops = min(len(part) for part in by_seed.values())
        return Value(statistics.fmean(seeds), n_gops, int(rows[0]["clip_gops"]), seeds)

    def is_whole(self, recipe: str, clip: str) -> bool:
        """Whether all GoPs of a clip were run by a recipe."""
        value = self.value(recipe, clip, "psnr_db")
        return value is not None and value.n_gops == value.n_all

    def mean(
        self, recipe: str, clips: tuple[str, ...], measure: str, frames: dict[str, set[str]] | None = None
    ) -> Value | None:
        """The mean of a measure over clips, of each over its `frames` if they are given; None if one has no row."""
        values = [self.value(recipe, clip, measure, None if frames is None else frames[clip]) for clip in clips]
        found = [value for value in values if value is not None]
        if len(found) < len(clips):
            return None
        if len(found) == 1:
            return found[0]
        mean = statistics.fmean(value.value for value in found)
        return Value(mean, sum(value.n_gops for value in found), sum(value.n_all for value in found), (mean,))

    def conditions(self, recipes: set[str]) -> list[str]:
        """What the rows of these recipes were measured with, each once; filters are left out."""
        steps: dict[str, list[int]] = {}
        for row in self.rows:
            if row["recipe"] in recipes and row["preset"]:
                how = f"{row['device']}, {row['backend']}, {row['at_once']} at once, commit {row['commit']}"
                steps.setdefault(f"preset `{row['preset']}` on {how}", []).append(int(row["steps"]))
        return [f"{how}, {_range(of)} steps a GoP" for how, of in sorted(steps.items())]


def _drop_unfinished_line(path: Path) -> None:
    """Cut off what a run that was killed while it wrote has left."""
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole, encoding="utf-8")


def _range(values: list[int]) -> str:
    return str(min(values)) if min(values) == max(values) else f"{min(values)} to {max(values)}"


def _of_gops(rows: list[dict[str, str]], measure: str) -> float:
    """A sum, of which GoPs that were not run have a share too, a speed over all frames, or a mean over frames."""
    values, lengths = [float(row[measure]) for row in rows], [n_frames(row["frames"]) for row in rows]
    if measure in SUMS:
        return statistics.fmean(values) * int(rows[0]["clip_gops"])
    if measure == "decode_fps":
        return sum(lengths) / sum(length / value for length, value in zip(lengths, values, strict=True))
    return sum(length * value for length, value in zip(lengths, values, strict=True)) / sum(lengths)


def n_frames(frames: str) -> int:
    """Number of frames of a range A:B."""
    start, end = map(int, frames.split(":"))
    return end - start


def paper_figures() -> dict[tuple[str, str, str, str, str], float]:
    """The paper's own figures: (table, row, clip, corruption, measure) -> value."""
    with PAPER.open(newline="") as file:
        *names, _ = ("table", "row", "clip", "corruption", "measure", "value")
        return {tuple(row[name] for name in names): float(row["value"]) for row in csv.DictReader(file)}
