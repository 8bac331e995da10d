"""The ANS decoder of bitstream_spec.md section 6.2: words to symbols, all contexts of a stream in one call.

No torch here: this operator serves the file format, which is read without it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from stgvcodec.errors import BackendUnavailableError

PRECISION = 24
"""The frequencies of a run sum to 2^24."""


class AnsRun(NamedTuple):
    """Symbols that are coded with the same frequencies.

    Attributes:
        n_symbols: How many.
        frequencies: Of the coded symbols, each at least 1, 2 to 256 of them, summing to 2^24. [n] uint32.
        symbols: What they are called. [n] uint8.
    """

    n_symbols: int
    frequencies: npt.NDArray[np.uint32]
    symbols: npt.NDArray[np.uint8]


class AnsResult(NamedTuple):
    """What a decoder leaves.

    Attributes:
        symbols: Of all runs, in order. [sum of n_symbols] uint8.
        rest: The words still in the coder: what it has not read, then its state without leading zero words. [n] uint32.
    """

    symbols: npt.NDArray[np.uint8]
    rest: npt.NDArray[np.uint32]


def ans_decode(words: npt.NDArray[np.uint32], runs: Sequence[AnsRun], *, backend: str = "auto") -> AnsResult:
    """Decode the runs of a stream with one coder.

    Any words give symbols of the runs' alphabets: once they run out, the state shrinks and decoding goes on. Whether
    the words were intact shows in `rest`.

    Args:
        words: In file order; the decoder begins with the last one, which is not 0. [W] uint32, W >= 0.
        runs: In decoding order.
        backend: "auto", "numba" or "reference"; there is no other.

    Returns:
        Symbols and what is left.

    Raises:
        ValueError: a shape or dtype differs from the above, the last word is 0, or frequencies do not sum to 2^24.
        BackendUnavailableError: there is no such back end.
    Deterministic: yes; integers only. Releases the GIL with numba.
    """
    _check(words, runs)
    name = "numba" if backend == "auto" else backend
    if name not in _IMPLEMENTATIONS:
        raise BackendUnavailableError(f"backend '{backend}' does not decode ANS; choose one of auto, numba, reference")
    return _IMPLEMENTATIONS[name](words, runs)


def _numba(words: npt.NDArray[np.uint32], runs: Sequence[AnsRun]) -> AnsResult:
    from stgvcodec.ops.ans import numba_kernel

    return numba_kernel.ans_decode(words, runs)


def _reference(words: npt.NDArray[np.uint32], runs: Sequence[AnsRun]) -> AnsResult:
    from stgvcodec.ops.ans import reference

    return reference.ans_decode(words, runs)


# Imported at their first use: `stgvcodec info` reads headers only, and numba alone costs half a second.
_IMPLEMENTATIONS: dict[str, Callable[[npt.NDArray[np.uint32], Sequence[AnsRun]], AnsResult]] = {
    "numba": _numba,
    "reference": _reference,
}


def _check(words: npt.NDArray[np.uint32], runs: Sequence[AnsRun]) -> None:
    if words.dtype != np.uint32 or words.ndim != 1:
        raise ValueError(f"words are {words.dtype} {list(words.shape)}, expected uint32 [W]")
    if len(words) and not words[-1]:
        raise ValueError("the last word is 0, expected words without zeros at the end; strip them")
    for i, (n_symbols, frequencies, symbols) in enumerate(runs):
        if n_symbols < 0:
            raise ValueError(f"run {i} has {n_symbols} symbols, expected 0 at least")
        shape = frequencies.shape
        if frequencies.dtype != np.uint32 or frequencies.ndim != 1 or not 2 <= shape[0] <= 256:
            raise ValueError(
                f"frequencies of run {i} are {frequencies.dtype} {list(shape)}, expected uint32 [n], 2 <= n <= 256"
            )
        if symbols.dtype != np.uint8 or symbols.shape != shape:
            raise ValueError(
                f"symbols of run {i} are {symbols.dtype} {list(symbols.shape)}, expected uint8 {list(shape)}"
            )


def sum_error(run: int) -> ValueError:
    """The error for frequencies that are no distribution; each back end checks them as it goes over them."""
    return ValueError(f"frequencies of run {run} do not sum to 2^{PRECISION} with 1 at least each; normalise them")
