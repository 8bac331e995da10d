"""Properties of every element of a stream: model bytes, centres, raw symbols, thresholds, words, buckets and low bits.

`independent_decoder.py` says which bytes are in order, and what they stand for.
"""

from __future__ import annotations

import independent_decoder
import numpy as np
from drawn import drawn_conditional, drawn_stream
from gops import PAPER, SMALLEST_FIELD, random_gop
from hypothesis import given
from hypothesis import strategies as st
from independent_decoder import SpecError
from strategies import examples, result

from stgvcodec.bitstream import pack_gop, unpack_gop
from stgvcodec.bitstream.entropy.conditional import (
    Attribute,
    AttributeSet,
    decode_conditional,
    decode_conditional_slowly,
    encode_conditional,
)
from stgvcodec.bitstream.entropy.models import Model, SymbolArray, raw_model
from stgvcodec.bitstream.entropy.streams import (
    StreamDecoder,
    decode_stream_slowly,
    encode_stream,
    read_model,
)
from stgvcodec.bitstream.payload.head import join_head, read_head
from stgvcodec.bitstream.payload.morton_order import join_gaps, join_gaps_slowly, morton_codes, split_gaps
from stgvcodec.bitstream.payload.pack import unpack_gop_slowly
from stgvcodec.bitstream.payload.symbol_arrays import codebook_symbols, float_symbols
from stgvcodec.bitstream.syntax.limits import LIMITS
from stgvcodec.bitstream.syntax.primitives import ByteReader
from stgvcodec.errors import BitstreamError
from stgvcodec.ops.ans import ArraySlot, StreamSlots, StridedSlot

ALPHABETS = st.integers(1, LIMITS["alphabet"]) | st.sampled_from([1, 2, 3, 255, 256])
SEEDS = st.integers(0, 2**32 - 1)


def independently(function, *arguments):
    """What a function of the independent decoder returns, or None where it refuses."""
    try:
        return function(*arguments)
    except SpecError:
        return None


@examples(600)
@given(
    st.integers(0, 255),
    st.integers(2, LIMITS["alphabet"]) | st.integers(2, 9),
    st.integers(1, 20),
    st.integers(0, 9) | st.integers(0, 255),
    st.binary(max_size=24),
)
def test_a_model_is_read_where_the_spec_defines_it(byte, alphabet, n_symbols, centre, behind):
    """Every model byte, with a centre or a symbol inside the alphabet and outside of it, a table, or raw symbols."""
    data = bytes([byte, centre]) + behind
    reader, stream = ByteReader(data, "test"), independent_decoder.Bytes(data)
    model, error = result(read_model, reader, SymbolArray("array", n_symbols, alphabet))
    if byte == 4:
        stream.take(1)
        expected = independently(independent_decoder.raw, stream, n_symbols, alphabet)
    else:
        expected = independently(independent_decoder.read_model, stream, alphabet)
    if expected is None:
        assert isinstance(error, BitstreamError)
        return
    assert reader.position == stream.at
    if isinstance(model, Model):
        frequencies = np.zeros(alphabet, np.int64)
        frequencies[slice(None) if model.symbols is None else model.symbols] = model.frequencies
        assert frequencies.tolist() == expected
    else:
        assert model.tolist() == (expected if byte == 4 else [expected] * n_symbols)


@examples(200)
@given(st.data(), st.integers(2, LIMITS["alphabet"]))
def test_raw_symbols_round_trip_and_their_padding_is_0(drawn, alphabet):
    symbols = drawn.draw(st.lists(st.integers(0, alphabet - 1), min_size=1, max_size=20))
    array = SymbolArray("array", len(symbols), alphabet)
    data = raw_model(array, np.array(symbols, np.uint8)).descriptor
    assert read_model(ByteReader(data, "test"), array).tolist() == symbols
    for bit in range(-len(symbols) * array.raw_bits % 8):
        _, error = result(read_model, ByteReader(data[:-1] + bytes([data[-1] | 1 << bit]), "test"), array)
        assert "padded with bits other than 0" in str(error)


@st.composite
def symbol_arrays(draw):
    """(array, symbols) of a stream: several arrays, of which each may have one symbol, few, or all of its alphabet."""
    filled = []
    for alphabet in draw(st.lists(ALPHABETS, min_size=1, max_size=5)):
        used = st.integers(0, draw(st.integers(0, alphabet - 1)))
        symbols = draw(st.lists(used, min_size=1, max_size=40))
        filled.append((SymbolArray("array", len(symbols), alphabet), np.array(symbols, np.uint8)))
    return filled


def decode(data, arrays):
    """The symbols of a stream by the compiled decoder."""
    ends = np.cumsum([array.n_symbols for array in arrays])
    out = np.empty(ends[-1], np.uint8)
    slots = [ArraySlot(a.n_symbols, a.alphabet, int(end) - a.n_symbols) for a, end in zip(arrays, ends, strict=True)]
    StreamDecoder(ByteReader(data, "test"), arrays, StreamSlots(slots), out).run()
    return np.split(out, ends[:-1])


