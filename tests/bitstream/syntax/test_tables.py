from __future__ import annotations

import struct

import pytest
from spec_tables import element_rows, limit_rows, rows_after

from stgvcodec.bitstream.syntax.elements import read_elements, write_elements
from stgvcodec.bitstream.syntax.limits import LIMITS
from stgvcodec.bitstream.syntax.primitives import PACKERS, ByteReader
from stgvcodec.bitstream.syntax.tables import (
    FILE_HEADER,
    GOP_CHUNK,
    SIDE_INFO,
    TABLES,
)
from stgvcodec.errors import BitstreamError


@pytest.mark.parametrize("name", TABLES)
def test_spec_shows_the_table(name):
    assert rows_after(f"Table {name}:") == element_rows(TABLES[name])


def test_spec_shows_the_limits():
    assert rows_after("Table of limits:") == limit_rows(LIMITS)


def test_integers_of_the_spec():
    assert PACKERS["uint"](300) == bytes.fromhex("ac02")
    assert PACKERS["sint"](-3) == bytes.fromhex("05")


@pytest.mark.parametrize(
    "data", ["80", "8000", "ffffffffffffffffff7f", "80808080808080808080", "ffffffffffffffffffff01"]
)
def test_uint_refuses_short_long_and_overlong(data):
    with pytest.raises(BitstreamError, match="test, at byte"):
        ByteReader(bytes.fromhex(data), "test").uint()


@pytest.mark.parametrize(("data", "message"), [(b"\x02\xff\xfe", "not UTF-8"), (b"\x03a\x1b[", "cannot be printed")])
def test_text_refuses_bytes_that_would_reach_a_terminal(data, message):
    with pytest.raises(BitstreamError, match=message):
        ByteReader(data, "test").text()


@pytest.mark.parametrize(
    ("step", "deltas"), [(512, ()), (0, (1, 5000, 2))], ids=["constant step", "explicit differences"]
)
def test_number_of_differences_follows_from_the_step(step, deltas):
    values = {"first_frame": 7, "n_frames": 4, "pts_first": -5, "pts_step": step, "pts_deltas": deltas}
    reader = ByteReader(write_elements(values, GOP_CHUNK), "test")
    assert read_elements(reader, GOP_CHUNK) == values
    reader.expect_end()


def test_write_refuses_values_outside_their_limits():
    values = {"first_frame": 0, "n_frames": 1025, "pts_first": 0, "pts_step": 1, "pts_deltas": ()}
    with pytest.raises(ValueError, match="n_frames is 1025, expected 1 to 1024"):
        write_elements(values, GOP_CHUNK)


def test_read_checks_the_count_before_it_reads():
    data = write_elements(
        {"first_frame": 0, "n_frames": 1024, "pts_first": 0, "pts_step": 1, "pts_deltas": ()}, GOP_CHUNK
    )
    with pytest.raises(BitstreamError, match="pts_deltas needs 1023 items, 2 bytes left"):
        read_elements(ByteReader(data[:-1] + b"\0\1\1", "test"), GOP_CHUNK)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 0.0, -1.0, 2.0**97], ids=str)
def test_scales_are_finite_and_positive(bad):
    modes = {"point_mode": 0, "shape_mode": 0, "color_mode": 0}
    counts = {**modes, "n_static_levels": 1, "n_dynamic_levels": 1, "shape_head": 0}
    data = struct.pack("<f", bad) + bytes(100)
    with pytest.raises(BitstreamError, match="shape_scale is"):
        read_elements(ByteReader(data, "test"), SIDE_INFO, counts)


@pytest.mark.parametrize("mode", [0, 1])
def test_sizes_of_side_info_follow_from_the_modes(mode):
    modes = {"point_mode": mode, "shape_mode": mode, "color_mode": mode}
    counts = {**modes, "n_static_levels": 2, "n_dynamic_levels": 1, "shape_head": mode}
    n_values = {
        "point_scale": 2 * mode,
        "point_offset": 2 * mode,
        "shape_offset": 3 - 3 * mode,
        "color_scale": 3 * mode,
    }
    n_values |= {"shape_scale": 3, "static_scales": 2, "dynamic_scales": 1, "mlp_scales": 8 + 2 * mode}
    values = {element.name: (1.0,) * n_values[element.name] for element in SIDE_INFO}
    data = write_elements({**counts, **values}, SIDE_INFO)
    assert len(data) == 4 * sum(n_values.values())
    assert read_elements(ByteReader(data, "test"), SIDE_INFO, counts) == values


def test_header_text_is_limited_in_bytes():
    with pytest.raises(ValueError, match="expected 0 to 64 bytes"):
        write_elements({"tool": "ö" * 33}, FILE_HEADER[-1:])
