"""`decode`: a `.stgv` file in, a video file or a folder of images out."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, tee
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stgvcodec.decoder.arguments import chosen_scale
from stgvcodec.decoder.carried_tracks import CarriedTracks
from stgvcodec.decoder.growing_file import POLL_SECONDS
from stgvcodec.decoder.video_decoder import VideoDecoder
from stgvcodec.errors import BitstreamError, ConfigError, naming_memory
from stgvcodec.media.atomic import refuse_same_file
from stgvcodec.media.colour import ColorTags
from stgvcodec.media.output_formats import CodecOptions
from stgvcodec.media.selection import Crop, Selection, resized_aspect
from stgvcodec.media.writer import check_suffix, open_writer
from stgvcodec.model.gop_model import scaled_size
from stgvcodec.progress import CancelToken, Progress, ProgressCallback, raise_if_set
from stgvcodec.tracks import TrackInfo

# 29.97 is meant as 2997/100, and not as the nearest number of 53 bits.
_MOST_RATE_DENOMINATOR = 100_000


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
        damage: Damaged parts that keep_going skipped, each with the reason, and the frames that are missing.
        tracks: Tracks of sound and subtitles that were written.
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
    tracks: tuple[TrackInfo, ...]
    device: str
    backend: str


@naming_memory("a file is decoded", "write smaller pictures (--scale), or with a --codec that needs less")
def decode(
    source: str | Path,
    destination: str | Path,
    *,
    scale: float = 1.0,
    size: tuple[int, int] | None = None,
    roi: Crop | None = None,
    fps: Fraction | float | None = None,
    keep_going: bool = False,
    follow: bool = False,
    selection: Selection | None = None,
    codec: CodecOptions | None = None,
    max_memory: int | None = None,
    max_work: float | None = None,
    device: str = "auto",
    backend: str = "auto",
    progress: ProgressCallback | None = None,
    cancel: CancelToken | None = None,
) -> DecodeReport:
    """Decode a `.stgv` file.

    Sound, subtitles and metadata go into the video file as they are, and only those of the selected frames.

    Args:
        source: The `.stgv` file: its path, or its address such as "https://...", of which only what is needed is read.
        destination: A video file of one of the kinds that `open_writer` lists, or without a suffix a folder of PNGs. It
            is moved into place when it is complete, over a file that is there.
        scale: Output size over encoded size. The Gaussians are rendered at that size; nothing is resampled.
        size: Width and height to render at in place of a scale, pixels; pixels that are not square keep the shape in
            which pictures are displayed.
        roi: Part of the rendered picture that is kept.
        fps: Frames a second: from the first frame on, each time the frame that is on the screen then, which may come
            several times or not at all. None writes each frame once, with its own time.
        keep_going: Whether to render every intact GoP of a damaged file, and for a frame that is missing between them
            the nearest one.
        follow: Whether the source, given by its path, is still being written: frames are written as they come, until it
            is complete. An encode's destination may be given before it is there; see `VideoDecoder`. Not with `fps`.
        selection: Range of frames or of time, and what is written beside the frames. Crop and resize are refused, since
            they belong to `encode`.
        codec: Codec, rate factor and samples of the video file; by default those of its suffix.
        max_memory: Most memory that decoding may need, bytes, and
        max_work: most Gaussians that may cover a pixel; see `VideoDecoder`.
        device: "auto", "cpu" or "cuda".
        backend: "auto", "reference", "numba" or "triton".
        progress: Function that is called after each frame. An exception that it raises ends the decode.
        cancel: A `threading.Event` or the like, which is looked at after each frame; when it is set, the decode ends
            with CancelledError and nothing is left of it.

    Returns:
        Sizes, times, and what was damaged.

    Raises:
        BitstreamError: the source is not a `.stgv` file, or is damaged.
        ConfigError: the options cannot be met.
        OutputError: the destination cannot be written.
        BudgetError: the file needs more memory or work than is allowed.
        BackendUnavailableError: the device or the back end is not available here.
        CancelledError: `cancel` was set.

    Examples:
        >>> from stgvcodec import decode
        >>> report = decode("clip.stgv", "clip.mp4")
        >>> report.n_frames, report.width, report.height
        (5, 48, 32)
    """
    started = time.perf_counter()
    selection = selection or Selection()
    if selection.crop is not None or selection.resize is not None:
        raise ConfigError("--crop and --resize belong to encode; decode has --roi for a part, --size and --scale")
    if follow and fps is not None:
        raise ConfigError("--fps needs the length of the video, which --follow does not know; leave out one of them")
    refuse_same_file(source, destination)
    check_suffix(destination)
    with VideoDecoder(
        source,
        device=device,
        backend=backend,
        keep_going=keep_going,
        follow=follow,
        max_memory=max_memory,
        max_work=max_work,
    ) as decoder:
        batches = _as_they_come(decoder, selection, cancel)
        batch = next(batches, None)
        if len(decoder) == 0:
            raise BitstreamError(f"{source}: no intact GoP is left to render", section="file")
        if batch is None:
            raise ConfigError(_nothing_taken(source, selection, decoder))
        header = decoder.header
        carried = CarriedTracks(decoder, batch.start, selection, destination)
        shown = _as_they_are(decoder, selection, batch, batches) if fps is None else _at_rate(decoder, batch, fps)
        pictures = _Pictures(decoder, shown.rendered, scale=scale, size=size, roi=roi)
        width, height = pictures.size
        ratio = header.sample_aspect_ratio
        if size is not None:
            ratio = resized_aspect(ratio, (header.width, header.height), size)
        with open_writer(
            destination,
            width=width,
            height=height,
            frame_rate=shown.frame_rate,
            time_base=shown.time_base,
            color=ColorTags(**dataclasses.asdict(header.color)),
            sample_aspect_ratio=ratio,
            last_frame_duration=shown.last_frame_duration,
            codec=codec or CodecOptions(),
            tracks=carried.muxer(),
        ) as writer:
            n_frames = shown.n_frames
            before: int | None = None
            n_done = 0
            for n_done, (index, pts) in enumerate(shown.frames, start=1):
                if index != before:
                    rgb, before = pictures.next(), index
                writer.write(rgb, pts)
                if progress is not None:
                    fraction = None if n_frames is None else n_done / n_frames
                    progress(Progress("rendering", n_done, n_frames, fraction=fraction))
                raise_if_set(cancel)
            carried.wait(cancel)
        return DecodeReport(
            path=Path(destination),
            width=width,
            height=height,
            n_frames=n_done,
            seconds=time.perf_counter() - started,
            render_seconds=pictures.seconds,
            damage=(*decoder.damage, *carried.damage),
            tracks=carried.infos(),
            device=str(decoder.device),
            backend=decoder.backend,
        )


@dataclass(frozen=True)
class _Shown:
    """Which frames are written, and when each is shown; a frame may be shown several times in a row.

    What is written is not kept: a small file may ask for pictures without end.
    """

    n_frames: int | None  # Number of frames written; None where nobody knows it yet.
    rendered: Iterable[Sequence[int]]  # Frames that are rendered, each once, in batches that are there.
    frames: Iterable[tuple[int, int]]  # Index and timestamp of each frame that is written.
    time_base: Fraction
    frame_rate: Fraction
    last_frame_duration: int


class _Pictures:
    """Renders frames one after the other, and counts the seconds that this takes.

    `size` is the width and height of what is kept of each, which is known before any is rendered.
    """

    def __init__(
        self,
        decoder: VideoDecoder,
        batches: Iterable[Sequence[int]],
        *,
        scale: float,
        size: tuple[int, int] | None,
        roi: Crop | None,
    ) -> None:
        self.seconds = 0.0
        height_width = None if size is None else (size[1], size[0])
        self._frames = (
            frame for batch in batches for frame in decoder.iter_frames(batch, scale=scale, size=height_width)
        )
        self._roi = roi
        header = decoder.header
        self.size = scaled_size(header.width, header.height, chosen_scale(scale, height_width, header))
        if roi is not None:
            roi.place(*self.size)
            self.size = roi.width, roi.height

    def next(self) -> npt.NDArray[np.uint8]:
        """Return the next frame. [H, W, 3] uint8."""
        before = time.perf_counter()
        rgb: npt.NDArray[np.uint8] = next(self._frames).cpu().numpy()
        self.seconds += time.perf_counter() - before
        if self._roi is None:
            return rgb
        x, y = self._roi.place(rgb.shape[1], rgb.shape[0])
        return np.ascontiguousarray(rgb[y : y + self._roi.height, x : x + self._roi.width])


def _as_they_come(decoder: VideoDecoder, selection: Selection, cancel: CancelToken | None) -> Iterator[range]:
    """Yield the frames that are selected: all of them at once, or those that are there of a file that is followed."""
    stop = 0
    while True:
        indices = selection.indices(decoder.timestamps, decoder.header.time_base)
        if indices.stop > max(stop, indices.start):
            yield range(max(stop, indices.start), indices.stop)
            stop = indices.stop
        is_over = stop < len(decoder) and selection.is_cut_at_end and bool(indices)
        if is_over or stop == selection.end_frame:
            return
        while not decoder.wait_for_frames(POLL_SECONDS):
            if decoder.is_complete:
                return
            raise_if_set(cancel)


def _as_they_are(decoder: VideoDecoder, selection: Selection, batch: range, batches: Iterator[range]) -> _Shown:
    header = decoder.header
    if decoder.is_complete:
        n_frames = len(batch)
        last = header.last_frame_duration if batch[-1] == len(decoder) - 1 else 0
    else:
        n_frames = None
        last = 0 if selection.is_cut_at_end else header.last_frame_duration
    # The first of the two waits for frames, so that the second one need not.
    written, rendered = tee(chain([batch], batches))
    frames = ((index, decoder.pts(index)) for indices in written for index in indices)
    return _Shown(n_frames, rendered, frames, header.time_base, header.frame_rate, last)


def _at_rate(decoder: VideoDecoder, indices: range, rate: Fraction | float) -> _Shown:
    """Show, at a steady rate from the first frame on, what is on the screen at each time."""
    if not 0 < rate < math.inf:
        raise ConfigError(f"fps is {rate}, expected more than 0")
    fps = Fraction(rate).limit_denominator(_MOST_RATE_DENOMINATOR)
    header, time_base = decoder.header, decoder.header.time_base
    begin = decoder.pts(indices[0]) * header.time_base
    if indices.stop < len(decoder):
        end = decoder.pts(indices.stop) * header.time_base
    else:
        held = header.last_frame_duration * header.time_base
        end = decoder.pts(indices[-1]) * header.time_base + (held or 1 / header.frame_rate)
    # As many as `VideoDecoder.get_frames_played_in_range` gives: the length of the video, rounded.
    n_times = max(1, math.floor((end - begin) * fps + Fraction(1, 2)))
    # The unit divides both the time of the first frame and the distance of two.
    unit = Fraction(1) / fps
    if begin:
        first, step = begin, unit
        numerator = math.gcd(first.numerator * step.denominator, step.numerator * first.denominator)
        unit = Fraction(numerator, first.denominator * step.denominator)

    def repeats() -> Iterator[tuple[int, int]]:
        """Yield each frame with the number of times at which it is on the screen."""
        n_done = 0
        for index in indices:
            n_begun = n_times
            if index + 1 < indices.stop:
                n_begun = min(n_times, math.ceil((decoder.pts(index + 1) * time_base - begin) * fps))
            yield index, n_begun - n_done
            n_done = n_begun

    return _Shown(
        n_times,
        [[index for index, n in repeats() if n]],
        zip(
            (index for index, n in repeats() for _ in range(n)),
            (int((begin + k / fps) / unit) for k in range(n_times)),
            strict=True,
        ),
        unit,
        fps,
        0,
    )


def _nothing_taken(source: str | Path, selection: Selection, decoder: VideoDecoder) -> str:
    if selection.time is None:
        return f"frames {selection.frames_text}: {source} has only {len(decoder)} frames"
    last = (decoder.pts(len(decoder) - 1) - decoder.pts(0)) * decoder.header.time_base
    return (
        f"time {selection.time_text}: no frame of {source} begins in that range; its last one begins {float(last):g} s "
        "after its first, or the range lies between two frames"
    )
