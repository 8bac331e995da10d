"""A folder for intermediate files, which later runs remove where a run was killed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stgvcodec.errors import OutputError
from stgvcodec.media.durable import DurableFile

_PREFIX = "scratch-"
_LOCK = "in-use"


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Give a `with` block an empty folder in another, and remove it at the end.

    Folders of runs that were killed are removed first; those of runs under way are locked.

    Args:
        parent: A folder that exists.
    """
    for folder in parent.glob(f"{_PREFIX}*"):
        _remove_abandoned(folder)
    with tempfile.TemporaryDirectory(dir=parent, prefix=_PREFIX) as scratch:
        lock = DurableFile(Path(scratch) / _LOCK, scratch)
        lock.append(b"\n")
        try:
            yield Path(scratch)
        finally:
            lock.close()


def _remove_abandoned(folder: Path) -> None:
    lock = DurableFile(folder / _LOCK, folder)
    try:
        # A folder without a lock may have been made just now.
        is_abandoned = lock.open()
    except OutputError:
        return
    if is_abandoned:
        shutil.rmtree(folder, ignore_errors=True)
        lock.close()
