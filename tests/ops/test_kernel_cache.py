from __future__ import annotations

import os
from pathlib import Path

import pytest

from stgvcodec.ops import kernel_cache
from stgvcodec.ops.kernel_cache import can_be_made, numba_cache, triton_cache


def test_numba_keeps_kernels_where_its_own_figures_say() -> None:
    cache = numba_cache()
    assert cache.is_writable
    assert cache.path is not None
    if "NUMBA_CACHE_DIR" in os.environ:
        assert (cache.path, cache.chosen_by) == (Path(os.environ["NUMBA_CACHE_DIR"]), "NUMBA_CACHE_DIR")
    else:
        assert cache.chosen_by in ("package", "user")


def test_numba_without_a_folder(monkeypatch) -> None:
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setattr(kernel_cache.importlib, "import_module", lambda name: kernel_cache)
    assert numba_cache() == kernel_cache.KernelCache("numba", None, False, "user")


@pytest.mark.parametrize(
    ("environment", "path", "chosen_by"),
    [
        ({"TRITON_CACHE_DIR": "/a/b"}, "/a/b", "TRITON_CACHE_DIR"),
        ({"TRITON_CACHE_DIR": "here"}, str(Path("here").absolute()), "TRITON_CACHE_DIR"),
        ({"TRITON_HOME": "/c"}, "/c/.triton/cache", "user"),
        ({"HOME": "/d"}, "/d/.triton/cache", "user"),
    ],
    ids=["folder", "relative folder", "home of triton", "home"],
)
def test_triton_keeps_kernels_where_triton_says(monkeypatch, environment, path, chosen_by) -> None:
    for name in ("TRITON_CACHE_DIR", "TRITON_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    cache = triton_cache()
    assert (str(cache.path), cache.chosen_by) == (path, chosen_by)


def test_folders_that_can_be_made(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "file").touch()
    assert can_be_made(tmp_path / "a" / "b")
    assert not can_be_made(tmp_path / "file" / "a")
    monkeypatch.chdir(tmp_path)
    assert not can_be_made(Path("~/.triton/cache"))
