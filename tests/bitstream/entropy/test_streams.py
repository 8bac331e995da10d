from __future__ import annotations

from functools import partial

import independent_decoder
import numpy as np
import pytest
from spec_tables import cells_after

from stgvcodec.bitstream.entropy import streams as entropy
from stgvcodec.bitstream.entropy.streams import (
    StreamDecoder,
    SymbolArray,
    decode_stream_slowly,
    decode_streams,
    encode_stream,
)
from stgvcodec.bitstream.syntax.primitives import ByteReader
from stgvcodec.errors import BitstreamError
from stgvcodec.ops.ans import ArraySlot, CodedArray, StreamSlots, ans_decode
from stgvcodec.ops.threads import run_chunks

TOTAL = 2**24


def integer_table(rng, kind, alphabet):
    """Integer frequencies, at least 1 each, that sum to 2^24."""
    if kind == "smooth":
        cuts = np.sort(rng.choice(TOTAL - 1, alphabet - 1, replace=False) + 1)
        return np.diff(np.concatenate([[0], cuts, [TOTAL]]))
    frequencies = np.ones(alphabet, np.int64)
    if kind == "one dominates":
        frequencies[rng.integers(alphabet)] += TOTAL - alphabet
    else:
        weights = rng.gamma(0.05, 1, alphabet)
        frequencies += (weights / weights.sum() * (TOTAL - alphabet)).astype(np.int64)
        frequencies[rng.integers(alphabet)] += TOTAL - frequencies.sum()
    return frequencies


@pytest.mark.parametrize("kind", ["smooth", "one dominates", "skewed"])
def test_constriction_reproduces_integer_tables_exactly(kind):
    constriction = pytest.importorskip("constriction")
    rng = np.random.default_rng(7)
    for trial in range(70):
        alphabet = [2, 3, 256][trial] if trial < 3 else int(rng.integers(2, 257))
        frequencies = integer_table(rng, kind, alphabet)
        symbols = rng.integers(0, alphabet, 300).astype(np.int32)  # rare ones too, which would show a shifted boundary
        first_state = independent_decoder.first_state(symbols.tolist())
        coder = constriction.stream.stack.AnsCoder(np.array([first_state], np.uint32))
        model = constriction.stream.model.Categorical((frequencies - 1).astype(np.float64), perfect=False)
        coder.encode_reverse(symbols, model)
        decoded = independent_decoder.ans_decode(coder.get_compressed().tolist(), [(300, frequencies.tolist())])
        assert decoded == [symbols.tolist()]


@pytest.mark.parametrize("row", cells_after("ANS test values:"), ids=lambda row: row[2])
def test_ans_values_of_the_spec(row):
    frequencies, symbols = ([int(value) for value in cell.split()] for cell in row[:2])
    words = [int(word, 16) for word in row[2].split()]
    assert independent_decoder.ans_decode(words, [(len(symbols), frequencies)]) == [symbols]
    array = CodedArray(len(symbols), np.array(frequencies, np.uint32), np.arange(len(frequencies), dtype=np.uint8))
    for backend in ("numba", "reference"):
        decoded, rest = ans_decode(np.array(words, np.uint32), [array], backend=backend)
        assert decoded.tolist() == symbols
        assert rest.tolist() == [independent_decoder.first_state(symbols)]


ARRAYS = {
    "constant": lambda rng: (np.full(1000, 200, np.uint8), 256),
    "uniform bytes": lambda rng: (rng.integers(0, 256, 5000).astype(np.uint8), 256),
    "uniform over 8": lambda rng: (rng.integers(0, 8, 41).astype(np.uint8), 8),
    "uniform over 6": lambda rng: (rng.integers(0, 6, 40).astype(np.uint8), 6),
    "few laplace": lambda rng: (np.clip(np.rint(rng.laplace(100, 3, 30)), 0, 255).astype(np.uint8), 256),
    "many normal": lambda rng: (np.clip(np.rint(rng.normal(90, 9, 500)), 0, 255).astype(np.uint8), 256),
    "two peaks": lambda rng: (rng.choice(np.array([0, 1, 200, 255], np.uint8), 3000, p=[0.4, 0.1, 0.2, 0.3]), 256),
    "one symbol alphabet": lambda rng: (np.zeros(17, np.uint8), 1),
    "a single symbol": lambda rng: (np.array([3], np.uint8), 5),
    "bits": lambda rng: ((rng.random(999) < 0.03).astype(np.uint8), 2),
}
MODES = {
    "constant": 0 | 0 << 2,
    "uniform bytes": 0 | 1 << 2,
    "uniform over 8": 0 | 1 << 2,
    "few laplace": 2,
    "many normal": 3,
    "two peaks": 1,
}


def filled_array(name):
    symbols, alphabet = ARRAYS[name](np.random.default_rng(3))
    return SymbolArray(name, len(symbols), alphabet), symbols


