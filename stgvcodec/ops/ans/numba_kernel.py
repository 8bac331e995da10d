"""The ANS decoder in numba: a table of buckets finds a symbol, a short scan corrects it. README.md says why."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from numba import njit

from stgvcodec.ops.ans import PRECISION, AnsResult, AnsRun, sum_error

# 4 KB of buckets and 1 KB of sums stay in the first cache, and few slots fall into a bucket of two symbols.
_LOG2_BUCKETS = 12
_BUCKET_SHIFT = PRECISION - _LOG2_BUCKETS

# numba turns a sum of signed and unsigned 64-bit integers into a float, so everything is unsigned.
_U = np.uint64
_ONE = _U(1)
_WORD_BITS = _U(32)
_WORD = _U(1 << 32)
_PRECISION = _U(PRECISION)
_SLOT_MASK = _U((1 << PRECISION) - 1)
_SHIFT = _U(_BUCKET_SHIFT)

_kernel = njit(nogil=True, cache=True, error_model="numpy")


def ans_decode(words: npt.NDArray[np.uint32], runs: Sequence[AnsRun]) -> AnsResult:
    """See `stgvcodec.ops.ans.ans_decode`."""
    counts = np.array([run.n_symbols for run in runs], np.int64)
    starts = np.cumsum([0, *(len(run.frequencies) for run in runs)])
    frequencies = np.concatenate([np.empty(0, np.uint32), *(run.frequencies for run in runs)])
    names = np.concatenate([np.empty(0, np.uint8), *(run.symbols for run in runs)])
    symbols = np.empty(int(counts.sum()), np.uint8)
    coder, n_left, n_decoded = _decode(words, frequencies, names, starts, counts, symbols)
    if n_decoded < len(runs):
        raise sum_error(n_decoded)
    state = int(coder)
    state_words = np.array([state & 0xFFFFFFFF, state >> 32], np.uint32)
    n_state_words = 2 if state >> 32 else 1 if state else 0
    return AnsResult(symbols, np.concatenate([words[: int(n_left)], state_words[:n_state_words]]))


@_kernel
def _decode(
    words: npt.NDArray[np.uint32],
    frequencies: npt.NDArray[np.uint32],
    names: npt.NDArray[np.uint8],
    starts: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
    symbols: npt.NDArray[np.uint8],
) -> tuple[np.uint64, np.uint64, int]:
    """Fill `symbols`; returns the state, the number of words not read, and how many runs had frequencies in order."""
    sums = np.empty(257, np.uint32)
    buckets = np.empty(1 << _LOG2_BUCKETS, np.uint8)
    state = _U(0)
    n_left = _U(len(words))
    for _ in range(2):
        if n_left > _U(0):
            n_left -= _ONE
            state = (state << _WORD_BITS) | _U(words[n_left])
    position = _U(0)
    for run in range(len(counts)):
        if not _fill(frequencies[starts[run] : starts[run + 1]], sums, buckets):
            return state, n_left, run
        run_names = names[starts[run] : starts[run + 1]]
        end = position + _U(counts[run])
        while position < end:
            slot = state & _SLOT_MASK
            index = _U(buckets[slot >> _SHIFT])
            above = _U(sums[index + _ONE])
            # Ends at the last symbol at the latest: its sum is 2^24, which no slot reaches.
            while slot >= above:
                index += _ONE
                above = _U(sums[index + _ONE])
            below = _U(sums[index])
            state = (state >> _PRECISION) * (above - below) + (slot - below)
            if state < _WORD and n_left > _U(0):
                n_left -= _ONE
                state = (state << _WORD_BITS) | _U(words[n_left])
            symbols[position] = run_names[index]
            position += _ONE
    return state, n_left, len(counts)


@_kernel
def _fill(frequencies: npt.NDArray[np.uint32], sums: npt.NDArray[np.uint32], buckets: npt.NDArray[np.uint8]) -> bool:
    """Sums of the frequencies of smaller symbols, and for each bucket of slots the symbol of its first slot.

    False where the frequencies are not at least 1 each or do not sum to 2^24.
    """
    total = 0
    bucket = 0
    for symbol in range(len(frequencies)):
        frequency = frequencies[symbol]
        sums[symbol] = total
        total += frequency
        if frequency == 0 or total > 1 << PRECISION:
            return False
        end = (total + (1 << _BUCKET_SHIFT) - 1) >> _BUCKET_SHIFT
        for i in range(bucket, end):
            buckets[i] = symbol
        bucket = end
    sums[len(frequencies)] = total
    return total == 1 << PRECISION
