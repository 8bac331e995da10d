"""Kernels where no cache can be written."""

from __future__ import annotations

import os

import pytest
from numba.core.caching import CacheImpl, UserProvidedCacheLocator

from stgvcodec.ops import compiled


@pytest.fixture
def warnings(caplog):
    compiled._say_once.cache_clear()
    yield caplog
    compiled._say_once.cache_clear()


def twice(x):
    return 2 * x


def thrice(x):
    return 3 * x


def test_a_kernel_is_kept_where_it_can_be(warnings, tmp_path, monkeypatch):
    monkeypatch.setattr("numba.core.config.CACHE_DIR", str(tmp_path))
    kernel = compiled.njit(nogil=True, cache=True)(twice)
    assert kernel(4) == 8
    assert list(tmp_path.rglob("*.nbi"))
    assert not warnings.text


def test_kernels_are_compiled_anew_where_no_folder_can_be_written_which_is_said_once(warnings, monkeypatch):
    """As in a container that is read-only and has no home. Root may write any folder, so the places are taken away."""
    monkeypatch.setattr("numba.core.config.CACHE_DIR", "")
    monkeypatch.setattr(CacheImpl, "_locator_classes", [UserProvidedCacheLocator])
    kernels = [compiled.njit(nogil=True, cache=True)(function) for function in (twice, thrice)]
    assert [kernel(4) for kernel in kernels] == [8, 12]
    assert len(warnings.records) == 1
    assert "NUMBA_CACHE_DIR" in warnings.text


def test_a_user_without_a_home_gets_no_folder_below_the_current_one(warnings, tmp_path, monkeypatch):
    """numba would make "~" there, and run what it finds in it."""
    monkeypatch.setattr("numba.core.config.CACHE_DIR", "")
    locators = [each for each in CacheImpl._locator_classes if "InTree" not in each.__name__]
    monkeypatch.setattr(CacheImpl, "_locator_classes", locators)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    assert compiled.njit(nogil=True, cache=True)(twice)(4) == 8
    assert list(tmp_path.iterdir()) == []
    assert "XDG_CACHE_HOME" not in os.environ
    assert len(warnings.records) == 1


def test_other_errors_of_the_compiler_stay(monkeypatch):
    def refuse(**_):
        def compile_(_):
            raise RuntimeError("something else")

        return compile_

    monkeypatch.setattr(compiled.numba, "njit", refuse)
    with pytest.raises(RuntimeError, match="something else"):
        compiled.njit(cache=True)(twice)
