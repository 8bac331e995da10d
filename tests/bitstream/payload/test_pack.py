from __future__ import annotations

import dataclasses
import tracemalloc

import independent_decoder
import numpy as np
import pytest
from gops import (
    MIXED,
    PAPER,
    PROFILE_MODES,
    SMALLEST_FIELD,
    gop_header,
    in_order,
    integers_of,
    random_gop,
    same_gop,
    stored,
)

from stgvcodec.bitstream import GopSymbols, pack_gop, payload_stream_bytes, unpack_gop
from stgvcodec.bitstream.payload.head import read_header
from stgvcodec.bitstream.syntax.tables import STREAMS
from stgvcodec.errors import BitstreamError
from stgvcodec.ops.threads import run_chunks

CASES = {
    **PROFILE_MODES,
    **MIXED,
    "one Gaussian, one frame": {"n_gaussians": 1, "n_frames": 1, **SMALLEST_FIELD},
    "one Gaussian of the paper": {"n_gaussians": 1, **PAPER, **SMALLEST_FIELD},
    "many points alike": {"n_gaussians": 700},
    "one codeword": {**PAPER, "color_codebook_size": 1, "color_stages": 3},
    "256 codewords, 8 stages": {**PAPER, "color_codebook_size": 256, "color_stages": 8, "n_gaussians": 300},
    "few bits": {**PAPER, "cholesky_bits": 2, "weight_bits": 2, "spread": 0.7},
    "one bit": {**PAPER, "cholesky_bits": 1, "weight_bits": 1, "spread": 0.7},
    "wide weights": {"spread": 40.0},
    "zero field": {"spread": 0.0},
    "nearly zero field": {"spread": 0.1, "n_gaussians": 9},
}
each_profile = pytest.mark.parametrize("modes", PROFILE_MODES.values(), ids=PROFILE_MODES)


@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_round_trip_here_and_by_the_independent_decoder(changes):
    symbols = random_gop(**changes)
    payload = pack_gop(symbols)
    expected = stored(symbols)

    decoded = unpack_gop(payload)
    assert same_gop(decoded, expected)
    decoded.validate()
    assert pack_gop(decoded) == payload
    assert same_gop(unpack_gop(payload, run=run_chunks), expected)

    parsed = independent_decoder.parse_gop(payload)
    for name, integers in integers_of(expected).items():
        assert parsed[name] == integers, name


@each_profile
def test_the_order_of_gaussians_costs_nothing(modes):
    symbols = random_gop(n_gaussians=500, **modes)
    _, first = np.unique(symbols.points, axis=0, return_index=True)  # those alike keep their order
    header = dataclasses.replace(symbols.header, n_gaussians=len(first))
    symbols = dataclasses.replace(in_order(symbols, first), header=header)
    shuffled = in_order(symbols, np.random.default_rng(1).permutation(len(first)))
    assert pack_gop(shuffled) == pack_gop(symbols)


@each_profile
def test_stream_bytes_and_header(modes):
    symbols = random_gop(**modes)
    payload = pack_gop(symbols)
    sizes = payload_stream_bytes(payload)
    assert tuple(sizes) == STREAMS
    assert sum(sizes.values()) == len(payload)
    assert all(size > 0 for size in sizes.values())
    assert read_header(payload) == read_header(payload[:60]) == symbols.header


def replaced(**changes):
    return dataclasses.replace(random_gop(), **changes)


GOOD = random_gop()
BAD_SYMBOLS = {
    "dtype": (lambda: replaced(points=GOOD.points.astype(np.int32)), r"points is int32 \[63, 2\], expected uint16"),
    "shape": (lambda: replaced(shapes=GOOD.shapes[:5]), r"shapes is uint8 \[5, 3\], expected uint8 \[63, 3\]"),
    "colours": (lambda: replaced(colors=GOOD.colors[:, :2]), r"colors is uint8 \[63, 2\], expected uint8 \[63, 3\]"),
    "codebooks": (lambda: replaced(codebooks=np.zeros((1, 1, 3), np.uint16)), r"codebooks is uint16 \[1, 1, 3\]"),
    "tensors": (lambda: replaced(mlp=GOOD.mlp[:7]), "mlp has 7 tensors, expected the 10"),
    "a head that should not be there": (
        lambda: replaced(header=gop_header(shape_head=0)),
        r"w_shapes is int8 \[3, 9\], expected int8 \[0, 9\]",
    ),
    "scale of a head that is not there": (
        lambda: dataclasses.replace(random_gop(**PAPER), mlp_scales=np.ones(10, np.float32)),
        r"mlp_scales is float32 \[10\], expected float32 \[8\]",
    ),
    "head": (lambda: replaced(header=gop_header(shape_head=2)), "shape_head is 2, expected 0 to 1"),
    "no grid": (lambda: replaced(point_scale=np.zeros(0, np.float32)), r"point_scale is float32 \[0\]"),
    "log scale": (lambda: replaced(shape_scale=np.array([0.2, 0.6, 9], np.float32)), "shape_scale of b is 0.6"),
    "small log scale": (
        lambda: replaced(shape_scale=np.full(3, 2.0**-11, np.float32)),
        "of a is 0.00048828125",
    ),
    "zero scale": (lambda: replaced(color_scale=np.zeros(3, np.float32)), r"color_scale is 0\.0"),
    "mode": (lambda: replaced(header=gop_header(point_mode=2)), "point_mode is 2, expected 0 to 1"),
    "header": (lambda: replaced(header=gop_header(cholesky_bits=7)), "cholesky_bits is 7, expected 8 in shape_mode 1"),
    "infinite point": (
        lambda: dataclasses.replace(random_gop(**PAPER), points=np.full((63, 2), 0xFC00, np.uint16)),
        "points has symbols from 64512 to 64512, expected 1024 to 64511",
    ),
    "codeword": (
        lambda: dataclasses.replace(random_gop(**PAPER), colors=np.full((63, 2), 7, np.uint8)),
        "colors has symbols from 7 to 7, expected 0 to 6",
    ),
}


