from __future__ import annotations

import importlib.util
from pathlib import Path

import independent_decoder
import numpy as np
import pytest
from gops import assert_same_as_independent, assert_same_gop
from spec_tables import SPEC, cells_after

from stgvcodec.bitstream import StgvReader, unpack_gop
from stgvcodec.bitstream.syntax.tables import MLP_TENSORS

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("make_worked_example", GOLDEN / "make_worked_example.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_writer_reproduces_the_golden_file(example):
    assert example.worked_example_bytes() == example.GOLDEN.read_bytes()


def test_spec_shows_the_golden_file(example):
    assert example.hex_section(example.GOLDEN.read_bytes()) in SPEC.read_text(encoding="utf-8")


def test_spec_explains_every_byte(example):
    data = example.GOLDEN.read_bytes()
    expected_at = 0
    rows = cells_after("<!-- anatomy of the worked example -->")
    for (at, shown, _), following in zip(rows, [*(row[0] for row in rows[1:]), f"{len(data):04x}"], strict=True):
        assert int(at, 16) == expected_at
        expected_at = int(following, 16)
        prefix = bytes.fromhex(shown.strip("`").removesuffix(" ..."))
        assert data[int(at, 16) :].startswith(prefix)
        assert shown.endswith("...`") or len(prefix) == expected_at - int(at, 16)


def test_golden_file_decodes_to_its_symbols(example):
    with StgvReader(example.GOLDEN) as reader:
        assert reader.header == example.STREAM_HEADER
        assert [gop.pts for gop in reader.gops] == [example.PTS]
        assert_same_gop(unpack_gop(reader.read_gop(0)), example.worked_example_symbols())
        reader.verify()


def test_independent_decoder_gets_the_same_symbols(example):
    parsed = independent_decoder.parse_file(example.GOLDEN.read_bytes())
    gop = independent_decoder.parse_gop(parsed["gops"][0]["payload"])
    assert_same_as_independent(gop, example.worked_example_symbols())


def test_spec_shows_the_symbols_of_the_mlp(example):
    rows = cells_after("Worked example, mlp:")
    assert [row[0] for row in rows] == list(MLP_TENSORS)
    for row, tensor in zip(rows, example.worked_example_symbols().mlp, strict=True):
        np.testing.assert_array_equal([int(q) for q in row[2].split()], tensor.reshape(-1))