@examples(150)
@given(symbol_arrays(), SEEDS, st.booleans(), st.binary(min_size=1, max_size=5))
def test_a_stream_of_any_models_is_decoded_alike_and_to_its_last_byte(filled, seed, is_encoded, behind):
    arrays, symbols = (list(part) for part in zip(*filled, strict=True))
    expected = [of_array.tolist() for of_array in symbols]
    data = encode_stream(filled) if is_encoded else drawn_stream(arrays, symbols, np.random.default_rng(seed))
    sizes = [(array.n_symbols, array.alphabet) for array in arrays]
    assert [part.tolist() for part in decode(data, arrays)] == expected
    assert [part.tolist() for part in decode_stream_slowly(ByteReader(data, "test"), arrays)] == expected
    assert independent_decoder.decode_stream(data, sizes) == expected
    for changed in (data + behind, data + b"\0", data[:-1]):
        if changed != data:  # A stream whose arrays have one symbol each is empty.
            _, error = result(decode, changed, arrays)
            assert isinstance(error, BitstreamError)
            assert independently(independent_decoder.decode_stream, changed, sizes) is None


@examples(300)
@given(
    st.lists(st.integers(0, 255), min_size=1, max_size=12),
    st.lists(st.integers(0, 255), max_size=18),
    st.booleans(),
    st.integers(-1, 1),
    st.integers(2, LIMITS["alphabet"]),
)
def test_thresholds_rise_and_split_the_contexts(context, thresholds, is_sorted, n_more, alphabet):
    """Every class has one symbol, so that the stream shows which class an item is in."""
    thresholds = sorted(set(thresholds)) if is_sorted else thresholds
    symbols = [index % alphabet for index in range(len(thresholds) + 1)]
    models = b"".join(bytes([0, symbol]) for symbol in symbols)
    data = bytes([max(len(thresholds) + n_more, 0), *thresholds]) + models
    attribute = Attribute("attribute", alphabet, StridedSlot(1, 2), (StridedSlot(0, 2),))
    attributes = AttributeSet(len(context), (attribute,))
    expected = independently(independent_decoder.decode_conditional, data, len(context), [(alphabet, (0,))], (context,))
    for decode_all in (decode_conditional, decode_conditional_slowly):
        block = np.zeros((len(context), 2), np.uint8)
        block[:, 0] = context
        block = block.reshape(-1)
        _, error = result(decode_all, ByteReader(data, "test"), attributes, block)
        assert (error is not None) == (expected is None)
        assert expected is None or [block[1::2].tolist()] == expected
    is_valid = len(thresholds) <= 15 and all(a < b for a, b in zip([0, *thresholds], thresholds, strict=False))
    if n_more == 0:
        assert (expected is not None) == is_valid
    if expected is not None and n_more == 0:
        assert expected == [[symbols[sum(t <= value for t in thresholds)] for value in context]]


@examples(150)
@given(st.data(), ALPHABETS, ALPHABETS, st.integers(1, 30), SEEDS)
def test_a_conditional_stream_of_any_classes_is_decoded_alike(drawn, first, second, n, seed):
    rng = np.random.default_rng(seed)
    block = np.stack([rng.integers(0, size, n) for size in (first, second)], 1).astype(np.uint8).reshape(-1)
    columns = [StridedSlot(i, 2) for i in range(2)]
    attributes = AttributeSet(
        n, (Attribute("first", first, columns[0]), Attribute("second", second, columns[1], (columns[0],)))
    )
    is_encoded = drawn.draw(st.booleans())
    data = encode_conditional(block, attributes) if is_encoded else drawn_conditional(block, attributes, rng)
    for decode_all in (decode_conditional, decode_conditional_slowly):
        out = np.full(2 * n, 77, np.uint8)
        decode_all(ByteReader(data, "test"), attributes, out)
        assert out.tolist() == block.tolist()
    plan = [(first, ()), (second, (0,))]
    assert independent_decoder.decode_conditional(data, n, plan) == block.reshape(n, 2).T.tolist()
    _, error = result(decode_conditional, ByteReader(data + b"\1", "test"), attributes, block)
    assert isinstance(error, BitstreamError)


COORDINATES = st.integers(0, 2**16 - 1) | st.integers(0, 40) | st.sampled_from([0x3FF, 0x400, 0xFBFF, 0xFC00, 0xFFFF])


@examples(300)
@given(st.lists(st.tuples(COORDINATES, COORDINATES), min_size=1, max_size=20))
def test_points_round_trip_in_morton_order(pairs):
    codes = np.sort(morton_codes(np.array(pairs, np.uint16)))
    buckets, low_bits = split_gaps(codes)
    out = np.empty((len(pairs), 2), np.uint16)
    join_gaps(out, buckets, ByteReader(low_bits, "test"), 0)
    assert morton_codes(out).tolist() == codes.tolist()
    assert sorted(map(tuple, out.tolist())) == sorted(pairs)
    assert independent_decoder.points_of(buckets.tolist(), low_bits) == list(map(tuple, out.tolist()))