@pytest.mark.parametrize(("make", "message"), BAD_SYMBOLS.values(), ids=BAD_SYMBOLS)
def test_pack_refuses_symbols_that_do_not_fit(make, message):
    with pytest.raises(ValueError, match=message):
        pack_gop(make())


UNCHECKED = {
    "log scale": (
        replaced(shape_scale=np.full(3, 0.75, np.float32)),
        "GoP side_info, decoded, at byte 16: shape_scale",
    ),
    "scale": (
        replaced(point_scale=np.full(2, np.inf, np.float32)),
        "GoP side_info, decoded, at byte 0: point_scale is",
    ),
    "infinite point": (
        dataclasses.replace(random_gop(**PAPER), points=np.full((63, 2), 0x03FF, np.uint16)),
        "GoP points, at byte .*NaN or Inf",
    ),
    "NaN codeword": (
        dataclasses.replace(random_gop(**PAPER), codebooks=np.full((2, 7, 3), 0x7E00, np.uint16)),
        "GoP side_info, at byte .*NaN or Inf",
    ),
}


@pytest.mark.parametrize(("symbols", "message"), UNCHECKED.values(), ids=UNCHECKED)
def test_values_outside_the_limits_are_refused_on_reading(monkeypatch, symbols, message):
    monkeypatch.setattr(GopSymbols, "validate", lambda self: None)
    monkeypatch.setattr("stgvcodec.bitstream.payload.symbols.write_elements", unlimited)
    payload = pack_gop(symbols)
    with pytest.raises(BitstreamError, match=message):
        unpack_gop(payload)
    with pytest.raises(independent_decoder.SpecError):
        independent_decoder.parse_gop(payload)


def unlimited(values, table):
    return b"".join(np.asarray(values[element.name], "<f4").tobytes() for element in table)


@each_profile
def test_every_cut_is_refused(modes):
    payload = pack_gop(random_gop(n_gaussians=9, **modes, **SMALLEST_FIELD))
    for length in range(len(payload)):
        with pytest.raises(BitstreamError):
            unpack_gop(payload[:length])
    with pytest.raises(BitstreamError, match="streams take"):
        unpack_gop(payload + b"\1")


@each_profile
def test_damage_is_refused_or_gives_other_symbols_as_by_the_independent_decoder(modes):
    """Every bit of the header is flipped in turn, and some bits of each byte behind it."""
    intact = stored(random_gop(n_gaussians=40, **modes, **SMALLEST_FIELD))
    payload, n_head = pack_gop(intact), len(intact.header.to_bytes())
    rng = np.random.default_rng(11)
    flips = [(position, 1 << bit) for position in range(n_head) for bit in range(8)]
    flips += [(position, int(rng.integers(1, 256))) for position in range(n_head, len(payload))]
    n_refused = peak = 0
    for position, bits in flips:
        damaged = bytearray(payload)
        damaged[position] ^= bits
        tracemalloc.start()
        try:
            symbols = unpack_gop(bytes(damaged))
        except BitstreamError:
            n_refused += 1
            symbols = None
        peak = max(peak, tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        if symbols is None:
            with pytest.raises(independent_decoder.SpecError):
                independent_decoder.parse_gop(bytes(damaged))
            continue
        symbols.validate()
        assert not same_gop(symbols, intact), position
        parsed = independent_decoder.parse_gop(bytes(damaged))
        assert {name: parsed[name] for name in integers_of(symbols)} == integers_of(symbols), (position, bits)
    assert 0.4 * len(flips) < n_refused < len(flips) - 20  # a flipped low bit is another point
    assert peak < 512 * 2**20


def test_random_bytes_are_refused():
    rng = np.random.default_rng(5)
    head = pack_gop(random_gop())[:50]
    for size in range(150):
        for prefix in (b"", head):
            with pytest.raises(BitstreamError):
                unpack_gop(prefix + rng.bytes(size))


def test_damage_names_stream_and_offset():
    payload = bytearray(pack_gop(random_gop()))
    sizes = payload_stream_bytes(bytes(payload))
    start = sum(sizes[name] for name in STREAMS[: STREAMS.index("shapes")])
    payload[start] = 4
    with pytest.raises(BitstreamError, match="not defined in a conditional stream") as caught:
        unpack_gop(bytes(payload))
    assert (caught.value.section, caught.value.offset) == ("GoP shapes", start)


def entropy_bytes(*columns):
    counts = [np.unique(column, return_counts=True)[1] for column in columns]
    return sum(float(-(c * np.log2(c / c.sum())).sum()) for c in counts) / 8


def test_a_small_gop_pays_little_over_its_entropy():
    symbols = random_gop(n_gaussians=300, **SMALLEST_FIELD)
    sizes = payload_stream_bytes(pack_gop(symbols))
    assert sizes["shapes"] + sizes["colors"] < entropy_bytes(*symbols.shapes.T, *symbols.colors.T) + 40
    assert sizes["side_info"] < 90
    assert sizes["field"] < 45  # 23 weights in ten arrays


def test_what_depends_on_one_another_costs_less_than_apart():
    symbols = random_gop(n_gaussians=5000)
    sizes = payload_stream_bytes(pack_gop(symbols))
    assert sizes["shapes"] < 0.95 * entropy_bytes(*symbols.shapes.T)
    assert sizes["colors"] < 0.97 * entropy_bytes(*symbols.colors.T)
