"""Colour conversion against the standards' float formulas, and against the ffmpeg program where there is one."""

from __future__ import annotations

import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from tolerances import F64, tolerance

from stgvcodec.decoder.decode_file import decode
from stgvcodec.encoder.config import EncodeConfig
from stgvcodec.encoder.encode import encode
from stgvcodec.errors import ConfigError, InputVideoError
from stgvcodec.media import CodecOptions, ColorTags, Selection, open_video
from stgvcodec.media.colour import ColorConverter, output_matrix

# K_R, K_B of ITU-R BT.601, BT.709 and BT.2020, by H.273 matrix coefficients.
WEIGHTS = {5: (0.299, 0.114), 6: (0.299, 0.114), 1: (0.2126, 0.0722), 9: (0.2627, 0.0593)}

# Without the rows and columns at the border, where swscale folds the kernel's outer taps its own way.
INSIDE = np.s_[4:-4, 4:-4]


def float_rgb(planes: list[np.ndarray], matrix: int, full_range: bool, bits: int = 8) -> np.ndarray:
    """R'G'B' in [0, 255] of Y'CbCr samples by the definition of the standards. [H, W, 3] float64."""
    k_r, k_b = WEIGHTS[matrix]
    step = 1 << (bits - 8)
    y, cb, cr = (plane.astype(np.float64) for plane in planes)
    if full_range:
        peak = (1 << bits) - 1
        y, cb, cr = y / peak, (cb - 128 * step) / peak, (cr - 128 * step) / peak
    else:
        y, cb, cr = (y - 16 * step) / (219 * step), (cb - 128 * step) / (224 * step), (cr - 128 * step) / (224 * step)
    red = y + 2 * (1 - k_r) * cr
    blue = y + 2 * (1 - k_b) * cb
    green = (y - k_r * red - k_b * blue) / (1 - k_r - k_b)
    return np.clip(255 * np.stack([red, green, blue], -1), 0, 255)


def float_yuv(rgb: np.ndarray, matrix: int) -> np.ndarray:
    """Limited-range Y'CbCr of full-range R'G'B'. [3, H, W] float64."""
    k_r, k_b = WEIGHTS[matrix]
    red, green, blue = (rgb[..., channel] / 255.0 for channel in range(3))
    y = k_r * red + (1 - k_r - k_b) * green + k_b * blue
    return np.stack([16 + 219 * y, 128 + 112 * (blue - y) / (1 - k_b), 128 + 112 * (red - y) / (1 - k_r)])


def bicubic(distance: np.ndarray) -> np.ndarray:
    """Keys' kernel with a = -0.6, swscale's default."""
    a, d = -0.6, np.abs(distance)
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
    return np.where(d < 1, near, np.where(d < 2, far, 0))


def resampling_matrix(n_out: int, n_in: int) -> np.ndarray:
    """Centred bicubic resampling along one axis, widened where it shrinks; edges repeated. [n_out, n_in]."""
    ratio = n_in / n_out
    support = max(ratio, 1.0)
    matrix = np.zeros((n_out, n_in))
    for row in range(n_out):
        centre = (row + 0.5) * ratio - 0.5
        taps = np.arange(int(np.floor(centre - 2 * support)), int(np.ceil(centre + 2 * support)) + 1)
        weights = bicubic((taps - centre) / support)
        np.add.at(matrix[row], np.clip(taps, 0, n_in - 1), weights / weights.sum())
    return matrix


def resample(plane: np.ndarray, height: int, width: int) -> np.ndarray:
    rows, columns = resampling_matrix(height, plane.shape[0]), resampling_matrix(width, plane.shape[1])
    return rows @ plane.astype(np.float64) @ columns.T


def assert_levels(samples: np.ndarray, expected: np.ndarray, quantity: str) -> None:
    assert np.abs(samples - expected).max() <= tolerance(quantity, F64).atol


