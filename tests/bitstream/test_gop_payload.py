from __future__ import annotations

import dataclasses
import time
import tracemalloc

import independent_decoder
import numpy as np
import pytest
from gops import assert_same_as_independent, assert_same_gop, gop_header, random_gop

from stgvcodec.bitstream import GopSymbols, gop_stream_bytes, pack_gop, unpack_gop
from stgvcodec.bitstream.payload.field import level_entries
from stgvcodec.bitstream.syntax.tables import STREAMS
from stgvcodec.errors import BitstreamError

CASES = {
    "odd sizes": {},
    "one Gaussian, one frame": {"n_gaussians": 1, "n_frames": 1},
    "one codeword": {"color_codebook_size": 1, "color_stages": 1},
    "256 codewords, 3 stages": {"color_codebook_size": 256, "color_stages": 3, "n_gaussians": 700},
    "few bits": {"cholesky_bits": 3, "weight_bits": 2, "spread": 0.7},
    "one bit": {"cholesky_bits": 1, "weight_bits": 1, "spread": 0.7},
    "zero field": {"spread": 0.0},
    "smallest field": {
        "static_resolutions": ((1, 1),),
        "static_features": 1,
        "static_log2_size": 1,
        "dynamic_resolutions": ((1, 1, 1),),
        "dynamic_features": 1,
        "dynamic_log2_size": 1,
        "mlp_width": 1,
        "n_frequencies": 1,
    },
    "wide weights": {"spread": 60.0, "n_gaussians": 1000},
}


@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_round_trip_here_and_by_the_independent_decoder(changes):
    symbols = random_gop(**changes)
    payload = pack_gop(symbols)
    assert_same_gop(unpack_gop(payload), symbols)
    assert_same_as_independent(independent_decoder.parse_gop(payload), symbols)
    assert pack_gop(symbols) == payload


def test_stream_bytes_add_up():
    payload = pack_gop(random_gop())
    sizes = gop_stream_bytes(payload)
    assert tuple(sizes) == STREAMS
    assert sum(sizes.values()) == len(payload)
    assert all(size > 0 for size in sizes.values())


@pytest.mark.parametrize(
    ("resolutions", "log2_size", "expected"),
    [
        (((1, 1), (3, 3), (4, 3), (4, 4)), 4, (4, 16, 16, 16)),
        (((3, 3, 3), (4, 3, 3)), 6, (64, 64)),
        (((16, 16), (36, 36)), 10, (289, 1024)),
    ],
)
def test_dense_where_the_vertices_fit(resolutions, log2_size, expected):
    assert level_entries(resolutions, log2_size) == expected


def replaced(**changes):
    return dataclasses.replace(random_gop(), **changes)


GOOD = random_gop()
NAN_HALF = np.full((63, 2), 0x7E00, np.uint16)
BAD_SYMBOLS = {
    "dtype": (lambda: replaced(means=GOOD.means.astype(np.int32)), r"means is int32 \[63, 2\], expected uint16"),
    "shape": (lambda: replaced(cholesky=GOOD.cholesky[:5]), r"cholesky is uint8 \[5, 3\], expected uint8 \[63, 3\]"),
    "table shape": (lambda: replaced(static_table=GOOD.static_table[1:]), "static_table is int8"),
    "not an array": (lambda: replaced(codebooks=[1]), "codebooks is list, expected uint16"),
    "tensors": (lambda: replaced(mlp=GOOD.mlp[:7]), "mlp has 7 tensors, expected the 8"),
    "codeword": (lambda: replaced(color_indices=np.full((63, 2), 7, np.uint8)), "symbols from 7 to 7, expected 0 to 6"),
    "NaN mean": (lambda: replaced(means=NAN_HALF), "means holds NaN or Inf"),
    "Inf codeword": (lambda: replaced(codebooks=np.full((2, 7, 3), 0xFC00, np.uint16)), "codebooks holds NaN or Inf"),
    "zero scale": (lambda: replaced(mlp_scales=np.zeros(8, np.float32)), r"mlp_scales is 0\.0"),
    "NaN offset": (lambda: replaced(cholesky_offset=np.full(3, np.nan, np.float32)), "cholesky_offset is nan"),
    "float64 scale": (lambda: replaced(static_scales=np.ones(2)), "static_scales is float64"),
    "low-pass": (lambda: replaced(header=gop_header(low_pass=0.1)), r"low_pass is 0\.1, expected a float32 value"),
    "frames": (lambda: replaced(header=gop_header(n_frames=1025)), "n_frames is 1025, expected 1 to 1024"),
    "no Gaussians": (lambda: replaced(header=gop_header(n_gaussians=0)), "n_gaussians is 0, expected 1"),
    "dimensions": (lambda: replaced(header=gop_header(static_resolutions=((1, 2, 3),))), "static_resolutions has 3"),
    "weight range": (lambda: replaced(header=gop_header(weight_bits=2)), "static_table has symbols from"),
}


