"""The entropy coder of bitstream_spec.md section 5: symbols to words, words to symbols, or a stream into memory.

It needs no torch, since the file format is read without torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from stgvcodec.errors import BackendUnavailableError

PRECISION = 24
"""The frequencies of an array sum to 2^24."""


class CodedArray(NamedTuple):
    """Symbols that are coded with the same frequencies.

    Attributes:
        n_symbols: Number of symbols.
        frequencies: Frequencies of the symbols that may occur, 2 to 256 of them, each at least 1; they sum to 2^24.
            [n] uint32.
        symbols: The symbol of each frequency. [n] uint8.
    """

    n_symbols: int
    frequencies: npt.NDArray[np.uint32]
    symbols: npt.NDArray[np.uint8]


class EncodedArray(NamedTuple):
    """Symbols that are to be coded with the same frequencies.

    Attributes:
        indices: For each symbol, the index of its frequency. [n_symbols] uint8.
        frequencies: Frequencies as in `CodedArray`. [n] uint32.
    """

    indices: npt.NDArray[np.uint8]
    frequencies: npt.NDArray[np.uint32]


class AnsResult(NamedTuple):
    """The symbols that were decoded, and what is left in the coder.

    Attributes:
        symbols: Symbols of all arrays, in order. [sum of n_symbols] uint8.
        rest: The words still in the coder: what it has not read, then its state without leading zero words. [n] uint32.
    """

    symbols: npt.NDArray[np.uint8]
    rest: npt.NDArray[np.uint32]


def ans_decode(words: npt.NDArray[np.uint32], arrays: Sequence[CodedArray], *, backend: str = "auto") -> AnsResult:
    """Decode the arrays of a stream with one coder.

    Any words give symbols of the arrays' alphabets: once they run out, the state shrinks and decoding goes on. Whether
    the words were intact shows in `rest`.

    Args:
        words: Words in file order; the decoder begins with the last one, which is not 0. [W] uint32, W >= 0.
        arrays: Symbol arrays in decoding order.
        backend: "auto", "numba" or "reference"; there is no other.

    Returns:
        The symbols, and what is left in the coder.

    Raises:
        ValueError: a shape or dtype differs from the above, the last word is 0, or frequencies do not sum to 2^24.
        BackendUnavailableError: there is no such back end.
    Deterministic: yes; integers only. numba releases the GIL.
    """
    _check(words, arrays)
    return _coder("numba" if backend == "auto" else backend).ans_decode(words, arrays)


def ans_encode(arrays: Sequence[EncodedArray], first_state: int, *, backend: str = "auto") -> npt.NDArray[np.uint32]:
    """Code the arrays of a stream with one coder.

    Args:
        arrays: Symbol arrays in decoding order.
        first_state: State from which the coder begins, where a decoder ends; 1 to 2^32 - 1.
        backend: "numba", "reference", or "auto": the reference where it is constriction, else numba.

    Returns:
        Words in file order, of which the last is not 0. [W] uint32.

    Raises:
        ValueError: a shape or dtype differs from the above, frequencies do not sum to 2^24, or an index has no
            frequency.
        BackendUnavailableError: there is no such back end.
    Deterministic: yes, the words are the same on every back end and machine. numba releases the GIL.
    """
    _check_encoded(arrays, first_state)
    if backend == "auto":
        backend = "reference" if has_constriction() else "numba"
    return _coder(backend).ans_encode(arrays, first_state)


class ArraySlot(NamedTuple):
    """A symbol array and its strided slots: symbol i goes to byte first + i * step, less `zero`, modulo 256."""

    n_symbols: int
    alphabet: int
    first: int
    step: int = 1
    zero: int = 0


class StreamSlots:
    """The symbol arrays of a plain stream with their slots, checked once for many streams.

    Attributes:
        rows: The `ArraySlot` of each array. [C, 5] int64, read-only.
        n_bytes: Number of bytes in which the slots lie.
        n_symbols: Number of symbols of all arrays.

    Raises:
        ValueError: an alphabet does not have 1 to 256 symbols, or a slot is below 0.
    """

    def __init__(self, arrays: Sequence[ArraySlot]) -> None:
        for i, (n_symbols, alphabet, first, step, zero) in enumerate(arrays):
            if n_symbols < 0 or not 1 <= alphabet <= 256 or first < 0 or step < 1 or not 0 <= zero < 256:
                raise ValueError(
                    f"array {i} is {tuple(arrays[i])}, expected 1 to 256 symbols in its alphabet and slots from 0"
                )
        self.rows = np.array(arrays, np.int64).reshape(-1, len(ArraySlot._fields))
        self.rows.flags.writeable = False
        self.n_bytes = max((c.first + (c.n_symbols - 1) * c.step + 1 for c in arrays if c.n_symbols), default=0)
        self.n_symbols = sum(c.n_symbols for c in arrays)


def decode_stream_to(
    out: npt.NDArray[np.uint8],
    data: npt.NDArray[np.uint8],
    start: int,
    end: int,
    arrays: StreamSlots,
    families: npt.NDArray[np.int64],
) -> bool:
    """Decode a plain stream, models and checksum included, with numba and without the GIL.

    The reference, which also says what is wrong with a stream, is `decode_stream_slowly` of
    `stgvcodec.bitstream.entropy.streams`.

    Args:
        out: Memory for the symbols. [n] uint8, contiguous; where the stream is refused, its content is not to be used.
        data: Bytes in which the stream lies. [B] uint8, read-only.
        start: Offset of the stream's first byte in `data`.
        end: Offset one past the stream's last byte.
        arrays: Symbol arrays in decoding order, with their slots in `out`.
        families: Weights of the geometric, the normal and the narrow family by width and distance, 1 at least at
            distance 0, 2^30 at most. [3, 64, 256] int64, read-only.

    Returns:
        Whether the stream is in order to its last byte.

    Raises:
        ValueError: the arrays need more than `out`, or the stream does not lie inside `data`.
    Deterministic: yes; integers only.
    """
    from stgvcodec.ops.ans import numba_kernel

    if not 0 <= start <= end <= len(data):
        raise ValueError(f"the stream is bytes {start} to {end} of {len(data)}, expected it inside")
    if arrays.n_bytes > len(out):
        raise ValueError(f"the arrays fill {arrays.n_bytes} bytes, expected {len(out)} at most")
    return numba_kernel.decode_stream_to(out, data, start, end, arrays.rows, families)


class StridedSlot(NamedTuple):
    """Strided slots of one symbol of each item: the symbol of item i is byte first + i * step."""

    first: int
    step: int


class AttributeSlot(NamedTuple):
    """An attribute of a conditional stream.

    The class of an item follows from its context, min(255, sum of the symbols of `context_of`), which are decoded
    before.
    """

    alphabet: int
    column: StridedSlot
    context_of: tuple[StridedSlot, ...] = ()


class AttributeSlots:
    """The attributes of a conditional stream, checked once for many streams.

    Attributes:
        rows: Alphabet, column and two context columns of each attribute; a context column that is not there is (0, 0).
            [A, 7] int64, read-only.

    Raises:
        ValueError: an alphabet does not have 1 to 256 symbols, a context has more than two slots, or a slot is below 0.
    """

    def __init__(self, attributes: Sequence[AttributeSlot]) -> None:
        rows: list[tuple[int, ...]] = []
        for i, (alphabet, column, context_of) in enumerate(attributes):
            columns = (column, *context_of)
            if not 1 <= alphabet <= 256 or len(context_of) > 2 or any(c.first < 0 or c.step < 1 for c in columns):
                raise ValueError(
                    f"attribute {i} is {tuple(attributes[i])}, expected 1 to 256 symbols, 2 context slots at most, "
                    "slots from 0 and steps from 1"
                )
            numbers = [number for c in columns for number in c]
            rows.append((alphabet, *numbers, *[0] * (6 - len(numbers))))
        self.rows = np.array(rows, np.int64).reshape(-1, 7)
        self.rows.flags.writeable = False

    def n_bytes(self, n_items: int) -> int:
        """Number of bytes in which the columns of all attributes lie."""
        columns = self.rows[:, 1:].reshape(-1, 2)
        return int((columns[:, 0] + (n_items - 1) * columns[:, 1]).max(initial=-1)) + 1 if n_items else 0


def decode_conditional_to(
    out: npt.NDArray[np.uint8],
    data: npt.NDArray[np.uint8],
    start: int,
    end: int,
    n_items: int,
    attributes: AttributeSlots,
    families: npt.NDArray[np.int64],
) -> bool:
    """Decode a conditional stream, models and checksum included, with numba and without the GIL.

    The reference, which also says what is wrong with a stream, is `decode_conditional_slowly` of
    `stgvcodec.bitstream.entropy.conditional`.

    Args:
        out: Memory for the symbols; it holds context symbols of earlier streams already. [n] uint8, contiguous; where
            the stream is refused, its content is not to be used.
        data: Bytes in which the stream lies. [B] uint8, read-only.
        start: Offset of the stream's first byte in `data`.
        end: Offset one past the stream's last byte.
        n_items: Number of symbols of each attribute.
        attributes: Attributes in decoding order, with their columns in `out`.
        families: Weights of the families, as `decode_stream_to` takes them. [3, 64, 256] int64, read-only.

    Returns:
        Whether the stream is in order to its last byte.

    Raises:
        ValueError: the attributes need more than `out`, or the stream does not lie inside `data`.
    Deterministic: yes; integers only.
    """
    from stgvcodec.ops.ans import numba_conditional

    if not 0 <= start <= end <= len(data):
        raise ValueError(f"the stream is bytes {start} to {end} of {len(data)}, expected it inside")
    if attributes.n_bytes(n_items) > len(out):
        raise ValueError(f"the attributes lie in {attributes.n_bytes(n_items)} bytes, expected {len(out)} at most")
    return numba_conditional.decode_conditional_to(out, data, start, end, n_items, attributes.rows, families)


class _Coder(Protocol):
    """What the module of a back end has."""

    def ans_decode(self, words: npt.NDArray[np.uint32], arrays: Sequence[CodedArray]) -> AnsResult: ...

    def ans_encode(self, arrays: Sequence[EncodedArray], first_state: int) -> npt.NDArray[np.uint32]: ...


@cache
def has_constriction() -> bool:
    """Whether constriction is installed; it has no wheel for Linux on arm64."""
    return find_spec("constriction") is not None


def _coder(backend: str) -> _Coder:
    """The module of a back end. It is imported at its first use: `stgvcodec info` reads headers only."""
    if backend == "numba":
        from stgvcodec.ops.ans import numba_kernel

        return numba_kernel
    if backend != "reference":
        raise BackendUnavailableError(f"backend '{backend}' does not code ANS; choose one of auto, numba, reference")
    if has_constriction():
        from stgvcodec.ops.ans import reference

        return reference
    from stgvcodec.ops.ans import integers

    return integers


def _check(words: npt.NDArray[np.uint32], arrays: Sequence[CodedArray]) -> None:
    if words.dtype != np.uint32 or words.ndim != 1:
        raise ValueError(f"words are {words.dtype} {list(words.shape)}, expected uint32 [W]")
    if len(words) and not words[-1]:
        raise ValueError("the last word is 0, expected words without zeros at the end; strip them")
    for i, (n_symbols, frequencies, symbols) in enumerate(arrays):
        if n_symbols < 0:
            raise ValueError(f"array {i} has {n_symbols} symbols, expected 0 at least")
        _check_frequencies(i, frequencies)
        if symbols.dtype != np.uint8 or symbols.shape != frequencies.shape:
            raise ValueError(
                f"symbols of array {i} are {symbols.dtype} {list(symbols.shape)}, expected uint8 "
                f"{list(frequencies.shape)}"
            )


def _check_encoded(arrays: Sequence[EncodedArray], first_state: int) -> None:
    if not 0 < first_state < 1 << 32:
        raise ValueError(f"the first state is {first_state}, expected 1 to 2^32 - 1")
    for i, (indices, frequencies) in enumerate(arrays):
        if indices.dtype != np.uint8 or indices.ndim != 1:
            raise ValueError(f"indices of array {i} are {indices.dtype} {list(indices.shape)}, expected uint8 [n]")
        _check_frequencies(i, frequencies)
        if int(frequencies.sum(dtype=np.uint64)) != 1 << PRECISION or not frequencies.all():
            raise sum_error(i)
        if len(indices) and int(indices.max()) >= len(frequencies):
            raise ValueError(
                f"array {i} has index {int(indices.max())}, expected indices below {len(frequencies)}, which is the "
                "number of frequencies"
            )


def _check_frequencies(index: int, frequencies: npt.NDArray[np.uint32]) -> None:
    shape = frequencies.shape
    if frequencies.dtype != np.uint32 or frequencies.ndim != 1 or not 2 <= shape[0] <= 256:
        raise ValueError(
            f"frequencies of array {index} are {frequencies.dtype} {list(shape)}, expected uint32 [n], 2 <= n <= 256"
        )


def sum_error(index: int) -> ValueError:
    """The error for frequencies that are no distribution; each back end checks them as it goes over them."""
    return ValueError(f"frequencies of array {index} do not sum to 2^{PRECISION} with 1 at least each; normalise them")


def is_compiled() -> bool:
    """Whether numba keeps a compiled form of the kernels on the disk; it may be that of another version."""
    from stgvcodec.ops.ans import numba_conditional

    return numba_conditional.is_compiled()
