"""`Processes` fits GoPs on several devices of a machine: a process for each, and one queue of GoPs for all of them."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import logging
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import torch

from stgvcodec.device import own_environment
from stgvcodec.encoder.encode_gop import GopPayload
from stgvcodec.encoder.engines.gop_job import Check, GopJob, Tell
from stgvcodec.encoder.engines.worker import Failure, LogLine, Setup
from stgvcodec.errors import StgvError
from stgvcodec.ops.threads import n_threads
from stgvcodec.progress import PROGRESS_INTERVAL_SECONDS

logger = logging.getLogger(__name__)

# A GoP is given up when so many processes have ended while they fitted it, and a device when so many in a row have
# ended on it without having finished a GoP.
_MOST_LOST_BY_GOP = 3
_MOST_LOST_IN_A_ROW = 2
# GoPs that are planned, of those that are fitted at once: they differ in length, and while the first of them is being
# fitted the others would have nothing to do (docs/decisions/0026-many-devices.md).
_PLANNED_PER_FITTED = 2
_END_SECONDS = 5.0


class _LostError(Exception):
    """The process that fitted a GoP has ended."""


class _WorkerTraceback(Exception):
    """Shows where another process raised an error; it is the cause of that error in this process."""

    def __str__(self) -> str:
        return f"\n\n{self.args[0]}"


class Processes:
    """Fits GoPs in processes of their own, one for each device; it is a context, at whose end they have ended.

    Where a process ends by itself, its GoPs are fitted anew, by another one in its place or on another device.

    Args:
        devices: Devices to fit on; one that is named twice has two processes.
        backend: Name of the operators' back end.
        n_at_once: GoPs that each process fits at the same time.
    """

    def __init__(self, devices: Sequence[torch.device], backend: str, n_at_once: int) -> None:
        self.device, self.backend = devices[0], backend
        self.devices = tuple(map(str, devices))
        self.division = f"by a process for each of {', '.join(self.devices)}"
        self.is_here = self.takes_several = True
        self.n_at_once = len(devices) * n_at_once
        self.n_planned = _PLANNED_PER_FITTED * self.n_at_once
        self._seats = [_Seat(device, backend, n_at_once, len(devices)) for device in devices]
        self._changed = threading.Condition()
        # GoPs that were announced by `start` and are not finished.
        self._n_to_come = 0
        self._tickets = itertools.count()
        self._waiting: list[tuple[int, int]] = []

    def __enter__(self) -> Processes:
        return self

    def start(self, n_gops: int | None) -> None:
        """Start processes for a number of GoPs more, so that they get ready while something else is done."""
        with self._changed:
            self._n_to_come += len(self._seats) if n_gops is None else n_gops
            for seat in self._seats[: self._n_to_come]:
                if not seat.is_started:
                    seat.start()

    def has_room(self) -> bool:
        """Tell whether processes have nothing to do, or would be started for more GoPs."""
        with self._changed:
            return not self._waiting and sum(seat.n_busy for seat in self._seats) < self.n_at_once

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the processes, whatever they are doing: they write no files but kernels, which are renamed into place."""
        for seat in self._seats:
            seat.end()

    def fit(self, job: GopJob, tell: Tell | None, check: Check) -> GopPayload:
        """Fit a GoP in the first process that is free.

        Raises:
            StgvError: one process after the other has ended, or no device is left.
        """
        for n_lost in range(1, _MOST_LOST_BY_GOP + 1):
            seat = self._free_seat(job.index, check)
            is_finished = False
            try:
                payload = seat.process.fit(job, tell, check)
                is_finished = True
                return payload
            except _LostError:
                how = seat.process.how_it_ended()
                what = "it is fitted anew" if n_lost < _MOST_LOST_BY_GOP else "it is given up"
                logger.warning("the process that fitted GoP %d on %s ended (%s); %s", job.index, seat.device, how, what)
            finally:
                self._give_back(seat, is_finished=is_finished)
        raise StgvError(
            f"GoP {job.index}: {_MOST_LOST_BY_GOP} processes that fitted it ended, the last by {how}; see what they "
            "printed, and whether memory is short (try fewer --jobs, --resize or a smaller --gop)"
        )

    def _free_seat(self, index: int, check: Check) -> _Seat:
        """Wait for a process that is free; of those that wait, the lowest index gets it."""
        ticket = (index, next(self._tickets))
        with self._changed:
            heapq.heappush(self._waiting, ticket)
            try:
                while True:
                    check()
                    seats = [seat for seat in self._seats if seat.is_started and not seat.is_given_up]
                    for seat in seats:
                        seat.replace_lost()
                    seats = [seat for seat in seats if not seat.is_given_up]
                    if not seats:
                        raise StgvError(
                            "the processes that fit GoPs end on every device; see what they printed, and try one "
                            "device alone, such as --device cuda:0"
                        )
                    free = [seat for seat in seats if seat.is_free]
                    if free and self._waiting[0] == ticket:
                        seat = min(free, key=lambda seat: seat.n_busy)
                        seat.n_busy += 1
                        return seat
                    self._changed.wait(PROGRESS_INTERVAL_SECONDS)
            finally:
                self._waiting.remove(ticket)
                heapq.heapify(self._waiting)
                self._changed.notify_all()

    def _give_back(self, seat: _Seat, *, is_finished: bool) -> None:
        with self._changed:
            seat.n_busy -= 1
            if is_finished:
                self._n_to_come = max(0, self._n_to_come - 1)
                seat.n_lost_in_a_row = 0
            seat.replace_lost()
            self._changed.notify_all()