def decoder_of(reader, arrays):
    """A decoder of a stream, and the memory of each array that it fills; the arrays lie one behind the other."""
    ends = np.cumsum([array.n_symbols for array in arrays])
    out = np.empty(ends[-1], np.uint8)
    parts = np.split(out, ends[:-1])
    slots = StreamSlots(
        [
            ArraySlot(array.n_symbols, array.alphabet, int(end) - array.n_symbols)
            for array, end in zip(arrays, ends, strict=True)
        ]
    )
    return StreamDecoder(reader, arrays, slots, out), parts


def decode_stream(reader, arrays):
    decoder, symbols = decoder_of(reader, arrays)
    decoder.run()
    return symbols


def decode(data, arrays):
    return decode_stream(ByteReader(data, "test"), arrays)


def result(read, data, arrays):
    """The symbols, which must be of their alphabets, or the error's text."""
    try:
        decoded = read(ByteReader(data, "test"), arrays)
    except BitstreamError as error:
        return str(error)
    for array, symbols in zip(arrays, decoded, strict=True):
        assert len(symbols) == array.n_symbols
        assert symbols.max() < array.alphabet
    return [symbols.tolist() for symbols in decoded]


@pytest.mark.parametrize("name", MODES)
def test_each_kind_of_run_gets_its_model(name):
    first = encode_stream([filled_array(name)])[0]
    expected = MODES[name]
    assert (first if expected in (0, 4) else first & 3) == expected


@pytest.mark.parametrize("name", ARRAYS)
def test_single_context_round_trip(name):
    array, symbols = filled_array(name)
    data = encode_stream([(array, symbols)])
    assert decode(data, [array])[0].tolist() == symbols.tolist()
    assert independent_decoder.decode_stream(data, [(array.n_symbols, array.alphabet)]) == [symbols.tolist()]


def test_many_contexts_share_a_coder():
    filled = [filled_array(name) for name in [*ARRAYS, *reversed(ARRAYS)]]
    data = encode_stream(filled)
    decoded = decode(data, [array for array, _ in filled])
    independent = independent_decoder.decode_stream(data, [(c.n_symbols, c.alphabet) for c, _ in filled])
    for (_, symbols), got, other in zip(filled, decoded, independent, strict=True):
        assert got.tolist() == symbols.tolist() == other


@pytest.mark.parametrize("n_symbols", [1, 2, 3, 8, 20])
def test_small_runs_do_not_pay_for_tables(n_symbols):
    symbols = np.clip(np.rint(np.random.default_rng(n_symbols).laplace(128, 3, n_symbols)), 0, 255).astype(np.uint8)
    data = encode_stream([(SymbolArray("small", n_symbols, 256), symbols)])
    assert len(data) <= 1 + n_symbols
    assert len(data) <= 2 + 4 + (n_symbols * 5 + 7) // 8


def test_coded_size_is_near_the_entropy():
    rng = np.random.default_rng(1)
    symbols = np.clip(np.rint(rng.laplace(128, 6, 4096)), 0, 255).astype(np.uint8)
    counts = np.bincount(symbols)
    counts = counts[counts > 0]
    entropy_bytes = float(counts @ np.log2(4096 / counts)) / 8
    assert len(encode_stream([(SymbolArray("laplace", 4096, 256), symbols)])) < 1.02 * entropy_bytes + 8


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("", "cut short"),
        ("0007", "symbol 7 is outside the alphabet of 6 symbols"),
        ("0206", "symbol 6 is outside the alphabet"),
        ("08", "model byte 8 is not defined"),
        ("01", "model byte 1 is not defined"),
        ("3d", "model byte 61 is not defined"),
        ("0411", "cut short"),
        ("04fff8", "raw symbol is outside the alphabet"),
        ("04000001", "1 bytes more than the models need"),
        ("040001", "padded with bits other than 0"),
        ("000000", "last byte is 0"),
        ("000001", "1 bytes more than the models need"),
        ("5202deadbeef", "ends in a wrong state"),
        ("5202", "ends in a wrong state"),
    ],
)
def test_malformed_streams_are_refused(data, message):
    with pytest.raises(BitstreamError, match=message):
        decode(bytes.fromhex(data), [SymbolArray("array", 5, 6)])


@pytest.mark.parametrize("names", [("bits", "two peaks"), ("few laplace", "many normal")], ids=" ".join)
def test_cut_streams_are_refused(names):
    filled = [filled_array(name) for name in names]
    data = encode_stream(filled)
    for length in range(len(data)):
        with pytest.raises(BitstreamError):
            decode(data[:length], [array for array, _ in filled])


def backwards(work, n):
    """Works from the last to the first, as threads might."""
    for i in reversed(range(n)):
        work(i)


