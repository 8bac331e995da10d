"""Decoder prefetch: GoPs are read and entropy-decoded ahead of time, while the one before is rendered."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from stgvcodec.bitstream.container.reader import StgvReader
from stgvcodec.bitstream.entropy.streams import Runner, in_order
from stgvcodec.bitstream.payload.head import read_header
from stgvcodec.decoder.decode_budget import LOOK_AHEAD, DecodeBudget, n_unpacked
from stgvcodec.decoder.gop_renderer import UnpackedGop, unpack
from stgvcodec.errors import naming_file
from stgvcodec.ops.threads import n_threads, run_chunks

# One thread unpacks 500 GoPs of 20 000 Gaussians a second (2-core CPU, measured); about a tenth of that holds the GIL.
_MAX_WORKERS = 4


class GopPrefetcher:
    """Reads and unpacks GoPs. Those that are announced are unpacked in threads of the prefetcher.

    Threads are started as GoPs are announced: up to four, no more than STGV_THREADS, and none with STGV_THREADS=1. They
    end with `close`, or with the prefetcher. GoPs are given out in the order in which they are asked for, and an error
    in one that was announced is raised when that GoP is asked for. Any thread may ask.
    """

    def __init__(self, reader: StgvReader, device: torch.device, backend: str, budget: DecodeBudget) -> None:
        """Serve the GoPs of `reader`, to be rendered on `device` by `backend`, as far as the budget allows."""
        self._reader = reader
        self._device, self._backend = device, backend
        self._budget = budget
        self._closed = False
        self._process_id = os.getpid()
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._pending: dict[int, Future[UnpackedGop]] = {}

    def get(self, index: int, upcoming: Sequence[int] = ()) -> UnpackedGop:
        """Return a GoP, and announce those that come next.

        Args:
            index: Index among the reader's GoPs.
            upcoming: GoPs that will be asked for next, in that order; others that were announced are given up.

        Raises:
            BitstreamError: the GoP is damaged.
            BudgetError: the GoP needs more memory than the budget allows.
        """
        if self._process_id != os.getpid():
            # Neither threads nor the state of their locks survive a fork.
            self._forget()
        n_workers = min(n_threads(), _MAX_WORKERS)
        wanted = [] if self._closed or n_workers == 1 else upcoming[:LOOK_AHEAD]
        with self._lock:
            future = self._pending.pop(index, None)
            for other in self._pending.keys() - set(wanted):
                self._pending.pop(other).cancel()
            for other in wanted:
                if other not in self._pending and other != index:
                    # Several GoPs at once keep the cores busy, so that their streams need no threads.
                    self._pending[other] = self._executor(n_workers).submit(self._load, other, in_order)
        if future is None or future.cancel():
            return self._load(index)
        return future.result()

    def close(self) -> None:
        """End the threads; GoPs can still be asked for as long as the reader is open."""
        with self._lock:
            self._closed = True
            for future in self._pending.values():
                future.cancel()
            self._pending.clear()
        if self._pool is not None and self._process_id == os.getpid():
            self._pool.shutdown(wait=True, cancel_futures=True)
        self._pool = None

    def _load(self, index: int, run: Runner = run_chunks) -> UnpackedGop:
        payload = self._reader.read_gop(index)
        header = self._reader.header
        with naming_file(self._reader.name, base_offset=self._reader.gops[index].payload_offset):
            self._budget.check_gop(
                read_header(payload),
                width=0,  # The picture counts where its size is known.
                height=0,
                payload_bytes=len(payload),
                n_gops=n_unpacked(len(self._reader.gops)),
                backend=self._backend,
            )
            return unpack(
                payload,
                width=header.width,
                height=header.height,
                device=self._device,
                backend=self._backend,
                run=run,
            )

    def _executor(self, n_workers: int) -> ThreadPoolExecutor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(n_workers, thread_name_prefix="stgv-gops")
        return self._pool

    def _forget(self) -> None:
        self._process_id = os.getpid()
        self._lock = threading.Lock()
        self._pool = None
        self._pending = {}