def only_frame(path: Path, **options: object) -> np.ndarray:
    with open_video(path, **options) as reader:
        (frame,) = reader
    return frame.rgb


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("full_range", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("matrix", [6, 5, 1, 9], ids=["601", "601-bg", "709", "2020"])
def test_tagged_444_follows_the_standard(matrix, full_range, bits, write_video, noise):
    step = 1 << (bits - 8)
    low, high = (0, 256 * step) if full_range else (16 * step, 235 * step + 1)
    planes = noise(63, 101, low, high, dtype="u1" if bits == 8 else "<u2")
    pixel_format = "yuv444p" if bits == 8 else "yuv444p10le"
    path = write_video([planes], pixel_format, matrix=matrix, color_range=2 if full_range else 1)
    with open_video(path) as reader:
        assert (reader.color.matrix, reader.color.full_range) == (matrix, full_range)
        (frame,) = reader
    assert frame.rgb.dtype == np.uint8
    assert frame.rgb.flags.c_contiguous
    deep = "levels, dithered full range" if full_range else "levels, dithered"
    assert_levels(frame.rgb, float_rgb(planes, matrix, full_range, bits), deep if bits > 8 else "levels, 4:4:4")


@pytest.mark.parametrize("full_range", [False, True], ids=["limited", "full"])
def test_what_has_more_bits_is_dithered_to_the_same_mean(full_range, write_video):
    """Each area of 8x8 pixels has one value of 10 bits; rounded to 8 bits, most of them would become equal."""
    column = np.arange(300, 332, dtype="<u2").repeat(8)
    planes = [np.broadcast_to(column, (16, 256)).copy(), *(np.full((16, 256), 512, "<u2") for _ in range(2))]
    path = write_video([planes], "yuv444p10le", matrix=1, color_range=2 if full_range else 1)

    rgb = only_frame(path)

    expected = float_rgb(planes, 1, full_range, 10)
    means = [values.reshape(2, 8, 32, 8, 3).mean(axis=(1, 3)) for values in (rgb.astype(np.float64), expected)]
    quantity = "levels, mean of a dithered full-range area" if full_range else "levels, mean of a dithered area"
    assert_levels(means[0], means[1], quantity)
    assert np.all(np.diff(means[0][0, :, 0]) > 0)
    assert np.array_equal(rgb[..., 0], rgb[..., 1])
    assert np.array_equal(rgb, only_frame(path))


def test_levels_of_8_bits_in_16_stay_themselves(write_video, noise):
    planes = noise(24, 40)
    path = write_video([[plane.astype("<u2") * 257 for plane in planes]], "gbrp16le")
    assert np.array_equal(only_frame(path), np.stack([planes[2], planes[0], planes[1]], axis=-1))


@pytest.mark.parametrize(("height", "width"), [(48, 64), (720, 1280)], ids=["small", "720p"])
def test_untagged_is_bt601_limited_at_any_size(height, width, write_video, noise):
    planes = noise(height, width, 16, 236)
    path = write_video([planes])
    with open_video(path) as reader:
        assert reader.color == ColorTags(primaries=2, transfer=2, matrix=6, full_range=False)
    assert_levels(only_frame(path), float_rgb(planes, 6, False), "levels, 4:4:4")


@pytest.mark.parametrize(("name", "code"), [("bt601", 6), ("bt709", 1), ("bt2020", 9)])
@pytest.mark.parametrize("tagged", [2, 1, 6], ids=["untagged", "tagged-709", "tagged-601"])
def test_matrix_option_overrides_the_tag_but_not_the_range(name, code, tagged, write_video, noise):
    planes = noise(32, 48)
    path = write_video([planes], matrix=tagged, color_range=2)
    with open_video(path, matrix=name) as reader:
        assert (reader.color.matrix, reader.color.full_range) == (code, True)
    assert_levels(only_frame(path, matrix=name), float_rgb(planes, code, True), "levels, 4:4:4")


def test_a_matrix_that_does_not_exist_is_refused(bunny):
    with pytest.raises(ConfigError, match=r"matrix 'bt1886'.*bt601, bt709, bt2020"):
        open_video(bunny, matrix="bt1886")


def test_a_matrix_for_an_rgb_source_is_refused(write_video, noise):
    path = write_video([noise(32, 48)], "gbrp", codec="utvideo", name="source.avi", time_base=Fraction(1, 25), pts=[0])
    with pytest.raises(ConfigError, match="RGB source"):
        open_video(path, matrix="bt709")


def test_a_matrix_that_cannot_be_converted_is_refused(write_video, noise):
    path = write_video([noise(32, 48)], matrix=8)
    with pytest.raises(InputVideoError, match=r"matrix coefficients 8, expected .*--matrix"):
        open_video(path)


def test_yuvj_is_full_range(make_picture, noise):
    planes = noise(32, 48)
    rgb = ColorConverter().to_rgb(make_picture("yuvj444p", planes), ColorTags(matrix=6, full_range=True))
    assert_levels(rgb, float_rgb(planes, 6, True), "levels, 4:4:4")


def test_rgb_sources_pass_unchanged(write_video, noise):
    green, blue, red = noise(63, 101)
    path = write_video(
        [[green, blue, red]], "gbrp", codec="utvideo", name="source.avi", time_base=Fraction(1, 25), pts=[0]
    )
    with open_video(path) as reader:
        assert (reader.color.matrix, reader.color.full_range) == (0, True)
    assert np.array_equal(only_frame(path), np.stack([red, green, blue], -1))


@pytest.mark.parametrize("full_range", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize(("height", "width"), [(96, 128), (63, 101), (2, 2)], ids=["even", "odd", "tiny"])
def test_420_is_bicubic_chroma_then_the_formula(height, width, full_range, write_video):
    y, x = np.mgrid[0:height, 0:width]
    luma = np.round(126 + 80 * np.sin(x / 17 + y / 31)).astype(np.uint8)
    v, u = np.mgrid[0 : (height + 1) // 2, 0 : (width + 1) // 2]
    cb = np.round(128 + 60 * np.sin(u / 11 + 1) * np.cos(v / 9)).astype(np.uint8)
    cr = np.round(128 + 60 * np.cos(u / 14 - v / 10)).astype(np.uint8)
    path = write_video([[luma, cb, cr]], "yuv420p", matrix=1, color_range=2 if full_range else 1)
    rgb = only_frame(path)
    # As in ffmpeg, the chroma plane of an odd size is stretched over it: 51 samples over 101 pixels, not 102.
    expected = float_rgb([luma, *(resample(plane, height, width) for plane in (cb, cr))], 1, full_range)
    assert_levels(rgb, expected, "levels, 4:2:0")


def test_chroma_is_interpolated_not_repeated(write_video):
    luma = np.full((16, 16), 126, np.uint8)
    cb = np.full((8, 8), 128, np.uint8)
    cr = np.tile(np.repeat(np.array([90, 166], np.uint8), 4), (8, 1))
    red = only_frame(write_video([[luma, cb, cr]], "yuv420p"))[8, :, 0].astype(int)
    assert len({red[6], red[7], red[8], red[9]}) == 4


@pytest.mark.parametrize(("height", "width"), [(48, 66), (33, 64), (150, 200)])
def test_resizing_is_one_bicubic_pass(height, width, write_video, noise):
    planes = noise(97, 131, 60, 180)
    path = write_video([planes], matrix=1, color_range=1)
    rgb = only_frame(path, selection=Selection(resize=(width, height)))
    assert rgb.shape == (height, width, 3)
    expected = float_rgb([resample(plane, height, width) for plane in planes], 1, False)
    assert_levels(rgb, expected, "levels, resized")
    assert np.abs(rgb - expected).mean() <= tolerance("levels, mean error of resized", F64).atol


@pytest.mark.parametrize(("height", "width"), [(48, 66), (150, 200)])
def test_resizing_after_a_crop_equals_resizing_the_cropped_picture(height, width, write_video, noise):
    path = write_video([noise(97, 131, 90, 150)])
    whole = only_frame(path)
    cropped = whole[3 : 3 + 60, 7 : 7 + 90]
    rgb = only_frame(path, selection=Selection.parse(crop="90x60+7+3", resize=f"{width}x{height}"))
    expected = np.stack([resample(cropped[..., c], height, width) for c in range(3)], -1).clip(0, 255)
    assert_levels(rgb[INSIDE], expected[INSIDE], "levels, resized")
    assert np.abs(rgb - expected).mean() <= tolerance("levels, mean error of resized", F64).atol


@pytest.mark.parametrize("matrix", [6, 1, 9], ids=["601", "709", "2020"])
def test_rgb_to_yuv_follows_the_standard(matrix, noise):
    rgb = np.stack(noise(63, 101), -1)
    yuv = ColorConverter().from_rgb(rgb, "yuv444p", matrix).to_ndarray()
    assert_levels(yuv, float_yuv(rgb, matrix), "levels, RGB to YUV")


@pytest.mark.parametrize(("matrix", "expected"), [(6, 6), (5, 5), (1, 1), (9, 9), (0, 1), (2, 1)])
def test_matrix_written(matrix, expected):
    assert output_matrix(ColorTags(matrix=matrix)) == expected


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs the ffmpeg program")
@pytest.mark.parametrize("matrix", [None, "bt709"], ids=["untagged", "as-709"])
def test_420_equals_the_ffmpeg_program(matrix, bunny):
    with open_video(bunny, selection=Selection(frames=(0, 3)), matrix=matrix) as reader:
        ours = np.stack([frame.rgb for frame in reader])
    flags = "accurate_rnd+full_chroma_int+full_chroma_inp+bicubic"
    scale = f"scale=in_color_matrix={matrix or 'bt601'}:in_range=tv:out_range=pc:flags={flags},format=rgb24"
    command = ["ffmpeg", "-v", "error", "-i", str(bunny), "-frames:v", "3", "-vf", scale, "-f", "rawvideo", "-"]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    theirs = np.frombuffer(raw, np.uint8).reshape(ours.shape)
    assert_levels(ours.astype(int), theirs, "levels, other swscale")
    assert np.abs(ours.astype(int) - theirs).mean() <= tolerance("levels, mean error of other swscale", F64).atol


def test_bunny_by_the_float_formula(bunny):
    """The truth needs no program: it is the decoder's own planes, converted in float64."""
    with av.open(str(bunny)) as container:
        picture = next(container.decode(video=0))
        planes = [
            np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[:, : plane.width] for plane in picture.planes
        ]
    with open_video(bunny, selection=Selection(frames=(0, 1))) as reader:
        (frame,) = reader
    expected = float_rgb([planes[0], *(resample(plane, 720, 1280) for plane in planes[1:])], 6, False)
    assert_levels(frame.rgb[INSIDE], expected[INSIDE], "levels, 4:2:0")
    assert np.abs(frame.rgb - expected).mean() <= tolerance("levels, mean error of 4:2:0", F64).atol


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("out.mp4", CodecOptions()),
        ("out.mp4", CodecOptions("hevc", pixel_format="yuv420p10le")),
        ("out.mkv", CodecOptions("av1")),
        ("out.webm", CodecOptions()),
    ],
    ids=str,
)
@pytest.mark.parametrize("transfer", [16, 18], ids=["pq", "hlg"])
def test_hdr_goes_through_the_file_into_the_output(write_video, noise, tmp_path, name, codec, transfer, caplog):
    source = write_video([noise(32, 48, 64, 940, dtype="<u2")], "yuv444p10le", matrix=9, primaries=9, transfer=transfer)
    stgv = tmp_path / "a.stgv"

    report = encode(source, stgv, config=EncodeConfig(preset="tiny", n_gaussians=30), device="cpu")
    decode(stgv, tmp_path / name, codec=codec, device="cpu")

    assert report.source_bits == 10
    assert "10 bits a sample; it is dithered to 8" in caplog.text
    with open_video(tmp_path / name) as video:
        assert video.color == ColorTags(primaries=9, transfer=transfer, matrix=9, full_range=False)
