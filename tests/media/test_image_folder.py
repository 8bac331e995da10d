from __future__ import annotations

import struct
import zlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from stgvcodec.errors import InputVideoError, OutputError
from stgvcodec.media import Selection, open_video, read_image, write_png


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
    assert np.abs(read_image(path) - expected).max() <= (0 if peak == 255 else 1)


@pytest.mark.parametrize("pixel_format", ["rgba", "ya8"])
def test_images_that_are_transparent_somewhere_are_refused(write_image, pixel_format):
    samples = np.full((16, 16, 4 if pixel_format == "rgba" else 2), 255, np.uint8)
    samples[7, 9, -1] = 254
    path = write_image("folder/b.png", [samples], pixel_format)
    write_png(path.with_name("a.png"), samples[..., :1].repeat(3, -1))
    with open_video(path.parent) as reader, pytest.raises(InputVideoError, match=r"b\.png: got an alpha channel"):
        list(reader)


def save_turned(path: Path, rgb: np.ndarray, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(rgb).save(path, exif=exif, quality=100, subsampling=0)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
@pytest.mark.parametrize("orientation", range(10))
def test_exif_orientation_is_applied(tmp_path, orientation, suffix):
    """There are eight kinds; 0 and 9 mean nothing."""
    y, x = np.mgrid[0:32, 0:48]
    rgb = np.stack((4 * x + y, 255 - 4 * x, 100 + 2 * y), axis=2).astype(np.uint8)
    path = tmp_path / f"a{suffix}"
    save_turned(path, rgb, orientation)

    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB")).astype(int)
    got = read_image(path)
    assert got.shape == expected.shape
    # Decoders of JPEG and WebP differ by rounding.
    assert np.abs(got - expected).max() <= (0 if suffix in (".png", ".tif") else 4)


def test_images_are_compared_as_they_are_shown(tmp_path):
    save_turned(tmp_path / "0.png", noise_rgb(32, 48), 1)
    save_turned(tmp_path / "1.png", noise_rgb(48, 32), 6)
    with open_video(tmp_path) as video:
        assert [frame.rgb.shape for frame in video] == [(32, 48, 3)] * 2

    save_turned(tmp_path / "2.png", noise_rgb(32, 48), 6)
    for selection in (Selection(), Selection.parse(resize="24x16")):
        with (
            open_video(tmp_path, selection=selection) as video,
            pytest.raises(InputVideoError, match=r"2\.png: got an image of 32x48 once it is turned as its EXIF says, "),
        ):
            list(video)


def test_a_chunk_beside_the_picture_that_does_not_parse_is_no_damage(tmp_path):
    rgb = noise_rgb(32, 48)
    write_png(tmp_path / "a.png", rgb)
    png = (tmp_path / "a.png").read_bytes()
    body = b"eXIf" + b"not what it should be"
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    (tmp_path / "a.png").write_bytes(png[:33] + chunk + png[33:])

    assert np.array_equal(read_image(tmp_path / "a.png"), rgb)


@pytest.mark.parametrize("suffix", [".tif", ".png", ".webp", ".gif"])
def test_an_image_of_several_pictures_gives_them_all(tmp_path, suffix):
    pictures = [np.full((32, 48, 3), 40 * k, np.uint8) for k in range(4)]
    first, *others = (Image.fromarray(picture) for picture in pictures)
    options = {".webp": {"lossless": True}}.get(suffix, {})
    first.save(tmp_path / f"a{suffix}", save_all=True, append_images=others, duration=80, **options)

    with open_video(tmp_path / f"a{suffix}") as video:
        frames = list(video)

    assert [int(frame.rgb[5, 5, 1]) for frame in frames] == [0, 40, 80, 120]
    assert video.n_frames in (4, None)
    if suffix != ".tif":
        assert [float(frame.pts * video.time_base) for frame in frames] == pytest.approx([0.0, 0.08, 0.16, 0.24])


def test_a_webp_has_the_times_of_its_pictures_unless_a_rate_is_given(tmp_path):
    first, *others = (Image.fromarray(noise_rgb(8, 8, seed)) for seed in range(3))
    first.save(tmp_path / "a.webp", save_all=True, append_images=others, duration=[40, 160, 500])

    with open_video(tmp_path / "a.webp") as video:
        assert [frame.pts * video.time_base for frame in video] == [0, Fraction(1, 25), Fraction(1, 5)]
        assert video.last_frame_duration() * video.time_base == Fraction(1, 2)
    with open_video(tmp_path / "a.webp", frame_rate=Fraction(10)) as video:
        assert [frame.pts * video.time_base for frame in video] == [0, Fraction(1, 10), Fraction(1, 5)]


@pytest.mark.parametrize(
    ("kind", "options"), [("jpeg", {}), ("tiff", {"save_all": True}), ("webp", {"save_all": True})]
)
def test_an_image_is_told_by_its_content_where_it_has_no_suffix(tmp_path, kind, options):
    """So it is in what comes through a pipe. FFmpeg knows the first page alone, and not every turn."""
    first, *others = (Image.fromarray(noise_rgb(16, 8, seed)) for seed in range(3))
    exif = first.getexif()
    exif[0x0112] = 5
    with_pages = {"append_images": others, **options} if options else {}
    for name in ("named", f"named.{kind}"):
        first.save(tmp_path / name, kind, exif=exif, **with_pages)

    with open_video(tmp_path / "named") as bare, open_video(tmp_path / f"named.{kind}") as named:
        assert bare.n_frames == (3 if options else 1)
        np.testing.assert_array_equal([frame.rgb for frame in bare], [frame.rgb for frame in named])


def test_images_behind_each_other_in_one_stream_are_a_video(tmp_path):
    pictures = [noise_rgb(8, 8, seed) for seed in range(3)]
    for index, picture in enumerate(pictures):
        write_png(tmp_path / f"{index}.png", picture)
    stream = tmp_path / "stream"
    stream.write_bytes(b"".join((tmp_path / f"{index}.png").read_bytes() for index in range(3)))

    with open_video(stream) as video:
        np.testing.assert_array_equal([frame.rgb for frame in video], pictures)


def test_an_image_of_several_pictures_is_no_frame_of_a_folder(tmp_path):
    first, *others = (Image.fromarray(noise_rgb(8, 8, seed)) for seed in range(3))
    first.save(tmp_path / "a.tif", save_all=True, append_images=others)
    write_png(tmp_path / "b.png", noise_rgb(8, 8))

    with pytest.raises(InputVideoError, match=r"a\.tif: has 3 pictures, expected one in each of several images"):
        open_video(tmp_path)


def test_the_thumbnail_of_a_tiff_is_no_page(tmp_path):
    rgb = noise_rgb(32, 48)
    thumbnail = Image.fromarray(rgb[::4, ::4].copy())
    thumbnail.encoderinfo = {"tiffinfo": {254: 1}}
    Image.fromarray(rgb).save(tmp_path / "a.tif", save_all=True, append_images=[thumbnail])

    (only,) = open_video(tmp_path / "a.tif")
    assert np.array_equal(only.rgb, rgb)


def test_what_is_left_out_of_a_folder_is_named(tmp_path, caplog):
    write_png(tmp_path / "0.png", noise_rgb(8, 8))
    for name in ("1.tga", "2.ppm", "clip.mp4", ".hidden"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "folder").mkdir()

    assert len(list(open_video(tmp_path))) == 1
    assert [record.message for record in caplog.records] == [
        f"{tmp_path}: 1.tga, 2.ppm, clip.mp4 are left out, not being images that are read"
    ]


def test_a_link_to_nothing_is_named(tmp_path):
    write_png(tmp_path / "0.png", noise_rgb(8, 8))
    (tmp_path / "1.png").symlink_to(tmp_path / "gone.png")

    with open_video(tmp_path) as video, pytest.raises(InputVideoError, match=r"1\.png: cannot be read as an image"):
        list(video)


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
