"""`decode`: a `.stgv` file in, a video file or a folder of images out."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stgvcodec.decoder.video_decoder import VideoDecoder
from stgvcodec.errors import BitstreamError, ConfigError
from stgvcodec.media.atomic import refuse_same_file
from stgvcodec.media.colour import ColorTags
from stgvcodec.media.output_formats import CodecOptions
from stgvcodec.media.selection import Selection
from stgvcodec.media.writer import open_writer
from stgvcodec.progress import Progress, ProgressCallback


@dataclass(frozen=True)
class DecodeReport:
    """Result of `decode`.

    Attributes:
        path: The video file or folder written.
        width: Width of the frames written, pixels.
        height: Height of the frames written, pixels.
        n_frames: Number of frames written.
        seconds: Wall-clock time of reading, rendering and writing.
        render_seconds: The part of `seconds` in which bytes became 8-bit RGB frames.
        damage: Damaged parts that keep_going skipped, each with the reason.
        device: The device on which it ran.
        backend: Name of the back end that rendered.
    """

    path: Path
    width: int
    height: int
    n_frames: int
    seconds: float
    render_seconds: float
    damage: tuple[str, ...]
    device: str
    backend: str


def decode(
    source: str | Path,
    destination: str | Path,
    *,
    scale: float = 1.0,
    keep_going: bool = False,
    selection: Selection | None = None,
    codec: CodecOptions | None = None,
    device: str = "auto",
    backend: str = "auto",
    progress: ProgressCallback | None = None,
) -> DecodeReport:
    """Decode a `.stgv` file.

    Args:
        source: The `.stgv` file.
        destination: A video file of one of the kinds that `open_writer` lists, or without a suffix a folder of PNGs. It
            is moved into place when it is complete, over a file that is there.
        scale: Output size over encoded size. The Gaussians are rendered at that size; nothing is resampled.
        keep_going: Whether to render every intact GoP of a damaged file.
        selection: Range of frames. Crop and resize are refused, since a decoder renders whole pictures (see `scale`).
        codec: Codec, rate factor and samples of the video file; by default those of its suffix.
        device: "auto", "cpu" or "cuda".
        backend: "auto", "reference", "numba" or "triton".
        progress: Function that is called after each frame.

    Returns:
        Sizes, times, and what was damaged.

    Raises:
        BitstreamError: the source is not a `.stgv` file, or is damaged.
        ConfigError: the options cannot be met.
        OutputError: the destination cannot be written.
        BackendUnavailableError: the device or the back end is not available here.
    """
    started = time.perf_counter()
    selection = selection or Selection()
    if selection.crop is not None or selection.resize is not None:
        raise ConfigError(
            "decode renders whole pictures: --crop and --resize belong to encode; use --scale for the size"
        )
    refuse_same_file(source, destination)
    with VideoDecoder(source, device=device, backend=backend, keep_going=keep_going) as decoder:
        if len(decoder) == 0:
            raise BitstreamError(f"{source}: no intact GoP is left to render", section="file")
        indices = range(len(decoder))[selection.first_frame : selection.end_frame]
        if not indices:
            raise ConfigError(f"frames {selection.frames_text}: {source} has only {len(decoder)} frames")
        header = decoder.header
        frames = decoder.iter_frames(indices, scale=scale)
        render_seconds = 0.0

        def next_frame() -> npt.NDArray[np.uint8] | None:
            nonlocal render_seconds
            before = time.perf_counter()
            frame = next(frames, None)
            rgb = None if frame is None else frame.cpu().numpy()
            render_seconds += time.perf_counter() - before
            return rgb

        rgb = next_frame()
        assert rgb is not None
        height, width, _ = rgb.shape
        with open_writer(
            destination,
            width=width,
            height=height,
            frame_rate=header.frame_rate,
            time_base=header.time_base,
            color=ColorTags(**dataclasses.asdict(header.color)),
            sample_aspect_ratio=header.sample_aspect_ratio,
            last_frame_duration=header.last_frame_duration if indices[-1] == len(decoder) - 1 else 0,
            codec=codec or CodecOptions(),
        ) as writer:
            for n_done, index in enumerate(indices, start=1):
                assert rgb is not None
                writer.write(rgb, decoder.pts(index))
                if progress is not None:
                    progress(Progress("rendering", n_done, len(indices), fraction=n_done / len(indices)))
                rgb = next_frame()
        return DecodeReport(
            path=Path(destination),
            width=width,
            height=height,
            n_frames=len(indices),
            seconds=time.perf_counter() - started,
            render_seconds=render_seconds,
            damage=decoder.damage,
            device=str(decoder.device),
            backend=decoder.backend,
        )
