"""The ANS coder in numba: a table of buckets finds a symbol, a short scan corrects it. README.md says why."""

# Integers here have a width and a sign, of which annotations say nothing, and numba's stubs do not know all options.
# mypy: disable-error-code="assignment,no-any-return,call-overload"

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from stgvcodec.ops.ans import PRECISION, AnsResult, CodedArray, EncodedArray, sum_error
from stgvcodec.ops.compiled import njit

# 4 KB of buckets and 1 KB of sums stay in the first cache, and few slots fall into a bucket of two symbols.
LOG2_BUCKETS = 12
_BUCKET_SHIFT = PRECISION - LOG2_BUCKETS

# numba turns a sum of signed and unsigned 64-bit integers into a float, so everything is unsigned.
_U = np.uint64
_ONE = _U(1)
_WORD_BITS = _U(32)
_WORD = _U(1 << 32)
_PRECISION = _U(PRECISION)
_SLOT_MASK = _U((1 << PRECISION) - 1)
_SHIFT = _U(_BUCKET_SHIFT)
_FULL = _U(64 - PRECISION)

CRC_ONES = _U(0xFFFFFFFF)
_CRC_BYTE = _U(0xFF)
_CRC_SHIFT = _U(8)
# This is zlib's own table: the CRC-32 of each byte without the ones that are mixed in first and last. They can be taken
# away because CRC-32 is linear.
_CRC_TABLE = np.array([zlib.crc32(bytes([byte]), 0xFFFFFFFF) ^ 0xFFFFFFFF for byte in range(256)], np.uint64)

_UNCODED, _TABLE = 0, 1
_CONSTANT, _RAW = 0, 1
_MAX_LOG2_TOTAL = 14
_FIRST_NARROW, _N_NARROW = 16, 16
_MAX_PREFIX = 16
_MAX_ITEM_BITS = 33
ALPHABET = 256
FAULT = -1
_TOTAL = 1 << PRECISION
_CHECK_MASK = _U(0xFFFF)

kernel = njit(nogil=True, cache=True, error_model="numpy")
# Helpers are compiled into the kernels that call them. The wrappers that Python would need to call a helper take as
# long to compile as the helper does, so they are left out.
helper = njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)


def ans_decode(words: npt.NDArray[np.uint32], arrays: Sequence[CodedArray]) -> AnsResult:
    """Numba implementation of `stgvcodec.ops.ans.ans_decode`."""
    counts = np.array([array.n_symbols for array in arrays], np.int64)
    starts = np.cumsum([0, *(len(array.frequencies) for array in arrays)])
    frequencies = np.concatenate([np.empty(0, np.uint32), *(array.frequencies for array in arrays)])
    names = np.concatenate([np.empty(0, np.uint8), *(array.symbols for array in arrays)])
    symbols = np.empty(int(counts.sum()), np.uint8)
    coder, n_left, n_decoded = _decode(words, frequencies, names, starts, counts, symbols)
    if n_decoded < len(arrays):
        raise sum_error(n_decoded)
    state = int(coder)
    state_words = np.array([state & 0xFFFFFFFF, state >> 32], np.uint32)
    n_state_words = 2 if state >> 32 else 1 if state else 0
    return AnsResult(symbols, np.concatenate([words[: int(n_left)], state_words[:n_state_words]]))


def ans_encode(arrays: Sequence[EncodedArray], first_state: int) -> npt.NDArray[np.uint32]:
    """Numba implementation of `stgvcodec.ops.ans.ans_encode`."""
    counts = np.array([len(array.indices) for array in arrays], np.int64)
    starts = np.cumsum([0, *(len(array.frequencies) for array in arrays)])
    frequencies = np.concatenate([np.empty(0, np.uint32), *(array.frequencies for array in arrays)])
    indices = np.concatenate([np.empty(0, np.uint8), *(array.indices for array in arrays)])
    # A symbol adds a word at most, and the last state has two.
    words = np.empty(len(indices) + 2, np.uint32)
    return words[: _encode(indices, frequencies, starts, counts, _U(first_state), words)]


