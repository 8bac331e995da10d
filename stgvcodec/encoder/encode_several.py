"""`encode_several` encodes videos on the same devices; where one of them fails, the others go on."""

from __future__ import annotations

import logging
import os
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stgvcodec.encoder.encode import encode_by
from stgvcodec.encoder.engines.choice import choose_engine
from stgvcodec.encoder.engines.gop_job import Engine
from stgvcodec.encoder.reports import EncodePlan, EncodeReport
from stgvcodec.errors import ConfigError, StgvError
from stgvcodec.progress import PROGRESS_INTERVAL_SECONDS, CancelToken, Progress, ProgressCallback

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FailedEncode:
    """A video that was not encoded.

    Attributes:
        source: The video, by its path or address.
        error: What was raised.
    """

    source: Path | str
    error: Exception


@dataclass(frozen=True)
class SeveralReport:
    """Result of `encode_several`.

    Attributes:
        encoded: A report for each video that was encoded, in the order of the videos.
        failed: The others.
    """

    encoded: tuple[EncodeReport, ...]
    failed: tuple[FailedEncode, ...]


def outputs_in(folder: Path, sources: Sequence[Path]) -> tuple[Path, ...]:
    """Return the names of the files in a folder that videos are encoded to: their own with the suffix .stgv.

    Raises:
        ConfigError: two videos would have the same file.

    Examples:
        >>> [path.as_posix() for path in outputs_in(Path("out"), [Path("films/a.mp4"), Path("b.tar.mkv")])]
        ['out/a.stgv', 'out/b.tar.stgv']
    """
    by_name: dict[str, Path] = {}
    outputs = []
    for source in sources:
        # A folder's name may be "." or end in "..".
        path = Path(os.path.abspath(source))  # noqa: PTH100
        output = folder / f"{path.name if path.is_dir() else path.stem}.stgv"
        # File systems that do not tell large letters from small ones would have one file for both.
        other = by_name.setdefault(output.name.casefold(), source)
        if other is not source:
            raise ConfigError(f"{other} and {source} would both be encoded to {output}; encode one of them by itself")
        outputs.append(output)
    return tuple(outputs)


def encode_several(
    pairs: Sequence[tuple[Path | str, Path]],
    *,
    options: Mapping[str, Any],
    device: str = "auto",
    backend: str = "auto",
    jobs: int | None = None,
    engine: str = "local",
    progress: ProgressCallback | None = None,
    on_plan: Callable[[Path | str, EncodePlan], None] | None = None,
    on_report: Callable[[EncodeReport], None] = lambda _: None,
    cancel: CancelToken | None = None,
) -> SeveralReport:
    """Encode videos, one after the other on one device; on several, the next is begun when they have nothing to do.

    Args:
        pairs: Videos, by paths or addresses, and the files to write.
        options: Arguments of `encode_by` that are the same for all.
        device: As `encode` takes it.
        backend: As `encode` takes it.
        jobs: As `encode` takes it.
        engine: As `encode` takes it.
        progress: Called with the progress of the first of the videos under way; `fraction` is that of all.
        on_plan: Called with a video and its plan before its first fit.
        on_report: Called with the report of each video when it is encoded. It and the two above are called from one
            thread at a time.
        cancel: Ends it, as in `encode`.

    Raises:
        ConfigError: no such device.
        BackendUnavailableError: device or back end is not to be had here.
        CancelledError: `cancel` was set. What was encoded stays.
    """
    with choose_engine(device, backend, jobs, engine) as chosen:
        run = _Run(chosen, pairs, options, progress, on_plan, on_report, cancel)
        if chosen.takes_several:
            run.encode_together()
        else:
            for number in range(len(pairs)):
                run.encode(number)
    return run.report()


