from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from gops import MIXED, PROFILE_MODES, random_gop

from stgvcodec.bitstream import StgvReader, pack_gop, unpack_gop
from stgvcodec.bitstream.payload.anatomy import payload_anatomy
from stgvcodec.bitstream.payload.head import payload_stream_bytes
from stgvcodec.bitstream.syntax.sections import SECTIONS

GOLDEN = sorted((Path(__file__).parents[2] / "golden").glob("*.stgv"))
# The check takes up to 17 bits and the coder's last word is full only by chance; its roundings are far below a bit.
MOST_OVERHEAD_BITS = 40.0


def anatomies(path):
    with StgvReader(path) as reader:
        for i, entry in enumerate(reader.gops):
            payload = reader.read_gop(i)
            symbols = reader.unpack(i)
            yield payload, symbols, entry, payload_anatomy(payload, symbols, base_offset=entry.payload_offset)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_the_bits_of_the_symbols_are_those_of_the_streams(path):
    for payload, _, _, anatomy in anatomies(path):
        sizes = payload_stream_bytes(payload)
        for name, stream in anatomy.streams.items():
            if name != "side_info":
                assert stream.n_bytes == sizes[name]
            if name == "point_bits":
                continue
            coded = any(array.is_coded for array in stream.arrays)
            assert -1e-6 <= stream.coder_overhead_bits <= (MOST_OVERHEAD_BITS if coded else 0)
            models = sum(array.model_bytes for array in stream.arrays)
            assert models + stream.threshold_bytes + stream.coder_bytes == stream.n_bytes


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_the_bits_of_the_gaussians_are_those_of_their_streams(path):
    for _, symbols, _, anatomy in anatomies(path):
        n = len(symbols.points)
        assert all(bits.shape == (n,) for bits in anatomy.gaussian_bits.values())
        total = sum(float(bits.sum()) for bits in anatomy.gaussian_bits.values())
        streams = anatomy.streams
        low_bits = float(anatomy.gaussian_bits["low bits"].sum())
        assert 0 <= 8 * streams["point_bits"].n_bytes - low_bits < 8
        by_streams = sum(streams[name].symbol_bits for name in ("points", "shapes", "colors"))
        assert total == pytest.approx(by_streams + low_bits)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_pieces_cover_the_payload(path):
    for payload, _, entry, anatomy in anatomies(path):
        assert anatomy.pieces[0].first == entry.payload_offset
        assert anatomy.pieces[-1].end == entry.payload_offset + len(payload)
        for group in (anatomy.pieces, *(piece.children for piece in anatomy.pieces)):
            assert all(before.end == after.first for before, after in pairwise(group))
        assert {piece.section for top in anatomy.pieces for piece in top.walk()} <= set(SECTIONS)


def test_symbols_of_gaussians_are_those_that_were_decoded():
    (_, symbols, _, anatomy), *_ = anatomies(GOLDEN[-1])
    for i, name in enumerate(("log scale of l1", "log scale of l3", "shear")):
        np.testing.assert_array_equal(anatomy.gaussian_symbols[name], symbols.shapes[:, i])
    for i, name in enumerate(("Y", "Co", "Cg")):
        np.testing.assert_array_equal(anatomy.gaussian_symbols[name], symbols.colors[:, i])


def test_the_worked_example_says_what_the_specification_says():
    """Sections 12 and 12.1 of bitstream_spec.md have these models and buckets."""
    ((_, _, _, anatomy),) = anatomies(GOLDEN[-1])
    described = {array.name: array.described for array in anatomy.streams["shapes"].arrays}
    assert described["log scale of l1"] == "normal, width 2, centre 4"
    assert described["shear"] == "geometric, width 5, centre 128"
    assert [array.kind for array in anatomy.streams["points"].arrays] == ["raw"]
    assert anatomy.gaussian_symbols["bucket"].tolist() == [46, 48, 50]
    assert anatomy.gaussian_symbols["low bits"].tolist() == [9, 10, 10]
    assert anatomy.gaussian_bits["bucket"].tolist() == [8, 8, 8]
    field = {array.name: array.described for array in anatomy.streams["field"].arrays}
    assert (field["2D level 0"], field["w_shapes"]) == ("normal, width 8, centre 33", "geometric, width 1, centre 32")
    assert field["b_means"] == "constant 32"


@pytest.mark.parametrize("modes", [*PROFILE_MODES.values(), *MIXED.values()], ids=[*PROFILE_MODES, *MIXED])
def test_all_modes_are_taken_apart(modes):
    payload = pack_gop(random_gop(seed=3, **modes))
    anatomy = payload_anatomy(payload, unpack_gop(payload))
    assert len(anatomy.gaussian_bits) == 2 + 3 + anatomy.header.n_color_symbols
    assert sum(piece.n_bytes for piece in anatomy.pieces) == len(payload)
    for stream in anatomy.streams.values():
        for array in stream.arrays:
            assert array.probabilities.sum() == pytest.approx(1.0)
            # A model that knows nothing of the symbols is no better than their own frequencies.
            assert array.bits.sum() >= array.entropy_bits - 1e-9
