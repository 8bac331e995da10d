"""`rd`: rate-distortion curves of this codec and of classical ones over one clip, resumable point by point."""

from __future__ import annotations

import dataclasses
import json
import logging
import tempfile
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from stgvcodec._version import __version__
from stgvcodec.encoder.config import EncodeConfig
from stgvcodec.encoder.encode import encode
from stgvcodec.errors import BackendUnavailableError, ConfigError, InputVideoError, OutputError
from stgvcodec.evaluation.classical_codecs import AnchorCurve, Floor, series_digest
from stgvcodec.evaluation.flat_bits import COUNTING, PROFILE, file_flat_bits
from stgvcodec.evaluation.fresh_process import decode_in_new_process
from stgvcodec.evaluation.measuring import Clip, Meter
from stgvcodec.evaluation.rd_plan import RdPlan, own_settings
from stgvcodec.evaluation.results import read_results, with_bd_rates, write_results
from stgvcodec.evaluation.scratch import scratch_folder
from stgvcodec.media.anchors import ANCHORS, Yuv420Clip
from stgvcodec.media.atomic import atomic_output, check_output_file
from stgvcodec.media.durable import part_path
from stgvcodec.media.reader import open_video
from stgvcodec.media.selection import Selection
from stgvcodec.metrics.bd_rate import METHOD, check_bd_rate
from stgvcodec.progress import Progress, ProgressCallback
from stgvcodec.report.rd_points import RdPoint, RdResult, RdSeries, RdSource, Setting

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Encoded:
    """Figures of an encode that the encoded file does not hold; they are kept beside it.

    Attributes:
        seconds: Wall-clock time of the encode.
        device: Device that it ran on.
        parameters: Parameters of the encode, for those of its `RdPoint`.
    """

    seconds: float
    device: str
    parameters: dict[str, Setting]

    @classmethod
    def read(cls, path: Path) -> Encoded:
        """Read what `write` wrote."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))

    def write(self, path: Path) -> None:
        """Write the figures; called when the encoded file itself is complete."""
        with atomic_output(path) as temporary:
            temporary.write_text(json.dumps(dataclasses.asdict(self)), encoding="utf-8")


CODEC = "stgv"
"""Name of this codec's series."""

_ORDER = {name: place for place, name in enumerate((CODEC, *ANCHORS))}


def rate_distortion(
    source: str | Path,
    results: str | Path,
    *,
    plan: RdPlan,
    selection: Selection | None = None,
    matrix: str | None = None,
    device: str = "auto",
    backend: str = "auto",
    jobs: int | None = None,
    note: str | None = None,
    progress: ProgressCallback | None = None,
) -> RdResult | None:
    """Measure this codec and classical ones over one clip.

    Every finished point is written to `results` at once. Points that the file holds already, of the same frames and the
    same settings, are taken from it; the encoded files stay in a folder beside it that has its name and ".d".

    Args:
        source: A video file or a folder of images.
        results: JSON file to make or to continue.
        plan: Rates, configurations and anchors.
        selection: Frames and part of the picture to measure.
        matrix: Colour matrix in place of the one that the source is tagged with: "bt601", "bt709" or "bt2020".
        device: Device of this codec: "auto", "cpu" or "cuda".
        backend: Implementation of the operators of this codec: "auto", "reference", "numba" or "triton".
        jobs: GoPs that are fitted at the same time, as in `encode`.
        note: Remark for readers of the figures; None keeps the note that the file has.
        progress: Called several times a second, from any thread.

    Returns:
        All curves of the file, with BD-rates; None where the plan is to encode only.

    Raises:
        ConfigError: options that cannot be met, or a results file of other frames or of another schema.
        InputVideoError: a source that cannot be read.
        OutputError: a destination that cannot be written.
        BackendUnavailableError: device or back end is not to be had here. An anchor that is not to be had is left out.
        StgvError: the packages of the extra "rd" are not installed, or the decoding process failed.
    """
    if not plan.encode_only:
        check_bd_rate()
    path = check_output_file(results)
    before = read_results(path) if path.exists() else None
    clip = Clip.read(Path(source), selection or Selection(), matrix)
    if clip.n_frames == 0:
        raise InputVideoError(f"{source}: no frames to encode; expected at least one")
    if before is not None and before.source.frames_sha256 != clip.sha256:
        was = before.source
        raise ConfigError(
            f"{results}: holds points of other frames ({was.name}, {was.width}x{was.height}, {was.n_frames} frames); "
            "choose another --json, or give the same input and selection"
        )
    folder = path.with_name(f"{path.name}.d")
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made as a folder: {error.strerror}; choose another name") from error
    with scratch_folder(folder) as scratch:
        run = _Run(plan, clip, path, folder, scratch, progress)
        if plan.encode_only:
            for config in plan.configs:
                run.encode_curve(config, device, backend, jobs)
            return None
        run.begin(before, note)
        for config in plan.configs:
            run.own_curve(config, device, backend, jobs)
        for name in plan.anchors:
            run.anchor_curve(name)
        return run.result


