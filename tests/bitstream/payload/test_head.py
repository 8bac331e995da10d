"""Headers whose elements are each within their limits, but do not fit together."""

from __future__ import annotations

import dataclasses

import pytest
from gops import PAPER, gop_header, random_gop
from independent_decoder import Bytes, SpecError, parse_header

from stgvcodec.bitstream import pack_gop
from stgvcodec.bitstream.payload.head import read_head, read_header
from stgvcodec.bitstream.syntax.elements import write_elements
from stgvcodec.bitstream.syntax.primitives import ByteReader
from stgvcodec.bitstream.syntax.tables import GOP_HEADER, STREAMS
from stgvcodec.errors import BitstreamError

BAD = {
    "shape bits": ({"cholesky_bits": 7}, "cholesky_bits is 7, expected 8 in shape_mode 1"),
    "stages": (
        {"color_stages": 2},
        "color_stages and color_codebook_size are 2 and 1, expected 1 and 1 in color_mode 1",
    ),
    "codewords": (
        {"color_codebook_size": 2},
        "color_stages and color_codebook_size are 1 and 2, expected 1 and 1 in color_mode 1",
    ),
    "2D tables": (
        {"static_resolutions": ((999, 999),) * 5, "static_features": 8, "static_log2_size": 19},
        "the 2D hash tables have 20971520 parameters, expected 16777216 at most",
    ),
    "3D tables": (
        {"dynamic_resolutions": ((99, 99, 99),) * 5, "dynamic_features": 8, "dynamic_log2_size": 19},
        "the 3D hash tables have 20971520 parameters, expected 16777216 at most",
    ),
}


@pytest.mark.parametrize(("changes", "message"), BAD.values(), ids=BAD)
def test_elements_that_do_not_fit_together_are_refused(changes, message):
    header = dataclasses.replace(gop_header(), **changes)
    with pytest.raises(ValueError, match=message):
        header.to_bytes()
    data = write_elements({**dataclasses.asdict(header), **header.level_counts}, GOP_HEADER)
    with pytest.raises(BitstreamError, match=f"GoP header, at byte 0: {message}"):
        read_header(data)
    with pytest.raises(SpecError):
        parse_header(Bytes(data))


def test_the_largest_tables_are_read():
    levels = {"static_resolutions": ((999, 999),) * 4, "static_features": 8, "static_log2_size": 19}
    header = gop_header(**levels)
    assert read_header(header.to_bytes()) == header
    assert parse_header(Bytes(header.to_bytes()))["static_features"] == 8


def test_the_low_pass_is_a_float32():
    with pytest.raises(ValueError, match=r"low_pass is 0.1, expected a float32 value: round it before"):
        gop_header(low_pass=0.1).to_bytes()


def test_headers_in_turns_are_not_taken_for_one_another():
    """The reader keeps the last header, for bytes that begin as it does and for no others."""
    first, second = gop_header(), gop_header(**PAPER)
    for header in (first, second, second, first, gop_header(n_frames=6), first):
        assert read_header(header.to_bytes() + b"\0") == header
    with pytest.raises(BitstreamError, match="cut short"):
        read_header(first.to_bytes()[:-1])


def test_stream_lengths_must_add_up():
    payload = pack_gop(random_gop())
    header, lengths = read_head(ByteReader(payload, "GoP header"))
    assert header == gop_header()
    assert tuple(lengths) == STREAMS
    n_streams = sum(lengths.values())
    with pytest.raises(BitstreamError, match=f"the streams take .* bytes by their lengths, {n_streams + 1} are there"):
        read_head(ByteReader(payload + b"\0", "GoP header"))
