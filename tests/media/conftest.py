"""Synthetic sources, written losslessly by PyAV so that every sample is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

import stgvcodec

Planes = Sequence[np.ndarray]
WriteVideo = Callable[..., Path]


def picture_from_planes(pixel_format: str, planes: Planes) -> av.VideoFrame:
    """A picture whose planes hold the given samples ([h, w] or [h, w, n_components] each)."""
    height, width = planes[0].shape[:2]
    picture = av.VideoFrame(width, height, pixel_format)
    for plane, samples in zip(picture.planes, planes, strict=True):
        rows = np.zeros((plane.buffer_size // plane.line_size, plane.line_size), np.uint8)
        data = np.ascontiguousarray(samples).view(np.uint8).reshape(samples.shape[0], -1)
        rows[: data.shape[0], : data.shape[1]] = data
        plane.update(rows.tobytes())
    return picture


@pytest.fixture
def bunny() -> Path:
    """The shipped clip: 132 frames of 1280x720, untagged."""
    return Path(stgvcodec.__file__).parent / "data" / "bunny.mp4"


@pytest.fixture
def make_picture() -> Callable[[str, Planes], av.VideoFrame]:
    return picture_from_planes


@pytest.fixture
def write_image(tmp_path: Path) -> Callable[..., Path]:
    """Factory: planes -> an image file of FFmpeg's codec of that name."""

    def write(name: str, planes: Planes, pixel_format: str, codec: str = "png") -> Path:
        context = av.CodecContext.create(codec, "w")
        context.height, context.width = planes[0].shape[:2]
        context.pix_fmt = pixel_format
        context.time_base = Fraction(1)
        picture = picture_from_planes(pixel_format, planes)
        picture.pts = 0
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"".join(bytes(packet) for packet in [*context.encode(picture), *context.encode(None)]))
        return path

    return write


@pytest.fixture
def write_video(tmp_path: Path) -> WriteVideo:
    """Factory: frames as planes -> a lossless FFV1 file in Matroska (or another codec by name)."""

    def write(
        frames: Sequence[Planes],
        pixel_format: str = "yuv444p",
        *,
        name: str = "source.mkv",
        codec: str = "ffv1",
        matrix: int = 2,
        color_range: int = 0,
        primaries: int = 2,
        transfer: int = 2,
        pts: Sequence[int] | None = None,
        time_base: Fraction = Fraction(1, 1000),
        options: dict[str, str] | None = None,
        container_options: dict[str, str] | None = None,
    ) -> Path:
        path = tmp_path / name
        with av.open(str(path), "w", options=container_options or {}) as container:
            stream = container.add_stream(codec, rate=25, options=options or {})
            context = stream.codec_context
            context.height, context.width = frames[0][0].shape[:2]
            context.pix_fmt = pixel_format
            context.time_base = stream.time_base = time_base
            context.colorspace, context.color_range = matrix, color_range
            context.color_primaries, context.color_trc = primaries, transfer
            for index, planes in enumerate(frames):
                picture = picture_from_planes(pixel_format, planes)
                picture.pts = index * 40 if pts is None else pts[index]
                picture.time_base = time_base
                for packet in stream.encode(picture):
                    container.mux(packet)
            for packet in stream.encode(None):
                container.mux(packet)
        return path

    return write


@pytest.fixture
def noise() -> Callable[..., list[np.ndarray]]:
    """Factory: three planes of noise in [low, high)."""

    def make(
        height: int, width: int, low: int = 0, high: int = 256, *, seed: int = 0, dtype: str = "u1"
    ) -> list[np.ndarray]:
        return list(np.random.default_rng(seed).integers(low, high, (3, height, width)).astype(dtype))

    return make
