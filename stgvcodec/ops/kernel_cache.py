"""The folders in which numba and Triton keep what they compile, and whether they can be written here."""

from __future__ import annotations

import importlib
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

NUMBA_VARIABLE, TRITON_VARIABLE = "NUMBA_CACHE_DIR", "TRITON_CACHE_DIR"
"""Environment variables that name the folders."""

# Any file with a kernel stands for all of them: numba looks for a folder file by file.
_ANY_KERNELS = "stgvcodec.ops.ycocg.numba_kernel"
_PACKAGE = Path(__file__).parent.parent


@dataclass(frozen=True)
class KernelCache:
    """Where a compiler keeps kernels.

    Attributes:
        compiler: "numba" or "triton".
        path: Folder that is used, or would be if it could be written; None where there is none.
        is_writable: Whether kernels can be written there.
        chosen_by: Why it is this one: the name of an environment variable, "package" for the folder of the package, or
            "user" for the cache folder of the user.
    """

    compiler: str
    path: Path | None
    is_writable: bool
    chosen_by: str


def numba_cache() -> KernelCache:
    """Return the folder that numba found when a module with kernels was imported; such a module is imported.

    Raises:
        ImportError: numba is not installed, or cannot be imported.

    Examples:
        >>> from stgvcodec.ops.kernel_cache import numba_cache
        >>> numba_cache().compiler
        'numba'
    """
    kernels = importlib.import_module(_ANY_KERNELS)
    found = next((value.stats.cache_path for value in vars(kernels).values() if hasattr(value, "stats")), None)
    named = os.environ.get(NUMBA_VARIABLE)
    if found is None:
        return KernelCache("numba", Path(named) if named else None, False, NUMBA_VARIABLE if named else "user")
    path = Path(found)
    if path.is_relative_to(_PACKAGE):
        return KernelCache("numba", _PACKAGE, True, "package")
    # numba has a folder in this one for each of the package's.
    return KernelCache("numba", path.parent, True, NUMBA_VARIABLE if named else "user")


def triton_cache() -> KernelCache:
    """Return the folder in which Triton keeps kernels, without importing Triton.

    Examples:
        >>> from stgvcodec.ops.kernel_cache import triton_cache
        >>> triton_cache().compiler
        'triton'
    """
    named = os.environ.get(TRITON_VARIABLE)
    # Without a home this stays "~", as it does in Triton, where a Path would raise.
    home = os.environ.get("TRITON_HOME") or os.path.expanduser("~")  # noqa: PTH111
    path = Path(named).absolute() if named else Path(home) / ".triton" / "cache"
    return KernelCache("triton", path, can_be_made(path), TRITON_VARIABLE if named else "user")


def can_be_made(folder: Path) -> bool:
    """Tell whether a folder can be written, or made and written where it is not there.

    A relative path is that of a user without a home: "~" stays as it is then. It would mean the current folder, which
    may be anybody's, and compiled kernels are programs.
    """
    if not folder.is_absolute():
        return False
    there = next(each for each in (folder, *folder.parents) if each.exists())
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)
