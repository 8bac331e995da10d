"""Threads for the numba kernels: a fixed split of the work, run by however many threads there are.

The split never depends on the number of threads, and partial results are combined in the order of the chunks, so that
any number of threads gives the same bits. Kernels release the GIL and know nothing of threads; numba's own threading
layers are not used (docs/decisions/0002-threads.md).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache

from stgvcodec.errors import ConfigError


def n_threads() -> int:
    """Number of threads of CPU kernels: the environment variable STGV_THREADS, else the CPUs that this process may use.

    Raises:
        ConfigError: STGV_THREADS is not a positive integer.
    """
    return _n_threads(os.environ.get("STGV_THREADS", ""))


# It is cached because a step of a fit asks some twenty times, and the system takes microseconds to answer.
@lru_cache(maxsize=8)
def _n_threads(requested: str) -> int:
    if not requested:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    if not requested.isdecimal() or int(requested) < 1:
        raise ConfigError(f"STGV_THREADS is '{requested}', expected a positive integer; unset it to use every CPU")
    return int(requested)


def run_chunks(work: Callable[[int], None], n_chunks: int) -> None:
    """Call `work(i)` for every i in [0, n_chunks), on several threads; return when all are done.

    Args:
        work: Function of a chunk's index. It must release the GIL to gain anything, and must not call `run_chunks`.
        n_chunks: Number of chunks; a property of the data, never of the machine.

    Raises:
        Exception: the first exception that `work` raised.
    """
    n_workers = min(n_threads(), n_chunks)
    if n_workers <= 1:
        for i in range(n_chunks):
            work(i)
        return

    chunks = iter(range(n_chunks))

    def drain() -> None:
        # next() on a range iterator is atomic under the GIL, so each chunk goes to one thread.
        for i in chunks:
            work(i)

    others = [_pool(os.getpid(), n_workers - 1).submit(drain) for _ in range(n_workers - 1)]
    try:
        drain()
    finally:
        for other in others:
            other.result()


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Run torch's own CPU operators on one thread inside the block.

    The reductions of these operators depend on the number of threads, and after each operator OpenMP's workers spin for
    a while on cores that the kernels' threads want: on two cores a decoded frame took 29 ms with two torch threads, 23
    ms with one.
    """
    # `stgvcodec verify` has threads too, and needs no torch.
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@lru_cache(maxsize=4)
def _pool(process_id: int, n_workers: int) -> ThreadPoolExecutor:
    """The thread pool of one process. Threads do not survive a fork, and the child's process id makes it a new pool."""
    del process_id
    return ThreadPoolExecutor(n_workers, thread_name_prefix="stgv")