def decode_stream_to(
    out: npt.NDArray[np.uint8],
    data: npt.NDArray[np.uint8],
    first_byte: int,
    end: int,
    arrays: npt.NDArray[np.int64],
    families: npt.NDArray[np.int64],
) -> bool:
    """Numba implementation of `stgvcodec.ops.ans.decode_stream_to`."""
    n = len(arrays)
    return bool(
        _decode_stream(
            data,
            first_byte,
            end,
            arrays,
            families,
            out,
            np.empty((n, ALPHABET), np.uint32),
            np.empty((n, ALPHABET), np.uint8),
            np.empty(n, np.int64),
            np.empty((end - first_byte) // 4 + 2 + ALPHABET, np.uint32),
            np.empty(1 << LOG2_BUCKETS, np.uint8),
        )
    )


@kernel
def _decode(
    words: npt.NDArray[np.uint32],
    frequencies: npt.NDArray[np.uint32],
    names: npt.NDArray[np.uint8],
    starts: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
    symbols: npt.NDArray[np.uint8],
) -> tuple[np.uint64, np.uint64, int]:
    """Fill `symbols`; return the state, the number of words not read, and how many arrays had frequencies in order."""
    sums = np.empty(257, np.uint32)
    buckets = np.empty(1 << LOG2_BUCKETS, np.uint8)
    state, n_left = start_coder(words)
    crc = CRC_ONES
    first = 0
    for i in range(len(counts)):
        if not fill(frequencies[starts[i] : starts[i + 1]], sums, buckets):
            return state, n_left, i
        array_names = names[starts[i] : starts[i + 1]]
        state, n_left, crc = decode_array(
            state, n_left, crc, words, sums, buckets, array_names, counts[i], symbols, first, 1, 0
        )
        first += counts[i]
    return state, n_left, len(counts)


@kernel
def _encode(
    indices: npt.NDArray[np.uint8],
    frequencies: npt.NDArray[np.uint32],
    starts: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
    state: np.uint64,
    words: npt.NDArray[np.uint32],
) -> int:
    """Fill `words` from the last symbol to the first; return the number of words."""
    below = np.empty(ALPHABET, np.uint32)
    n_words = 0
    position = len(indices)
    for i in range(len(counts) - 1, -1, -1):
        array = frequencies[starts[i] : starts[i + 1]]
        total = 0
        for symbol in range(len(array)):
            below[symbol] = total
            total += array[symbol]
        for _ in range(counts[i]):
            position -= 1
            symbol = indices[position]
            frequency = _U(array[symbol])
            if state >> _FULL >= frequency:
                words[n_words] = state
                n_words += 1
                state = state >> _WORD_BITS
            state = (state // frequency << _PRECISION) + _U(below[symbol]) + state % frequency
    while state > _U(0):
        words[n_words] = state
        n_words += 1
        state = state >> _WORD_BITS
    return n_words


@helper
def start_coder(words: npt.NDArray[np.uint32]) -> tuple[np.uint64, np.uint64]:
    """Return the coder's state before the first symbol, and the number of words left."""
    state = _U(0)
    n_left = _U(len(words))
    for _ in range(2):
        if n_left > _U(0):
            n_left -= _ONE
            state = (state << _WORD_BITS) | _U(words[n_left])
    return state, n_left


@helper
def decode_array(
    state: np.uint64,
    n_left: np.uint64,
    crc: np.uint64,
    words: npt.NDArray[np.uint32],
    sums: npt.NDArray[np.uint32],
    buckets: npt.NDArray[np.uint8],
    names: npt.NDArray[np.uint8],
    n_symbols: int,
    out: npt.NDArray[np.uint8],
    first: int,
    step: int,
    zero: int,
) -> tuple[np.uint64, np.uint64, np.uint64]:
    """Decode `n_symbols` symbols of one model to out[first], out[first + step], ..., less `zero`, modulo 256.

    Returns:
        The state, the number of words left, and the register of the symbols' CRC-32. The CRC-32 costs nothing: it is
        shorter than the chain of states that runs beside it.
    """
    position, stride, offset = _U(first), _U(step), np.uint8(zero)
    for _ in range(n_symbols):
        slot = state & _SLOT_MASK
        index = _U(buckets[slot >> _SHIFT])
        above = _U(sums[index + _ONE])
        # The loop ends at the last symbol at the latest: its sum is 2^24, which no slot reaches.
        while slot >= above:
            index += _ONE
            above = _U(sums[index + _ONE])
        below = _U(sums[index])
        state = (state >> _PRECISION) * (above - below) + (slot - below)
        if state < _WORD and n_left > _U(0):
            n_left -= _ONE
            state = (state << _WORD_BITS) | _U(words[n_left])
        symbol = names[index]
        crc = _CRC_TABLE[(crc ^ symbol) & _CRC_BYTE] ^ (crc >> _CRC_SHIFT)
        out[position] = symbol - offset
        position += stride
    return state, n_left, crc


@helper
def fill(frequencies: npt.NDArray[np.uint32], sums: npt.NDArray[np.uint32], buckets: npt.NDArray[np.uint8]) -> bool:
    """Fill `sums` with the frequencies before each symbol, `buckets` with the symbol of each bucket's first slot.

    Returns:
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


@kernel
def _decode_stream(
    data: npt.NDArray[np.uint8],
    first_byte: int,
    end: int,
    arrays: npt.NDArray[np.int64],
    families: npt.NDArray[np.int64],
    out: npt.NDArray[np.uint8],
    frequencies: npt.NDArray[np.uint32],
    names: npt.NDArray[np.uint8],
    sizes: npt.NDArray[np.int64],
    words: npt.NDArray[np.uint32],
    buckets: npt.NDArray[np.uint8],
) -> bool:
    """Decode a plain stream; the arguments up to `out` are those of `decode_stream_to`.

    The last five are scratch memory: three for the models of the arrays, one for the coder's words and the sums of
    `fill`, one for the buckets of `fill`.

    The kernel does not say what is wrong with a stream, only that something is. Bytes are read below `end` only,
    symbols are below their alphabet, and the slots of symbols have been checked.
    """
    n_coded = 0
    position = first_byte
    for i in range(len(arrays)):
        position, sizes[i] = read_model(data, position, end, arrays[i], families, frequencies[i], names[i], out)
        if position < 0:
            return False
        n_coded += sizes[i]
    n_words = load_words(data, position, end, n_coded > 0, words)
    if n_words < 0:
        return False
    if n_coded == 0:
        return True
    sums = words[n_words:]
    crc = CRC_ONES
    state, n_left = start_coder(words[:n_words])
    for i in range(len(arrays)):
        if sizes[i] > 0:
            if not fill(frequencies[i, : sizes[i]], sums, buckets):
                return False
            slot = arrays[i]
            state, n_left, crc = decode_array(
                state, n_left, crc, words, sums, buckets, names[i], slot[0], out, slot[2], slot[3], slot[4]
            )
    return ends_well(state, n_left, crc)


@helper
def load_words(
    data: npt.NDArray[np.uint8], first_byte: int, end: int, has_coder: bool, words: npt.NDArray[np.uint32]
) -> int:
    """Fill `words` from the bytes of a stream's coder; return the number of words, or a fault."""
    n_bytes = end - first_byte
    if n_bytes > 0 and (data[end - 1] == 0 or not has_coder):
        return FAULT
    n_words = (n_bytes + 3) >> 2
    for i in range(n_words):
        word = np.uint32(0)
        for byte in range(4):
            at = first_byte + 4 * i + byte
            if at < end:
                word |= np.uint32(data[at]) << np.uint32(8 * byte)
        words[i] = word
    return n_words


@helper
def ends_well(state: np.uint64, n_left: np.uint64, crc: np.uint64) -> bool:
    """Whether a coder ends with the check of its symbols, whose CRC register is `crc`, and nothing is left."""
    return n_left == _U(0) and state == ((crc ^ CRC_ONES) & _CHECK_MASK) + _ONE


@helper
def read_model(
    data: npt.NDArray[np.uint8],
    position: int,
    end: int,
    array: npt.NDArray[np.int64],
    families: npt.NDArray[np.int64],
    frequencies: npt.NDArray[np.uint32],
    names: npt.NDArray[np.uint8],
    out: npt.NDArray[np.uint8],
) -> tuple[int, int]:
    """Read an array's model, and its symbols where they are not coded.

    Returns:
        The position behind the model, or a fault; and the number of symbols that have frequencies, which is 0 where the
        array is not coded.
    """
    n_symbols, alphabet, first, step, zero = array[0], array[1], array[2], array[3], array[4]
    mode, parameter, symbol = _UNCODED, _CONSTANT, 0
    if alphabet > 1:
        if position >= end:
            return FAULT, 0
        mode, parameter = np.int64(data[position]) & 3, np.int64(data[position]) >> 2
        position += 1
        if mode == _UNCODED and parameter == _RAW:
            return _read_raw(data, position, end, alphabet, n_symbols, out, first, step, zero), 0
        if mode == _TABLE and not _FIRST_NARROW <= parameter < _FIRST_NARROW + _N_NARROW:
            return _read_table(data, position, end, parameter, alphabet, frequencies, names)
        if (mode == _UNCODED and parameter != _CONSTANT) or position >= end:
            return FAULT, 0
        symbol = np.int64(data[position])
        position += 1
        if symbol >= alphabet:
            return FAULT, 0
    if mode == _UNCODED:
        for i in range(n_symbols):
            out[first + i * step] = symbol - zero
        return position, 0
    family, width = mode - 2, parameter
    if mode == _TABLE:
        family, width = 2, parameter - _FIRST_NARROW
    weights = families[family, width]
    total = _U(0)
    for i in range(alphabet):
        names[i] = i
        total += _U(weights[i - symbol if i > symbol else symbol - i])
    scale, rest = _U(_TOTAL - alphabet), _U(_TOTAL)
    for i in range(alphabet):
        # 2^30 * 2^24 fits 64 bits with room.
        frequency = _ONE + _U(weights[i - symbol if i > symbol else symbol - i]) * scale // total
        frequencies[i] = frequency
        rest -= frequency
    frequencies[symbol] += rest
    return position, alphabet


@helper
def _read_raw(
    data: npt.NDArray[np.uint8],
    position: int,
    end: int,
    alphabet: int,
    n_symbols: int,
    out: npt.NDArray[np.uint8],
    first: int,
    step: int,
    zero: int,
) -> int:
    n_bits = 0
    while 1 << n_bits < alphabet:
        n_bits += 1
    if (n_symbols * n_bits + 7) >> 3 > end - position:
        return FAULT
    held, n_held = 0, 0
    for i in range(n_symbols):
        if n_held < n_bits:
            held = (held << 8 | np.int64(data[position])) & 0xFFFF
            position += 1
            n_held += 8
        n_held -= n_bits
        symbol = (held >> n_held) & ((1 << n_bits) - 1)
        if symbol >= alphabet:
            return FAULT
        out[first + i * step] = symbol - zero
    if held & ((1 << n_held) - 1):
        return FAULT
    return position


@helper
def _read_table(
    data: npt.NDArray[np.uint8],
    position: int,
    end: int,
    log2_total: int,
    alphabet: int,
    frequencies: npt.NDArray[np.uint32],
    names: npt.NDArray[np.uint8],
) -> tuple[int, int]:
    if not 1 <= log2_total <= _MAX_LOG2_TOTAL:
        return FAULT, 0
    # No table is longer than this, so that damage cannot make a longer one.
    stop = position + (alphabet * _MAX_ITEM_BITS >> 3) + 1
    stop = 8 * (stop if stop < end else end)
    bit = 8 * position
    remaining = 1 << log2_total
    symbol, size, order, in_run = 0, 0, 0, False
    while remaining > 0:
        if symbol >= alphabet:
            return FAULT, 0
        # The next Exp-Golomb code is a frequency, or after a frequency of 0 how many more symbols are absent.
        n_more, value = order - 1, 0
        while value == 0 and bit < stop:
            value = np.int64(data[bit >> 3]) >> (7 - (bit & 7)) & 1
            bit += 1
            n_more += 1
        if value == 0 or n_more - order > _MAX_PREFIX or bit + n_more > stop:
            return FAULT, 0
        for _ in range(n_more):
            value = value << 1 | (np.int64(data[bit >> 3]) >> (7 - (bit & 7)) & 1)
            bit += 1
        value -= 1 << order
        if in_run:
            symbol += value + 1
            in_run = False
            continue
        if value > remaining:
            return FAULT, 0
        in_run = value == 0
        order = 0
        if value > 0:
            names[size] = symbol
            frequencies[size] = value << (PRECISION - log2_total)
            size += 1
            symbol += 1
            remaining -= value
            while value >> order:
                order += 1
    if size < 2 or (bit & 7 and data[bit >> 3] & ((1 << (8 - (bit & 7))) - 1)):
        return FAULT, 0
    return (bit + 7) >> 3, size
