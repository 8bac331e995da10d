"""The ANS decoder by constriction, whose encoder writes the format."""

from __future__ import annotations

from collections.abc import Sequence

import constriction
import numpy as np
import numpy.typing as npt

from stgvcodec.ops.ans import PRECISION, AnsResult, CodedArray, sum_error


def ans_decode(words: npt.NDArray[np.uint32], arrays: Sequence[CodedArray]) -> AnsResult:
    """Reference of `stgvcodec.ops.ans.ans_decode`."""
    coder = constriction.stream.stack.AnsCoder(words)
    decoded = [np.empty(0, np.uint8)]
    for i, (n_symbols, frequencies, symbols) in enumerate(arrays):
        if int(frequencies.sum(dtype=np.uint64)) != 1 << PRECISION or not frequencies.all():
            raise sum_error(i)
        # constriction adds 1 to every entry and scales the rest to fill 2^24: for f - 1 the scale is exactly 1
        model = constriction.stream.model.Categorical(frequencies.astype(np.float64) - 1.0, perfect=False)
        decoded.append(symbols[coder.decode(model, n_symbols)])
    return AnsResult(np.concatenate(decoded), coder.get_compressed())
