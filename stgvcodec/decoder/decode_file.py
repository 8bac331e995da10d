"""`decode`: a `.stgv` file in, a video file or a folder of images out."""

from __future__ import annotations

import dataclasses
import logging
import time
from contextlib import nullcontext
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from stgvcodec.decoder.carried_tracks import CarriedTracks
from stgvcodec.decoder.pictures import Pictures, nothing_taken
from stgvcodec.decoder.shown_frames import as_they_are, as_they_come, at_rate
from stgvcodec.decoder.video_decoder import VideoDecoder
from stgvcodec.errors import BitstreamError, ConfigError, naming_memory
from stgvcodec.media.addresses import file_name, is_url, sent
from stgvcodec.media.atomic import refuse_same_file
from stgvcodec.media.colour import ColorTags
from stgvcodec.media.output_formats import VIDEO_SUFFIXES, CodecOptions
from stgvcodec.media.selection import Crop, Selection, resized_aspect
from stgvcodec.media.writer import check_suffix, open_writer
from stgvcodec.progress import CancelToken, Progress, ProgressCallback, raise_if_set
from stgvcodec.tracks import TrackInfo

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DecodeReport:
    """Result of `decode`.

    Attributes:
        path: The video file or folder written; an address as text.
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

    path: Path | str
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
    repeat: bool = False,
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
            is moved into place when it is complete, over a file that is there. Or an address such as "s3://bucket/a.mp4",
            to which the complete video file is sent.
        scale: Output size over encoded size. The Gaussians are rendered at that size; nothing is resampled.
        size: Width and height to render at in place of a scale, pixels; pixels that are not square keep the shape in
            which pictures are displayed.
        roi: Part of the rendered picture that is kept.
        fps: Frames a second, from the first frame on: at each time the picture that `VideoDecoder.render` draws, which
            between two frames of a GoP is between them. None writes each frame once, with its own time.
        repeat: Whether `fps` takes the frame that is on the screen at each time instead, which may come several times
            or not at all.
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
    if repeat and fps is None:
        raise ConfigError("repeat chooses how --fps fills in, and there is no --fps; give both, or neither")
    if follow and fps is not None:
        raise ConfigError("--fps needs the length of the video, which --follow does not know; leave out one of them")
    refuse_same_file(source, destination)
    url = destination if is_url(destination) else None
    if url is None:
        check_suffix(destination)
    elif Path(file_name(url)).suffix.lower() not in VIDEO_SUFFIXES:
        raise ConfigError(f"{url}: is an address, which takes a video file, {', '.join(VIDEO_SUFFIXES)}; name one")
    with (
        nullcontext(destination) if url is None else sent(url) as path,
        VideoDecoder(
            source,
            device=device,
            backend=backend,
            keep_going=keep_going,
            follow=follow,
            max_memory=max_memory,
            max_work=max_work,
        ) as decoder,
    ):
        if follow and decoder.is_complete:
            logger.warning("%s: is complete already, and decoded as it is; is it the file that is written now?", source)
        batches = as_they_come(decoder, selection, cancel)
        batch = next(batches, None)
        if len(decoder) == 0:
            raise BitstreamError(f"{source}: no intact GoP is left to render", section="file")
        if batch is None:
            raise ConfigError(nothing_taken(source, selection, decoder))
        header = decoder.header
        carried = CarriedTracks(decoder, batch.start, selection, path)
        if fps is None:
            shown = as_they_are(decoder, selection, batch, batches)
        else:
            shown = at_rate(decoder, batch, fps, repeat=repeat)
        pictures = Pictures(decoder, shown, scale=scale, size=size, roi=roi)
        width, height = pictures.size
        ratio = header.sample_aspect_ratio
        if size is not None:
            ratio = resized_aspect(ratio, (header.width, header.height), size)
        with open_writer(
            path,
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
            path=url or Path(destination),
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
