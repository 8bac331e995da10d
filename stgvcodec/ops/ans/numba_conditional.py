"""The decoder of conditional streams in numba: each class of items has a model for each attribute."""

# Integers here have a width and a sign, of which annotations say nothing, and numba's stubs do not know all options.
# mypy: disable-error-code="assignment,no-any-return,call-overload,return-value"

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

# numba keeps what it compiled for as long as this file is unchanged: whoever changes these parts touches this file.
from stgvcodec.ops.ans.numba_kernel import (
    ALPHABET,
    CRC_ONES,
    LOG2_BUCKETS,
    decode_array,
    ends_well,
    fill,
    helper,
    kernel,
    load_words,
    read_model,
    start_coder,
)

MAX_CLASSES = 16
_RAW_BYTE = 4


def decode_conditional_to(
    out: npt.NDArray[np.uint8],
    data: npt.NDArray[np.uint8],
    first_byte: int,
    end: int,
    n_items: int,
    attributes: npt.NDArray[np.int64],
    families: npt.NDArray[np.int64],
) -> bool:
    """Numba implementation of `stgvcodec.ops.ans.decode_conditional_to`."""
    n_models = len(attributes) * MAX_CLASSES
    return bool(
        _decode_conditional(
            data,
            first_byte,
            end,
            n_items,
            attributes,
            families,
            out,
            np.empty((n_models, ALPHABET), np.uint32),
            np.empty((n_models, ALPHABET), np.uint8),
            np.empty(n_models, np.int64),
            np.empty((len(attributes), MAX_CLASSES), np.int64),
            np.empty(len(attributes), np.int64),
            np.empty((end - first_byte) // 4 + 2 + ALPHABET, np.uint32),
            np.empty(1 << LOG2_BUCKETS, np.uint8),
            np.empty((2, n_items), np.uint8),
            np.empty(n_items, np.int32),
            np.array((0, 0, 0, 1, 0), np.int64),
            np.empty((2, MAX_CLASSES + 1), np.int64),
            np.empty(ALPHABET, np.uint8),
        )
    )


def is_compiled() -> bool:
    """Whether the cache on the disk has a form of `_decode_conditional`, which takes longest to compile."""
    return any(Path(_decode_conditional.stats.cache_path or "").glob(f"*{_decode_conditional.py_func.__name__}-*.nbi"))


@kernel
def _decode_conditional(
    data: npt.NDArray[np.uint8],
    first_byte: int,
    end: int,
    n_items: int,
    attributes: npt.NDArray[np.int64],
    families: npt.NDArray[np.int64],
    out: npt.NDArray[np.uint8],
    frequencies: npt.NDArray[np.uint32],
    names: npt.NDArray[np.uint8],
    sizes: npt.NDArray[np.int64],
    thresholds: npt.NDArray[np.int64],
    n_classes: npt.NDArray[np.int64],
    words: npt.NDArray[np.uint32],
    buckets: npt.NDArray[np.uint8],
    bytes_of_items: npt.NDArray[np.uint8],
    order: npt.NDArray[np.int32],
    array: npt.NDArray[np.int64],
    starts: npt.NDArray[np.int64],
    class_of: npt.NDArray[np.uint8],
) -> bool:
    """Decode a conditional stream as `_decode_stream` of numba_kernel.py decodes a plain one, from the same parts.

    All arguments behind `out` are scratch memory. A class with a size of 0 is constant.
    """
    position = first_byte
    n_coded = 0
    for i in range(len(attributes)):
        first_model = i * MAX_CLASSES
        position = _read_thresholds(data, position, end, attributes[i], thresholds[i], n_classes[i : i + 1])
        for model in range(first_model, first_model + n_classes[i]):
            if position < 0 or position >= end or data[position] == _RAW_BYTE:
                return False
            # The model is read for an array without symbols, so that the symbol of a constant is written nowhere. It is
            # then the last byte that was read.
            array[1] = attributes[i, 0]
            position, sizes[model] = read_model(
                data, position, end, array, families, frequencies[model], names[model], out
            )
            if position < 0:
                return False
            if sizes[model] == 0:
                names[model, 0] = data[position - 1]
            n_coded += sizes[model]
        if position < 0:
            return False
    n_words = load_words(data, position, end, n_coded > 0, words)
    if n_words < 0:
        return False

    sums = words[n_words:]
    crc = CRC_ONES
    state, n_left = start_coder(words[:n_words])
    symbols = bytes_of_items[0]
    for i in range(len(attributes)):
        first, step = attributes[i, 1], attributes[i, 2]
        if n_classes[i] == 0:
            for item in range(n_items):
                out[first + item * step] = 0
            continue
        _sort_items(out, attributes[i], thresholds[i], n_classes[i], bytes_of_items[1], class_of, starts, order)
        for c in range(n_classes[i]):
            begin, stop = starts[0, c], starts[0, c + 1]
            model = i * MAX_CLASSES + c
            if sizes[model] == 0:
                for k in range(begin, stop):
                    symbols[k] = names[model, 0]
                continue
            if not fill(frequencies[model, : sizes[model]], sums, buckets):
                return False
            state, n_left, crc = decode_array(
                state, n_left, crc, words, sums, buckets, names[model], stop - begin, symbols, begin, 1, 0
            )
        for k in range(n_items):
            out[first + order[k] * step] = symbols[k]
    return n_coded == 0 or ends_well(state, n_left, crc)


@helper
def _read_thresholds(
    data: npt.NDArray[np.uint8],
    position: int,
    end: int,
    attribute: npt.NDArray[np.int64],
    thresholds: npt.NDArray[np.int64],
    n_classes: npt.NDArray[np.int64],
) -> int:
    """Read the thresholds of an attribute; return the position behind them, or a fault.

    An attribute with an alphabet of 1 has no class, an attribute without context symbols has a single one.
    """
    if attribute[0] == 1:
        n_classes[0] = 0
        return position
    n_classes[0] = 1
    if attribute[4] == 0:
        return position
    if position >= end:
        return -1
    n = np.int64(data[position])
    position += 1
    if n >= MAX_CLASSES or n > end - position:
        return -1
    before = 0
    for i in range(n):
        thresholds[i] = data[position + i]
        if thresholds[i] <= before:
            return -1
        before = thresholds[i]
    n_classes[0] = n + 1
    return position + n


@helper
def _sort_items(
    out: npt.NDArray[np.uint8],
    attribute: npt.NDArray[np.int64],
    thresholds: npt.NDArray[np.int64],
    n_classes: int,
    classes: npt.NDArray[np.uint8],
    class_of: npt.NDArray[np.uint8],
    starts: npt.NDArray[np.int64],
    order: npt.NDArray[np.int32],
) -> None:
    """Sort the items by class, stably, into `order`; the first row of `starts` becomes where each class starts."""
    n_items = len(order)
    if n_classes == 1:
        starts[0, 0], starts[0, 1] = 0, n_items
        for item in range(n_items):
            order[item] = item
        return
    c = 0
    for context in range(ALPHABET):
        while c < n_classes - 1 and thresholds[c] <= context:
            c += 1
        class_of[context] = c
    for c in range(n_classes + 1):
        starts[0, c] = 0
    first_i, step_i, first_j, step_j = attribute[3], attribute[4], attribute[5], attribute[6]
    for item in range(n_items):
        context = np.int64(out[first_i + item * step_i])
        if step_j > 0:
            context += np.int64(out[first_j + item * step_j])
        found = class_of[context if context < ALPHABET else ALPHABET - 1]
        classes[item] = found
        starts[0, found + 1] += 1
    for c in range(n_classes):
        starts[0, c + 1] += starts[0, c]
        starts[1, c] = starts[0, c]
    for item in range(n_items):
        found = classes[item]
        order[starts[1, found]] = item
        starts[1, found] += 1
