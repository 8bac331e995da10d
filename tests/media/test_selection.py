from __future__ import annotations

import pytest

from stgvcodec.errors import ConfigError
from stgvcodec.media import Crop, Selection, parse_crop, parse_frames, parse_size


@pytest.mark.parametrize(
    ("text", "expected"),
    [("3:10", (3, 10)), (":10", (None, 10)), ("3:", (3, None)), (":", (None, None)), ("0:1", (0, 1))],
)
def test_frames_are_a_half_open_range_with_optional_ends(text, expected):
    assert parse_frames(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1280x640", Crop(1280, 640)), ("64X48+2+0", Crop(64, 48, 2, 0)), ("1x1+0+7", Crop(1, 1, 0, 7))],
)
def test_crop_forms(text, expected):
    assert parse_crop(text) == expected


REFUSED = {
    "frames": (parse_frames, ("", "5", "a:b", "-1:4", "1:2:3", "1.5:4", "5:5", "9:3", ":0")),
    "crop": (parse_crop, ("", "64", "64x", "64x48+1", "64x48-1+2", "0x48", "64x0+1+1", "64*48")),
    "resize": (parse_size, ("", "64", "64x48+0+0", "0x48", "-64x48", "99999x48")),
}


@pytest.mark.parametrize(("option", "text"), [(option, text) for option in REFUSED for text in REFUSED[option][1]])
def test_another_form_or_what_is_empty_is_refused(option, text):
    with pytest.raises(ConfigError, match=rf"{option} .*expected"):
        REFUSED[option][0](text)


@pytest.mark.parametrize(
    ("crop", "size", "offset"),
    [("1280x640", (1280, 720), (0, 40)), ("3x3", (6, 6), (1, 1)), ("6x6", (6, 6), (0, 0)), ("2x2+4+3", (6, 6), (4, 3))],
)
def test_a_crop_without_an_offset_is_centred(crop, size, offset):
    assert parse_crop(crop).place(*size) == offset


@pytest.mark.parametrize("crop", ["7x6", "6x7", "2x2+5+0", "2x2+0+5"])
def test_a_crop_outside_the_picture_is_refused_with_both_sizes(crop):
    with pytest.raises(ConfigError, match=r"crop .* does not fit: got columns .*expected them inside .*6x6"):
        parse_crop(crop).place(6, 6)


def test_the_order_is_crop_then_resize():
    assert Selection.parse(crop="1280x640", resize="640x320").output_size(1280, 720) == (640, 320)
    assert Selection.parse(crop="100x50").output_size(1280, 720) == (100, 50)
    assert Selection().output_size(1280, 720) == (1280, 720)
    with pytest.raises(ConfigError, match="does not fit"):
        Selection.parse(crop="1280x640", resize="640x320").output_size(640, 640)


@pytest.mark.parametrize(("frames", "expected"), [("2:5", 3), ("8:20", 2), (":", 10), ("10:", 0), ("30:40", 0)])
def test_count_of_frames_taken_from_ten(frames, expected):
    assert Selection.parse(frames=frames).count(10) == expected