class _Run:
    """One call of `rate_distortion`."""

    def __init__(
        self, plan: RdPlan, clip: Clip, path: Path, folder: Path, scratch: Path, progress: ProgressCallback | None
    ) -> None:
        self._plan, self._clip, self._progress = plan, clip, progress
        self._path, self._folder, self._scratch = path, folder, scratch
        self._meter = Meter(clip, scratch)
        n_anchors = 0 if plan.encode_only else len(plan.anchors)
        self._n_points = len(plan.rates) * (len(plan.configs) + n_anchors)
        self._n_done = 0
        self.result: RdResult

    def begin(self, before: RdResult | None, note: str | None) -> None:
        """Continue the results of an earlier run, or start new ones with a description of the source."""
        tool = f"stgvcodec {__version__}"
        methods = {**self._meter.methods, "bd_rate": METHOD, "flat_bits": COUNTING}
        if before is None:
            before = RdResult(self._describe_source(), tool)
        if any(point.vmaf is not None for each in before.series for point in each.points):
            methods["vmaf"] = before.measures.get("vmaf", methods["vmaf"])
        result = dataclasses.replace(before, tool=tool, measures=methods)
        self._save(result if note is None else dataclasses.replace(result, note=note))

    def own_curve(self, config: EncodeConfig, device: str, backend: str, jobs: int | None) -> None:
        """Make the points of one configuration that are not there yet."""
        settings = own_settings(config)
        series = self.result.find(CODEC, settings) or RdSeries(CODEC, f"{CODEC} {config.profile}", settings)
        flat_settings = {**settings, "counted": "flat bits"}
        flat = self.result.find(CODEC, flat_settings) or RdSeries(
            CODEC, f"{series.label} (flat bits)", flat_settings, derived=True
        )
        for rate in sorted(self._plan.rates):
            title = f"{series.label} at {rate:g} bpp"
            if series.point_at(rate) is not None:
                self._reused(title)
                continue
            stgv = self._stgv(series, rate)
            try:
                point = self._own_point(
                    dataclasses.replace(config, bpp_target=rate), stgv, title, device, backend, jobs
                )
            except ConfigError as error:
                # A rate that asks for less than the smallest possible file is left out; the others are still made.
                logger.warning("%s is left out: %s", title, error)
                self._n_done += 1
                continue
            series = series.with_point(point)
            result = self.result.with_series(series)
            n_bits = file_flat_bits(stgv) if config.profile == PROFILE else None
            if n_bits is not None:
                n_bytes = -(-n_bits // 8)
                flat = flat.with_point(
                    dataclasses.replace(point, bytes=n_bytes, bpp=self._clip.bpp(n_bytes), file=None)
                )
                result = result.with_series(flat)
            self._finished(result, title)
        if not series.points:
            raise _none_met(series)

    def encode_curve(self, config: EncodeConfig, device: str, backend: str, jobs: int | None) -> None:
        """Make the files of one configuration that are not there yet."""
        settings = own_settings(config)
        series = RdSeries(CODEC, f"{CODEC} {config.profile}", settings)
        for rate in sorted(self._plan.rates):
            title = f"{series.label} at {rate:g} bpp"
            at_rate = dataclasses.replace(config, bpp_target=rate)
            try:
                self._encoded(at_rate, self._stgv(series, rate), title, device, backend, jobs)
            except ConfigError as error:
                logger.warning("%s is left out: %s", title, error)
            self._n_done += 1
            self._say(f"{title}: done")
        if not any(self._stgv(series, rate).exists() for rate in self._plan.rates):
            raise _none_met(series)

    def _stgv(self, series: RdSeries, rate: float) -> Path:
        return self._folder / f"{CODEC}-{series.settings['profile']}-{series_digest(series)}-{rate:g}.stgv"

    def anchor_curve(self, name: str) -> None:
        """Make the points of an anchor that are not there yet; leave it out if it cannot be had."""
        anchor = ANCHORS[name]
        settings = anchor.settings()
        series = self.result.find(name, settings) or RdSeries(name, anchor.label, settings)
        rates = tuple(sorted(self._plan.rates))
        for rate in rates:
            if series.point_at(rate) is not None:
                self._reused(f"{series.label} at {rate:g} bpp")
        floor = Floor.of([each for each in self.result.series if each.codec == CODEC])
        curve = AnchorCurve(anchor, self._clip, lambda: self._yuv420, self._meter, self._folder, self._scratch)
        self._say(f"{series.label}: searching")
        try:
            for more in curve.matched(series, rates):
                series = more
                self._finished(self.result.with_series(series), f"{series.label}, {len(series.points)} points")
            for more in curve.lowered(series, floor):
                self._save(self.result.with_series(more))
                self._say(f"{series.label}, {len(more.points)} points")
        except BackendUnavailableError as error:
            # The other curves are worth as much without this one.
            logger.warning("%s", error)

    def _own_point(
        self, config: EncodeConfig, stgv: Path, title: str, device: str, backend: str, jobs: int | None
    ) -> RdPoint:
        encoded = self._encoded(config, stgv, title, device, backend, jobs)
        self._say(f"{title}: decoding in a new process")
        with tempfile.TemporaryDirectory(dir=self._scratch) as scratch:
            folder = Path(scratch) / "frames"
            decoded = decode_in_new_process(stgv, folder, device=device, backend=backend)
            self._say(f"{title}: measuring")
            with open_video(folder) as video:
                quality = self._meter.measure(frame.rgb for frame in video)
        n_bytes = stgv.stat().st_size
        return RdPoint(
            requested_bpp=config.bpp_target,
            bytes=n_bytes,
            bpp=self._clip.bpp(n_bytes),
            psnr_db=quality.psnr_db,
            ms_ssim=quality.ms_ssim,
            vmaf=quality.vmaf,
            encode_seconds=encoded.seconds,
            decode_seconds=decoded.render_seconds,
            device=encoded.device,
            file=f"{stgv.parent.name}/{stgv.name}",
            parameters={**encoded.parameters, "decoded_on": _device_name(decoded.device)},
        )

    def _encoded(
        self, config: EncodeConfig, stgv: Path, title: str, device: str, backend: str, jobs: int | None
    ) -> Encoded:
        """Make a file, or take the one that an earlier run, perhaps on another machine, left with its figures."""
        record = stgv.with_suffix(".json")
        if stgv.exists() and record.exists():
            logger.info("%s: encoded before", title)
            return Encoded.read(record)
        encode_it = partial(
            encode,
            self._clip.path,
            stgv,
            config=config,
            selection=self._clip.selection.pictures_only,
            matrix=self._clip.matrix,
            device=device,
            backend=backend,
            jobs=jobs,
            progress=self._inner_progress(title),
        )
        try:
            report = encode_it(resume=True)
        except ConfigError:
            if not part_path(stgv).exists():
                raise
            # An earlier run was interrupted that had other options, such as another device.
            report = encode_it(resume=False)
        parameters: dict[str, Setting] = {
            "backend": report.backend,
            "n_gops": len(report.gops),
            "n_gaussians": sum(gop.n_gaussians for gop in report.gops),
            "jobs": jobs,
        }
        encoded = Encoded(report.seconds, _device_name(report.device), parameters)
        encoded.write(record)
        return encoded

    def _describe_source(self) -> RdSource:
        clip, selection = self._clip, self._clip.selection
        self._say("reading the source, and what 4:2:0 makes of it")
        ceiling = self._meter.measure(self._yuv420.frames())
        resize = selection.resize
        return RdSource(
            name=clip.path.name,
            frames_sha256=clip.sha256,
            width=clip.width,
            height=clip.height,
            n_frames=clip.n_frames,
            frame_rate=str(clip.frame_rate),
            selection={
                "frames": None if selection.frames is None else selection.frames_text,
                "crop": None if selection.crop is None else str(selection.crop),
                "resize": None if resize is None else f"{resize[0]}x{resize[1]}",
                "matrix": clip.matrix,
            },
            yuv420_psnr_db=ceiling.psnr_db,
            yuv420_ms_ssim=ceiling.ms_ssim,
        )

    @cached_property
    def _yuv420(self) -> Yuv420Clip:
        clip = self._clip
        return Yuv420Clip.write(
            clip.frames(), self._scratch / "source.yuv", size=(clip.width, clip.height), frame_rate=clip.frame_rate
        )

    def _save(self, result: RdResult) -> None:
        # This codec's series come first and the anchors' in their own order, in whatever order all were made.
        series = sorted(result.series, key=lambda each: _ORDER.get(each.codec, len(_ORDER)))
        self.result = with_bd_rates(dataclasses.replace(result, series=tuple(series)))
        write_results(self._path, self.result)

    def _finished(self, result: RdResult, title: str) -> None:
        self._save(result)
        self._n_done += 1
        self._say(f"{title}: done")

    def _reused(self, title: str) -> None:
        logger.info("%s: taken from %s", title, self._path.name)
        self._n_done += 1

    def _say(self, phase: str) -> None:
        if self._progress is not None:
            n_frames = self._clip.n_frames
            fraction = min(1.0, self._n_done / self._n_points)
            self._progress(Progress(phase, self._n_done * n_frames, self._n_points * n_frames, fraction=fraction))

    def _inner_progress(self, title: str) -> ProgressCallback | None:
        outer = self._progress
        if outer is None:
            return None
        n_done, n_points, n_frames = self._n_done, self._n_points, self._clip.n_frames

        def report(progress: Progress) -> None:
            outer(
                dataclasses.replace(
                    progress,
                    phase=f"{title}: {progress.phase}",
                    frames_done=n_done * n_frames + progress.frames_done,
                    n_frames=n_points * n_frames,
                    fraction=None if progress.fraction is None else (n_done + progress.fraction) / n_points,
                )
            )

        return report


def _none_met(series: RdSeries) -> ConfigError:
    return ConfigError(f"{series.label}: none of the rates could be met; choose higher ones")


def _device_name(device: str) -> str:
    """Return the name of a device or of several, with that of the first GPU where they are GPUs."""
    import torch

    first = device.partition(",")[0]
    return f"{device}, {torch.cuda.get_device_name(first)}" if first.startswith("cuda") else device