def decode_all(data, arrays, run):
    """Decode several streams; return the symbols of each array of each stream."""
    symbols = {}

    def opener(index):
        def open_stream():
            decoder, symbols[index] = decoder_of(ByteReader(data[index], f"stream {index}"), arrays[index])
            return decoder

        return open_stream

    decode_streams([opener(index) for index in range(len(data))], run)
    return [symbols[index] for index in range(len(data))]


def several_streams():
    """Large streams, small ones, and one that is not coded; arrays and bytes of each."""
    rng = np.random.default_rng(5)
    long_run = np.clip(np.rint(rng.normal(90, 9, 9000)), 0, 255).astype(np.uint8)
    filled = [
        [filled_array("many normal"), filled_array("bits")],
        [(SymbolArray("long", 9000, 256), long_run)],
        [filled_array("constant")],
        [filled_array("two peaks")],
        [(SymbolArray("long", 9000, 256), long_run[::-1].copy())],
    ]
    return filled, [encode_stream(stream) for stream in filled]


@pytest.mark.parametrize("order", [run_chunks, backwards], ids=["threads", "backwards"])
def test_streams_decode_in_any_order(order, monkeypatch):
    monkeypatch.setenv("STGV_THREADS", "3")
    filled, data = several_streams()
    arrays = [[array for array, _ in stream] for stream in filled]

    decoded = decode_all(data, arrays, order)

    for stream, of_stream in zip(filled, decoded, strict=True):
        for (_, symbols), got in zip(stream, of_stream, strict=True):
            assert got.tolist() == symbols.tolist()


@pytest.mark.parametrize("order", [run_chunks, backwards], ids=["threads", "backwards"])
def test_the_first_fault_is_raised_whatever_the_order(order):
    """A fault that only the end of a stream shows comes before one in the models of a later stream."""
    filled, data = several_streams()
    arrays = [[array for array, _ in stream] for stream in filled]
    data[1] = data[1][:-1] + bytes([data[1][-1] ^ 1 or 2])
    data[3] = b"\x08" + data[3][1:]
    data[4] = data[4][:-2]

    with pytest.raises(BitstreamError, match="ends in a wrong state") as caught:
        decode_all(data, arrays, order)
    assert caught.value.section == "stream 1"
    with pytest.raises(BitstreamError, match="model byte 8 is not defined"):
        decode_all(data[2:], arrays[2:], order)


def damaged_copies(data, rng, n):
    """Copies that are cut, have wrong bytes or both, or begin with a model of another kind."""
    for _ in range(n):
        copy = bytearray(data[: rng.integers(len(data))] if rng.random() < 0.3 else data)
        for position in rng.integers(0, max(len(copy), 1), 2) if copy else []:
            copy[position if rng.random() < 0.5 else position % 40 % len(copy)] = int(rng.integers(256))
        yield bytes(copy)


@pytest.mark.parametrize(
    "names", [tuple(ARRAYS), ("two peaks",), ("uniform over 6", "bits"), ("few laplace",)], ids=len
)
def test_damaged_streams_give_what_the_reference_gives(monkeypatch, names):
    filled = [filled_array(name) for name in names]
    arrays = [array for array, _ in filled]
    data = encode_stream(filled)

    damaged = [data, *damaged_copies(data, np.random.default_rng(4), 200)]
    fast = [result(decode_stream, item, arrays) for item in damaged]
    monkeypatch.setattr(entropy, "ans_decode", partial(ans_decode, backend="reference"))
    assert fast == [result(decode_stream_slowly, item, arrays) for item in damaged]
    assert len({item if isinstance(item, str) else "" for item in fast}) > 2


def test_any_bytes_are_read_or_refused_alike():
    """Kernel and reference read short streams of every mode, right and wrong."""
    rng = np.random.default_rng(6)
    n_read = 0
    for trial in range(3000):
        arrays = [
            SymbolArray("array", int(rng.integers(1, 9)), int(rng.integers(1, 257))) for _ in range(trial % 3 + 1)
        ]
        if trial % 2:
            symbols = [rng.integers(0, c.alphabet, c.n_symbols, dtype=np.uint8) for c in arrays]
            data = bytearray(encode_stream(list(zip(arrays, symbols, strict=True))))
            if trial % 4 == 1 and data:
                data[rng.integers(len(data))] = int(rng.integers(256))
        else:
            data = bytearray(rng.integers(0, 256, rng.integers(1, 24), dtype=np.uint8).tobytes())
            data[0] = int(rng.choice([0, 4, 1 | trial % 15 << 2, 2 | trial % 64 << 2, 3 | trial % 64 << 2]))
        got = result(decode_stream, bytes(data), arrays)
        assert got == result(decode_stream_slowly, bytes(data), arrays), (arrays, data.hex())
        n_read += isinstance(got, list)
    assert 750 < n_read < 2250
