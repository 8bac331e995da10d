from __future__ import annotations

import json
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from stgvcodec.cli import output
from stgvcodec.errors import ConfigError, OutputError


@dataclass(frozen=True)
class Point:
    x: float
    where: Path


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (float("nan"), None),
        (float("inf"), None),
        (-np.inf, None),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (True, True),
        (Fraction(24), "24/1"),
        (Fraction(30000, 1001), "30000/1001"),
        ((1, (2.5, "a")), [1, [2.5, "a"]]),
        ({"a": float("nan"), 3: None}, {"a": None, "3": None}),
        ([Point(float("inf"), Path("a/b"))], [{"x": None, "where": "a/b"}]),
    ],
    ids=repr,
)
def test_plain_is_what_json_can_hold(value: object, expected: object) -> None:
    shown = output.plain(value)
    assert shown == expected
    assert type(shown) is type(expected)


def test_json_text_has_no_nan_or_infinity() -> None:
    text = output.json_text({"a": [float("nan"), float("inf"), -float("inf"), 1.5]})
    assert json.loads(text, parse_constant=pytest.fail) == {"a": [None, None, None, 1.5]}


def test_unknown_types_are_refused() -> None:
    with pytest.raises(TypeError, match="cannot write a set as JSON"):
        output.plain({"a": {1}})


def test_write_json_replaces_a_file_and_leaves_no_other(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("old")
    output.write_json(path, {"a": 1})
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_report_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("old")
    with pytest.raises(TypeError):
        output.write_json(path, {1, 2})
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_without_a_path_nothing_is_written_or_checked() -> None:
    output.check_json_path(None, Path("a"))
    output.write_json(None, {"a": 1})


def test_a_report_over_the_input_is_refused_under_any_name(tmp_path: Path) -> None:
    source = tmp_path / "in.mp4"
    source.touch()
    (tmp_path / "link").symlink_to(source)
    with pytest.raises(ConfigError, match=r"--json .*link: is the input or output of the same run"):
        output.check_json_path(tmp_path / "link", source)


def test_a_report_in_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="does not exist"):
        output.check_json_path(tmp_path / "missing" / "report.json")


def test_table_aligns_columns() -> None:
    assert output.table(["name", "n"], [["a", "1"], ["longer", "1 000"]]).splitlines() == [
        "  name        n",
        "  a           1",
        "  longer  1 000",
    ]


def test_facts_align_values() -> None:
    assert output.facts([("a", "1"), ("bcd", "2")]) == "  a    1\n  bcd  2"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (59.94, "59.9 s"), (59.96, "1 min 00 s"), (185, "3 min 05 s"), (7620, "2 h 07 min")],
)
def test_duration(seconds: float, text: str) -> None:
    assert output.duration(seconds) == text


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 30, "5.0 GiB"), (3 << 42, "12288.0 GiB")],
)
def test_size(n_bytes: int, text: str) -> None:
    assert output.size(n_bytes) == text


@pytest.mark.parametrize(("value", "text"), [(None, "identical"), (float("inf"), "identical"), (31.236, "31.24 dB")])
def test_decibel(value: float | None, text: str) -> None:
    assert output.decibel(value) == text


def test_number_keeps_thousands_apart() -> None:
    assert [output.number(n) for n in (7, 1000, 1048576)] == ["7", "1 000", "1 048 576"]


def test_counted_agrees_with_its_noun() -> None:
    assert [output.counted(n, "frame") for n in (0, 1, 2000)] == ["0 frames", "1 frame", "2 000 frames"]
