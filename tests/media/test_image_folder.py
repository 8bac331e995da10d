from __future__ import annotations

import struct
from fractions import Fraction

import numpy as np
import pytest

from stgvcodec.errors import InputVideoError, OutputError
from stgvcodec.media import open_video, read_image, write_png


def noise_rgb(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (63, 100), (48, 33)])
def test_png_round_trip_is_exact(tmp_path, height, width):
    rgb = noise_rgb(height, width)
    write_png(tmp_path / "a.png", rgb)
    assert np.array_equal(read_image(tmp_path / "a.png"), rgb)


def test_write_png_takes_views_and_refuses_a_missing_folder(tmp_path):
    rgb = noise_rgb(40, 30)
    write_png(tmp_path / "a.png", rgb[::2, ::-1])
    assert np.array_equal(read_image(tmp_path / "a.png"), rgb[::2, ::-1])
    with pytest.raises(OutputError, match="does not exist"):
        write_png(tmp_path / "missing" / "a.png", rgb)


def test_a_folder_is_read_in_natural_order(tmp_path):
    order = ["frame 1.png", "frame 2.png", "Frame 10.PNG", "frame 010b.png"]
    for index, name in reversed(list(enumerate(order))):
        write_png(tmp_path / name, np.full((8, 8, 3), index, np.uint8))
    (tmp_path / ".hidden.png").write_bytes(b"not an image")
    (tmp_path / "notes.txt").write_text("not an image")
    with open_video(tmp_path, frame_rate=Fraction(30000, 1001)) as reader:
        frames = list(reader)
    assert [int(frame.rgb[0, 0, 0]) for frame in frames] == [0, 1, 2, 3]
    assert [frame.pts for frame in frames] == [0, 1, 2, 3]
    assert (reader.frame_rate, reader.time_base) == (Fraction(30000, 1001), Fraction(1001, 30000))
    assert reader.n_frames == 4
    assert (reader.color.matrix, reader.color.full_range) == (0, True)


def test_the_default_rate_is_24(tmp_path):
    write_png(tmp_path / "0.png", noise_rgb(8, 8))
    assert open_video(tmp_path).frame_rate == 24


def test_a_name_like_a_pattern_is_a_name(tmp_path):
    rgb = noise_rgb(8, 8)
    write_png(tmp_path / "a%03d.png", rgb)
    (only,) = open_video(tmp_path / "a%03d.png")
    assert np.array_equal(only.rgb, rgb)


def test_the_image_of_another_size_is_named(tmp_path):
    for name, size in (("a.png", (8, 8)), ("b.png", (8, 8)), ("c.png", (8, 10))):
        write_png(tmp_path / name, noise_rgb(*size))
    with open_video(tmp_path) as reader, pytest.raises(InputVideoError, match=r"c\.png: got .* 10x8, expected 8x8"):
        list(reader)


@pytest.mark.parametrize(
    ("suffix", "codec", "pixel_format", "dtype", "n_channels"),
    [
        (".bmp", "bmp", "bgr24", "u1", 3),
        (".tif", "tiff", "rgb24", "u1", 3),
        (".tiff", "tiff", "rgb48le", "<u2", 3),
        (".png", "png", "rgb48be", ">u2", 3),
        (".png", "png", "rgba", "u1", 4),
        (".png", "png", "rgba64be", ">u2", 4),
        (".png", "png", "gray", "u1", 1),
        (".png", "png", "gray16be", ">u2", 1),
        (".png", "png", "ya8", "u1", 2),
    ],
    ids=lambda value: str(value),
)
def test_image_formats(write_image, suffix, codec, pixel_format, dtype, n_channels):
    peak = 255 if dtype == "u1" else 65535
    samples = np.random.default_rng(0).integers(0, peak + 1, (33, 47, n_channels)).astype(dtype)
    if n_channels in (2, 4):
        samples[..., -1] = peak
    path = write_image(f"image{suffix}", [samples], pixel_format, codec)
    color = samples[..., : 3 if n_channels >= 3 else 1].astype(np.float64) * (255 / peak)
    expected = np.broadcast_to(color[..., ::-1] if pixel_format == "bgr24" else color, (33, 47, 3))
    assert np.abs(read_image(path) - expected).max() <= (0 if peak == 255 else 0.5)


@pytest.mark.parametrize("pixel_format", ["rgba", "ya8"])
def test_images_that_are_transparent_somewhere_are_refused(write_image, pixel_format):
    samples = np.full((16, 16, 4 if pixel_format == "rgba" else 2), 255, np.uint8)
    samples[7, 9, -1] = 254
    path = write_image("folder/b.png", [samples], pixel_format)
    write_png(path.with_name("a.png"), samples[..., :1].repeat(3, -1))
    with open_video(path.parent) as reader, pytest.raises(InputVideoError, match=r"b\.png: got an alpha channel"):
        list(reader)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_exif_orientation_is_applied(write_image, orientation):
    y, x = np.mgrid[0:32, 0:48]
    planes = [np.uint8(4 * x + y), np.full((32, 48), 100, np.uint8), np.full((32, 48), 140, np.uint8)]
    path = write_image("a.jpg", planes, "yuvj444p", "mjpeg")
    upright = read_image(path)
    tiff = b"II*\0" + struct.pack("<IHHHIII", 8, 1, 0x112, 3, 1, orientation, 0)
    exif = b"Exif\0\0" + tiff
    jpeg = path.read_bytes()
    path.write_bytes(jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:])
    quarter_turns = {1: 0, 3: 2, 6: -1, 8: 1}[orientation]
    assert np.array_equal(read_image(path), np.rot90(upright, quarter_turns))


@pytest.mark.parametrize("keep", [0, 0.5, 0.9])
@pytest.mark.parametrize(
    ("suffix", "codec", "pixel_format"),
    [(".png", "png", "rgb24"), (".tif", "tiff", "rgb24"), (".bmp", "bmp", "bgr24"), (".jpg", "mjpeg", "yuvj444p")],
    ids=["png", "tiff", "bmp", "jpeg"],
)
def test_damaged_images_are_named(write_image, suffix, codec, pixel_format, keep):
    rgb = noise_rgb(40, 60)
    planes = [rgb[..., c] for c in range(3)] if suffix == ".jpg" else [rgb]
    path = write_image(f"folder/b{suffix}", planes, pixel_format, codec)
    write_png(path.with_name("a.png"), rgb)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with open_video(path.parent) as reader, pytest.raises(InputVideoError, match=rf"b\{suffix}: "):
        list(reader)


def test_a_folder_without_images_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InputVideoError, match=r"has no images, expected files ending in \.png"):
        open_video(tmp_path)


def test_read_image_refuses_a_missing_file(tmp_path):
    with pytest.raises(InputVideoError, match="does not exist"):
        read_image(tmp_path / "none.png")
