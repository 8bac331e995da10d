"""Small files with every bit flipped, every byte cut off, and every syntax element set to its limits and beyond."""

from __future__ import annotations

import dataclasses
import io
import math
from pathlib import Path

import hostile
import numpy as np
import pytest
import torch

from stgvcodec.bitstream import StgvReader, unpack_gop
from stgvcodec.bitstream.container.chunks import ChunkType
from stgvcodec.bitstream.container.verification import verify
from stgvcodec.bitstream.payload.pack import unpack_gop_slowly
from stgvcodec.bitstream.syntax.elements import read_elements, write_elements
from stgvcodec.bitstream.syntax.primitives import PACKERS, ByteReader
from stgvcodec.bitstream.syntax.tables import TABLES
from stgvcodec.decoder.gop_renderer import GopRenderer
from stgvcodec.errors import BitstreamError
from stgvcodec.evaluation.conformance import symbols_sha256

GOLDEN = Path(__file__).parents[1] / "golden"
SMALL = {name: (GOLDEN / f"{name}.stgv").read_bytes() for name in ("smallest", "worked_example")}
each_small = pytest.mark.parametrize("name", SMALL)
ELEMENTS = [
    pytest.param(name, i, id=f"{name}.{element.name}")
    for name, table in TABLES.items()
    for i, element in enumerate(table)
]
# Largest and smallest number of each type; those of LEB128 are of 64 bits.
RANGES = {"u8": (0, 2**8 - 1), "u16": (0, 2**16 - 1), "u32": (0, 2**32 - 1), "uint": (0, 2**64 - 1)}
RANGES["sint"] = (-(2**63), 2**63 - 1)


def refusal(data, *, keep_going=False):
    """The error with which a file is refused when all of it is read; None where it is read."""
    try:
        with StgvReader(io.BytesIO(data), keep_going=keep_going) as reader:
            verify(reader)
    except BitstreamError as error:
        return error
    return None


def outcome(unpack, payload):
    """The hash of a payload's symbols, or the error."""
    try:
        return symbols_sha256(unpack(payload))
    except BitstreamError as error:
        return str(error)


def first_payload(data):
    with StgvReader(io.BytesIO(data)) as reader:
        return reader.read_gop(0)


def flipped(data, at, bit):
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


@each_small
def test_every_flipped_bit_is_refused(name):
    """Every byte is part of the magic or under a CRC-32, which finds every error of one bit."""
    data = SMALL[name]
    assert refusal(data) is None
    for at in range(len(data)):
        for bit in range(8):
            error = refusal(flipped(data, at, bit))
            assert error is not None, (at, bit)
            assert 0 <= error.offset <= len(data), error


@each_small
def test_every_flipped_byte_is_passed_over_where_the_user_asks_for_it(name):
    """What is recovered has the same symbols, and what is wrong is said."""
    data = SMALL[name]
    expected = outcome(unpack_gop, first_payload(data))
    n_recovered = 0
    for at in range(len(data)):
        try:
            with StgvReader(io.BytesIO(flipped(data, at, at % 8)), keep_going=True) as reader:
                assert reader.damage
                assert [symbols_sha256(reader.unpack(i)) for i in range(len(reader.gops))] == [expected]
                n_recovered += 1
        except BitstreamError:
            continue
    # Magic and index can be done without, file header and GoP cannot.
    assert 8 < n_recovered < len(data)


@each_small
def test_every_cut_is_refused(name):
    data = SMALL[name]
    for n_bytes in range(len(data)):
        assert refusal(data[:n_bytes]) is not None, n_bytes
        assert n_bytes == 0 or refusal(data[n_bytes:]) is not None, n_bytes


@each_small
def test_every_cut_payload_is_refused_alike(name):
    payload = first_payload(SMALL[name])
    for n_bytes in range(len(payload)):
        error = outcome(unpack_gop, payload[:n_bytes])
        assert "at byte" in error, n_bytes
        assert error == outcome(unpack_gop_slowly, payload[:n_bytes])


