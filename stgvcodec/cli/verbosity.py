"""The options `-q` and `-v`: how much is said beside the result, always on stderr."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator

import click

_LEVELS = {-1: logging.ERROR, 0: logging.WARNING, 1: logging.INFO, 2: logging.DEBUG}


class Verbosity:
    """The level of what is said. A run has one such object, so that the place where errors end up knows it too.

    Attributes:
        level: -1 for quiet, 0 for normal, 1 for verbose, 2 for debugging.
    """

    def __init__(self) -> None:
        self.level = 0

    def choose(self, level: int) -> None:
        """Set the level, and with it that of the package's log."""
        self.level = max(-1, min(2, level))
        logging.getLogger("stgvcodec").setLevel(_LEVELS[self.level])


def verbosity_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add -q and -v, which act during parsing; the command gets a `Verbosity` as its first argument."""
    command = click.pass_obj(command)
    command = click.option(
        "-v",
        "--verbose",
        count=True,
        expose_value=False,
        callback=_choose_level,
        help="Say more; twice for debugging. Unexpected errors come with a traceback.",
    )(command)
    return click.option(
        "-q",
        "--quiet",
        is_flag=True,
        expose_value=False,
        callback=_choose_level,
        help="Say nothing but errors and the results asked for.",
    )(command)


def _choose_level(context: click.Context, parameter: click.Parameter, value: int | bool) -> None:
    if not value:
        return
    verbosity: Verbosity = context.obj
    if verbosity.level != 0:
        raise click.UsageError("--quiet and --verbose were both given, expected one of them", context)
    verbosity.choose(-1 if parameter.name == "quiet" else int(value))


class _StderrHandler(logging.Handler):
    """Writes to whatever stderr is at the time, so that a running progress display can put lines above itself."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(self.format(record), err=True)


@contextlib.contextmanager
def logging_to_stderr() -> Iterator[None]:
    """Send the package's log to stderr inside the block."""
    handler = _StderrHandler()
    handler.setFormatter(logging.Formatter("stgvcodec: %(levelname)s: %(message)s"))
    logger = logging.getLogger("stgvcodec")
    level, propagate = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.WARNING)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate
