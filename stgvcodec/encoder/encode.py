"""`encode` turns a video into a `.stgv` file; of a long one only the frames of the GoPs under way are in memory."""

from __future__ import annotations

import dataclasses
import logging
import math
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from pathlib import Path

from stgvcodec._version import __version__
from stgvcodec.bitstream.container.file_header import ColorDescription, StreamHeader
from stgvcodec.bitstream.container.writer import StgvWriter
from stgvcodec.bitstream.syntax.limits import LIMITS
from stgvcodec.encoder.compile_ahead import CompileAhead
from stgvcodec.encoder.config import EncodeConfig
from stgvcodec.encoder.engines.choice import choose_engine
from stgvcodec.encoder.engines.gop_job import Engine
from stgvcodec.encoder.fitted_gop import FittedGop
from stgvcodec.encoder.gop_scheduler import GopScheduler
from stgvcodec.encoder.lookahead.content import Content, measure_content
from stgvcodec.encoder.lookahead.gop_splitter import Gop
from stgvcodec.encoder.part_file import Job, PartFile
from stgvcodec.encoder.profiles import PROFILES
from stgvcodec.encoder.rate_control.planner import rate_control
from stgvcodec.encoder.reports import EncodePlan, EncodeReport, GopReport, PlanCallback
from stgvcodec.encoder.track_writer import TrackWriter
from stgvcodec.encoder.twice_read import TwiceRead
from stgvcodec.errors import ConfigError, InputVideoError, naming_memory
from stgvcodec.media.addresses import is_url, sent
from stgvcodec.media.atomic import refuse_same_file
from stgvcodec.media.frames import DimensionOrder
from stgvcodec.media.image_folder import IMAGE_SUFFIXES
from stgvcodec.media.masks import MaskedFrames, MaskSource, opened_masks
from stgvcodec.media.opening import Times, VideoSource, opened
from stgvcodec.media.output_formats import VIDEO_SUFFIXES
from stgvcodec.media.reader import VideoFrame, VideoReader
from stgvcodec.media.selection import Selection
from stgvcodec.media.shared_source import shared_source
from stgvcodec.metrics import mean_psnr_db
from stgvcodec.progress import PROGRESS_INTERVAL_SECONDS, CancelToken, Progress, ProgressCallback, raise_if_set

logger = logging.getLogger(__name__)


def encode(
    source: VideoSource,
    destination: str | Path,
    *,
    config: EncodeConfig | None = None,
    selection: Selection | None = None,
    mask: MaskSource | None = None,
    matrix: str | None = None,
    fps: float | Fraction | None = None,
    timestamps: Times | None = None,
    dimension_order: DimensionOrder | None = None,
    device: str = "auto",
    backend: str = "auto",
    jobs: int | None = None,
    engine: str = "local",
    progress: ProgressCallback | None = None,
    plan: PlanCallback | None = None,
    cancel: CancelToken | None = None,
    resume: bool | None = None,
) -> EncodeReport:
    """Encode a video.

    Sound, subtitles and metadata of a video file are carried along as they are (`Selection` leaves them out).

    With a target the source is read twice: first to count its frames and to see how they change, then for the fits. The
    frames of a video that takes less than 512 MiB are kept in between.

    Where the encode ends early, for whatever reason, and has finished a GoP, a part file stays, which `resume`
    continues and decoders play with `keep_going`. The exception has a note that names it.

    Args:
        source: A video file or a folder of images, by its path. A video file by an address of the package fsspec, such
            as "s3://bucket/in.mp4", of which a temporary copy is made. The bytes of a video file, or a binary file of
            one, which need not be able to seek and is read from where it stands. Or frames, uint8: an array or a tensor
            [T, H, W, 3] or [T, 3, H, W], a `FrameBatch`, a `VideoDecoder` (also torchcodec's), or an iterable of
            pictures [H, W, 3] or [3, H, W] or of `Frame`s. What can be read only once is kept in a temporary file
            (TMPDIR), frames beyond 64 MiB as they are.
        destination: The `.stgv` file; moved into place when complete, over a file that is there. Until then every
            finished GoP is in a part file beside it, whose name is this one and ".part". Or an address, to which the
            complete file is sent, and which has no part file.
        config: Options of the encoder; by default those of preset "medium".
        selection: Frames and part of the picture to encode, and what is carried beside them.
        mask: Pixels to ignore, those that are not 0: an image, a folder of images or a video, by its path, or an array
            or tensor, [H, W] or [T, H, W], bool or uint8. What they hold has no part in the fit, nor in any figure, and
            a decoder fills them in. A single mask is that of every frame; others are those of the frames of the whole
            source.
        matrix: Colour matrix in place of the one that the source is tagged with: "bt601", "bt709" or "bt2020".
        fps: Frames a second, of frames without times and of folders of images (by default 24).
        timestamps: Times at which frames begin to be shown, seconds, in place of `fps`. [T]. A `FrameBatch`, a decoder
            and `Frame`s have their own.
        dimension_order: "NCHW" or "NHWC" for frames. By default the channels are where the shape has a 3; if it has one
            in both places, this argument is needed.
        device: Device to fit on: "auto", "cpu" or "cuda", which means all GPUs that are visible; "cuda:0" for one of
            them, "cuda:0,2" for several. Each of several has a process of its own.
        backend: Implementation of the operators: "auto", "reference", "numba" or "triton".
        jobs: GoPs that are fitted at the same time on each device; by default several on a GPU with the triton back
            end, else one.
        engine: What fits: "local", this machine; "ray", a cluster of Ray that RAY_ADDRESS names or that runs here; or
            the address of one, "ray://head:10001".
        progress: Called several times a second, from any thread. An exception that it raises ends the encode and comes
            back from here.
        plan: Called once with the plan, when kernels are compiled and before the first fit. A few steps on the first
            frames, which are taken where there is `plan` or `progress`, have told what it will take.
        cancel: A `threading.Event` or the like, which is looked at in every step of a fit; when it is set, the encode
            ends with CancelledError. A file that was there stays.
        resume: What to do with the part file of an encode that was interrupted: True continues it, to the file that it
            would have become, and starts anew if there is none; False starts anew; None, the default, refuses to.

    Returns:
        Sizes and quality; the quality is that of the frames that a decoder renders from the written bytes.

    Raises:
        ConfigError: options that cannot be met, or others than those of the encode that is to be continued.
        InputVideoError: a source that cannot be read, or that changes while it is read.
        OutputError: a destination that cannot be written, or there is a part file and `resume` is None.
        BackendUnavailableError: device or back end is not to be had here.
        StgvError: Ray is not installed, or does not answer.
        CancelledError: `cancel` was set.

    Examples:
        >>> from stgvcodec import EncodeConfig, encode
        >>> frames = np.full((4, 32, 32, 3), 200, np.uint8)
        >>> config = EncodeConfig(preset="draft", n_gaussians=9)
        >>> encode(frames, "grey.stgv", config=config, fps=25).n_frames
        4
    """
    url = destination if is_url(destination) else None
    if url is not None and resume:
        raise ConfigError(f"{url}: an address has no part file to continue; encode to a file, and copy that")
    with (
        choose_engine(device, backend, jobs, engine) as chosen,
        nullcontext(destination) if url is None else sent(url) as path,
    ):
        report = encode_by(
            chosen,
            source,
            path,
            config=config or EncodeConfig(),
            selection=selection or Selection(),
            mask=mask,
            matrix=matrix,
            fps=fps,
            timestamps=timestamps,
            dimension_order=dimension_order,
            progress=progress,
            plan=plan,
            cancel=cancel,
            resume=resume,
        )
    return report if url is None else replace(report, path=url)


@naming_memory("a video is encoded", "encode fewer at once (--jobs), smaller pictures (--resize) or fewer --gaussians")
def encode_by(
    engine: Engine,
    source: VideoSource,
    destination: str | Path,
    *,
    config: EncodeConfig,
    selection: Selection,
    mask: MaskSource | None = None,
    matrix: str | None = None,
    fps: float | Fraction | None = None,
    timestamps: Times | None = None,
    dimension_order: DimensionOrder | None = None,
    progress: ProgressCallback | None = None,
    plan: PlanCallback | None = None,
    cancel: CancelToken | None = None,
    resume: bool | None = None,
    is_alone: bool = True,
) -> EncodeReport:
    """Encode a video by an engine that is open and may fit GoPs of other videos too.

    The arguments, the result and the errors are those of `encode`. Where the video is not alone on the devices, no
    steps are taken to measure the time: they would not tell it.
    """
    started = time.perf_counter()
    if isinstance(source, str | os.PathLike):
        refuse_same_file(source, destination)
    if Path(destination).suffix.lower() in (*VIDEO_SUFFIXES, *IMAGE_SUFFIXES):
        raise ConfigError(f"{destination}: encode writes .stgv files, got the suffix of another format; use .stgv")
    with (
        PartFile(destination, _job(config, selection, matrix, engine), resume) as part,
        opened(
            source,
            selection=selection,
            matrix=matrix,
            fps=fps,
            timestamps=timestamps,
            dimension_order=dimension_order,
        ) as video,
        nullcontext() if mask is None else opened_masks(mask, video) as masks,
        CompileAhead(PROFILES[config.profile], engine.device, engine.backend) as kernels,
    ):
        _check_size(video)
        seen = video if masks is None else MaskedFrames(video, masks)
        header = stream_header(video, config, video.last_frame_duration())
        tracks = TrackWriter(video, selection)
        frames = TwiceRead(video, seen) if config.has_target else None
        control, carried_bytes = None, None
        if frames is not None:
            content = _content(video, frames, progress, cancel)
            part.identify({"number of frames": content.n_frames, "checksum of the frames": frames.crc})
            carried_bytes = tracks.count_bytes(content.pts[0], content.pts[-1])
            control = rate_control(config, content, header, carried_bytes)
        else:
            tracks.check()
        scheduler = GopScheduler(
            config,
            video,
            control,
            engine,
            progress,
            cancel,
            source=shared_source(source, selection, matrix, fps),
            finished=part.finished,
            hold=part.hold,
        )
        kernels.start(scheduler.field_specs())
        engine.start(scheduler.n_gops())
        planned = replace(
            scheduler.encode_plan(),
            carried_bytes=carried_bytes,
            lost=_lost(video, tracks),
            devices=engine.devices,
            division=engine.division,
            gops_at_once=engine.n_at_once,
        )
        cut = scheduler.gops(seen if frames is None else frames.again())
        first = list(islice(cut, 1))
        if not first:
            raise InputVideoError(f"{video.name}: no frames to encode; expected at least one")
        before_waiting = time.perf_counter()
        kernels.finish(lambda *counts: _report_compiling(progress, planned, cancel, *counts))
        compile_seconds = time.perf_counter() - before_waiting
        planned = replace(planned, compile_seconds=compile_seconds)
        if is_alone and engine.is_here and (plan is not None or progress is not None):
            scheduler.calibrate(first[0])
            planned = replace(
                planned,
                expected_seconds=scheduler.expected_seconds(),
                draft_seconds=scheduler.draft_seconds(),
            )
        if plan is not None:
            plan(planned)
        gops: list[GopReport] = []
        psnrs: list[float] = []
        writer = StgvWriter(part, header)
        tracks.begin(writer)
        part.begin()
        n_gops_from_before = last_pts = 0
        with closing(scheduler.fitted(_rejoined(first, cut))) as fitted_gops:
            for gop, fitted in fitted_gops:
                tracks.before_gop(writer, gop.pts[0])
                first_byte = writer.n_bytes
                writer.add_gop(fitted.payload.bytes, gop.pts)
                n_bytes = writer.n_bytes - first_byte
                part.add(fitted)
                gops.append(_gop_report(scheduler.n_frames_done, gop, fitted, n_bytes))
                psnrs.extend(fitted.payload.stats.psnr_db)
                n_gops_from_before += fitted.is_from_before
                scheduler.done(gop, fitted)
                last_pts = gop.pts[-1]
                # Frames of this GoP are not kept while the next one is read.
                del gop
        tracks.finish(writer, last_pts)
        writer.finish()
        file_bytes = part.finish()
        width, height, source_bits = video.width, video.height, video.bits_per_sample
    n_frames = sum(gop.n_frames for gop in gops)
    video_bytes = file_bytes - tracks.n_bytes
    psnr_db = _mean_psnr_db(psnrs)
    shortfall = None if control is None else control.shortfall(video_bytes, psnr_db)
    if shortfall is not None:
        logger.warning("%s: %s", destination, shortfall)
    return EncodeReport(
        path=Path(destination),
        file_bytes=file_bytes,
        bpp=8.0 * video_bytes / (width * height * n_frames),
        bpp_target=config.bpp_target,
        psnr_db=psnr_db,
        width=width,
        height=height,
        n_frames=n_frames,
        carried_bytes=tracks.n_bytes,
        tracks=tracks.infos(),
        left_out=tracks.left_out,
        gops=tuple(gops),
        seconds=part.seconds_before + time.perf_counter() - started - compile_seconds,
        compile_seconds=compile_seconds,
        device=",".join(engine.devices),
        backend=engine.backend,
        size_target=config.size_target,
        psnr_target=config.psnr_target,
        plan=planned,
        shortfall=shortfall,
        source_bits=source_bits,
        n_gops_from_before=n_gops_from_before,
    )


def _job(config: EncodeConfig, selection: Selection, matrix: str | None, engine: Engine) -> Job:
    """Return what a file depends on besides its source; an encode is continued by the same alone."""
    return {
        "stgvcodec": __version__,
        "device": engine.device.type,
        "back end": engine.backend,
        # Without a target nothing is learnt from other GoPs, so that it does not matter how many are under way.
        "jobs": engine.n_planned if config.has_target else None,
        **dataclasses.asdict(config),
        **dataclasses.asdict(selection),
        "matrix": matrix,
    }


def _content(
    video: VideoReader, frames: Iterable[VideoFrame], progress: ProgressCallback | None, cancel: CancelToken | None
) -> Content:
    """Return the measures of every frame; `progress` is called now and then."""
    last_report = time.monotonic()

    def on_frame(n_read: int) -> None:
        nonlocal last_report
        raise_if_set(cancel)
        now = time.monotonic()
        if progress is not None and now - last_report >= PROGRESS_INTERVAL_SECONDS:
            last_report = now
            progress(Progress(f"looking ahead: frame {n_read}", frames_done=0, n_frames=video.n_frames, fraction=0.0))

    content = measure_content(frames, on_frame)
    if not content.n_frames:
        raise InputVideoError(f"{video.name}: no frames to encode; expected at least one")
    return content


def _report_compiling(
    progress: ProgressCallback | None, planned: EncodePlan, cancel: CancelToken | None, n_compiled: int, n_parts: int
) -> None:
    raise_if_set(cancel)
    if progress is not None:
        phase = f"compiling kernels, once on this machine: {n_compiled} of {n_parts} parts done"
        progress(Progress(phase, frames_done=0, n_frames=planned.n_frames, fraction=0.0))


def _rejoined(first: list[Gop], others: Iterator[Gop]) -> Iterator[Gop]:
    """Yield the GoP that was taken out, which is not kept in the list, and the others."""
    yield first.pop()
    yield from others


def _lost(video: VideoReader, tracks: TrackWriter) -> tuple[str, ...]:
    """Say what of the source will not be in the file."""
    depth = (f"{video.bits_per_sample} bits a sample: dithered to 8",) if video.bits_per_sample > 8 else ()
    return (*depth, *tracks.left_out)


def _check_size(video: VideoReader) -> None:
    most = min(LIMITS["width"], LIMITS["height"])
    if max(video.width, video.height) > most or video.width * video.height > LIMITS["frame_pixels"]:
        raise ConfigError(
            f"{video.name} is {video.width}x{video.height}, expected sides of at most {most} pixels and at most "
            f"{LIMITS['frame_pixels']} pixels in all; use --resize or --crop"
        )


def stream_header(video: VideoReader, config: EncodeConfig, last_frame_duration: int = 0) -> StreamHeader:
    """Return the header of the file that a video is encoded to."""
    color = video.color
    return StreamHeader(
        width=video.width,
        height=video.height,
        frame_rate=video.frame_rate,
        time_base=video.time_base,
        color=ColorDescription(color.primaries, color.transfer, color.matrix, color.full_range),
        profile=config.profile,
        tool=f"stgvcodec {__version__}",
        sample_aspect_ratio=video.sample_aspect_ratio,
        last_frame_duration=last_frame_duration if last_frame_duration <= LIMITS["pts_step"] else 0,
    )


def _gop_report(first_frame: int, gop: Gop, fitted: FittedGop, n_bytes: int) -> GopReport:
    stats = fitted.payload.stats
    return GopReport(
        first_frame=first_frame,
        n_frames=len(gop.pts),
        n_gaussians=stats.n_gaussians,
        n_bytes=n_bytes,
        psnr_db=_mean_psnr_db(stats.psnr_db),
        quantizer_cost_db=stats.quantizer_cost_db,
        n_rollbacks=stats.n_rollbacks,
        seconds=stats.seconds,
    )


def _mean_psnr_db(psnrs: Sequence[float]) -> float:
    """Return the mean over the frames that differ from their source, as `compare` takes it; inf if none does."""
    mean = mean_psnr_db(psnrs)
    return math.inf if mean is None else mean
