from __future__ import annotations

from pathlib import Path

import pytest

from stgvcodec.cli import inspect as command


def test_a_page_is_written_and_told_of(cli, encoded: Path, clip: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    outcome = cli("inspect", encoded, "--source", clip, "-o", page, "--pictures", 2, "--device", "cpu")
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith(f"{page}: ")
    assert "2 pictures, 2 GoPs" in outcome.out
    assert encoded.name in page.read_text(encoding="utf-8")

    kept = page.read_bytes()
    cli("inspect", encoded, "-o", page, "-q").assert_refused(5, "exists already; overwrite it with -y")
    assert page.read_bytes() == kept
    quiet = cli("inspect", encoded, "-o", page, "-q", "-y", "--device", "cpu")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")
    assert page.read_bytes() != kept


def test_damage_and_what_is_left_out_are_told(cli, encoded: Path, tmp_path: Path) -> None:
    data = bytearray(encoded.read_bytes())
    data[300] ^= 1
    damaged, page = tmp_path / "damaged.stgv", tmp_path / "page.html"
    damaged.write_bytes(data)
    outcome = cli("inspect", damaged, "-o", page, "--device", "cpu", "-q", "-y")
    assert (outcome.code, outcome.err) == (0, "")
    outcome = cli("inspect", damaged, "-o", page, "--device", "cpu", "-y")
    assert "damaged: byte " in outcome.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--pictures", "0"], "--pictures"), (["--frames", "2:1"], "frames"), (["--source", "none.mp4"], "none.mp4")],
)
def test_wrong_arguments_are_refused(cli, encoded: Path, tmp_path: Path, arguments: list[str], said: str) -> None:
    outcome = cli("inspect", encoded, "-o", tmp_path / "page.html", *arguments)
    assert outcome.code in (2, 3)
    assert said in outcome.err
    assert not (tmp_path / "page.html").exists()


def test_a_page_never_takes_the_place_of_its_source(cli, encoded: Path, clip: Path, tmp_path: Path) -> None:
    copy = tmp_path / "source.png"
    copy.write_bytes((clip / "000.png").read_bytes())
    kept = copy.read_bytes()
    cli("inspect", encoded, "--source", copy, "-o", copy, "-y").assert_refused(2, "would overwrite the input")
    cli("inspect", encoded, "-o", encoded, "-y").assert_refused(2, "would overwrite the input")
    assert copy.read_bytes() == kept


def test_a_file_that_is_none_is_refused(cli, clip: Path, tmp_path: Path) -> None:
    cli("inspect", clip / "000.png", "-o", tmp_path / "page.html").assert_refused(4, "not a .stgv file")


def test_the_default_is_that_of_the_function() -> None:
    from stgvcodec.evaluation.inspection.inspect import N_PICTURES

    assert command.N_PICTURES == N_PICTURES
