from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from gops import with_damaged_gop
from tolerances import DECODED_SAMPLES

from stgvcodec.errors import InputVideoError
from stgvcodec.evaluation import conformance
from stgvcodec.evaluation.conformance import available_backends, check_conformance
from stgvcodec.media import read_image, write_png

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two of the golden files, on the back ends of a CPU."""
    monkeypatch.setattr(conformance, "available_backends", lambda: (("cpu", "reference"), ("cpu", "numba")))
    for name in ("smallest", "compact"):
        shutil.copy(GOLDEN / f"{name}.stgv", tmp_path)
        shutil.copytree(GOLDEN / name, tmp_path / name)
    shutil.copy(GOLDEN / "hashes.json", tmp_path)
    return tmp_path


def changed_picture(path: Path, levels: int, n_samples: int = 1) -> None:
    """Change samples of an image, towards the middle."""
    picture = read_image(path).astype(np.int16)
    flat = picture.reshape(-1)
    flat[:n_samples] += np.where(flat[:n_samples] < 128, levels, -levels).astype(np.int16)
    write_png(path, picture.astype(np.uint8))


def test_the_back_ends_of_this_machine_conform_on_the_golden_files(monkeypatch):
    backends = tuple(pair for pair in available_backends() if pair != ("cpu", "triton"))
    assert set(backends) >= {("cpu", "reference"), ("cpu", "numba")}
    monkeypatch.setattr(conformance, "available_backends", lambda: backends)
    results = list(check_conformance(GOLDEN))
    assert len(results) == len(backends) * len(list(GOLDEN.glob("*.stgv")))
    for result in results:
        assert result.within_bound, result
        assert result.symbols_identical, result


def test_triton_conforms_on_a_cpu_by_its_interpreter(folder, monkeypatch):
    if ("cpu", "triton") not in available_backends():
        pytest.skip("Triton runs on the GPU here")
    monkeypatch.setattr(conformance, "available_backends", lambda: (("cpu", "triton"),))
    for result in check_conformance(folder):
        assert result.within_bound, result


def test_the_bound_is_that_of_the_one_table_of_tolerances():
    assert (conformance.USUAL, conformance.SHARE, conformance.MOST) == DECODED_SAMPLES


def test_differences_are_counted_and_held_to_the_bound(folder):
    changed_picture(folder / "compact" / "000002.png", 1, 7)
    for result in check_conformance(folder):
        assert result.within_bound
        assert result.n_samples_beyond == 0
        if result.path.name == "compact.stgv":
            assert (result.max_difference, result.n_differing_pixels, result.n_frames) == (1, 3, 5)
        else:
            assert (result.max_difference, result.n_differing_pixels, result.n_frames) == (0, 0, 1)


@pytest.mark.parametrize("levels", [2, 3])
def test_a_difference_beyond_the_bound_is_outside(folder, levels):
    """A sample in 10 000 may differ by 2; this picture has fewer."""
    changed_picture(folder / "compact" / "000000.png", levels)
    outside = [result for result in check_conformance(folder) if not result.within_bound]
    assert [(result.path.name, result.max_difference, result.n_samples_beyond) for result in outside] == [
        ("compact.stgv", levels, 1)
    ] * 2


def test_other_symbols_are_outside(folder):
    hashes = json.loads((folder / "hashes.json").read_text())
    hashes["compact.stgv"]["gops"][1]["symbols_sha256"] = "0" * 64
    (folder / "hashes.json").write_text(json.dumps(hashes))
    found = {result.path.name: (result.symbols_identical, result.within_bound) for result in check_conformance(folder)}
    assert found == {"compact.stgv": (False, False), "smallest.stgv": (True, True)}


def test_without_hashes_frames_are_compared_alone(folder):
    (folder / "hashes.json").unlink()
    for result in check_conformance(folder):
        assert result.symbols_identical is None
        assert result.within_bound


def test_files_that_cannot_be_compared_say_why(folder):
    damaged = folder / "compact.stgv"
    damaged.write_bytes(with_damaged_gop(damaged, 1))
    write_png(folder / "smallest" / "000001.png", np.zeros((1, 1, 3), np.uint8))
    compact, _, smallest, _ = check_conformance(folder)
    assert "GoP 1, at byte" in compact.error
    assert "2 images, expected 1, one a frame" in smallest.error
    assert not compact.within_bound
    assert not smallest.within_bound
    (folder / "smallest" / "000001.png").unlink()
    write_png(folder / "smallest" / "000000.png", np.zeros((2, 1, 3), np.uint8))
    *_, smallest = check_conformance(folder)
    assert "000000.png: 1x2 pixels, expected 1x1" in smallest.error


@pytest.mark.parametrize("text", ["", "[]", '{"compact.stgv": 5}', '{"compact.stgv": {"gops": [{}]}}'])
def test_hashes_of_another_form_are_refused(folder, text):
    (folder / "hashes.json").write_text(text)
    with pytest.raises(InputVideoError, match="cannot be read as the hashes of symbols"):
        list(check_conformance(folder))


def test_a_folder_without_files_is_refused(tmp_path):
    with pytest.raises(InputVideoError, match=r"no \.stgv files here"):
        list(check_conformance(tmp_path))
