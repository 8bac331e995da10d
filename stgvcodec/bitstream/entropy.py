"""Streams of integers to bytes and back: a context picks the cheapest of five models, an ANS coder serves a stream.

bitstream_spec.md section "Entropy coder" is the definition. The coder sees integers and integer frequency tables only.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import constriction
import numpy as np
import numpy.typing as npt

from stgvcodec.bitstream.frequencies import (
    N_WIDTHS,
    PRECISION,
    Frequencies,
    family_frequencies,
    normalise,
    pack_table,
    read_table,
)
from stgvcodec.bitstream.limits import LIMITS
from stgvcodec.bitstream.primitives import ByteReader
from stgvcodec.errors import BitstreamError
from stgvcodec.ops.ans import AnsRun, ans_decode

_UNCODED, _TABLE, _GEOMETRIC, _NORMAL = range(4)
_CONSTANT, _RAW = range(2)
_FAMILIES = {_GEOMETRIC: "geometric", _NORMAL: "normal"}
_MODE_BITS = 2
_TABLE_TOTALS = range(6, 14)
_COARSE_STEP = 4
_START_BITS = 32.0
# Decoded in half the time that it takes to wake a thread.
_LARGE_STREAM = 8192

Symbols = npt.NDArray[np.uint8]
_ALL_SYMBOLS: Symbols = np.arange(LIMITS["alphabet"], dtype=np.uint8)


@dataclass(frozen=True)
class Context:
    """What the decoder knows of a run of symbols before it reads them.

    Attributes:
        name: For error messages.
        n_symbols: How many, at least 1.
        alphabet: Symbols are 0 to alphabet - 1; at most 256. An alphabet of one symbol takes no bytes at all.
    """

    name: str
    n_symbols: int
    alphabet: int

    @property
    def raw_bits(self) -> int:
        """Bits of a symbol that is not coded."""
        return (self.alphabet - 1).bit_length()

    @property
    def raw_cost_bits(self) -> float:
        """Bits of the run where it is not coded, model byte included."""
        return 8.0 + self.n_symbols * self.raw_bits


@dataclass(frozen=True)
class _Model:
    """A context's model: its bytes in the stream, and how the coder sees its symbols."""

    descriptor: bytes
    bits: float
    frequencies: Frequencies | None = None  # None: nothing of it goes to the coder
    symbols: Symbols | None = None  # the coded alphabet where it is not 0..n - 1


def encode_stream(contexts: Sequence[tuple[Context, Symbols]]) -> bytes:
    """Code a stream.

    Args:
        contexts: Contexts in decoding order, with their symbols, flat.

    Returns:
        The descriptors of all contexts, then the coder's words.
    """
    models = [_choose(context, symbols) for context, symbols in contexts]
    if not _is_worth_a_coder(contexts, models):
        models = [
            _raw_model(context, symbols) if model.frequencies is not None else model
            for (context, symbols), model in zip(contexts, models, strict=True)
        ]
        return b"".join(model.descriptor for model in models)
    coded_symbols = [
        symbols for (_, symbols), model in zip(contexts, models, strict=True) if model.frequencies is not None
    ]
    coder = constriction.stream.stack.AnsCoder(np.array([_first_state(coded_symbols)], np.uint32))
    for (_, symbols), model in zip(reversed(contexts), reversed(models), strict=True):
        if model.frequencies is None:
            continue
        coded = symbols if model.symbols is None else np.searchsorted(model.symbols, symbols)
        coder.encode_reverse(coded.astype(np.int32), _categorical(model.frequencies))
    words: bytes = coder.get_compressed().astype("<u4").tobytes()
    return b"".join(model.descriptor for model in models) + words.rstrip(b"\0")


class StreamDecoder:
    """A stream whose models are read and whose symbols are not decoded yet; `run` may be called in any thread.

    Attributes:
        n_coded: Symbols that the coder holds: what `run` costs.
    """

    def __init__(self, reader: ByteReader, contexts: Sequence[Context]) -> None:
        """Read the models of a stream, and take its words.

        Args:
            reader: Exactly the stream's bytes.
            contexts: Contexts in order.

        Raises:
            BitstreamError: a descriptor is not valid, or there are more or fewer bytes than it says.
        """
        self._reader = reader
        self._results: list[Symbols] = []
        self._coded: list[int] = []
        self._runs: list[AnsRun] = []
        for context in contexts:
            decoded = _read_model(reader, context)
            if isinstance(decoded, _Model):
                assert decoded.frequencies is not None
                symbols = _ALL_SYMBOLS[: context.alphabet] if decoded.symbols is None else decoded.symbols
                self._coded.append(len(self._results))
                self._runs.append(AnsRun(context.n_symbols, decoded.frequencies.astype(np.uint32), symbols))
                self._results.append(np.empty(0, np.uint8))
            else:
                self._results.append(decoded)
        self._words_start = reader.position
        words = reader.take(reader.remaining)
        if words.endswith(b"\0"):
            raise reader.error("the coder's last byte is 0, so bytes are damaged or missing", at=self._words_start)
        if words and not self._runs:
            raise reader.error(f"{len(words)} bytes more than the models need", at=self._words_start)
        self._words = np.frombuffer(words + bytes(-len(words) % 4), "<u4").astype(np.uint32, copy=False)
        self.n_coded = sum(run.n_symbols for run in self._runs)

    def run(self) -> list[Symbols]:
        """Decode the stream to its last byte.

        Returns:
            The symbols of each context, flat.

        Raises:
            BitstreamError: the coder does not end where the encoder began.
        """
        if not self._runs:
            return self._results
        coded, rest = ans_decode(self._words, self._runs)
        if rest.tolist() != [_first_state([coded])]:
            raise self._reader.error(
                "the coder ends in a wrong state, so bytes are damaged or missing", at=self._words_start
            )
        start = 0
        for index, run in zip(self._coded, self._runs, strict=True):
            self._results[index] = coded[start : start + run.n_symbols]
            start += run.n_symbols
        return self._results


