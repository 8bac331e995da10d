from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from independent_decoder import SpecError
from independent_decoder import decode_conditional as decode_independently
from spec_tables import cells_after

from stgvcodec.bitstream.entropy import conditional as conditional
from stgvcodec.bitstream.entropy.conditional import (
    Attribute,
    AttributeSet,
    decode_conditional,
    decode_conditional_slowly,
    encode_conditional,
)
from stgvcodec.bitstream.entropy.models import SymbolArray
from stgvcodec.bitstream.entropy.streams import encode_stream
from stgvcodec.bitstream.syntax.primitives import ByteReader
from stgvcodec.errors import BitstreamError
from stgvcodec.ops.ans import AttributeSlot, AttributeSlots, StridedSlot, ans_decode


def attribute_set(n, *plan):
    """plan: (alphabet, context_of) with context_of as indices of columns, which are interleaved in a block."""
    columns = [StridedSlot(i, len(plan)) for i in range(len(plan))]
    attributes = (
        Attribute(f"attribute {i}", alphabet, columns[i], tuple(columns[s] for s in context_of))
        for i, (alphabet, context_of) in enumerate(plan)
    )
    return AttributeSet(n, tuple(attributes))


def chain(n, seed=0):
    """A block of four attributes: each near the one before, one of a single symbol, one of a sum past 255."""
    rng = np.random.default_rng(seed)
    first = rng.integers(100, 160, n)
    block = np.stack([first, (first + rng.integers(0, 3, n)) % 200, 0 * first, first // 30 + rng.integers(0, 2, n)], 1)
    plan = ((256, ()), (200, (0,)), (1, (0, 1)), (9, (1, 0)))
    return attribute_set(n, *plan), plan, block.astype(np.uint8).reshape(-1)


@pytest.mark.parametrize("n", [1, 2, 63, 2000])
def test_round_trip_by_all_decoders(n):
    attributes, plan, block = chain(n)
    data = encode_conditional(block, attributes)
    for decode in (decode_conditional, decode_conditional_slowly):
        out = np.full(len(block), 77, np.uint8)
        decode(ByteReader(data, "test"), attributes, out)
        assert out.tolist() == block.tolist()
    assert decode_independently(data, n, plan) == block.reshape(n, 4).T.tolist()


@pytest.mark.parametrize(
    "row", cells_after("Conditional test values (one attribute with A = 4 and one context symbol, decoded before):")
)
def test_stream_of_the_spec(row):
    context_of, data, symbols = (
        [int(s) for s in row[0].split()],
        bytes.fromhex(row[1]),
        [int(s) for s in row[2].split()],
    )
    n = len(context_of)
    slots = Attribute("attribute", 4, StridedSlot(1, 2), (StridedSlot(0, 2),))
    block = np.array([context_of, [9] * n], np.uint8).T.reshape(-1).copy()
    decode_conditional(ByteReader(data, "test"), AttributeSet(n, (slots,)), block)
    assert block[1::2].tolist() == symbols
    assert decode_independently(data, n, [(4, (0,))], (context_of,)) == [symbols]


def test_classes_follow_what_they_save():
    rng = np.random.default_rng(3)
    source = rng.integers(0, 3, 3000)
    dependent = 20 * source + rng.integers(0, 4, 3000)
    unrelated = rng.integers(0, 4, 3000)
    for symbols, n_thresholds in ((dependent, 2), (unrelated, 0)):
        attributes = attribute_set(3000, (256, ()), (256, (0,)))
        one = attribute_set(3000, (256, ()))
        block = np.stack([source, symbols], 1).astype(np.uint8).reshape(-1)
        data = encode_conditional(block, attributes)
        head = len(encode_conditional(source.astype(np.uint8), one))
        assert len(data) - head < (2 * 3000) / 8 + 50
        assert n_thresholds in data[:40]


def test_a_nearly_constant_context_is_nearly_free():
    symbols = np.full(4096, 128, np.uint8)
    symbols[[5, 1000, 3000]] = 127, 129, 129
    data = encode_stream([(SymbolArray("level", 4096, 256), symbols)])
    assert (data[0] & 3, data[0] >> 2 >= 16) == (1, True)
    assert len(data) < 12


def test_nearly_constant_attributes_have_narrow_models():
    attributes = attribute_set(3000, (256, ()), (7, (0,)))
    block = np.full((3000, 2), 5, np.uint8)
    block[[7, 900], 0] = 4, 9
    block[[8, 901, 2000], 1] = 6, 4, 4
    data = encode_conditional(block.reshape(-1), attributes)
    assert (data[0] & 3, data[0] >> 2 >= 16, data[1]) == (1, True, 5)
    assert len(data) < 25
    for decode in (decode_conditional, decode_conditional_slowly):
        assert result(decode, data, attributes, 6000) == block.reshape(-1).tolist()
    assert decode_independently(data, 3000, [(256, ()), (7, (0,))]) == block.T.tolist()


def result(decode, data, attributes, size):
    block = np.zeros(size, np.uint8)
    try:
        decode(ByteReader(data, "test"), attributes, block)
    except BitstreamError as error:
        return str(error)
    return block.tolist()


def test_any_bytes_are_read_or_refused_alike(monkeypatch):
    """Kernel and reference agree on the symbols or the error, and the independent decoder on which of the two it is."""
    monkeypatch.setattr(conditional, "ans_decode", partial(ans_decode, backend="reference"))
    rng = np.random.default_rng(6)
    n_read = 0
    for trial in range(1500):
        n = int(rng.integers(1, 9))
        alphabets = rng.integers(1, 12, 2).tolist()
        plan = [(alphabets[0], ()), (alphabets[1], (0,))]
        attributes = attribute_set(n, *plan)
        if trial % 2:
            block = np.stack([rng.integers(0, a, n) for a in alphabets], 1).astype(np.uint8).reshape(-1)
            data = bytearray(encode_conditional(block, attributes))
            if trial % 4 == 1 and data:
                data[rng.integers(len(data))] = int(rng.integers(256))
        else:
            data = bytearray(rng.integers(0, 256, rng.integers(1, 24), dtype=np.uint8).tobytes())
            data[0] = int(rng.choice([0, 4, 1 | trial % 40 << 2, 2 | trial % 64 << 2]))
            data[2:3] = bytes([trial % 3])
        got, expected = (
            result(decode, bytes(data), attributes, 2 * n) for decode in (decode_conditional, decode_conditional_slowly)
        )
        assert got == expected, (plan, data.hex())
        try:
            independent = decode_independently(bytes(data), n, plan)
        except SpecError:
            independent = None
        assert isinstance(got, list) == (independent is not None), (plan, data.hex(), got)
        n_read += isinstance(got, list)
    assert 350 < n_read < 1200


THRESHOLDS = {
    "too many": (b"\0\0" + bytes([16]) + bytes(40), "16 thresholds, expected 15 at most"),
    "first is 0": (b"\0\0" + bytes([2, 0, 3]) + bytes(9), "thresholds are [0, 3], expected them above 0 and rising"),
    "alike": (b"\0\0" + bytes([2, 3, 3]) + bytes(9), "thresholds are [3, 3]"),
    "cut": (b"\0\0" + bytes([5, 3]), "cut short"),
    "none": (b"\0\0", "cut short"),
    "raw": (b"\0\0" + bytes([0, 4]) + bytes(9), "model byte 4 is not defined in a conditional stream"),
    "bytes behind": (b"\0\0\0\0\0\1", "1 bytes more than the models need"),
}


@pytest.mark.parametrize(("data", "message"), THRESHOLDS.values(), ids=THRESHOLDS)
def test_malformed_classes_are_refused(data, message):
    attributes = attribute_set(3, (8, ()), (8, (0,)))
    assert message in result(decode_conditional, data, attributes, 6)


@pytest.mark.parametrize(
    "place",
    [
        AttributeSlot(257, StridedSlot(0, 1)),
        AttributeSlot(4, StridedSlot(-1, 1)),
        AttributeSlot(4, StridedSlot(0, 0)),
        AttributeSlot(4, StridedSlot(0, 1), (StridedSlot(0, 1),) * 3),
    ],
    ids=["alphabet", "place", "step", "context_of"],
)
def test_places_are_checked(place):
    with pytest.raises(ValueError, match=r"attribute 0 is .* expected"):
        AttributeSlots([place])


def test_attributes_must_fit_the_block():
    attributes, _, block = chain(5)
    data = encode_conditional(block, attributes)
    with pytest.raises(ValueError, match="attributes lie in 20 bytes, expected 19 at most"):
        decode_conditional(ByteReader(data, "test"), attributes, np.zeros(19, np.uint8))
