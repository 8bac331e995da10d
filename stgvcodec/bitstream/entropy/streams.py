"""Plain streams: each symbol array has the model that costs least, and one ANS coder serves all arrays of a stream.

bitstream_spec.md sections 5.1, 5.2 and 5.5 are the definition. The coder sees integers and integer frequency
tables only.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from stgvcodec.bitstream.entropy.frequency_tables import (
    N_NARROW_WIDTHS,
    all_families,
    family_frequencies,
    read_table,
)
from stgvcodec.bitstream.entropy.models import (
    CONSTANT,
    FAMILIES,
    FIRST_NARROW,
    MODE_BITS,
    RAW,
    TABLE,
    UNCODED,
    Model,
    SymbolArray,
    Symbols,
    choose_model,
    raw_model,
)
from stgvcodec.bitstream.syntax.limits import LIMITS
from stgvcodec.bitstream.syntax.primitives import ByteReader
from stgvcodec.errors import BitstreamError
from stgvcodec.ops.ans import CodedArray, EncodedArray, StreamSlots, ans_decode, ans_encode, decode_stream_to

_START_BITS = 32.0
# So many symbols are decoded in half the time that it takes to wake a thread.
_LARGE_STREAM = 8192

_ALL_SYMBOLS: Symbols = np.arange(LIMITS["alphabet"], dtype=np.uint8)


def encode_stream(arrays: Sequence[tuple[SymbolArray, Symbols]]) -> bytes:
    """Code a plain stream.

    Args:
        arrays: Symbol arrays in decoding order, with their symbols, flat.

    Returns:
        The descriptors of all arrays, then the coder's words.
    """
    models = [choose_model(array, symbols) for array, symbols in arrays]
    if not _is_worth_a_coder(arrays, models):
        models = [
            raw_model(array, symbols) if model.frequencies is not None else model
            for (array, symbols), model in zip(arrays, models, strict=True)
        ]
    modelled = [(model, symbols) for (_, symbols), model in zip(arrays, models, strict=True)]
    return b"".join(model.descriptor for model in models) + write_words(modelled)


def encode_streams(
    arrays: Mapping[str, Sequence[SymbolArray]], symbols: Mapping[str, Sequence[Symbols]]
) -> dict[str, bytes]:
    """Code several plain streams, each by `encode_stream`.

    Args:
        arrays: Symbol arrays of each stream, by the stream's name.
        symbols: Symbols of each of these arrays, by the stream's name; may hold more streams.

    Returns:
        Bytes of each stream, by name.
    """
    return {name: encode_stream(list(zip(of_stream, symbols[name], strict=True))) for name, of_stream in arrays.items()}


def write_words(arrays: Sequence[tuple[Model, Symbols]]) -> bytes:
    """Code the symbols whose model is ANS-coded, with one coder; return its words, or no bytes where no model is."""
    coded = [(model, model.frequencies, symbols) for model, symbols in arrays if model.frequencies is not None]
    if not coded:
        return b""
    arrays_of_indices = [
        EncodedArray(
            symbols if model.symbols is None else np.searchsorted(model.symbols, symbols).astype(np.uint8),
            frequencies.astype(np.uint32),
        )
        for model, frequencies, symbols in coded
    ]
    state = first_state([symbols for _, _, symbols in coded])
    words: bytes = ans_encode(arrays_of_indices, state).astype("<u4").tobytes()
    return words.rstrip(b"\0")


class Decoder(Protocol):
    """One or more streams that are not decoded yet; `run` may be called in any thread, and raises BitstreamError.

    Attributes:
        n_symbols: Number of symbols that `run` decodes, at most: a measure of what it costs.
    """

    n_symbols: int

    def run(self) -> None:
        """Decode every stream to its last byte."""


class StreamDecoder:
    """A `Decoder` of one plain stream.

    Attributes:
        n_symbols: Number of symbols that `run` decodes, at most: a measure of what it costs.
    """

    def __init__(
        self,
        reader: ByteReader,
        arrays: Sequence[SymbolArray],
        slots: StreamSlots,
        out: Symbols,
    ) -> None:
        """Take a stream, and the memory for its symbols.

        Args:
            reader: A reader of exactly the stream's bytes.
            arrays: Symbol arrays in decoding order.
            slots: Strided slots of the arrays in `out`.
            out: Memory that `run` fills. [n] uint8.
        """
        self._reader = reader
        self._arrays = arrays
        self._slots, self._out = slots, out
        self.n_symbols = slots.n_symbols

    def run(self) -> None:
        """Decode the stream to its last byte.

        Raises:
            BitstreamError: a descriptor is not valid, there are more or fewer bytes than it says, or the coder does not
                end where the encoder began.
        """
        reader = self._reader
        data = np.frombuffer(reader.data, np.uint8)
        if not decode_stream_to(self._out, data, reader.position, reader.end, self._slots, all_families()):
            decode_stream_slowly(reader, self._arrays)
            raise AssertionError("the reference takes a stream that the kernel refuses")


Runner = Callable[[Callable[[int], None], int], None]
"""A runner calls `work(i)` for each i in [0, n), on as many threads as it likes, and returns when all are done."""


def in_order(work: Callable[[int], None], n: int) -> None:
    """Call `work(i)` for each i in [0, n), in order: the `Runner` without threads."""
    for i in range(n):
        work(i)


def decode_streams(streams: Iterable[Callable[[], Decoder]], run: Runner) -> None:
    """Decode independent streams; a fault is reported as if they were decoded one after the other.

    Args:
        streams: Functions that open one stream each, in order.
        run: Runner, which decides on threads.

    Raises:
        BitstreamError: a stream has a fault; the error is that of the first such stream.
    """
    decoders = [open_stream() for open_stream in streams]
    faults: dict[int, BitstreamError] = {}
    # The largest stream comes first, so that no thread is left with it at the end. The small ones make one task, as a
    # thread's wake-up costs more than they do.
    order = sorted(range(len(decoders)), key=lambda i: decoders[i].n_symbols, reverse=True)
    n_large = sum(decoder.n_symbols >= _LARGE_STREAM for decoder in decoders)
    tasks = [*([i] for i in order[:n_large]), order[n_large:]]

    def work(task: int) -> None:
        for i in tasks[task]:
            try:
                decoders[i].run()
            except BitstreamError as error:
                faults[i] = error

    run(work, len(tasks))
    if faults:
        raise faults[min(faults)]


def decode_stream_slowly(reader: ByteReader, arrays: Sequence[SymbolArray], *, backend: str = "auto") -> list[Symbols]:
    """The reference of `StreamDecoder`: it knows what is wrong with a stream and where, and returns flat symbols.

    `backend` is that of `stgvcodec.ops.ans.ans_decode`.
    """
    results: list[Symbols] = []
    coded: list[int] = []
    coded_arrays: list[CodedArray] = []
    for array in arrays:
        decoded = read_model(reader, array)
        if isinstance(decoded, Model):
            assert decoded.frequencies is not None
            symbols = _ALL_SYMBOLS[: array.alphabet] if decoded.symbols is None else decoded.symbols
            coded.append(len(results))
            coded_arrays.append(CodedArray(array.n_symbols, decoded.frequencies.astype(np.uint32), symbols))
            results.append(np.empty(0, np.uint8))
        else:
            results.append(decoded)
    words_start = reader.position
    words = take_words(reader, bool(coded_arrays))
    joined, rest = ans_decode(words, coded_arrays, backend=backend)
    if coded_arrays and rest.tolist() != [first_state([joined])]:
        raise wrong_state(reader, words_start)
    start = 0
    for index, coded_array in zip(coded, coded_arrays, strict=True):
        results[index] = joined[start : start + coded_array.n_symbols]
        start += coded_array.n_symbols
    return results


def take_words(reader: ByteReader, has_coder: bool) -> npt.NDArray[np.uint32]:
    """Take the coder's words, which are all that is left of a stream.

    Raises:
        BitstreamError: the last byte is 0, or there are bytes where nothing is coded.
    """
    start = reader.position
    data = reader.take(reader.remaining)
    if data.endswith(b"\0"):
        raise reader.error("the coder's last byte is 0, so bytes are damaged or missing", at=start)
    if data and not has_coder:
        raise reader.error(f"{len(data)} bytes more than the models need", at=start)
    return np.frombuffer(data + bytes(-len(data) % 4), "<u4").astype(np.uint32, copy=False)


def wrong_state(reader: ByteReader, words_start: int) -> BitstreamError:
    """The error for a coder that does not end with its check."""
    return reader.error("the coder ends in a wrong state, so bytes are damaged or missing", at=words_start)


def first_state(coded_symbols: Sequence[Symbols]) -> int:
    """The check of the symbols of a coder, from which its encoder starts."""
    # The first symbol takes 24 bits from an empty coder and from this one alike. A coder that has run dry can end
    # empty, and one that starts at a wrong word can fall into step again: the symbols' checksum shows both.
    checksum = 0
    for symbols in coded_symbols:
        checksum = zlib.crc32(symbols.tobytes(), checksum)
    return (checksum & 0xFFFF) + 1


def read_model(reader: ByteReader, array: SymbolArray) -> Model | Symbols:
    """Read the model of an array, or its symbols where they are not coded.

    Raises:
        BitstreamError: the model is not valid.
    """
    if array.alphabet == 1:
        return np.zeros(array.n_symbols, np.uint8)
    start = reader.position
    byte = reader.u8()
    mode, parameter = byte & 3, byte >> MODE_BITS
    if mode == UNCODED and parameter == CONSTANT:
        return np.full(array.n_symbols, _read_symbol(reader, array), np.uint8)
    if mode == UNCODED and parameter == RAW:
        return _read_raw(reader, array)
    if mode == TABLE and 1 <= parameter <= LIMITS["table_log2_total"]:
        symbols, frequencies = read_table(reader, parameter, array.alphabet)
        return Model(b"", 0.0, frequencies, symbols)
    if mode == TABLE and FIRST_NARROW <= parameter < FIRST_NARROW + N_NARROW_WIDTHS:
        centre = _read_symbol(reader, array)
        return Model(b"", 0.0, family_frequencies("narrow", parameter - FIRST_NARROW, centre, array.alphabet))
    if mode in FAMILIES:
        centre = _read_symbol(reader, array)
        return Model(b"", 0.0, family_frequencies(FAMILIES[mode], parameter, centre, array.alphabet))
    raise reader.error(f"{array.name}: model byte {byte} is not defined", at=start)


def _read_symbol(reader: ByteReader, array: SymbolArray) -> int:
    start = reader.position
    symbol = reader.u8()
    if symbol >= array.alphabet:
        raise reader.error(
            f"{array.name}: symbol {symbol} is outside the alphabet of {array.alphabet} symbols", at=start
        )
    return symbol


def _read_raw(reader: ByteReader, array: SymbolArray) -> Symbols:
    start = reader.position
    n_bits = array.raw_bits
    packed = np.frombuffer(reader.take((array.n_symbols * n_bits + 7) // 8), np.uint8)
    if n_bits == 8:
        symbols = packed
    else:
        bits = np.unpackbits(packed)
        if bits[array.n_symbols * n_bits :].any():
            raise reader.error(f"{array.name}: raw symbols are padded with bits other than 0", at=start)
        symbols = np.zeros(array.n_symbols, np.uint8)
        for column in bits[: array.n_symbols * n_bits].reshape(array.n_symbols, n_bits).T:
            symbols = (symbols << np.uint8(1)) | column
    if array.alphabet < 1 << n_bits and int(symbols.max()) >= array.alphabet:
        raise reader.error(f"{array.name}: a raw symbol is outside the alphabet of {array.alphabet} symbols", at=start)
    return symbols


def _is_worth_a_coder(arrays: Sequence[tuple[SymbolArray, Symbols]], models: Sequence[Model]) -> bool:
    saved_bits = sum(
        array.raw_cost_bits - model.bits
        for (array, _), model in zip(arrays, models, strict=True)
        if model.frequencies is not None
    )
    return saved_bits > _START_BITS
