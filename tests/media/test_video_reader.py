from __future__ import annotations

import gc
import logging
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from stgvcodec.errors import ConfigError
from stgvcodec.media import Selection, open_video, write_png


def test_bunny_is_described(bunny):
    with open_video(bunny) as reader:
        assert (reader.width, reader.height) == (1280, 720)
        assert (reader.frame_rate, reader.time_base) == (25, Fraction(1, 12800))
        assert reader.n_frames == 132
        assert (reader.color.matrix, reader.color.full_range) == (6, False)
        assert repr(reader).endswith("bunny.mp4', 1280x720, 25 fps, 132 frames)")


def test_selection_takes_the_same_frames_and_pixels(bunny):
    with open_video(bunny, selection=Selection(frames=(0, 8))) as reader:
        whole = list(reader)
    with open_video(bunny, selection=Selection.parse(frames="3:6", crop="200x101+31+7")) as reader:
        assert (reader.width, reader.height, reader.n_frames) == (200, 101, 3)
        part = list(reader)
    assert [frame.pts for frame in part] == [512 * index for index in (3, 4, 5)]
    for frame, reference in zip(part, whole[3:6], strict=True):
        assert frame.rgb.shape == (101, 200, 3)
        assert frame.rgb.flags.c_contiguous
        assert np.array_equal(frame.rgb, reference.rgb[7:108, 31:231])


def test_iterating_again_starts_anew_and_frames_are_independent(bunny):
    with open_video(bunny, selection=Selection(frames=(0, 3))) as reader:
        first, second = list(reader), list(reader)
    assert all(np.array_equal(a.rgb, b.rgb) and a.pts == b.pts for a, b in zip(first, second, strict=True))
    assert not np.array_equal(first[0].rgb, first[2].rgb)


def test_leaving_the_block_ends_an_iteration(bunny):
    with open_video(bunny) as reader:
        frames = iter(reader)
        next(frames)
    assert next(frames, None) is None


