"""`njit`: numba's, which does without a cache on the disk where it can write none."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numba

logger = logging.getLogger(__name__)


def njit(*, cache: bool = False, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function as `numba.njit` does.

    numba keeps kernels in the package's folder, in the user's cache folder, or where NUMBA_CACHE_DIR says. If it may
    write none of these, as in a container that is read-only and has no home, it refuses to define a kernel that is to
    be cached. Such a kernel is compiled in every process instead, and one warning says so.

    Args:
        cache: Whether to keep what is compiled on the disk.
        options: Other options of `numba.njit`.
    """

    def compile_(function: Callable[..., Any]) -> Any:
        try:
            with _without_relative_folders():
                return numba.njit(cache=cache, **options)(function)
        except RuntimeError as error:
            # The message of numba 0.61 to 0.66; there is no class for it.
            if not cache or "no locator available" not in str(error):
                raise
            _say_once()
            return numba.njit(**options)(function)

    return compile_


@contextmanager
def _without_relative_folders() -> Iterator[None]:
    """Keep numba from the folder "~" below the current one, which it makes for a user who has no home.

    The current folder may be anybody's, and what numba finds in its cache it runs.
    """
    cache_home = os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache"))  # noqa: PTH111
    if os.path.isabs(cache_home):  # noqa: PTH117
        yield
        return
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = os.devnull
    try:
        yield
    finally:
        if before is None:
            del os.environ["XDG_CACHE_HOME"]
        else:
            os.environ["XDG_CACHE_HOME"] = before


@lru_cache(maxsize=1)
def _say_once() -> None:
    logger.warning(
        "no folder can be written to keep compiled kernels in, so that every run compiles them, for half a minute; "
        "name one by NUMBA_CACHE_DIR"
    )