class _Seat:
    """The place of a process on a device, where another one is started when it is lost.

    Attributes:
        device: The device.
        n_busy: GoPs that are being fitted.
        n_lost_in_a_row: Processes that have ended since a GoP was finished here.
    """

    def __init__(self, device: torch.device, backend: str, n_at_once: int, n_processes: int) -> None:
        self.device, self.n_busy, self.n_lost_in_a_row = device, 0, 0
        self._backend, self._n_at_once, self._n_processes = backend, n_at_once, n_processes
        self._process: _Process | None = None

    @property
    def is_started(self) -> bool:
        return self._process is not None

    @property
    def process(self) -> _Process:
        assert self._process is not None
        return self._process

    @property
    def is_given_up(self) -> bool:
        return self.n_lost_in_a_row >= _MOST_LOST_IN_A_ROW

    @property
    def is_free(self) -> bool:
        # What a lost process had to do is given back first.
        return self.n_busy < self._n_at_once and not (self.n_busy and self.process.is_lost)

    def start(self) -> None:
        self.end()
        level = logging.getLogger("stgvcodec").getEffectiveLevel()
        environment = own_environment(self.device, os.environ)
        environment["STGV_THREADS"] = str(max(1, n_threads() // self._n_processes))
        # A process sees its own GPU alone, and need not say which.
        device = torch.device(self.device.type)
        self._process = _Process(Setup(device, self._backend, self._n_at_once, level), environment)

    def replace_lost(self) -> None:
        """Start another process if the one here has ended, once what it had to do is given back."""
        if self.is_given_up or self.n_busy or not self.process.is_lost:
            return
        self.n_lost_in_a_row += 1
        if self.is_given_up:
            logger.warning("%s is not used any more: one process after the other ended on it", self.device)
        else:
            self.start()

    def end(self) -> None:
        if self._process is not None:
            self._process.end()


class _Process:
    """A process that runs `worker.main`, and the thread that reads its answers.

    Attributes:
        is_lost: Whether it has ended by itself.
    """

    def __init__(self, setup: Setup, environment: Mapping[str, str]) -> None:
        # The modules come from where this process has them. Nothing else of it is run again: neither its script, as by
        # multiprocessing, nor a copy of its threads. A session of its own keeps Ctrl-C from it.
        code = f"import sys; sys.path[:] = {sys.path!r}; from stgvcodec.encoder.engines import worker; worker.main()"
        self._process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
        self.is_lost = False
        self._numbers = itertools.count(1)
        self._calls: dict[int, queue.SimpleQueue[tuple[str, Any]]] = {}
        self._lock, self._sending = threading.Lock(), threading.Lock()
        with contextlib.suppress(_LostError):
            self._send(setup)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def fit(self, job: GopJob, tell: Tell | None, check: Check) -> GopPayload:
        """Fit a GoP there.

        Raises:
            _LostError: the process has ended.
        """
        answers: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        with self._lock:
            if self.is_lost:
                raise _LostError
            number = next(self._numbers)
            self._calls[number] = answers
        try:
            self._send(("fit", number, job))
            while True:
                check()
                try:
                    kind, value = answers.get(timeout=PROGRESS_INTERVAL_SECONDS)
                except queue.Empty:
                    continue
                if kind == "told":
                    if tell is not None:
                        tell(value)
                elif kind == "done":
                    payload: GopPayload = value
                    return payload
                elif kind == "failed":
                    raise _as_raised_there(value)
                else:
                    raise _LostError
        except BaseException:
            with contextlib.suppress(_LostError):
                self._send(("end", number, None))
            raise
        finally:
            with self._lock:
                del self._calls[number]

    def how_it_ended(self) -> str:
        """Return the signal or the exit code of a process that was lost."""
        try:
            code = self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            return "closing its output"
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def end(self) -> None:
        """End the process and wait for it."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                assert pipe is not None
                pipe.close()

    def _send(self, message: object) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        try:
            with self._sending:
                pickle.dump(message, stdin, protocol=pickle.HIGHEST_PROTOCOL)
                stdin.flush()
        except (OSError, ValueError) as error:
            raise _LostError from error

    def _read(self) -> None:
        """Hand out the answers until there are no more."""
        stdout = self._process.stdout
        assert stdout is not None
        try:
            while True:
                kind, number, value = pickle.load(stdout)
                if kind == "log":
                    _log(value)
                    continue
                with self._lock:
                    answers = self._calls.get(number)
                if answers is not None:
                    answers.put((kind, value))
        except (EOFError, OSError, ValueError, pickle.UnpicklingError):
            with self._lock:
                self.is_lost = True
                for answers in self._calls.values():
                    answers.put(("lost", None))


def _log(line: LogLine) -> None:
    logging.getLogger(line.name).log(line.level, "%s", line.text)


def _as_raised_there(failure: Failure) -> Exception:
    failure.error.__cause__ = _WorkerTraceback(failure.traceback)
    return failure.error
