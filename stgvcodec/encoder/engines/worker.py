"""The process that fits GoPs for `Processes`: it reads jobs from its standard input and answers on its standard output.

Messages are pickled tuples. It gets a `Setup` first, then ("fit", number, job) and ("end", number, None) in any order.
It answers ("told", number, FitProgress), ("done", number, GopPayload), ("failed", number, Failure), and in between
("log", 0, LogLine). It ends when its input does, as it does with the process that started it.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import pickle
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, BinaryIO

import torch

from stgvcodec.encoder.engines.gop_job import FitProgress, GopJob, fit_gop
from stgvcodec.errors import StgvError


@dataclass(frozen=True)
class Setup:
    """What a process is told at first.

    Attributes:
        device: Device to fit on.
        backend: Name of the operators' back end.
        n_at_once: GoPs to fit at the same time.
        log_level: Least level of the log's lines that are sent.
    """

    device: torch.device
    backend: str
    n_at_once: int
    log_level: int


@dataclass(frozen=True)
class Failure:
    """What a fit raised.

    Attributes:
        error: The exception.
        traceback: Where it was raised, as text.
    """

    error: Exception
    traceback: str


@dataclass(frozen=True)
class LogLine:
    """A line of the log of the process.

    Attributes:
        name: Name of the logger.
        level: Level of the line.
        text: The line.
    """

    name: str
    level: int
    text: str


class _Ended(Exception):
    """Ends a fit that nobody waits for any more."""


class _Worker:
    def __init__(self, answers: BinaryIO, setup: Setup) -> None:
        self._answers, self._setup = answers, setup
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(setup.n_at_once)
        self._ended: set[int] = set()

    def answer(self, kind: str, number: int, value: Any) -> None:
        data = pickle.dumps((kind, number, value), protocol=pickle.HIGHEST_PROTOCOL)
        with self._lock:
            self._answers.write(data)
            self._answers.flush()

    def take(self, kind: str, number: int, job: GopJob | None) -> None:
        """Do what a message says."""
        if kind == "end":
            self._ended.add(number)
        elif job is not None:
            self._pool.submit(self._fit, number, job)

    def _fit(self, number: int, job: GopJob) -> None:
        def check() -> None:
            if number in self._ended:
                raise _Ended

        def tell(progress: FitProgress) -> None:
            self.answer("told", number, progress)

        try:
            check()
            config = dataclasses.replace(job.config, device=self._setup.device, backend=self._setup.backend)
            self.answer("done", number, fit_gop(dataclasses.replace(job, config=config), tell, check))
        except _Ended:
            pass
        except torch.AcceleratorError:
            # After an error of the GPU no call of this process succeeds any more.
            traceback.print_exc()
            os._exit(1)
        except Exception as error:
            self.answer("failed", number, Failure(_picklable(error), traceback.format_exc()))


class _Sender(logging.Handler):
    """Sends lines of the log to the process that started this one."""

    def __init__(self, worker: _Worker) -> None:
        super().__init__()
        self._worker = worker

    def emit(self, record: logging.LogRecord) -> None:
        self._worker.answer("log", 0, LogLine(record.name, record.levelno, record.getMessage()))


def main() -> None:
    """Fit what the standard input asks for, until it ends."""
    # What anything prints goes to stderr; the answers have a file of their own.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        setup = pickle.load(sys.stdin.buffer)
        worker = _Worker(answers, setup)
        log = logging.getLogger("stgvcodec")
        log.setLevel(setup.log_level)
        log.addHandler(_Sender(worker))
        # The GPU is opened while the other process still reads the video.
        torch.zeros(1, device=setup.device)
        while True:
            worker.take(*pickle.load(sys.stdin.buffer))
    except EOFError:
        # Threads that still fit are not waited for.
        os._exit(0)


def _picklable(error: Exception) -> Exception:
    """Return an error, or one that says the same where it cannot be sent."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        kind = StgvError if isinstance(error, StgvError) else RuntimeError
        return kind(f"{type(error).__name__}: {error}")
    return error