Runner = Callable[[Callable[[int], None], int], None]
"""Calls `work(i)` for each i in [0, n), on as many threads as it likes, and returns when all are done."""


def decode_streams(streams: Iterable[Callable[[], StreamDecoder]], run: Runner) -> list[list[Symbols]]:
    """Decode independent streams, with the errors of decoding one after the other.

    Args:
        streams: Each reads the models of a stream, in order.
        run: Decides on threads.

    Returns:
        The symbols of each context of each stream, flat.

    Raises:
        BitstreamError: of the first stream that has a fault.
    """
    decoders: list[StreamDecoder] = []
    fault: BitstreamError | None = None
    for open_stream in streams:
        try:
            decoders.append(open_stream())
        except BitstreamError as error:
            fault = error  # a stream before may have one that only its end shows
            break
    results: list[list[Symbols] | BitstreamError] = [[] for _ in decoders]
    # The largest first, so that no thread is left with it at the end; small ones together, as a thread's wake-up costs
    # more than they do.
    order = sorted(range(len(decoders)), key=lambda i: decoders[i].n_coded, reverse=True)
    n_large = sum(decoder.n_coded >= _LARGE_STREAM for decoder in decoders)
    tasks = [*([i] for i in order[:n_large]), order[n_large:]]

    def work(task: int) -> None:
        for i in tasks[task]:
            try:
                results[i] = decoders[i].run()
            except BitstreamError as error:
                results[i] = error

    run(work, len(tasks))
    decoded: list[list[Symbols]] = []
    for result in results:
        if isinstance(result, BitstreamError):
            raise result
        decoded.append(result)
    if fault is not None:
        raise fault
    return decoded


def decode_stream(reader: ByteReader, contexts: Sequence[Context]) -> list[Symbols]:
    """Decode one stream to its last byte.

    Args:
        reader: Exactly the stream's bytes.
        contexts: Contexts in order.

    Returns:
        The symbols of each context, flat.

    Raises:
        BitstreamError: a descriptor is not valid, or the coder does not end where the encoder began.
    """
    return StreamDecoder(reader, contexts).run()


def _first_state(coded_symbols: Sequence[Symbols]) -> int:
    # The first symbol takes 24 bits from an empty coder and from this one alike. A coder that has run dry can end
    # empty, and one that starts at a wrong word can fall into step again: the symbols' checksum shows both.
    checksum = 0
    for symbols in coded_symbols:
        checksum = zlib.crc32(symbols.tobytes(), checksum)
    return (checksum & 0xFFFF) + 1


def _categorical(frequencies: Frequencies) -> constriction.stream.model.Categorical:
    # constriction adds 1 to every entry and scales the rest to fill 2^24: for f - 1 the scale is exactly 1
    return constriction.stream.model.Categorical((frequencies - 1).astype(np.float64), perfect=False)


def _read_model(reader: ByteReader, context: Context) -> _Model | Symbols:
    """A coded context's model, or the symbols of one that is not coded."""
    if context.alphabet == 1:
        return np.zeros(context.n_symbols, np.uint8)
    start = reader.position
    byte = reader.u8()
    mode, parameter = byte & 3, byte >> _MODE_BITS
    if mode == _UNCODED and parameter == _CONSTANT:
        return np.full(context.n_symbols, _read_symbol(reader, context), np.uint8)
    if mode == _UNCODED and parameter == _RAW:
        return _read_raw(reader, context)
    if mode == _TABLE and 1 <= parameter <= LIMITS["table_log2_total"]:
        symbols, frequencies = read_table(reader, parameter, context.alphabet)
        return _Model(b"", 0.0, frequencies, symbols)
    if mode in _FAMILIES:
        centre = _read_symbol(reader, context)
        return _Model(b"", 0.0, family_frequencies(_FAMILIES[mode], parameter, centre, context.alphabet))
    raise reader.error(f"{context.name}: model byte {byte} is not defined", at=start)


def _read_symbol(reader: ByteReader, context: Context) -> int:
    start = reader.position
    symbol = reader.u8()
    if symbol >= context.alphabet:
        raise reader.error(
            f"{context.name}: symbol {symbol} is outside the alphabet of {context.alphabet} symbols", at=start
        )
    return symbol