@pytest.mark.parametrize(("make", "message"), BAD_SYMBOLS.values(), ids=BAD_SYMBOLS)
def test_pack_refuses_symbols_that_do_not_fit(make, message):
    with pytest.raises(ValueError, match=message):
        pack_gop(make())


def test_tables_too_large_are_refused_before_anything_is_allocated():
    header = gop_header(
        static_resolutions=((65535, 65535),) * 16, static_features=8, static_log2_size=19, n_gaussians=1
    )
    with pytest.raises(ValueError, match="2D hash tables have 67108864 parameters, expected 16777216 at most"):
        header.to_bytes()


def test_not_finite_values_are_refused_on_reading(monkeypatch):
    monkeypatch.setattr(GopSymbols, "validate", lambda self: None)
    with pytest.raises(BitstreamError, match=r"GoP means, at byte .*NaN or Inf"):
        unpack_gop(pack_gop(replaced(means=NAN_HALF)))
    with pytest.raises(BitstreamError, match=r"GoP codebooks, at byte .*NaN or Inf"):
        unpack_gop(pack_gop(replaced(codebooks=np.full((2, 7, 3), 0x7C00, np.uint16))))


def test_every_cut_is_refused():
    payload = pack_gop(random_gop())
    for length in range(len(payload)):
        with pytest.raises(BitstreamError):
            unpack_gop(payload[:length])
    with pytest.raises(BitstreamError, match="streams take"):
        unpack_gop(payload + b"\1")


def test_error_names_stream_and_offset():
    payload = bytearray(pack_gop(random_gop()))
    sizes = gop_stream_bytes(bytes(payload))
    start = sizes["side_info"] + sizes["means"]
    payload[start] = 0x08
    with pytest.raises(BitstreamError, match="model byte 8 is not defined") as caught:
        unpack_gop(bytes(payload))
    assert caught.value.section == "GoP cholesky"
    assert caught.value.offset == start


def test_flipped_bytes_give_an_error_or_symbols_and_nothing_else():
    payload = pack_gop(random_gop(n_gaussians=200))
    rng = np.random.default_rng(11)
    positions = np.concatenate([np.arange(80), rng.integers(0, len(payload), 400)])
    outcomes = {"error": 0, "symbols": 0}
    tracemalloc.start()
    started = time.perf_counter()
    for position in positions:
        damaged = bytearray(payload)
        damaged[position] ^= int(rng.integers(1, 256))
        try:
            unpack_gop(bytes(damaged)).validate()
            outcomes["symbols"] += 1
        except BitstreamError:
            outcomes["error"] += 1
    elapsed = time.perf_counter() - started
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert outcomes["error"] > outcomes["symbols"] > 0, outcomes  # a flipped raw byte is another symbol
    assert elapsed < 60
    assert peak < 512 * 2**20


def test_random_bytes_are_refused():
    rng = np.random.default_rng(5)
    head = pack_gop(random_gop())[:40]
    for size in range(200):
        for prefix in (b"", head):
            with pytest.raises(BitstreamError):
                unpack_gop(prefix + rng.bytes(size))


def test_a_paper_sized_gop_codes_in_milliseconds():
    levels = (16, 24, 36, 54, 81, 121, 182, 273)
    symbols = random_gop(
        n_frames=10,
        n_gaussians=20_000,
        color_codebook_size=8,
        static_resolutions=tuple((n, n) for n in levels),
        static_log2_size=10,
        dynamic_resolutions=tuple((n, n, n) for n in levels),
        dynamic_features=4,
        dynamic_log2_size=10,
        mlp_width=128,
        n_frequencies=6,
    )

    def best_ms(function, argument):
        times = []
        for _ in range(7):
            started = time.process_time()
            function(argument)
            times.append(1e3 * (time.process_time() - started))
        return min(times)

    payload = pack_gop(symbols)
    # four times the aims of 10 and 50 ms, in CPU time: a loaded machine passes, a symbol loop in Python does not
    assert best_ms(unpack_gop, payload) < 40
    assert best_ms(pack_gop, symbols) < 200
