"""`encode`: a video file in, a `.stgv` file out, one GoP of frames in memory at a time."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

import stgvcodec
from stgvcodec.bitstream.container.file_header import ColorDescription, StreamHeader
from stgvcodec.bitstream.container.writer import StgvWriter
from stgvcodec.bitstream.syntax.limits import LIMITS
from stgvcodec.codec.gop_prediction import Predecessor
from stgvcodec.codec.key_intervals import KeyIntervals
from stgvcodec.codec.reports import EncodePlan, EncodeReport, GopReport, PlanCallback, Progress, ProgressCallback
from stgvcodec.device import resolve_device
from stgvcodec.encoder.config import EncodeConfig
from stgvcodec.encoder.encode_gop import GopConfig, GopPayload, encode_gop
from stgvcodec.encoder.lookahead.content import Content, measure_content
from stgvcodec.encoder.lookahead.gop_splitter import Gop, split_gops
from stgvcodec.encoder.model_size import default_field_size, default_n_gaussians, field_spec
from stgvcodec.encoder.presets import PRESETS
from stgvcodec.encoder.profiles import PROFILES
from stgvcodec.encoder.rate_control.controllers import GopOutcome, GopPlan, RateControl
from stgvcodec.encoder.rate_control.planner import encode_plan, rate_control
from stgvcodec.errors import ConfigError, InputVideoError
from stgvcodec.fit.phases import Phase
from stgvcodec.fit.trainer import mse_to_psnr_db
from stgvcodec.media.atomic import atomic_output, check_output_file, refuse_same_file
from stgvcodec.media.image_folder import IMAGE_SUFFIXES
from stgvcodec.media.reader import VideoFrame, VideoReader, open_video
from stgvcodec.media.selection import Selection
from stgvcodec.media.writer import VIDEO_SUFFIXES

logger = logging.getLogger(__name__)

# Seconds between two calls of a progress callback.
_PROGRESS_INTERVAL_SECONDS = 0.2
# GoPs at once by back end: one does not fill a large GPU (benchmarks/bunny_fit.py).
_JOBS = {"triton": 4}


def encode(
    source: str | Path,
    destination: str | Path,
    *,
    config: EncodeConfig | None = None,
    selection: Selection | None = None,
    matrix: str | None = None,
    device: str = "auto",
    backend: str = "auto",
    jobs: int | None = None,
    progress: ProgressCallback | None = None,
    plan: PlanCallback | None = None,
) -> EncodeReport:
    """Encode a video.

    With a target the source is read twice: first to count its frames and to see how they change, then for the fits.

    Args:
        source: A video file or a folder of images.
        destination: The `.stgv` file; written under a temporary name and moved into place when complete.
        config: What to make of it; the default is preset "fast".
        selection: Which frames and which part of the picture.
        matrix: "bt601", "bt709" or "bt2020", over what the source is tagged with.
        device: "auto", "cpu" or "cuda".
        backend: "auto", "reference", "numba" or "triton".
        jobs: GoPs that are fitted at the same time; by default several on a GPU with the triton back end, else one.
        progress: Called several times a second, from any thread.
        plan: Called once, before the first fit.

    Returns:
        Sizes and quality, the latter from the decoder's path over the written bytes.

    Raises:
        ConfigError: options that cannot be met.
        InputVideoError: a source that cannot be read.
        OutputError: a destination that cannot be written.
        BackendUnavailableError: device or back end is not to be had here.
    """
    started = time.perf_counter()
    config = config or EncodeConfig()
    refuse_same_file(source, destination)
    if Path(destination).suffix.lower() in (*VIDEO_SUFFIXES, *IMAGE_SUFFIXES):
        raise ConfigError(f"{destination}: encode writes .stgv files, got the suffix of another format; use .stgv")
    check_output_file(destination)
    torch_device, backend_name = resolve_device(device, backend)
    with (
        open_video(source, selection=selection or Selection(), matrix=matrix) as video,
        atomic_output(destination) as temporary,
    ):
        _check_size(video)
        n_at_once = jobs or _JOBS.get(backend_name, 1)
        header = _stream_header(video, config)
        control = rate_control(config, _content(video, progress), header) if config.has_target else None
        job = _Job(config, video, control, torch_device, backend_name, n_at_once, progress)
        planned = job.encode_plan()
        # Where there are no frames the reader says why, below.
        if plan is not None and planned.n_frames != 0:
            plan(planned)
        gops: list[GopReport] = []
        psnrs: list[float] = []
        with temporary.open("wb") as file:
            writer = StgvWriter(file, header)
            for gop, payload in job.payloads(job.gops(video)):
                first_byte = writer.n_bytes
                writer.add_gop(payload.bytes, gop.pts, predicted=not payload.is_key)
                n_bytes = writer.n_bytes - first_byte
                gops.append(_gop_report(job.n_frames_done, gop, payload, n_bytes))
                psnrs.extend(payload.stats.psnr_db)
                job.done(gop, payload)
                # Frames of this GoP are not kept while the next one is read.
                del gop
            if not gops:
                raise InputVideoError(f"{source}: no frames to encode; expected at least one")
            writer.finish()
            file.flush()
            os.fsync(file.fileno())
        width, height, has_audio = video.width, video.height, video.has_audio
        file_bytes = temporary.stat().st_size
    n_frames = sum(gop.n_frames for gop in gops)
    bpp = 8.0 * file_bytes / (width * height * n_frames)
    psnr_db = _mean_psnr_db(psnrs)
    shortfall = None if control is None else control.shortfall(file_bytes, psnr_db)
    if shortfall is not None:
        logger.warning("%s: %s", destination, shortfall)
    return EncodeReport(
        path=Path(destination),
        file_bytes=file_bytes,
        bpp=bpp,
        bpp_target=config.bpp_target,
        psnr_db=psnr_db,
        width=width,
        height=height,
        n_frames=n_frames,
        audio_dropped=has_audio,
        gops=tuple(gops),
        seconds=time.perf_counter() - started,
        device=str(torch_device),
        backend=backend_name,
        size_target=config.size_target,
        psnr_target=config.psnr_target,
        plan=planned,
        shortfall=shortfall,
    )


def _content(video: VideoReader, progress: ProgressCallback | None) -> Content:
    """Measures of every frame, with a call of `progress` now and then."""
    last_report = time.monotonic()

    def on_frame(n_read: int) -> None:
        nonlocal last_report
        now = time.monotonic()
        if progress is not None and now - last_report >= _PROGRESS_INTERVAL_SECONDS:
            last_report = now
            progress(Progress(f"looking ahead: frame {n_read}", frames_done=0, n_frames=video.n_frames, fraction=0.0))

    content = measure_content(video, on_frame)
    if not content.n_frames:
        raise InputVideoError(f"{video.name}: no frames to encode; expected at least one")
    return content


class _Cancelled(Exception):
    """Ends the fit of a GoP that nobody waits for any more."""


class _Job:
    """One encode: turns GoPs into payloads, several at a time, and keeps count."""

    def __init__(
        self,
        config: EncodeConfig,
        video: VideoReader,
        control: RateControl | None,
        device: torch.device,
        backend: str,
        n_at_once: int,
        progress: ProgressCallback | None,
    ) -> None:
        self.config = config
        self.preset = PRESETS[config.preset]
        self.n_frames_done = 0
        self._n_gops_done = 0
        self._width, self._height = video.width, video.height
        self._n_frames = video.n_frames if control is None else control.gops.n_frames
        self._rate = control
        self._plans: dict[int, GopPlan] = {}
        self._device, self._backend = device, backend
        self._n_at_once = n_at_once
        self._progress = progress
        self._lock = threading.Lock()
        self._frames_fitted: dict[int, float] = {}  # By GoP under way: its frames times the share of its work done.
        self._last_progress = 0.0
        self._is_cancelled = False
        self._gop = config.gop or self.preset.gop
        self._intervals = KeyIntervals(config.key_interval)

    def encode_plan(self) -> EncodePlan:
        """What is about to be done."""
        if self._rate is not None:
            return encode_plan(self.config, self._rate)
        length = self._gop if self._n_frames is None else min(self._gop, self._n_frames)
        field = default_field_size(self.preset, self._width, self._height, length)
        return EncodePlan(
            bpp_target=None,
            size_target=None,
            psnr_target=None,
            n_frames=self._n_frames,
            gop_lengths=(),
            longest_gop=length,
            n_gaussians=self._n_gaussians(),
            n_field_parameters=field_spec(field, length).n_parameters,
            expected_bytes=None,
            expected_bpp=None,
            key_interval=self.config.key_interval,
        )

    def gops(self, video: VideoReader) -> Iterator[Gop]:
        """The video in GoPs, as planned where there is a target, else as the frames come."""
        if self._rate is None:
            return split_gops(video, lambda: self._gop, scene_cut=self.config.scene_cut)
        lengths = iter(self._rate.gops.lengths)
        frames = _same_frames(video, self._rate.gops.n_frames)
        return split_gops(frames, lambda: next(lengths), scene_cut=False)

    def payloads(self, gops: Iterable[Gop]) -> Iterator[tuple[Gop, GopPayload]]:
        """Fit and code GoPs.

        Yields:
            Each with its payload, in order. A GoP is planned when the one `n_at_once` before it has been yielded and
            noted by `done`, whatever finishes first, so that the same input gives the same plans; one that may be
            predicted when all before it have been.
        """
        if self._n_at_once == 1 or self._intervals.has_predicted:
            for index, gop in enumerate(gops):
                before = self._intervals.predecessor(gop.frames, backend=self._backend)
                yield gop, self._encode(index, gop, self._plan(index, before), before)
            return
        under_way: deque[tuple[Gop, Future[GopPayload]]] = deque()
        with ThreadPoolExecutor(self._n_at_once) as pool:
            try:
                for index, gop in enumerate(gops):
                    while under_way and self._rate is not None and self._rate.needs_all_before(index):
                        yield _first_finished(under_way)
                    under_way.append((gop, pool.submit(self._encode, index, gop, self._plan(index), None)))
                    if len(under_way) == self._n_at_once:
                        yield _first_finished(under_way)
                while under_way:
                    yield _first_finished(under_way)
            finally:
                self._is_cancelled = True

    def done(self, gop: Gop, payload: GopPayload) -> None:
        """Take note of a GoP that is in the file."""
        with self._lock:
            index = self._n_gops_done
            self.n_frames_done += len(gop.pts)
            self._frames_fitted.pop(index, None)
            self._n_gops_done += 1
        self._intervals.note(payload, len(gop.pts))
        if self._rate is not None:
            self._rate.note(self._plans.pop(index), _outcome(payload))

    def _plan(self, index: int, before: Predecessor | None = None) -> GopPlan | None:
        return None if self._rate is None else self._rate.plan(index, is_predicted=before is not None)

    def _n_gaussians(self) -> int:
        return self.config.n_gaussians or default_n_gaussians(self.preset, self._width, self._height)

    def _encode(self, index: int, gop: Gop, plan: GopPlan | None, before: Predecessor | None) -> GopPayload:
        if self._rate is None or plan is None:
            return self._fit(index, gop, None, before)
        self._plans[index] = plan
        best = payload = self._fit(index, gop, plan, before)
        while (again := self._rate.again(plan, _outcome(payload))) is not None:
            plan, payload = again, self._fit(index, gop, again, before)
            if self._rate.is_better(index, _outcome(best), _outcome(payload)):
                self._plans[index], best = plan, payload
        return best

    def _fit(self, index: int, gop: Gop, plan: GopPlan | None, before: Predecessor | None) -> GopPayload:
        n_frames = len(gop.pts)

        def on_step(phase: Phase, step: int, share: float, loss: Tensor) -> None:
            self._report(index, phase, step, share * n_frames, loss)

        fills_target = False
        if plan is None:
            n_gaussians, target_bytes = self._n_gaussians(), None
            field = default_field_size(self.preset, self._width, self._height, n_frames)
        else:
            n_gaussians, field, target_bytes = plan.n_gaussians, plan.field, plan.target_bytes
            fills_target = plan.fills_target
            if not plan.is_predicted:
                before = None
        config = GopConfig(
            preset=self.preset,
            n_gaussians=n_gaussians,
            field=field,
            key_frame=self.config.key_frame or self.preset.key_frame,
            initialization=self.config.initialization or self.preset.initialization,
            profile=PROFILES[self.config.profile].with_codebooks(
                self.config.color_stages or self.preset.color_stages,
                self.config.color_codebook_size or self.preset.color_codebook_size,
            ),
            target_bytes=target_bytes,
            device=self._device,
            backend=self._backend,
            before=before,
            fills_target=fills_target,
        )
        # Each GoP draws its own numbers, whichever others there are.
        return encode_gop(gop.frames, config, seed=self.config.seed + index, on_step=on_step)

    def _report(self, index: int, phase: Phase, step: int, frames_fitted: float, loss: Tensor) -> None:
        if self._is_cancelled:
            raise _Cancelled
        if self._progress is None:
            return
        now = time.monotonic()
        with self._lock:
            # A GoP that is fitted once more does not take back what was shown as done.
            self._frames_fitted[index] = max(self._frames_fitted.get(index, 0.0), frames_fitted)
            # Of several GoPs under way the first is shown.
            if index != self._n_gops_done:
                return
            if now - self._last_progress < _PROGRESS_INTERVAL_SECONDS and step < phase.n_steps:
                return
            self._last_progress = now
            total = self._n_frames
            frames_fitted = self.n_frames_done + sum(self._frames_fitted.values())
        self._progress(
            Progress(
                phase=f"gop {index}: {phase.name}",
                frames_done=self.n_frames_done,
                n_frames=total,
                step=step,
                n_steps=phase.n_steps,
                psnr_db=mse_to_psnr_db(float(loss)) if phase.target == "pictures" else None,
                fraction=min(1.0, frames_fitted / total) if total else None,
            )
        )


def _same_frames(video: VideoReader, n_frames: int) -> Iterator[VideoFrame]:
    """The frames that were looked at, once more; not a step beyond, where the reader would repeat its warnings."""
    n_read = 0
    for frame in islice(video, n_frames):
        n_read += 1
        yield frame
    if n_read < n_frames:
        raise InputVideoError(
            f"{video.name}: got {n_read} frames, expected the {n_frames} of a moment ago; it changed while it was read"
        )


def _outcome(payload: GopPayload) -> GopOutcome:
    return GopOutcome(len(payload.bytes), payload.stats.n_gaussians, payload.stats.psnr_db)


def _first_finished(under_way: deque[tuple[Gop, Future[GopPayload]]]) -> tuple[Gop, GopPayload]:
    """Take the first of those under way when it is done; if any other fails before, fail with it."""
    pending = {future for _, future in under_way}
    while not under_way[0][1].done():
        done, pending = wait(pending, return_when=FIRST_COMPLETED)
        for future in done:
            future.result()
    gop, future = under_way.popleft()
    return gop, future.result()


def _check_size(video: VideoReader) -> None:
    most = min(LIMITS["width"], LIMITS["height"])
    if max(video.width, video.height) > most or video.width * video.height > LIMITS["frame_pixels"]:
        raise ConfigError(
            f"{video.name} is {video.width}x{video.height}, expected sides of at most {most} pixels and at most "
            f"{LIMITS['frame_pixels']} pixels in all; use --resize or --crop"
        )


def _stream_header(video: VideoReader, config: EncodeConfig) -> StreamHeader:
    color = video.color
    return StreamHeader(
        width=video.width,
        height=video.height,
        frame_rate=video.frame_rate,
        time_base=video.time_base,
        color=ColorDescription(color.primaries, color.transfer, color.matrix, color.full_range),
        profile=config.profile,
        tool=f"stgvcodec {stgvcodec.__version__}",
    )


def _gop_report(first_frame: int, gop: Gop, payload: GopPayload, n_bytes: int) -> GopReport:
    stats = payload.stats
    return GopReport(
        first_frame=first_frame,
        n_frames=len(gop.pts),
        n_gaussians=stats.n_gaussians,
        is_key=payload.is_key,
        n_bytes=n_bytes,
        psnr_db=_mean_psnr_db(stats.psnr_db),
        quantizer_cost_db=stats.quantizer_cost_db,
        n_rollbacks=stats.n_rollbacks,
        seconds=stats.seconds,
    )


def _mean_psnr_db(psnrs: Sequence[float]) -> float:
    """Mean over the frames that differ from their source, as `compare` takes it; inf if none does."""
    finite = [psnr for psnr in psnrs if math.isfinite(psnr)]
    return math.fsum(finite) / len(finite) if finite else math.inf