def _read_raw(reader: ByteReader, context: Context) -> Symbols:
    start = reader.position
    n_bits = context.raw_bits
    packed = np.frombuffer(reader.take((context.n_symbols * n_bits + 7) // 8), np.uint8)
    if n_bits == 8:
        symbols = packed
    else:
        bits = np.unpackbits(packed)
        if bits[context.n_symbols * n_bits :].any():
            raise reader.error(f"{context.name}: raw symbols are padded with bits other than 0", at=start)
        symbols = np.zeros(context.n_symbols, np.uint8)
        for column in bits[: context.n_symbols * n_bits].reshape(context.n_symbols, n_bits).T:
            symbols = (symbols << np.uint8(1)) | column
    if context.alphabet < 1 << n_bits and int(symbols.max()) >= context.alphabet:
        raise reader.error(
            f"{context.name}: a raw symbol is outside the alphabet of {context.alphabet} symbols", at=start
        )
    return symbols


def _raw_model(context: Context, symbols: Symbols) -> _Model:
    rows = np.unpackbits(symbols[:, None], axis=1)[:, 8 - context.raw_bits :]
    return _Model(bytes([_UNCODED | _RAW << _MODE_BITS]) + np.packbits(rows).tobytes(), context.raw_cost_bits)


def _is_worth_a_coder(contexts: Sequence[tuple[Context, Symbols]], models: Sequence[_Model]) -> bool:
    saved_bits = sum(
        context.raw_cost_bits - model.bits
        for (context, _), model in zip(contexts, models, strict=True)
        if model.frequencies is not None
    )
    return saved_bits > _START_BITS


def _choose(context: Context, symbols: Symbols) -> _Model:
    """The cheapest model of a context. Its cost may be estimated in floats: only the encoder decides here."""
    if context.alphabet == 1:
        return _Model(b"", 0.0)
    counts = np.bincount(symbols, minlength=context.alphabet).astype(np.int64)
    present = np.flatnonzero(counts)
    if len(present) == 1:
        return _Model(bytes([_UNCODED | _CONSTANT << _MODE_BITS, int(present[0])]), 16.0)
    raw_cost = context.raw_cost_bits
    best = min((_fit_family(mode, counts, present) for mode in _FAMILIES), key=lambda model: model.bits)
    best = _fit_table(counts, present, min(best.bits, raw_cost)) or best
    if best.bits < raw_cost:
        return best
    return _raw_model(context, symbols)


def _fit_family(mode: int, counts: npt.NDArray[np.int64], present: npt.NDArray[np.int64]) -> _Model:
    alphabet = len(counts)
    n_symbols = int(counts.sum())
    if mode == _GEOMETRIC:  # the median
        centre = int(np.searchsorted(np.cumsum(counts), (n_symbols + 1) // 2))
    else:  # the mean
        centre = (2 * int(counts @ np.arange(alphabet)) + n_symbols) // (2 * n_symbols)
    occurring = counts[present]

    def costs(widths: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        frequencies = family_frequencies(_FAMILIES[mode], widths, centre, alphabet)[:, present]
        return np.asarray(16.0 + (PRECISION - np.log2(frequencies)) @ occurring, np.float64)

    coarse = np.arange(0, N_WIDTHS, _COARSE_STEP)
    around = int(coarse[costs(coarse).argmin()])
    fine = np.arange(max(0, around - _COARSE_STEP + 1), min(N_WIDTHS, around + _COARSE_STEP))
    fine_costs = costs(fine)
    width = int(fine[fine_costs.argmin()])
    return _Model(
        bytes([mode | width << _MODE_BITS, centre]),
        float(fine_costs.min()),
        family_frequencies(_FAMILIES[mode], width, centre, alphabet),
    )


def _fit_table(counts: npt.NDArray[np.int64], present: npt.NDArray[np.int64], to_beat: float) -> _Model | None:
    """The cheapest transmitted table, None if none costs less than `to_beat` bits."""
    occurring = counts[present]
    entropy = float(occurring @ (np.log2(occurring.sum()) - np.log2(occurring)))
    best: _Model | None = None
    for log2_total in _TABLE_TOTALS:
        # the shortest code of an entry is one bit, of a typical one three
        if 1 << log2_total < 2 * len(present) or entropy + 3.0 * len(present) >= to_beat:
            continue
        frequencies = normalise(counts, log2_total)
        used = frequencies[present]
        payload = float(occurring @ (log2_total - np.log2(used)))
        if payload + 3.0 * len(present) >= to_beat:
            continue
        descriptor = bytes([_TABLE | log2_total << _MODE_BITS]) + pack_table(frequencies)
        bits = payload + 8.0 * len(descriptor)
        if bits >= to_beat:
            if best:  # finer totals only make the table longer
                break
            continue
        to_beat = bits
        best = _Model(descriptor, bits, used << (PRECISION - log2_total), present.astype(np.uint8))
    return best
