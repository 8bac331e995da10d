from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from stgvcodec.evaluation import conformance
from stgvcodec.media import write_png

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(conformance, "available_backends", lambda: (("cpu", "reference"), ("cpu", "numba")))
    shutil.copy(GOLDEN / "smallest.stgv", tmp_path)
    shutil.copytree(GOLDEN / "smallest", tmp_path / "smallest")
    shutil.copy(GOLDEN / "hashes.json", tmp_path)
    return tmp_path


def test_a_line_a_file_and_back_end(cli, folder: Path) -> None:
    outcome = cli("conformance", folder)
    assert (outcome.code, outcome.err) == (0, "")
    rows = [line.split() for line in outcome.out.splitlines()]
    assert rows[1] == ["smallest.stgv", "cpu", "reference", "1", "same", "0", "0", "0", "ok"]
    assert rows[2] == ["smallest.stgv", "cpu", "numba", "1", "same", "0", "0", "0", "ok"]
    assert "99.99 % of the samples within 1 level, all within 2" in outcome.out


def test_what_is_outside_fails_and_json_has_the_same(cli, folder: Path) -> None:
    write_png(folder / "smallest" / "000000.png", np.zeros((1, 1, 3), np.uint8))
    outcome = cli("conformance", folder)
    assert outcome.code == 1
    assert outcome.out.splitlines()[2].endswith("outside")
    assert outcome.err.startswith(f"stgvcodec: error: {folder}: 2 of 2 results are outside of the bound")

    results = json.loads(cli("conformance", folder, "--json").out)
    assert [(result["backend"], result["within_bound"]) for result in results] == [
        ("reference", False),
        ("numba", False),
    ]
    assert results[0]["max_difference"] > 2


def test_what_cannot_be_compared_is_told(cli, folder: Path) -> None:
    (folder / "smallest" / "000000.png").unlink()
    outcome = cli("conformance", folder)
    assert outcome.code == 1
    assert outcome.out.splitlines()[1].endswith("error")
    assert f"stgvcodec: cpu, numba: {folder / 'smallest'}: 0 images, expected 1, one a frame\n" in outcome.err


def test_a_folder_without_files_is_refused(cli, tmp_path: Path) -> None:
    cli("conformance", tmp_path).assert_refused(3, "no .stgv files here")
