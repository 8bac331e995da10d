"""The options `-y` and `-n`: whether files that are there already are replaced."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import click

from stgvcodec.cli.pipes import STANDARD_STREAM
from stgvcodec.errors import ConfigError, OutputError, StgvError


def overwrite_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add -y and -n; the command gets `yes` and `no`, of which `check_overwrite` decides."""
    command = click.option("-n", "--no", is_flag=True, help="End with exit code 1 where OUTPUT exists already.")(
        command
    )
    return click.option("-y", "--yes", is_flag=True, help="Overwrite OUTPUT without asking.")(command)


def check_overwrite(source: Path, *outputs: Path | None, yes: bool, no: bool) -> None:
    """Let existing files be overwritten only by -y or by who answers the question on the terminal.

    Args:
        source: The input, which nothing overwrites.
        outputs: Files that will be written. Those that do not exist, folders, pipes and None are passed over.
        yes: Whether -y was given.
        no: Whether -n was given.

    Raises:
        ConfigError: both were given, or a file that exists is the input.
        StgvError: a file exists, and -n or the answer on the terminal says to leave it.
        OutputError: a file exists, and there is neither -y nor a terminal on which to ask.
    """
    if yes and no:
        raise ConfigError("-y and -n were both given, expected one of them")
    from stgvcodec.media.atomic import refuse_same_file

    there = [found for path in outputs if path is not None for found in _existing(path)]
    if not there:
        return
    for path in there:
        refuse_same_file(source, path)
    if yes:
        return
    name = str(there[0])
    if no:
        raise StgvError(f"{name}: exists already and is left as it is, as -n says")
    if not (sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()):
        raise OutputError(f"{name}: exists already; overwrite it with -y, or choose another name")
    try:
        agreed = click.confirm(f"{click.format_filename(name)} exists already. Overwrite it?", err=True)
    except click.Abort:
        # Ctrl-D is no answer.
        agreed = False
    if not agreed:
        raise StgvError(f"{name}: is left as it is")


def _existing(output: Path) -> list[Path]:
    """Return the files that are there of those that an output's name stands for."""
    from stgvcodec.media.image_output import WRITTEN_SUFFIXES
    from stgvcodec.media.numbered import NumberedName

    if os.fspath(output) == STANDARD_STREAM:
        return []
    numbered = NumberedName.parse(output)
    if numbered is not None and output.suffix.lower() in WRITTEN_SUFFIXES:
        return list(numbered.files().values())
    return [output] if output.is_file() else []