class _Run:
    """The encodes of one call."""

    def __init__(
        self,
        engine: Engine,
        pairs: Sequence[tuple[Path | str, Path]],
        options: Mapping[str, Any],
        progress: ProgressCallback | None,
        on_plan: Callable[[Path | str, EncodePlan], None] | None,
        on_report: Callable[[EncodeReport], None],
        cancel: CancelToken | None,
    ) -> None:
        self._engine, self._pairs, self._options = engine, pairs, options
        self._progress, self._on_plan, self._on_report = progress, on_plan, on_report
        self._cancel, self._is_ended = cancel, threading.Event()
        self._lock = threading.Lock()
        self._fractions: dict[int, float] = {}  # video under way -> share of it that is done
        self._reports: dict[int, EncodeReport] = {}
        self._failed: dict[int, FailedEncode] = {}
        self._begun = threading.Event()

    def is_set(self) -> bool:
        """Tell whether every encode is to end; this is their token."""
        return self._is_ended.is_set() or (self._cancel is not None and self._cancel.is_set())

    def report(self) -> SeveralReport:
        encoded, failed = (tuple(found[i] for i in sorted(found)) for found in (self._reports, self._failed))
        return SeveralReport(encoded, failed)  # type: ignore[arg-type]

    def encode(self, number: int) -> None:
        """Encode one of the videos; remember its report, or why it failed."""
        source, destination = self._pairs[number]
        with self._lock:
            self._fractions[number] = 0.0

        def tell(progress: Progress) -> None:
            self._tell(number, progress)

        def plan(planned: EncodePlan) -> None:
            self._begun.set()
            if self._on_plan is not None:
                with self._lock:
                    self._on_plan(source, planned)

        try:
            report = encode_by(
                self._engine,
                source,
                destination,
                **self._options,
                progress=None if self._progress is None else tell,
                plan=plan,
                cancel=self,
                is_alone=not self._engine.takes_several and self._on_plan is not None,
            )
        except BrokenPipeError:
            # Nobody reads what is said any more.
            raise
        except Exception as error:
            if self.is_set():
                raise
            is_known = isinstance(error, StgvError)
            where = not is_known and logger.isEnabledFor(logging.INFO)
            logger.warning("%s was not encoded: %s", source, error if is_known else repr(error), exc_info=where)
            # The frames of its traceback hold pictures.
            traceback.clear_frames(error.__traceback__)
            with self._lock:
                self._failed[number] = FailedEncode(source, error)
        else:
            with self._lock:
                self._reports[number] = report
                self._on_report(report)
        finally:
            self._begun.set()
            with self._lock:
                del self._fractions[number]

    def encode_together(self) -> None:
        """Encode the videos, and begin the next one when those under way leave devices without work."""
        under_way: set[Future[None]] = set()
        with ThreadPoolExecutor(self._engine.n_at_once) as pool:
            try:
                for number in range(len(self._pairs)):
                    while under_way and not (self._begun.is_set() and self._engine.has_room()):
                        under_way = _left(under_way)
                    self._begun.clear()
                    under_way.add(pool.submit(self.encode, number))
                    # Its GoPs come a moment after it has been begun.
                    time.sleep(PROGRESS_INTERVAL_SECONDS)
                while under_way:
                    under_way = _left(under_way)
            except BaseException:
                self._is_ended.set()
                raise

    def _tell(self, number: int, progress: Progress) -> None:
        with self._lock:
            self._fractions[number] = progress.fraction or 0.0
            if self._progress is None or number != min(self._fractions):
                return
            n_done = len(self._reports) + len(self._failed) + sum(self._fractions.values())
            phase = f"{Path(self._pairs[number][0]).name}: {progress.phase}"
            # What the other videos will take is not known.
            self._progress(replace(progress, phase=phase, fraction=n_done / len(self._pairs), expected_seconds=None))


def _left(under_way: set[Future[None]]) -> set[Future[None]]:
    """Wait a moment, and return those that are not done; what one has raised is raised here."""
    done, left = wait(under_way, timeout=PROGRESS_INTERVAL_SECONDS)
    for future in done:
        future.result()
    return left
