from __future__ import annotations

import make_worked_example as example
from gops import same_gop, stored
from spec_tables import SPEC, cells_after

from stgvcodec.bitstream import StgvReader, unpack_gop
from stgvcodec.bitstream.syntax.tables import MLP_TENSORS


def integers(cell):
    return [int(number) for number in cell.split()]


def test_writer_reproduces_the_golden_file():
    assert example.worked_example_bytes() == example.GOLDEN.read_bytes()


def test_spec_shows_the_golden_file():
    assert example.hex_section(example.GOLDEN.read_bytes()) in SPEC.read_text(encoding="utf-8")


def test_spec_explains_every_byte():
    data = example.GOLDEN.read_bytes()
    expected_at = 0
    rows = cells_after("<!-- anatomy of the worked example -->")
    for (at, shown, _), following in zip(rows, [*(row[0] for row in rows[1:]), f"{len(data):04x}"], strict=True):
        assert int(at, 16) == expected_at
        expected_at = int(following, 16)
        prefix = bytes.fromhex(shown.strip("`").removesuffix(" ..."))
        assert data[int(at, 16) :].startswith(prefix)
        assert shown.endswith("...`") or len(prefix) == expected_at - int(at, 16)


def test_golden_file_decodes_to_its_symbols():
    expected = example.worked_example_symbols()
    with StgvReader(example.GOLDEN) as reader:
        assert reader.header == example.STREAM_HEADER
        assert [gop.pts for gop in reader.gops] == [example.PTS]
        reader.verify()
        assert same_gop(unpack_gop(reader.read_gop(0)), stored(expected))


def test_spec_shows_the_symbols_of_the_gaussians():
    expected = example.worked_example_symbols()
    rows = cells_after("Worked example, symbols of the Gaussians:")
    assert [row[0] for row in rows] == ["0", "1", "2"]
    for row, *symbols in zip(rows, expected.points, expected.shapes, expected.colors, strict=True):
        assert [integers(cell) for cell in row[1:]] == [array.tolist() for array in symbols]


def test_spec_shows_the_symbols_of_the_field():
    expected = example.worked_example_symbols()
    rows = cells_after("Worked example, field:")
    assert [row[0] for row in rows[2:]] == list(MLP_TENSORS)
    arrays = (expected.static_table, expected.dynamic_table, *expected.mlp)
    for row, array in zip(rows, arrays, strict=True):
        assert integers(row[3]) == array.reshape(-1).tolist()
