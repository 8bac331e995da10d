"""The ANS coder by constriction, whose streams are the format's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import constriction
import numpy as np
import numpy.typing as npt

from stgvcodec.ops.ans import PRECISION, AnsResult, CodedArray, EncodedArray, sum_error


def ans_decode(words: npt.NDArray[np.uint32], arrays: Sequence[CodedArray]) -> AnsResult:
    """Reference of `stgvcodec.ops.ans.ans_decode`."""
    coder = constriction.stream.stack.AnsCoder(words)
    decoded = [np.empty(0, np.uint8)]
    for i, (n_symbols, frequencies, symbols) in enumerate(arrays):
        if int(frequencies.sum(dtype=np.uint64)) != 1 << PRECISION or not frequencies.all():
            raise sum_error(i)
        decoded.append(symbols[coder.decode(_categorical(frequencies), n_symbols)])
    return AnsResult(np.concatenate(decoded), coder.get_compressed())


def ans_encode(arrays: Sequence[EncodedArray], first_state: int) -> npt.NDArray[np.uint32]:
    """Reference of `stgvcodec.ops.ans.ans_encode`."""
    coder = constriction.stream.stack.AnsCoder(np.array([first_state], np.uint32))
    for indices, frequencies in reversed(arrays):
        coder.encode_reverse(indices.astype(np.int32), _categorical(frequencies))
    words: npt.NDArray[np.uint32] = coder.get_compressed()
    return words


def _categorical(frequencies: npt.NDArray[np.uint32]) -> Any:
    # constriction adds 1 to every entry and scales the rest to fill 2^24: for f - 1 the scale is exactly 1.
    return constriction.stream.model.Categorical(frequencies.astype(np.float64) - 1.0, perfect=False)