@examples(600)
@given(
    st.lists(st.integers(0, 131) | st.integers(0, 20) | st.sampled_from([128, 0]), min_size=1, max_size=5),
    st.binary(min_size=20, max_size=20),
    st.sampled_from([0, 0, 0, -1, 1]),
    st.booleans(),
)
def test_buckets_and_low_bits_are_read_where_the_spec_takes_them(buckets, random_bytes, n_more, is_padded):
    n_bits = sum(max((bucket >> 2) - 2, 0) for bucket in buckets)
    n_bytes = max((n_bits + 7) // 8 + n_more, 0)
    low_bits = random_bytes[:n_bytes].ljust(n_bytes, b"\0")
    if is_padded and low_bits:
        low_bits = low_bits[:-1] + bytes([low_bits[-1] & 0xFF << -n_bits % 8 & 0xFF])
    expected = independently(independent_decoder.points_of, buckets, low_bits)
    out = np.empty((len(buckets), 2), np.uint16)
    _, error = result(join_gaps, out, np.array(buckets, np.uint8), ByteReader(low_bits, "test"), 0)
    slow, same_error = result(join_gaps_slowly, np.array(buckets, np.uint8), ByteReader(low_bits, "test"), 0)
    assert str(error) == str(same_error)
    assert (error is None) == (expected is not None)
    if expected is not None:
        assert list(map(tuple, out.tolist())) == expected == list(map(tuple, slow.tolist()))


def with_streams(payload, **changed):
    """A payload with other bytes for some of its streams, and lengths that fit."""
    reader = ByteReader(payload, "test")
    header, lengths = read_head(reader)
    return join_head(header, {name: reader.take(n_bytes) for name, n_bytes in lengths.items()} | changed)


def is_decoded(payload):
    """Whether a payload is decoded; all decoders agree on that."""
    results = [result(unpack, payload) for unpack in (unpack_gop, unpack_gop_slowly)]
    assert str(results[0][1]) == str(results[1][1])
    is_read = results[0][0] is not None
    assert is_read == (independently(independent_decoder.parse_gop, payload) is not None)
    return is_read


SMALL = {
    mode: random_gop(**PAPER | SMALLEST_FIELD | {"n_gaussians": 1, "shape_mode": mode, "color_codebook_size": 2})
    for mode in (0, 1)
}


@examples(80)
@given(COORDINATES, COORDINATES)
def test_points_in_binary16_are_finite(x, y):
    buckets, low_bits = split_gaps(morton_codes(np.array([[x, y]], np.uint16)))
    points = encode_stream([(SymbolArray("buckets", 1, 132), buckets)])
    payload = with_streams(pack_gop(SMALL[0]), points=points, point_bits=low_bits)
    assert is_decoded(payload) == all(0x0400 <= value <= 0xFBFF for value in (x, y))


def side_info(floats, codebooks):
    arrays = [*float_symbols(floats.tobytes()), *codebook_symbols(codebooks)]
    return encode_stream([(SymbolArray("array", len(array), 256), array) for array in arrays])


@examples(60)
@given(st.lists(st.integers(0, 2**16 - 1) | st.sampled_from([0x7BFF, 0x7C00, 0xFC00]), min_size=12, max_size=12))
def test_codewords_are_finite(patterns):
    symbols, codebooks = SMALL[0], np.array(patterns, np.uint16).reshape(2, 2, 3)
    floats = np.frombuffer(symbols.side_info_bytes(), "<f4")
    payload = with_streams(pack_gop(symbols), side_info=side_info(floats, codebooks))
    assert is_decoded(payload) == bool(np.isfinite(codebooks.view(np.float16)).all())


@examples(100)
@given(st.data(), st.sampled_from([0, 1]), st.sampled_from(["floats", "limits", "beyond"]))
def test_scales_and_offsets_are_held_to_their_limits(drawn, shape_mode, kind):
    symbols = SMALL[shape_mode]
    names = [name for name, shape in symbols.header.side_info_shapes.items() for _ in range(shape[0])]
    floats = np.frombuffer(symbols.side_info_bytes(), "<f4").copy()
    first = names.index("shape_scale")
    at = drawn.draw(st.integers(first, first + 1) | st.integers(0, len(floats) - 1))
    low, high = (-(2.0**96), 2.0**96) if names[at].endswith("offset") else (2.0**-96, 2.0**96)
    if shape_mode and at - first in (0, 1):
        low, high = 2.0**-10, 0.5
    ends, ways = np.array([low, high], np.float32), np.array([-3e38, 3e38], np.float32)
    near = {"limits": ends, "beyond": np.nextafter(ends, ways)}.get(kind)
    floats[at] = drawn.draw(st.floats(width=32) if near is None else st.sampled_from(near.tolist()))
    payload = with_streams(pack_gop(symbols), side_info=side_info(floats, symbols.codebooks))
    assert is_decoded(payload) == (low <= floats[at] <= high)
