from __future__ import annotations

import dataclasses
import io
from fractions import Fraction

import pytest
from files import PAYLOADS, make_file, raw_file
from gops import HEADER
from independent_decoder import SpecError, parse_file, parse_file_header

from stgvcodec.bitstream import ChunkType, StgvReader, StgvWriter, StreamHeader
from stgvcodec.bitstream.syntax.elements import read_elements
from stgvcodec.bitstream.syntax.primitives import PACKERS, ByteReader
from stgvcodec.bitstream.syntax.tables import FILE_HEADER
from stgvcodec.bitstream.syntax.versions import FORMAT_VERSION, PROFILES
from stgvcodec.errors import BitstreamError

VALUES = read_elements(ByteReader(HEADER.to_bytes(), "test"), FILE_HEADER)
BEHIND_THE_HEADER = make_file()[len(raw_file((ChunkType.FILE_HEADER, HEADER.to_bytes()))) :]


def changed(**changes):
    """The header of `HEADER` with other values, which need not be within their limits."""
    values = {**VALUES, **changes}
    return b"".join(PACKERS[element.type](values[element.name]) for element in FILE_HEADER)


def file_with(payload):
    """A file of three GoPs with any file header. Its index holds no offsets, so it fits."""
    return raw_file((ChunkType.FILE_HEADER, payload)) + BEHIND_THE_HEADER


HEADERS = {
    "paper": {"profile": "paper"},
    "square samples": {"sample_aspect_ratio": Fraction(1), "last_frame_duration": 0},
    "wide samples": {"sample_aspect_ratio": Fraction(2**32 - 1, 2), "last_frame_duration": 1},
    "narrow samples": {"sample_aspect_ratio": Fraction(3, 2**32 - 1), "last_frame_duration": 2**40},
    "largest fractions": {"frame_rate": Fraction(2**32 - 1), "time_base": Fraction(1, 2**32 - 1)},
    "largest picture": {"width": 16384, "height": 8192},
    "smallest picture": {"width": 1, "height": 1},
    "a long name": {"tool": "ö" * 32},
    "no name": {"tool": ""},
}


@pytest.mark.parametrize("changes", HEADERS.values(), ids=HEADERS)
def test_round_trip_here_and_by_the_independent_decoder(changes):
    header = dataclasses.replace(HEADER, **changes)
    payload = header.to_bytes()
    assert StreamHeader.from_bytes(payload, 0) == header
    assert file_with(payload) == make_file(header=header)
    with StgvReader(io.BytesIO(file_with(payload))) as reader:
        assert reader.header == header
        assert reader.read_gop(0) == PAYLOADS[0]

    parsed = parse_file(file_with(payload))["header"]
    assert (parsed["version_major"], parsed["version_minor"]) == FORMAT_VERSION
    assert parsed["profile"] == PROFILES[header.profile]
    assert (parsed["width"], parsed["height"], parsed["tool"]) == (header.width, header.height, header.tool)
    for name, ratio in (
        ("frame_rate", header.frame_rate),
        ("time_base", header.time_base),
        ("sample_aspect", header.sample_aspect_ratio),
    ):
        assert (parsed[f"{name}_num"], parsed[f"{name}_den"]) == ratio.as_integer_ratio()
    assert parsed["last_frame_duration"] == header.last_frame_duration


def test_samples_are_square_and_the_last_duration_is_open_where_nothing_is_said():
    names = ("width", "height", "frame_rate", "time_base", "color", "profile", "tool")
    header = StreamHeader(**{name: getattr(HEADER, name) for name in names})
    assert (header.sample_aspect_ratio, header.last_frame_duration) == (1, 0)
    assert header.to_bytes() == changed(sample_aspect_num=1, sample_aspect_den=1, last_frame_duration=0)


@pytest.mark.parametrize("keep_going", [False, True], ids=["whole", "keep going"])
@pytest.mark.parametrize("version", [(1, 0), (1, 1), (1, 2), (3, 0)], ids="{0[0]}.{0[1]}".format)
def test_another_major_version_is_refused_in_one_line_whatever_follows_it(version, keep_going):
    major, minor = version
    for payload in (bytes(version), bytes(version) + b"\xff" * 20, changed(version_major=major, version_minor=minor)):
        with pytest.raises(BitstreamError) as caught:
            StgvReader(io.BytesIO(file_with(payload)), keep_going=keep_going)
        advice = "this reader knows 2.x: use the stgvcodec that wrote it"
        assert str(caught.value) == f"file header, at byte 22: format version {major}.{minor}, {advice}"
        with pytest.raises(SpecError, match="version"):
            parse_file_header(payload)