def test_reading_stops_at_the_end_of_the_range(write_video, noise):
    frames = [noise(48, 64, seed=index) for index in range(40)]
    path = write_video(frames, name="a.mp4", codec="libx264", container_options={"movflags": "faststart"})
    data = path.read_bytes()
    # With the index in front, only reading on would notice.
    path.write_bytes(data[: len(data) // 2])
    with open_video(path, selection=Selection(frames=(0, 5))) as reader:
        assert len(list(reader)) == 5


def test_memory_does_not_grow_with_the_frames(bunny):
    gc.collect()
    gc.disable()
    try:
        with open_video(bunny, selection=Selection(frames=(0, 20))) as reader:
            for _ in reader:
                pass
        pictures = sum(type(thing) is av.VideoFrame for thing in gc.get_objects())
    finally:
        gc.enable()
    # The first picture of the probe and that of the iteration, whose side data was looked at.
    assert pictures <= 4


def test_a_range_past_the_end_says_how_many_there_are(write_video, noise):
    path = write_video([noise(16, 16, seed=index) for index in range(4)])
    with (
        open_video(path, selection=Selection(frames=(4, 9))) as reader,
        pytest.raises(ConfigError, match=r"frames 4:9: got a first frame of 4, expected one of the 4 frames"),
    ):
        list(reader)


def test_a_range_that_ends_past_the_end_is_noted(write_video, noise, caplog):
    path = write_video([noise(16, 16, seed=index) for index in range(4)])
    with open_video(path, selection=Selection(frames=(2, 9))) as reader, caplog.at_level(logging.WARNING):
        assert len(list(reader)) == 2
    assert "has 4 frames" in caplog.text


def test_variable_frame_rate_timestamps_are_exact(write_video, noise):
    pts = [3, 44, 100, 101, 600]
    path = write_video([noise(16, 16, seed=index) for index in range(5)], pts=pts)
    with open_video(path) as reader:
        assert reader.time_base == Fraction(1, 1000)
        assert [frame.pts for frame in reader] == pts


def test_timestamps_that_are_missing_follow_the_frame_rate(write_video, noise):
    frames = [noise(32, 32, seed=index) for index in range(6)]
    path = write_video(frames, name="raw.h264", codec="libx264", options={"bf": "2"})
    with open_video(path) as reader:
        seconds = [frame.pts * reader.time_base for frame in reader]
        assert seconds == [index / reader.frame_rate for index in range(6)]


def test_y4m(tmp_path, noise):
    frames = [noise(33, 47, 16, 236, seed=index) for index in range(3)]
    data = b"".join(b"FRAME\n" + b"".join(plane.tobytes() for plane in planes) for planes in frames)
    path = tmp_path / "in.y4m"
    path.write_bytes(b"YUV4MPEG2 W47 H33 F30000:1001 Ip A1:1 C444\n" + data)
    with open_video(path) as reader:
        assert (reader.width, reader.height, reader.frame_rate) == (47, 33, Fraction(30000, 1001))
        assert (reader.color.matrix, reader.color.full_range) == (6, False)
        assert [frame.pts for frame in reader] == [0, 1, 2]


@pytest.mark.parametrize(
    ("turn", "matrix"),
    [
        (lambda rgb: np.rot90(rgb, -1), (0, 1, -1, 0)),
        (lambda rgb: np.rot90(rgb, 1), (0, -1, 1, 0)),
        (lambda rgb: np.rot90(rgb, 2), (-1, 0, 0, -1)),
        (lambda rgb: rgb[:, ::-1], (-1, 0, 0, 1)),
        (lambda rgb: rgb.transpose(1, 0, 2), (0, 1, 1, 0)),
    ],
    ids=["clockwise", "counterclockwise", "half", "mirrored", "transposed"],
)
def test_the_display_matrix_is_applied_before_the_crop(write_video, noise, turn, matrix):
    path = write_video([noise(32, 48)], name="phone.mp4", codec="libx264")
    (upright,) = open_video(path)
    rotate_mp4(path, matrix)
    expected = turn(upright.rgb)
    with open_video(path) as reader:
        assert (reader.height, reader.width) == expected.shape[:2]
        (frame,) = reader
    assert np.array_equal(frame.rgb, expected)
    (cropped,) = open_video(path, selection=Selection.parse(crop="20x10+1+2"))
    assert np.array_equal(cropped.rgb, expected[2:12, 1:21])


def rotate_mp4(path: Path, matrix: tuple[float, float, float, float]) -> None:
    """Overwrites the track's display matrix (a, b, c, d)."""
    data = path.read_bytes()
    one = 1 << 16
    identity = struct.pack(">9i", one, 0, 0, 0, one, 0, 0, 0, 1 << 30)
    a, b, c, d = (int(value * one) for value in matrix)
    start = data.index(identity, data.index(b"tkhd"))
    path.write_bytes(data[:start] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + data[start + 36 :])


def test_ten_bits_and_hdr_are_noted(write_video, noise, caplog):
    planes = noise(16, 16, 64, 940, dtype="<u2")
    path = write_video([planes], "yuv444p10le", matrix=9, primaries=9, transfer=16)
    with caplog.at_level(logging.WARNING), open_video(path) as reader:
        assert (reader.color.primaries, reader.color.transfer, reader.color.matrix) == (9, 16, 9)
        (frame,) = reader
    assert frame.rgb.dtype == np.uint8
    assert reader.bits_per_sample == 10
    assert "10 bits a sample; it is dithered to 8" in caplog.text
    assert "HDR, PQ" in caplog.text


def test_sound_may_be_in_a_video_file_and_not_in_images(bunny, tmp_path):
    with open_video(bunny) as video:
        assert video.file == bunny
    write_png(tmp_path / "0.png", np.zeros((4, 4, 3), np.uint8))
    with open_video(tmp_path) as video:
        assert video.file is None
