from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from clips import moving_clip, write_video

from stgvcodec.errors import ConfigError
from stgvcodec.media import Crop, Selection, open_video, parse_crop, parse_frames, parse_size
from stgvcodec.media.selection import parse_rate, parse_roi, parse_time


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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1:2.5", (1, 2.5)),
        (":2", (None, 2)),
        ("0.25:", (0.25, None)),
        (".5:1", (0.5, 1)),
        ("1:30:2:00", (90, 120)),
        ("1:00:00:1:00:00.5", (3600, 3600.5)),
        ("1:30:", (90, None)),
        (":1:30", (None, 90)),
        ("59.5-1:02", (59.5, 62)),
        ("0:59.250-1:00:02", (59.25, 3602)),
        ("-1:30", (None, 90)),
        ("1:30-", (90, None)),
    ],
)
def test_times_are_seconds_or_clock_times(text, expected):
    assert parse_time(text) == expected


def test_roi_and_rate_forms():
    assert parse_roi("3,0,64,48") == Crop(64, 48, 3, 0)
    assert [parse_rate(text) for text in ("25", "29.97", "30000/1001")] == [
        25,
        Fraction(2997, 100),
        Fraction(30000, 1001),
    ]


REFUSED = {
    "time": (parse_time, ("", "5", "a:b", "2:1", "1:1", "50:1:10", "1:2:3:4:5", "1-2-3", "1e3:2000", "1:-2:3:4:5")),
    "roi": (parse_roi, ("", "1,2,3", "1,2,3,4,5", "-1,0,4,4", "64x48")),
    "fps": (parse_rate, ("", "0", "-5", "25/0", "fast", "nan")),
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


TIMES = [500, 540, 580, 700, 701, 900]


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("0:0.08", [0, 1]),
        ("0:0.081", [0, 1, 2]),
        ("0.04:0.2", [1, 2]),
        ("0.2:", [3, 4, 5]),
        (":0.3", [0, 1, 2, 3, 4]),
        ("0.4:9", [5]),
    ],
)
def test_time_takes_the_frames_that_begin_in_it(tmp_path, time, expected):
    """Seconds count from the first frame, wherever that is, and lists of timestamps are taken by the same rule."""
    frames = moving_clip(len(TIMES))
    path = write_video(frames, tmp_path / "a.mkv", TIMES)
    selection = Selection.parse(time=time)

    with open_video(path, selection=selection) as reader:
        taken = list(reader)
        assert reader.n_frames is None
        assert [frame.pts * reader.time_base * 1000 for frame in taken] == [TIMES[i] for i in expected]
    assert all(np.array_equal(frame.rgb, frames[i]) for frame, i in zip(taken, expected, strict=True))
    assert list(selection.indices(TIMES, Fraction(1, 1000))) == expected


@pytest.mark.parametrize("time", ["0.1:0.15", "5:6", "5:"])
def test_a_range_of_time_without_a_frame_is_refused(tmp_path, time):
    path = write_video(moving_clip(len(TIMES)), tmp_path / "a.mkv", TIMES)
    with (
        open_video(path, selection=Selection.parse(time=time)) as reader,
        pytest.raises(ConfigError, match=rf"time {time}: no frame of .* begins in that range"),
    ):
        list(reader)


def test_frames_and_time_are_one_too_many():
    with pytest.raises(ConfigError, match="--frames and --time both choose frames"):
        Selection.parse(frames="0:1", time="0:1")
