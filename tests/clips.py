"""Small clips made of formulas, as arrays and as lossless files, and what decoders make of files."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from tolerances import DECODED_SAMPLES

from stgvcodec import VideoDecoder
from stgvcodec.media import VideoFrame, open_video, write_png


def moving_clip(n_frames: int, width: int = 48, height: int = 32, *, phase: float = 0.0) -> np.ndarray:
    """A disc that crosses drifting waves. [T, H, W, 3] uint8."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    frames = []
    for t in range(n_frames):
        channels = [
            128 + 90 * np.sin((x + 2 * t) / 9 + phase),
            128 + 80 * np.cos((y - t) / 7 + phase),
            100 + 60 * np.sin((x + y + t) / 12),
        ]
        disc = np.hypot(x - width * (0.3 + 0.04 * t), y - height * 0.5) < min(width, height) / 5
        frames.append(np.where(disc[..., None], (230, 40, 60), np.stack(channels, axis=-1)))
    return np.stack(frames).clip(0, 255).astype(np.uint8)


def noisy_clip(n_frames: int, width: int = 48, height: int = 32, *, amplitude: int = 12) -> np.ndarray:
    """The moving clip with noise: there is always something left to code. [T, H, W, 3] uint8."""
    noise = np.random.default_rng(0).integers(-amplitude, amplitude + 1, (n_frames, height, width, 3))
    return (moving_clip(n_frames, width, height) + noise).clip(0, 255).astype(np.uint8)


def texture(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A picture made of waves of 6 to 200 pixels, at any positions. Luma in [0, 1], of their shape, float32."""
    rng = np.random.default_rng(5)
    luma = np.zeros(x.shape)
    for wavelength in np.geomspace(6.0, 200.0, 40):
        angle, phase = rng.uniform(0.0, 2.0 * np.pi, 2)
        luma += np.sin(2.0 * np.pi / wavelength * (x * np.cos(angle) + y * np.sin(angle)) + phase)
    return (0.5 + 0.03 * luma).clip(0.0, 1.0).astype(np.float32)


def panning_clip(n_frames: int, shift: tuple[float, float], width: int = 96, height: int = 64) -> np.ndarray:
    """The texture moving by `shift` pixels a frame. [T, H, W, 3] uint8."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    luma = np.stack([texture(x - shift[0] * t, y - shift[1] * t) for t in range(n_frames)])
    return (luma[..., None] * 255.0).round().astype(np.uint8).repeat(3, axis=3)


def write_folder(frames: np.ndarray, folder: Path) -> Path:
    """The frames as PNGs: 24 frames a second, RGB, lossless."""
    folder.mkdir()
    for t, frame in enumerate(frames):
        write_png(folder / f"{t:03d}.png", frame)
    return folder


def write_video(frames: np.ndarray, path: Path, pts: Sequence[int], time_base: Fraction = Fraction(1, 1000)) -> Path:
    """The frames as FFV1 in RGB, lossless, each with its own timestamp."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        context = stream.codec_context
        context.height, context.width = frames.shape[1:3]
        context.pix_fmt = "bgr0"
        context.time_base = stream.time_base = time_base
        for frame, stamp in zip(frames, pts, strict=True):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24").reformat(format="bgr0")
            picture.pts, picture.time_base = stamp, time_base
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def video_frames(frames: np.ndarray) -> list[VideoFrame]:
    """The frames as a reader gives them, ten ticks apart."""
    return [VideoFrame(frame, 10 * t) for t, frame in enumerate(frames)]


def read_frames(path: Path) -> np.ndarray:
    """The frames of a video or of a folder of images. [T, H, W, 3] uint8."""
    with open_video(path) as video:
        return np.stack([frame.rgb for frame in video])


def decoded_frames(path: Path, *, device: str = "cpu", backend: str = "auto") -> np.ndarray:
    """The frames of a .stgv file. [T, H, W, 3] uint8."""
    with VideoDecoder(path, device=device, backend=backend) as decoder:
        return decoder[:].permute(0, 2, 3, 1).cpu().numpy()


def files_under(folder: Path) -> list[str]:
    """What a folder and its folders hold, by relative path."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def psnr_db(reference: np.ndarray, distorted: np.ndarray) -> float:
    """RGB PSNR by the textbook formula."""
    mse = np.mean((reference.astype(np.float64) - distorted.astype(np.float64)) ** 2)
    return float(10 * np.log10(255.0**2 / mse))


def assert_same_pixels(actual: np.ndarray, expected: np.ndarray) -> None:
    """Equal within what the format leaves to back ends; a picture of fewer than 10 000 samples may have one beyond."""
    usual, share, most = DECODED_SAMPLES
    difference = np.abs(actual.astype(np.int16) - expected.astype(np.int16))
    assert difference.max() <= most
    assert np.count_nonzero(difference > usual) <= max(1, int(difference.size * share))
