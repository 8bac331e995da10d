"""Progress is shown on stderr: live on a terminal, as a plain line now and then elsewhere, not at all when quiet."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from stgvcodec.cli.output import duration
from stgvcodec.cli.verbosity import Verbosity

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

    from stgvcodec.progress import Progress, ProgressCallback

# Plain lines come at growing intervals: often at first, so that one sees it go on, seldom in the log of a long run.
_FIRST_INTERVAL_SECONDS = 5.0
_LONGEST_INTERVAL_SECONDS = 60.0
_INTERVAL_GROWTH = 1.5
_LIVE_INTERVAL_SECONDS = 0.1
# Before this much time and work an estimate of the time left means nothing.
_ESTIMATE_AFTER_SECONDS = 2.0
_ESTIMATE_AFTER_FRACTION = 0.005
# Share of the work that an expectation counts as.
_EXPECTED_COUNTS = 0.2


@contextlib.contextmanager
def shown_progress(title: str, verbosity: Verbosity) -> Iterator[ProgressCallback | None]:
    """Show the progress of one job.

    Args:
        title: Name of the job, e.g. "encoding".
        verbosity: Level of what is said; nothing is shown when it is quiet.

    Yields:
        The callback to hand to `encode`, `decode` or `compare` as `progress`; None when quiet.
    """
    if verbosity.level < 0:
        yield None
    elif not sys.stderr.isatty():
        yield PlainProgress(title)
    else:
        with _live_display() as display:
            yield LiveProgress(title, display)


class PlainProgress:
    """Prints a line at growing intervals, the first one at once."""

    def __init__(self, title: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Start the clock.

        Args:
            title: Text that is put before each line.
            clock: Returns the seconds since any fixed moment.
        """
        self._title = title
        self._clock = clock
        self._started = clock()
        self._left = TimeLeft()
        self._next = self._started
        self._interval = _FIRST_INTERVAL_SECONDS
        self._stage = ""

    def __call__(self, progress: Progress) -> None:
        """Take note of a step of progress."""
        now = self._clock()
        left = self._left.after(progress.fraction, now, progress.expected_seconds)
        # What comes before the work itself, and its beginning, are said at once.
        stage = progress.phase.partition(":")[0] if not progress.fraction else self._title
        if now < self._next and stage == self._stage:
            return
        self._stage = stage
        if now > self._started:
            self._interval = min(_LONGEST_INTERVAL_SECONDS, self._interval * _INTERVAL_GROWTH)
        self._next = now + self._interval
        click.echo(f"{self._title}: {', '.join(self._parts(progress, left))}", err=True)

    def _parts(self, progress: Progress, left: float | None) -> Iterator[str]:
        if progress.phase != self._title:
            yield progress.phase
        if progress.n_steps:
            yield f"step {progress.step}/{progress.n_steps}"
        if progress.n_frames is None:
            yield f"{progress.frames_done} frames done"
        else:
            yield f"{progress.frames_done} of {progress.n_frames} frames done"
        if progress.psnr_db is not None:
            yield f"{progress.psnr_db:.2f} dB"
        share = _share(progress)
        if share is not None:
            yield f"{100 * share:.0f} %"
        if left is not None:
            yield f"{duration(left)} left"


class LiveProgress:
    """Updates one task of a rich display."""

    def __init__(self, title: str, display: RichProgress) -> None:
        """Add the task.

        Args:
            title: Text that is shown until the first step is reported.
            display: A running display, with the columns of `_live_display`.
        """
        self._display = display
        self._left = TimeLeft()
        self._next = 0.0
        self._phase = ""
        self._task: TaskID = display.add_task(title, total=None, step="", quality="", left="")

    def __call__(self, progress: Progress) -> None:
        """Take note of a step of progress."""
        now = time.monotonic()
        left = self._left.after(progress.fraction, now, progress.expected_seconds)
        if now < self._next and progress.phase == self._phase:
            return
        self._next, self._phase = now + _LIVE_INTERVAL_SECONDS, progress.phase
        share = _share(progress)
        if progress.n_steps:
            step = f"step {progress.step}/{progress.n_steps}"
        elif progress.n_frames is not None:
            step = f"frame {progress.frames_done}/{progress.n_frames}"
        else:
            step = f"frame {progress.frames_done}"
        self._display.update(
            self._task,
            description=progress.phase,
            total=None if share is None else 1.0,
            completed=share or 0.0,
            step=step,
            quality="" if progress.psnr_db is None else f"{progress.psnr_db:.2f} dB",
            left="" if left is None else f"{duration(left)} left",
        )


class TimeLeft:
    """Estimates the time left, if the rest of the work goes as fast as what is done of it.

    What comes before the work, such as compiling, counts neither as time nor as work. What was expected before counts
    as if a small part of the work had gone that fast: the first steps say little of the later ones.
    """

    def __init__(self) -> None:
        self._began: tuple[float, float] | None = None

    def after(self, fraction: float | None, now: float, expected_seconds: float | None = None) -> float | None:
        """Take note of a moment.

        Args:
            fraction: Part of the work that is done, in [0, 1]; None while unknown.
            now: Seconds since any fixed moment.
            expected_seconds: Time that all of the work was expected to take; None while unknown.

        Returns:
            Seconds left; None as long as there is too little to go by.
        """
        if not fraction:
            return None
        if self._began is None:
            self._began = (now, fraction)
        elapsed, done = now - self._began[0], fraction - self._began[1]
        if expected_seconds is not None:
            elapsed, done = elapsed + _EXPECTED_COUNTS * expected_seconds, done + _EXPECTED_COUNTS
        elif done < _ESTIMATE_AFTER_FRACTION or elapsed < _ESTIMATE_AFTER_SECONDS:
            return None
        return elapsed * max(0.0, 1 - fraction) / done


def _share(progress: Progress) -> float | None:
    if progress.fraction is not None:
        return min(1.0, max(0.0, progress.fraction))
    return None


def _live_display() -> RichProgress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TextColumn("{task.fields[step]}", markup=False),
        TextColumn("{task.fields[quality]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}", markup=False),
        console=Console(stderr=True),
        transient=True,
    )
