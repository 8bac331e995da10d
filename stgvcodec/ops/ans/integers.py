"""The ANS coder in Python's integers: the reference on machines for which constriction has no wheel."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from stgvcodec.ops.ans import PRECISION, AnsResult, CodedArray, EncodedArray, sum_error

_WORD_BITS = 32
_WORD = 1 << _WORD_BITS
_SLOT_MASK = (1 << PRECISION) - 1


def ans_decode(words: npt.NDArray[np.uint32], arrays: Sequence[CodedArray]) -> AnsResult:
    """Reference of `stgvcodec.ops.ans.ans_decode` without constriction."""
    left: list[int] = words.tolist()
    state = 0
    for _ in range(min(2, len(left))):
        state = state << _WORD_BITS | left.pop()
    decoded = [np.empty(0, np.uint8)]
    for i, array in enumerate(arrays):
        frequencies: list[int] = array.frequencies.tolist()
        below = list(accumulate(frequencies, initial=0))
        if below.pop() != 1 << PRECISION or 0 in frequencies:
            raise sum_error(i)
        indices = bytearray(array.n_symbols)
        for position in range(array.n_symbols):
            slot = state & _SLOT_MASK
            index = bisect_right(below, slot) - 1
            state = (state >> PRECISION) * frequencies[index] + slot - below[index]
            if state < _WORD and left:
                state = state << _WORD_BITS | left.pop()
            indices[position] = index
        decoded.append(array.symbols[np.frombuffer(indices, np.uint8)])
    return AnsResult(np.concatenate(decoded), np.array([*left, *_words(state)], np.uint32))


def ans_encode(arrays: Sequence[EncodedArray], first_state: int) -> npt.NDArray[np.uint32]:
    """Reference of `stgvcodec.ops.ans.ans_encode` without constriction."""
    words: list[int] = []
    state = first_state
    for array in reversed(arrays):
        frequencies: list[int] = array.frequencies.tolist()
        below = list(accumulate(frequencies, initial=0))
        for index in reversed(array.indices.tolist()):
            frequency = frequencies[index]
            if state >> (64 - PRECISION) >= frequency:
                words.append(state % _WORD)
                state >>= _WORD_BITS
            state = (state // frequency << PRECISION) + below[index] + state % frequency
    return np.array([*words, *_words(state)], np.uint32)


def _words(state: int) -> list[int]:
    """The words of a state, the lowest first, without zeros at the end."""
    words = []
    while state:
        words.append(state % _WORD)
        state >>= _WORD_BITS
    return words