def test_a_later_minor_version_may_have_more_elements():
    payload = changed(version_minor=7) + b"new elements"
    reader = StgvReader(io.BytesIO(file_with(payload)))
    assert reader.header == dataclasses.replace(HEADER, format_version=(2, 7))
    assert reader.read_gop(1) == PAYLOADS[1]
    assert parse_file(file_with(payload))["header"]["version_minor"] == 7


BAD_HEADERS = {
    "profile 0": (changed(profile=0), "profile is 0, expected 1 to 255"),
    "profile": (changed(profile=3), r"profile 3 is not known, expected one of {'paper': 1, 'compact': 2}: use a newer"),
    "width": (changed(width=0), "width is 0, expected 1 to 16384"),
    "pixels": (changed(width=16384, height=8193), "16384 x 8193 pixels, expected 134217728 at most"),
    "full range": (changed(color_full_range=2), "color_full_range is 2, expected 0 to 1"),
    "rate of 0": (changed(frame_rate_num=0), "frame_rate_num is 0, expected 1 to"),
    "frame rate": (changed(frame_rate_num=60, frame_rate_den=2), "frame_rate is 60/2, expected lowest terms"),
    "time base": (changed(time_base_num=2), "time_base is 2/90000, expected lowest terms"),
    "sample aspect": (changed(sample_aspect_den=12), "sample_aspect is 16/12, expected lowest terms"),
    "sample aspect of 0": (changed(sample_aspect_num=0), "sample_aspect_num is 0, expected 1 to"),
    "sample aspect without end": (changed(sample_aspect_den=0), "sample_aspect_den is 0, expected 1 to"),
    "wide sample aspect": (changed(sample_aspect_num=2**32), "sample_aspect_num is 4294967296, expected 1 to"),
    "duration": (
        changed(last_frame_duration=2**40 + 1),
        "last_frame_duration is 1099511627777, expected 0 to",
    ),
    "tool": (changed(tool="a" * 65), "tool is 'a+', expected 0 to 64 bytes"),
    "line feed": (changed(tool="a\nb"), "control characters"),
    "bytes behind": (changed() + b"x", "1 bytes more than the fields need"),
    "cut": (changed()[:-1], "cut short"),
    "empty": (b"", "cut short"),
}


@pytest.mark.parametrize(("payload", "message"), BAD_HEADERS.values(), ids=BAD_HEADERS)
def test_bad_headers_are_refused(payload, message):
    with pytest.raises(BitstreamError, match=f"file header, at byte .*{message}"):
        StgvReader(io.BytesIO(file_with(payload)))
    with pytest.raises(SpecError):
        parse_file_header(payload)


BAD_VALUES = {
    "width": ({"width": 16385}, "width is 16385, expected 1 to 16384"),
    "pixels": ({"width": 16384, "height": 16384}, "16384 x 16384 pixels, expected 134217728 at most"),
    "rate": ({"frame_rate": Fraction(0)}, "frame_rate_num is 0"),
    "sample aspect of 0": ({"sample_aspect_ratio": Fraction(0)}, "sample_aspect_num is 0, expected 1 to"),
    "sample aspect": ({"sample_aspect_ratio": Fraction(1, 2**32)}, "sample_aspect_den is 4294967296, expected 1 to"),
    "duration": ({"last_frame_duration": 2**40 + 1}, "last_frame_duration is 1099511627777, expected 0 to"),
    "duration before 0": ({"last_frame_duration": -1}, "last_frame_duration is -1, expected 0 to"),
    "profile": ({"profile": "small"}, "profile is 'small', expected one of paper, compact"),
    "tool": ({"tool": "a\nb"}, "expected printable text"),
    "version": ({"format_version": (1, 2)}, r"format_version is \(1, 2\), this writer writes \(2, 0\)"),
}


@pytest.mark.parametrize(("changes", "message"), BAD_VALUES.values(), ids=BAD_VALUES)
def test_writer_refuses_headers_outside_the_limits(changes, message):
    file = io.BytesIO()
    with pytest.raises(ValueError, match=message):
        StgvWriter(file, dataclasses.replace(HEADER, **changes))
    assert file.getvalue() == b""
