"""The scheduler plans GoPs in order, lets an engine fit them, several at a time, and hands them out in order."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from functools import partial

import torch

from stgvcodec.encoder.calibration import calibrate
from stgvcodec.encoder.config import EncodeConfig
from stgvcodec.encoder.encode_gop import GopConfig, GopPayload, expected_fit_seconds, fit_stages
from stgvcodec.encoder.engines.gop_job import Engine, FitProgress, GopJob
from stgvcodec.encoder.engines.gop_origin import GopOrigin
from stgvcodec.encoder.fitted_gop import FittedGop, frames_crc
from stgvcodec.encoder.lookahead.gop_splitter import Gop, split_gops
from stgvcodec.encoder.model_size import default_field_size, default_n_gaussians, field_spec
from stgvcodec.encoder.presets import PRESETS, FieldSize, Preset
from stgvcodec.encoder.profiles import PROFILES
from stgvcodec.encoder.rate_control.controllers import GopPlan, GopResult, RateControl
from stgvcodec.encoder.rate_control.cost_model import MIN_GAUSSIANS, SURPLUS
from stgvcodec.encoder.rate_control.planner import encode_plan
from stgvcodec.encoder.reports import EncodePlan
from stgvcodec.encoder.step_costs import StepCosts
from stgvcodec.errors import ConfigError
from stgvcodec.media.reader import VideoFrame, VideoReader
from stgvcodec.media.shared_source import SharedSource
from stgvcodec.metrics import mean_psnr_db
from stgvcodec.model.deformation import FieldSpec
from stgvcodec.progress import CancelToken, Progress, ProgressCallback, raise_if_set

# Time of a step in which a GPU waits for its next kernel, and is free for other GoPs (docs/performance.md). The rest of
# a step fills it: GoPs that are fitted at the same time share the GPU.
_GAPS_SECONDS = 40e-6


class _Unwanted(Exception):
    """Ends the fit of a GoP that nobody waits for any more."""


class GopScheduler:
    """Runs one encode: it turns GoPs into payloads, several at a time, and keeps count."""

    def __init__(
        self,
        config: EncodeConfig,
        video: VideoReader,
        control: RateControl | None,
        engine: Engine,
        progress: ProgressCallback | None,
        cancel: CancelToken | None = None,
        *,
        source: SharedSource | None = None,
        finished: Callable[[int], FittedGop | None] = lambda _: None,
        hold: Callable[[FittedGop], None] = lambda _: None,
    ) -> None:
        """Prepare an encode.

        Args:
            config: Options of the encode.
            video: The source.
            control: The rate control; None without a target.
            engine: What fits GoPs.
            progress: Called several times a second, from any thread.
            cancel: Token that ends the encode.
            source: The source by a name that other processes may know; None if they cannot read it.
            finished: Returns the GoP of an index if an interrupted encode has finished it; it is not fitted again then.
            hold: Takes a GoP that is finished before its turn, from any thread.
        """
        self.config = config
        self.preset = PRESETS[config.preset]
        self.n_frames_done = 0
        self._n_gops_done = 0
        self._n_frames_from_before = 0
        self._n_frames_refitted = 0  # Frames of fits that another one of the same GoP followed.
        # GoP -> fits that are expected after its first, while none has come and the GoP is not done.
        self._expected_refits: dict[int, float] = {}
        if control is not None:
            expected = ((index, control.expected_refits(index)) for index in range(len(control.gops)))
            self._expected_refits = {index: n for index, n in expected if n}
        self._source, self._finished, self._hold = source, finished, hold
        self._name, self._width, self._height = video.name, video.width, video.height
        self._n_frames = video.n_frames if control is None else control.gops.n_frames
        self._rate = control
        self._plans: dict[int, GopPlan] = {}
        self._engine = engine
        self._progress = progress
        self._cancel = cancel
        self._lock = threading.Lock()
        self._frames_fitted: dict[int, float] = {}  # GoP under way -> its frames x share of its work done
        self._is_unwanted = False
        self._gop = config.gop or self.preset.gop
        self._costs = StepCosts()
        self._expected_seconds: float | None = None

    def encode_plan(self) -> EncodePlan:
        """Return what the encode is about to do."""
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
            n_gaussians=self._n_gaussians(self.preset),
            n_field_parameters=field_spec(
                field, length, has_shape_head=PROFILES[self.config.profile].has_shape_head
            ).n_parameters,
            expected_bytes=None,
            expected_bpp=None,
        )

    def calibrate(self, gop: Gop) -> None:
        """Measure on the first GoP what fits cost here, for `expected_seconds` and for the shares of progress."""
        self._costs = calibrate(
            gop.frames, self._typical_config(self.preset, len(gop.pts)), self.config.seed, gop.known
        )
        self._expected_seconds = self.expected_seconds()
        if len(self._engine.devices) > 1 and self._engine.device.type == "cuda":
            # From now on the memory is for the processes.
            torch.cuda.empty_cache()

    def expected_seconds(self, preset: Preset | None = None) -> float | None:
        """Return the time that all fits take, with this preset or another; None while the frames are not counted.

        `calibrate` comes first.
        """
        preset = preset or self.preset
        if not self._n_frames:
            return None
        if self._rate is None:
            gop = self.config.gop or preset.gop
            lengths = [gop] * (self._n_frames // gop) + [self._n_frames % gop] * (self._n_frames % gop > 0)
        else:
            lengths = list(self._rate.gops.lengths)
        fits: dict[int, float] = dict(Counter(lengths))
        for index, n_refits in self._expected_refits.items():
            fits[lengths[index]] += n_refits
        seconds, n_steps = 0.0, 0.0
        for length, number in fits.items():
            config = self._typical_config(preset, length)
            stages = fit_stages(config, length, has_paths=self._costs.path_seconds > 0)
            seconds += number * expected_fit_seconds(stages, config, self._costs)
            n_steps += number * sum(stage.phase.n_steps for stage in stages)
        if self._engine.device.type != "cuda":
            # What is fitted at the same time shares the cores.
            return seconds
        n_devices = min(len(set(self._engine.devices)), len(lengths))
        gaps = n_steps * _GAPS_SECONDS if min(self._engine.n_at_once, len(lengths)) > n_devices else 0.0
        return max(seconds - gaps, 0.0) / n_devices

    def draft_seconds(self) -> float | None:
        """Return the time that all fits would take with preset "draft"; None with it, or if its steps are others."""
        is_like_it = self.preset.field is None and self.preset.name != "draft"
        return self.expected_seconds(PRESETS["draft"]) if is_like_it else None

    def field_specs(self) -> set[FieldSpec]:
        """Return dimensions of fields that GoPs are about to have, as far as they are known before the first fit."""
        if self._rate is None:
            lengths = {self._gop if self._n_frames is None else min(self._gop, self._n_frames)}
            sizes = {n: default_field_size(self.preset, self._width, self._height, n) for n in lengths}
        else:
            gops = self._rate.gops
            bytes_per_frame = self._rate.expected_bytes() / gops.n_frames
            sizes = {n: gops.costs.dimensions(bytes_per_frame * n, n)[0] for n in set(gops.lengths)}
        has_shape_head = PROFILES[self.config.profile].has_shape_head
        return {field_spec(size, n, has_shape_head=has_shape_head) for n, size in sizes.items()}

    def n_gops(self) -> int | None:
        """Return the number of GoPs, where no target is given without those that scene cuts add; None if unknown."""
        if self._rate is not None:
            return len(self._rate.gops)
        return None if self._n_frames is None else -(-self._n_frames // self._gop)

    def gops(self, frames: Iterable[VideoFrame]) -> Iterator[Gop]:
        """Return the GoPs of the video's frames, as planned where there is a target, else as the frames come."""
        if self._rate is None:
            return split_gops(frames, lambda: self._gop, scene_cut=self.config.scene_cut)
        lengths = iter(self._rate.gops.lengths)
        return split_gops(frames, lambda: next(lengths), scene_cut=False)

    def fitted(self, gops: Iterable[Gop]) -> Generator[tuple[Gop, FittedGop], None, None]:
        """Fit and code GoPs; those that were finished before are taken as they are.

        Yields:
            Each GoP with what came of it, in order. A GoP is planned when the one `n_planned` before it has been
            yielded and taken into account by `done`, whatever finishes first, so that the same input gives the same
            plans.
        """
        n_planned = self._engine.n_planned
        if n_planned == 1:
            for index, gop in enumerate(gops):
                yield gop, self._encode(index, gop, self._plan(index))
            return
        under_way: deque[tuple[Gop, Future[FittedGop]]] = deque()
        with ThreadPoolExecutor(n_planned) as pool:
            try:
                for index, gop in enumerate(gops):
                    while under_way and self._rate is not None and self._rate.needs_all_before(index):
                        yield _first_finished(under_way)
                    under_way.append((gop, pool.submit(self._encode, index, gop, self._plan(index))))
                    if len(under_way) == n_planned:
                        yield _first_finished(under_way)
                while under_way:
                    yield _first_finished(under_way)
            finally:
                self._is_unwanted = True

    def done(self, gop: Gop, fitted: FittedGop) -> None:
        """Take into account a GoP that has been written to the file."""
        with self._lock:
            index = self._n_gops_done
            self.n_frames_done += len(gop.pts)
            self._n_frames_from_before += len(gop.pts) if fitted.is_from_before else 0
            self._frames_fitted.pop(index, None)
            self._expected_refits.pop(index, None)
            self._n_gops_done += 1
            fraction = self._fraction()
        if self._rate is not None:
            self._rate.update(self._plans.pop(index), _result_of(fitted.payload))
        if self._progress is not None:
            psnr_db = mean_psnr_db(fitted.payload.stats.psnr_db)
            self._progress(self._so_far(f"gop {index}: finished", fraction, psnr_db=psnr_db))

    def _plan(self, index: int) -> GopPlan | None:
        return None if self._rate is None else self._rate.plan(index)

    def _n_gaussians(self, preset: Preset) -> int:
        return self.config.n_gaussians or default_n_gaussians(preset, self._width, self._height)

    def _encode(self, index: int, gop: Gop, plan: GopPlan | None) -> FittedGop:
        crc = frames_crc(gop.frames, gop.known)
        before = self._finished(index)
        if before is not None:
            self._take_over(before, crc, plan)
            return before
        payloads: list[GopPayload] = []

        def fit(plan: GopPlan | None) -> GopResult:
            if payloads:
                with self._lock:
                    self._n_frames_refitted += len(gop.pts)
                    self._expected_refits.pop(index, None)
                    self._frames_fitted[index] = 0.0
            payloads.append(self._fit(index, gop, plan, crc))
            return _result_of(payloads[-1])

        best = self._retried(index, plan, fit)
        fitted = FittedGop(index, payloads[best], tuple(map(_result_of, payloads)), crc)
        with self._lock:
            is_next = index == self._n_gops_done
        if not is_next:
            self._hold(fitted)
        return fitted

    def _retried(self, index: int, plan: GopPlan | None, fit: Callable[[GopPlan | None], GopResult]) -> int:
        """Fit a GoP by its plan and by those that the rate control then asks for; return which fit is to be kept."""
        results = [fit(plan)]
        best = 0
        if self._rate is None or plan is None:
            return best
        self._plans[index] = plan
        while (retry := self._rate.retry_plan(plan, results[-1])) is not None:
            plan = retry
            results.append(fit(plan))
            if self._rate.is_better(index, results[best], results[-1]):
                self._plans[index], best = plan, len(results) - 1
        return best

    def _take_over(self, before: FittedGop, crc: int, plan: GopPlan | None) -> None:
        """Bring the rate control to where it was when the GoP had been finished."""
        if before.frames_crc != crc:
            raise ConfigError(
                f"{self._name}: the frames of GoP {before.index}, or their masks, are not those with which the encode "
                "was begun; continue it with the same source, or start anew with -y"
            )
        results = iter(before.results)
        self._retried(before.index, plan, lambda _: next(results))
        if self._progress is not None:
            self._progress(self._so_far(f"gop {before.index}: finished before", self._fraction()))

    def _fit(self, index: int, gop: Gop, plan: GopPlan | None, crc: int) -> GopPayload:
        n_frames = len(gop.pts)
        if plan is None:
            config = self._typical_config(self.preset, n_frames)
        else:
            config = self._gop_config(self.preset, plan.n_gaussians, plan.field, plan.target_bytes)
        # Each GoP has a seed of its own, so that its random numbers do not depend on the other GoPs.
        seed = self.config.seed + index
        origin = None if self._source is None else GopOrigin(self._source, gop.pts, crc)
        job = GopJob(index, gop.frames, gop.known, config, seed, self._costs, origin)
        tell = None if self._progress is None else partial(self._report, index, n_frames)
        return self._engine.fit(job, tell, self._check)

    def _check(self) -> None:
        """End a fit whose caller, or whose encode, does not want it any more."""
        if self._is_unwanted:
            raise _Unwanted
        raise_if_set(self._cancel)

    def _typical_config(self, preset: Preset, n_frames: int) -> GopConfig:
        """Return the configuration of a GoP of average bytes and this length."""
        if self._rate is None:
            field = default_field_size(preset, self._width, self._height, n_frames)
            return self._gop_config(preset, self._n_gaussians(preset), field, None)
        gops = self._rate.gops
        target_bytes = max(self._rate.expected_bytes() / gops.n_frames * n_frames, 1.0)
        field, n_gaussians = gops.costs.dimensions(target_bytes, n_frames)
        # A fit begins with more Gaussians than its bytes pay for, and loses them half-way.
        n_gaussians = max(round((1 + SURPLUS) / 2 * n_gaussians), MIN_GAUSSIANS)
        return self._gop_config(preset, n_gaussians, field, round(target_bytes))

    def _gop_config(self, preset: Preset, n_gaussians: int, field: FieldSize, target_bytes: int | None) -> GopConfig:
        return GopConfig.planned(
            self.config,
            n_gaussians,
            field,
            target_bytes,
            device=self._engine.device,
            backend=self._engine.backend,
            preset=preset,
        )

    def _report(self, index: int, n_frames: int, fit: FitProgress) -> None:
        assert self._progress is not None
        with self._lock:
            self._frames_fitted[index] = fit.share * n_frames
            # Only the first of the GoPs under way is shown.
            if index != self._n_gops_done:
                return
            fraction = self._fraction()
        progress = self._so_far(f"gop {index}: {fit.phase}", fraction, psnr_db=fit.psnr_db)
        self._progress(replace(progress, step=fit.step, n_steps=fit.n_steps))

    def _so_far(self, phase: str, fraction: float | None, *, psnr_db: float | None = None) -> Progress:
        return Progress(
            phase,
            self.n_frames_done,
            self._n_frames,
            psnr_db=psnr_db,
            fraction=fraction,
            expected_seconds=self._expected_seconds,
        )

    def _fraction(self) -> float | None:
        """Return the share that is done of what there is to fit; None while that is unknown.

        It falls where a GoP is to be fitted more often than was expected: there is more to do than was known.
        """
        if not self._n_frames:
            return None
        n_more = self._n_frames_refitted - self._n_frames_from_before
        n_fitted = self.n_frames_done + n_more + sum(self._frames_fitted.values())
        n_all: float = self._n_frames + n_more
        if self._rate is not None:
            n_all += sum(n * self._rate.gops.lengths[index] for index, n in self._expected_refits.items())
        return min(1.0, n_fitted / max(n_all, 1))


def _result_of(payload: GopPayload) -> GopResult:
    return GopResult(len(payload.bytes), payload.stats.n_gaussians, payload.stats.psnr_db)


def _first_finished(under_way: deque[tuple[Gop, Future[FittedGop]]]) -> tuple[Gop, FittedGop]:
    """Take the first of the GoPs under way when it is done; if another one fails before, fail with it."""
    pending = {future for _, future in under_way}
    while not under_way[0][1].done():
        done, pending = wait(pending, return_when=FIRST_COMPLETED)
        for future in done:
            future.result()
    gop, future = under_way.popleft()
    return gop, future.result()
