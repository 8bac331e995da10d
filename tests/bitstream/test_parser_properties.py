"""Properties of every parser of the format: what is written is read back, and damage raises nothing but our own errors.

The examples are the same in every run. Where one fails, hypothesis prints the smallest that does.
"""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
from drawn import drawn_gop
from gops import same_gop, stored
from hypothesis import given
from hypothesis import strategies as st
from strategies import ELEMENTS, PRIMITIVES, damaged, examples, result, table_values

from stgvcodec.bitstream import StgvReader, pack_gop, unpack_gop
from stgvcodec.bitstream.container.chunks import HEADER_BYTES, MAGIC, frame_chunk, parse_chunk_header
from stgvcodec.bitstream.entropy.frequency_tables import TOTAL, normalise, pack_table, read_table
from stgvcodec.bitstream.payload.pack import unpack_gop_slowly
from stgvcodec.bitstream.syntax.elements import DERIVED_COUNTS, read_elements, write_elements
from stgvcodec.bitstream.syntax.limits import LIMITS
from stgvcodec.bitstream.syntax.primitives import PACKERS, READERS, ByteReader
from stgvcodec.bitstream.syntax.tables import TABLES
from stgvcodec.errors import BitstreamError

GOLDEN = sorted((Path(__file__).parents[1] / "golden").glob("*.stgv"))
each_golden = pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)


def test_every_primitive_has_its_values_here():
    assert set(PRIMITIVES) == set(READERS) == set(PACKERS)


@pytest.mark.parametrize("kind", PRIMITIVES)
@examples(100)
@given(st.data())
def test_a_primitive_round_trips(kind, drawn):
    value, behind = drawn.draw(PRIMITIVES[kind]), drawn.draw(st.binary(max_size=3))
    data = PACKERS[kind](value)
    reader = ByteReader(data + behind, "test")
    got = READERS[kind](reader)
    assert type(got) is type(value)
    assert got == value or (math.isnan(got) and math.isnan(value))
    assert reader.position == len(data)


# Random bytes, and those among which integers end, go on, or are longer than they need to be.
BYTES = st.binary(max_size=12) | st.lists(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]), max_size=12).map(bytes)


@pytest.mark.parametrize("kind", PRIMITIVES)
@examples(200)
@given(BYTES)
def test_the_bytes_of_a_primitive_are_refused_or_are_the_only_ones_of_their_value(kind, data):
    reader = ByteReader(data, "test")
    value, error = result(READERS[kind], reader)
    if not error and value == value:  # the payload of a NaN need not survive
        assert PACKERS[kind](value) == data[: reader.position]


N_BYTES = st.integers(0, 40) | st.integers(0, 2**64 - 1)


@examples(200)
@given(
    st.binary(max_size=60),
    st.lists(
        st.sampled_from(list(READERS)) | st.tuples(st.sampled_from(["take", "skip", "slice"]), N_BYTES), max_size=12
    ),
)
def test_a_reader_of_random_bytes_raises_bitstream_errors_alone(data, steps):
    reader = ByteReader(data, "test", base_offset=1000)
    for step in steps:
        if isinstance(step, str):
            _, error = result(READERS[step], reader)
        else:
            _, error = result(getattr(reader, step[0]), step[1], *(["part"] if step[0] == "slice" else []))
        assert 0 <= reader.position <= reader.end == len(data)
        assert error is None or (isinstance(error, BitstreamError) and 1000 <= error.offset <= 1000 + len(data))


def test_every_size_of_an_array_is_an_element_or_follows_from_one():
    names = {name for element in ELEMENTS.values() for name in element.shape if isinstance(name, str)}
    assert names <= set(ELEMENTS) | set(DERIVED_COUNTS)


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
@examples(25)
@given(st.data())
def test_a_table_round_trips(table, drawn):
    values, known = drawn.draw(table_values(table))
    reader = ByteReader(write_elements({**known, **values}, table), "test")
    assert read_elements(reader, table, known) == values
    reader.expect_end()


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
@examples(25)
@given(st.data())
def test_a_damaged_table_is_refused_or_is_another_one(table, drawn):
    values, known = drawn.draw(table_values(table))
    data = drawn.draw(damaged(write_elements({**known, **values}, table)))
    reader = ByteReader(data, "test")
    values, error = result(read_elements, reader, table, known)
    if error:
        assert isinstance(error, BitstreamError)
        assert 0 <= error.offset <= len(data)
    else:
        assert write_elements({**known, **values}, table) == data[: reader.position]


@st.composite
def table_counts(draw):
    """(log2 of the total, counts of an alphabet's symbols, at least two and no more of them above 0 than the total)."""
    log2_total = draw(st.integers(1, LIMITS["table_log2_total"]))
    alphabet = draw(st.integers(2, LIMITS["alphabet"]))
    most = min(alphabet, 1 << log2_total)
    symbols = draw(st.lists(st.integers(0, alphabet - 1), min_size=2, max_size=min(most, 40), unique=True))
    counts = np.zeros(alphabet, np.int64)
    counts[symbols] = draw(st.lists(st.integers(1, 10**6), min_size=len(symbols), max_size=len(symbols)))
    return log2_total, counts


