"""Writing of single images and of numbered ones."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext

from stgvcodec.media.atomic import PathLike, atomic_output
from stgvcodec.media.colour import RgbImage


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


class PngFolder:
    """Numbers frames from 0 as PNG files of a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._n_written = 0

    def write(self, rgb: RgbImage, pts: int) -> None:
        """Write a frame; its time is not kept."""
        (self._folder / f"{self._n_written:06d}.png").write_bytes(encode_png(rgb))
        self._n_written += 1

    def finish(self) -> None:
        """Do nothing: every file is complete."""

    def close(self) -> None:
        """Do nothing: no file is open."""
