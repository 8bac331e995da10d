"""GoPs as a renderer wants them: read and entropy-decoded ahead of time, while the one before is rendered."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import torch

from stgvcodec.bitstream.reader import StgvReader
from stgvcodec.codec.gop_renderer import UnpackedGop, unpack
from stgvcodec.errors import naming_file
from stgvcodec.ops.threads import n_threads

LOOK_AHEAD = 3
"""GoPs that are kept ready at most."""


class GopQueue:
    """Reads and unpacks GoPs, those that are announced in a thread of its own.

    The thread is started when something is first announced, and never with STGV_THREADS=1. It ends with `close`, or
    with the queue. An error in a GoP that was announced is raised when that GoP is asked for.
    """

    def __init__(self, reader: StgvReader, device: torch.device, backend: str) -> None:
        """Serve the GoPs of `reader`, to be rendered on `device` by `backend`."""
        self._reader = reader
        self._device, self._backend = device, backend
        self._closed = False
        self._process_id = os.getpid()
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._pending: dict[int, Future[UnpackedGop]] = {}

    @contextmanager
    def reading(self) -> Iterator[StgvReader]:
        """The reader, with no other thread at it."""
        with self._lock:
            yield self._reader

    def get(self, index: int, upcoming: Sequence[int] = ()) -> UnpackedGop:
        """A GoP.

        Args:
            index: Into the reader's GoPs.
            upcoming: GoPs that will be asked for next, in that order; others that were announced are given up.

        Raises:
            BitstreamError: the GoP is damaged.
        """
        if self._process_id != os.getpid():
            # Neither threads nor the state of their locks survive a fork.
            self._forget()
        future = self._pending.pop(index, None)
        wanted = [] if self._closed or n_threads() == 1 else upcoming[:LOOK_AHEAD]
        for other in self._pending.keys() - set(wanted):
            self._pending.pop(other).cancel()
        for other in wanted:
            if other not in self._pending and other != index:
                self._pending[other] = self._executor().submit(self._load, other)
        if future is None or future.cancel():
            return self._load(index)
        return future.result()

    def close(self) -> None:
        """End the thread; GoPs can still be asked for as long as the reader is open."""
        self._closed = True
        for future in self._pending.values():
            future.cancel()
        self._pending.clear()
        if self._pool is not None and self._process_id == os.getpid():
            self._pool.shutdown(wait=True, cancel_futures=True)
        self._pool = None

    def _load(self, index: int) -> UnpackedGop:
        with self._lock:
            payload = self._reader.read_gop(index)
        header = self._reader.header
        with naming_file(self._reader.name):
            return unpack(payload, width=header.width, height=header.height, device=self._device, backend=self._backend)

    def _executor(self) -> ThreadPoolExecutor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="stgv-gops")
        return self._pool

    def _forget(self) -> None:
        self._process_id = os.getpid()
        self._lock = threading.Lock()
        self._pool = None
        self._pending = {}
