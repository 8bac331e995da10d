"""Types of the arguments that are paths: what is refused of any, and which files shells complete."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from stgvcodec.cli.completion import SUFFIXES


class _PathType(click.Path):
    """A path that the file system can have; what its file has to be is for others to say.

    Args:
        suffixes: Suffixes of the files that shells complete, beside folders; None for any file.
        folders_only: Whether shells complete folders alone.
    """

    def __init__(self, suffixes: tuple[str, ...] | None = None, *, folders_only: bool = False) -> None:
        super().__init__(path_type=Path)
        self._suffixes, self._folders_only = suffixes, folders_only

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Ask the shell for files of these suffixes."""
        if self._folders_only:
            return [CompletionItem(incomplete, type="dir")]
        if self._suffixes is None:
            return [CompletionItem(incomplete, type="file")]
        return [CompletionItem("|".join(self._suffixes), type=SUFFIXES)]

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> str | bytes | os.PathLike[str]:
        path = super().convert(value, param, ctx)
        try:
            Path(os.fsdecode(path)).stat()
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                self.fail(f"{click.format_filename(path)}: the name is too long; choose a shorter one", param, ctx)
        return path


# FFmpeg reads more; these are those that are typed.
_VIDEOS = (
    *("mp4", "mkv", "mov", "avi", "webm", "y4m", "m4v", "mpg", "mpeg", "ts", "m2ts", "mts", "mxf", "wmv", "flv", "ogv"),
    *("3gp", "gif"),
)
_ENCODED = ("stgv",)
PATH = _PathType()
VIDEO_PATH = _PathType(_VIDEOS)
ENCODED_PATH = _PathType(_ENCODED)
ANY_VIDEO_PATH = _PathType((*_VIDEOS, *_ENCODED))
VIDEO_OR_JSON_PATH = _PathType((*_VIDEOS, "json"))
FOLDER_PATH = _PathType(folders_only=True)