@each_small
def test_every_flipped_bit_of_a_payload_is_refused_or_decoded_alike(name):
    """No CRC is in the way here: the compiled decoder and the reference find the same fault, or the same symbols."""
    payload = first_payload(SMALL[name])
    n_decoded = 0
    for at in range(len(payload)):
        for bit in range(8):
            damaged = flipped(payload, at, bit)
            result = outcome(unpack_gop, damaged)
            assert result == outcome(unpack_gop_slowly, damaged), (at, bit)
            n_decoded += "at byte" not in result
    assert 0 < n_decoded < 4 * len(payload)


@pytest.mark.slow
def test_what_is_decoded_of_a_damaged_payload_is_rendered_by_every_back_end():
    """The picture is what the symbols say; where it does not hang on a rounding, all back ends show the same."""
    payload = first_payload(SMALL["worked_example"])
    results = {}
    for at in range(len(payload)):
        damaged = flipped(payload, at, 0)
        if "at byte" not in outcome(unpack_gop, damaged):
            results[at] = [
                GopRenderer(damaged, width=8, height=8, device=torch.device("cpu"), backend=backend)
                .frames_tensor([0])
                .numpy()
                for backend in ("reference", "numba", "triton")
            ]
    assert len(results) > 10
    for at, (reference, *others) in results.items():
        for frames in others:
            difference = np.abs(frames.astype(int) - reference)
            assert difference.max() <= 1, at


def values_of(element):
    """Values at the limits of an element, and values beyond them that its type can hold."""
    if element.type == "text":
        least, most = int(element.minimum), int(element.maximum)
        beyond = ["x" * (most + 1)] + (["x" * (least - 1)] if least else [])
        return ["x" * least, "x" * most], beyond
    if element.type == "f32":
        low, high = np.float32(element.minimum), np.float32(element.maximum)
        beyond = [np.nextafter(low, np.float32(-np.inf)), np.nextafter(high, np.float32(np.inf)), math.nan, math.inf]
        return [float(low), float(high)], [float(value) for value in beyond]
    low, high = int(element.minimum), int(element.maximum)
    least, most = RANGES[element.type]
    return [low, high], [
        value for value in (least, low - 1, high + 1, most) if least <= value <= most and not low <= value <= high
    ]


@pytest.mark.parametrize(("table", "index"), ELEMENTS)
def test_every_syntax_element_takes_its_limits_and_nothing_beyond(table, index):
    element = TABLES[table][index]
    # One item: the shape of an array is the affair of other elements.
    alone = (dataclasses.replace(element, shape=()),)
    allowed, beyond = values_of(element)
    for value in allowed:
        data = write_elements({element.name: value}, alone)
        assert read_elements(ByteReader(data, "test"), alone) == {element.name: value}
    for value in beyond:
        with pytest.raises(ValueError, match=element.name):
            write_elements({element.name: value}, alone)
        with pytest.raises(BitstreamError, match=f"{element.name} is .*, expected"):
            read_elements(ByteReader(PACKERS[element.type](value), "test"), alone)
    assert beyond or (element.minimum, element.maximum) == RANGES[element.type]


@pytest.mark.parametrize("name", ["worked_example", "all_modes"])
def test_every_syntax_element_of_a_file_is_held_to_its_limits(name):
    """Behind right CRCs and an index that says the same, so that only the check of the limit is left."""
    parts = hostile.parts_of((GOLDEN / f"{name}.stgv").read_bytes())
    n_refused = 0
    for i, part in enumerate(parts[:6]):
        for item in hostile.items_of(part.payload, hostile.tables_of(part)):
            _, beyond = values_of(item.element)
            for value in beyond:
                payload = part.payload[: item.start] + PACKERS[item.element.type](value) + part.payload[item.end :]
                damaged = hostile.joined([*parts[:i], hostile.Part(part.type, payload), *parts[i + 1 :]])
                error = refusal(damaged)
                assert error is not None, (item, value)
                # A size that is beyond its limit may be found to be so in the index first.
                is_header = part.type == ChunkType.FILE_HEADER
                assert is_header or error.section.startswith(("GoP", "index", "track", "metadata")), error
                n_refused += 1
    assert n_refused > 60
