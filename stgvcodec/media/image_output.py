"""Writing of single images and of numbered ones."""

from __future__ import annotations

import io
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from PIL import Image

from stgvcodec.errors import ConfigError
from stgvcodec.media.atomic import PathLike, atomic_output
from stgvcodec.media.colour import RgbImage
from stgvcodec.media.numbered import NumberedName

# All but JPEG are lossless; its loss is below that of its 8-bit YCbCr, and its chroma has full resolution.
_BY_PILLOW: Mapping[str, tuple[str, Mapping[str, int | bool | str]]] = MappingProxyType(
    {
        ".jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
        ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
        ".bmp": ("BMP", {}),
        ".tif": ("TIFF", {"compression": "tiff_lzw"}),
        ".tiff": ("TIFF", {"compression": "tiff_lzw"}),
        ".webp": ("WebP", {"lossless": True}),
    }
)
WRITTEN_SUFFIXES = (".png", *_BY_PILLOW)
"""Suffixes of image files that can be written."""


def write_png(path: PathLike, rgb: RgbImage) -> None:
    """Write one PNG image, complete or not at all.

    Args:
        path: File that will be written.
        rgb: RGB picture. [H, W, 3] uint8.

    Raises:
        OutputError: the file cannot be written.
    """
    with atomic_output(path) as part:
        part.write_bytes(encode_png(rgb))


def encode_png(rgb: RgbImage) -> bytes:
    """Encode an RGB picture [H, W, 3] uint8 as the bytes of a PNG file."""
    context = av.CodecContext.create("png", "w")
    assert isinstance(context, VideoCodecContext)
    context.height, context.width = rgb.shape[:2]
    context.pix_fmt = "rgb24"
    context.time_base = Fraction(1)
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
    picture.pts = 0
    return b"".join(bytes(packet) for packet in [*context.encode(picture), *context.encode(None)])


def encode_image(rgb: RgbImage, suffix: str) -> bytes:
    """Encode an RGB picture [H, W, 3] uint8 as an image file of a kind; `suffix` is one of `WRITTEN_SUFFIXES`."""
    if suffix == ".png":
        return encode_png(rgb)
    file = io.BytesIO()
    name, options = _BY_PILLOW[suffix]
    Image.fromarray(np.ascontiguousarray(rgb)).save(file, name, **options)
    return file.getvalue()


class NumberedImages:
    """Numbers frames from 0 as image files of a folder, or writes a single one.

    Args:
        folder: Folder in which they are written.
        name: Names of the files, or the name of the only one.
        suffix: Kind of the images, one of `WRITTEN_SUFFIXES`.
    """

    def __init__(self, folder: Path, name: NumberedName | str, suffix: str) -> None:
        self._folder, self._name, self._suffix = folder, name, suffix
        self._n_written = 0

    def write(self, rgb: RgbImage, pts: int) -> None:
        """Write a frame; its time is not kept."""
        if isinstance(self._name, NumberedName):
            name = self._name.numbered(self._n_written)
        elif self._n_written == 0:
            name = self._name
        else:
            raise ConfigError(
                f"{self._name}: is one image, and there are more frames; number them, as in frame_%03d{self._suffix}, "
                "or choose one with --frames"
            )
        (self._folder / name).write_bytes(encode_image(rgb, self._suffix))
        self._n_written += 1

    def finish(self) -> None:
        """Do nothing: every file is complete."""

    def close(self) -> None:
        """Do nothing: no file is open."""


def png_folder(folder: Path) -> NumberedImages:
    """Return what numbers frames as PNG files of a folder: `000000.png` and on."""
    return NumberedImages(folder, NumberedName(folder, "", ".png", 6), ".png")