@examples(150)
@given(table_counts(), st.binary(max_size=3))
def test_a_frequency_table_round_trips(case, behind):
    log2_total, counts = case
    frequencies = normalise(counts, log2_total)
    assert frequencies.sum() == 1 << log2_total
    data = pack_table(frequencies)
    reader = ByteReader(data + behind, "test")
    symbols, scaled = read_table(reader, log2_total, len(counts))
    assert reader.position == len(data)
    assert symbols.tolist() == np.flatnonzero(counts).tolist()
    assert scaled.tolist() == (frequencies[symbols] * (TOTAL >> log2_total)).tolist()


def check_read_table(data, log2_total, alphabet):
    """What is read is a table that a coder can use, or a `BitstreamError`."""
    reader = ByteReader(data, "test")
    read, error = result(read_table, reader, log2_total, alphabet)
    if error:
        assert isinstance(error, BitstreamError)
        return
    symbols, frequencies = read
    assert 0 < reader.position <= len(data)
    assert len(symbols) == len(frequencies) >= 2
    assert (np.diff(symbols.astype(int)) > 0).all()
    assert symbols[-1] < alphabet
    assert frequencies.min() >= 1
    assert frequencies.sum() == TOTAL


@examples(300)
@given(st.binary(max_size=40), st.integers(0, LIMITS["table_log2_total"]), st.integers(2, LIMITS["alphabet"]))
def test_random_bytes_are_a_frequency_table_or_are_refused(data, log2_total, alphabet):
    check_read_table(data, log2_total, alphabet)


@examples(200)
@given(st.data())
def test_a_damaged_frequency_table_is_another_one_or_is_refused(drawn):
    log2_total, counts = drawn.draw(table_counts())
    data = drawn.draw(damaged(pack_table(normalise(counts, log2_total))))
    check_read_table(data, log2_total, len(counts))


def read_all(data, keep_going):
    """Open a file, and read every chunk of it."""
    reader = StgvReader(io.BytesIO(data), keep_going=keep_going)
    reader.verify()
    for index in range(len(reader.gops)):
        assert reader.read_gop(index)
    assert reader.n_frames == sum(gop.n_frames for gop in reader.gops)


@each_golden
@examples(40)
@given(st.data(), st.booleans())
def test_a_damaged_file_is_read_or_refused(path, drawn, keep_going):
    intact = path.read_bytes()
    read_all(intact, keep_going)
    result(read_all, drawn.draw(damaged(intact)), keep_going)


def chunks_of(data):
    """(type, payload) of each chunk of an intact file."""
    position = len(MAGIC)
    while position < len(data):
        chunk = parse_chunk_header(data[position : position + HEADER_BYTES], position)
        yield chunk.type, data[chunk.payload_offset : chunk.payload_offset + chunk.payload_bytes]
        position = chunk.end


@each_golden
@examples(60)
@given(st.data(), st.booleans())
def test_damage_behind_a_right_checksum_is_read_or_refused(path, drawn, keep_going):
    """A chunk is damaged and framed anew: no checksum keeps it from the parsers of file header, GoP and index."""
    chunks = list(chunks_of(path.read_bytes()))
    index = drawn.draw(st.integers(0, len(chunks) - 1))
    kind, payload = chunks[index]
    # The beginning of a payload is where its syntax elements are.
    chunks[index] = (kind, drawn.draw(damaged(payload[:40])) + payload[40:])
    result(read_all, MAGIC + b"".join(frame_chunk(*chunk) for chunk in chunks), keep_going)


@examples(40)
@given(st.integers(0, 2**32 - 1))
def test_symbols_at_their_limits_round_trip(seed):
    """Every array of a GoP, with sizes and values at and between their limits."""
    symbols = drawn_gop(np.random.default_rng(seed))
    payload = pack_gop(symbols)
    unpacked = unpack_gop(payload)
    assert same_gop(unpacked, stored(symbols))
    assert same_gop(unpack_gop_slowly(payload), unpacked)
    assert pack_gop(unpacked) == payload


@each_golden
@pytest.mark.parametrize("where", ["head", "anywhere"])
@examples(60)
@given(st.data())
def test_a_damaged_payload_gives_other_symbols_or_is_refused(path, where, drawn):
    with StgvReader(path) as reader:
        payload = reader.read_gop(0)
    n_head = 60 if where == "head" else len(payload)
    changed = drawn.draw(damaged(payload[:n_head])) + payload[n_head:]
    symbols, error = result(unpack_gop, changed)
    same, same_error = result(unpack_gop_slowly, changed)
    assert str(same_error) == str(error)
    assert (same is None) == (symbols is None)
    assert symbols is None or same_gop(same, symbols)
    if error:
        assert isinstance(error, BitstreamError)
        return
    symbols.validate()
    packed = pack_gop(symbols)
    assert pack_gop(unpack_gop(packed)) == packed
