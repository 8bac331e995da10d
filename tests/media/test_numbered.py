from __future__ import annotations

import logging
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from clips import files_under

from stgvcodec.errors import ConfigError, InputVideoError, OutputError
from stgvcodec.media import ColorTags, VideoWriter, open_video, open_writer, write_png
from stgvcodec.media.numbered import NumberedName
from stgvcodec.metrics import psnr_db


def gray(level: int) -> np.ndarray:
    return np.full((8, 8, 3), level, np.uint8)


def levels(source: Path) -> list[int]:
    with open_video(source) as reader:
        return [int(frame.rgb[0, 0, 0]) for frame in reader]


def writer_for(path: Path) -> VideoWriter:
    return open_writer(
        path, width=8, height=8, frame_rate=Fraction(25), time_base=Fraction(1, 25), color=ColorTags(matrix=0)
    )


@pytest.fixture
def row(tmp_path: Path) -> Path:
    """Images with numbers 8 to 11 in names of two kinds, and something else."""
    for number in range(8, 12):
        write_png(tmp_path / f"a_{number:03d}.png", gray(number))
        write_png(tmp_path / f"b_{number}.png", gray(100 + number))
    (tmp_path / "notes.txt").write_text("")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a_%03d.png", [8, 9, 10, 11]),
        ("b_%d.png", [108, 109, 110, 111]),
        ("a_*.png", [8, 9, 10, 11]),
        ("b_?.png", [108, 109]),
        ("b_1[01].png", [110, 111]),
        ("b_*", [108, 109, 110, 111]),
    ],
)
def test_a_name_stands_for_its_files_in_natural_order(row, name, expected):
    assert levels(row / name) == expected


@pytest.mark.parametrize("name", ["a_%02d.png", "a_%3d.png", "c_*.png", "missing/a_%03d.png", "a_%%03d.png"])
def test_what_no_file_has_is_said(row, name):
    with pytest.raises(InputVideoError, match=r"there are no files of such a name|does not exist"):
        open_video(row / name)


def test_a_file_of_that_very_name_is_meant(row):
    write_png(row / "a_%03d.png", gray(1))
    write_png(row / "b_*.png", gray(2))
    assert levels(row / "a_%03d.png") == [1]
    assert levels(row / "b_*.png") == [2]


def test_numbers_that_are_missing_are_named_and_other_files_are_refused(row, caplog):
    (row / "a_009.png").unlink()
    with caplog.at_level(logging.WARNING):
        assert levels(row / "a_%03d.png") == [8, 10, 11]
    assert "1 numbers between the first and the last are missing" in caplog.text
    with pytest.raises(InputVideoError, match=r"stands for notes\.txt too, expected images alone"):
        open_video(row / "*")


@pytest.mark.parametrize(
    ("name", "number", "expected"),
    [("f_%04d.png", 7, "f_0007.png"), ("%d.png", 7, "7.png"), ("100%%_%02d.png", 123, "100%_123.png")],
)
def test_names_are_numbered_as_by_printf(name, number, expected):
    numbered = NumberedName.parse(Path(name))
    assert numbered is not None
    assert numbered.numbered(number) == expected == name % number


@pytest.mark.parametrize("name", ["a.png", "a_%s.png", "%d_%d.png", "50%.png", "%%d.png"])
def test_other_names_have_no_number(name):
    assert NumberedName.parse(Path(name)) is None


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".JPEG", ".bmp", ".tif", ".tiff", ".webp"])
def test_frames_are_numbered_from_zero(tmp_path, suffix):
    y, x = np.mgrid[0:8, 0:8]
    frames = [np.stack([20 * x + 7 * k, 20 * y, 90 + 10 * x], axis=-1).astype(np.uint8) for k in range(3)]
    path = tmp_path / f"f_%02d{suffix}"
    with writer_for(path) as writer:
        for k, rgb in enumerate(frames):
            writer.write(rgb, k)
        assert not list(tmp_path.glob("f_*"))
    assert files_under(tmp_path) == [f"f_0{k}{suffix}" for k in range(3)]
    with open_video(path) as reader:
        worst = min(psnr_db(a, frame.rgb) for a, frame in zip(frames, reader, strict=True))
    assert worst > 40 if suffix.lower() in (".jpg", ".jpeg") else worst == float("inf")


def test_images_of_other_numbers_are_left(row):
    with writer_for(row / "a_%03d.png") as writer:
        writer.write(gray(200), 0)
    assert levels(row / "a_%03d.png") == [200, 8, 9, 10, 11]


def test_a_name_without_a_number_is_one_image(tmp_path):
    with writer_for(tmp_path / "one.png") as writer:
        writer.write(gray(5), 0)
    assert levels(tmp_path / "one.png") == [5]

    def write_two() -> None:
        with writer_for(tmp_path / "two.png") as writer:
            writer.write(gray(5), 0)
            writer.write(gray(6), 1)

    with pytest.raises(ConfigError, match=r"two\.png: is one image, .* as in frame_%03d\.png, or choose one"):
        write_two()
    assert files_under(tmp_path) == ["one.png"]


def test_a_failure_leaves_nothing_and_a_missing_folder_is_said(tmp_path):
    def fail() -> None:
        with writer_for(tmp_path / "f_%d.png") as writer:
            writer.write(gray(5), 0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert files_under(tmp_path) == []
    with pytest.raises(OutputError, match="does not exist; create it first"):
        writer_for(tmp_path / "missing" / "f_%d.png")
