"""Curves of classical codecs over one clip: points at the rates asked for, and lower ones down to our quality."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from stgvcodec.evaluation.measuring import Clip, Meter, TimedFrames
from stgvcodec.evaluation.rate_search import QualityGrid, search_quality
from stgvcodec.media.anchors import Anchor, AnchorEncode, Yuv420Clip, decode_anchor, encode_anchor
from stgvcodec.report.rd_points import RdPoint, RdSeries

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Floor:
    """The lowest quality that a curve has to reach, dB; None where there is none to reach."""

    psnr_db: float | None = None
    ms_ssim_db: float | None = None

    @classmethod
    def of(cls, series: list[RdSeries]) -> Floor:
        """Return the lowest quality of any of these curves."""
        points = [point for each in series for point in each.points]
        psnrs = [point.psnr_db for point in points if point.psnr_db is not None]
        similarities = [point.ms_ssim_db for point in points if point.ms_ssim_db is not None]
        return cls(min(psnrs, default=None), min(similarities, default=None))

    def is_reached_by(self, point: RdPoint) -> bool:
        """Whether the point is as low as the floor by both measures."""
        pairs = ((point.psnr_db, self.psnr_db), (point.ms_ssim_db, self.ms_ssim_db))
        return all(quality is None or floor is None or quality <= floor for quality, floor in pairs)


class AnchorCurve:
    """Makes the points of one anchor, each complete when it is yielded."""

    def __init__(
        self, anchor: Anchor, clip: Clip, yuv: Callable[[], Yuv420Clip], meter: Meter, folder: Path, scratch: Path
    ) -> None:
        """Keep what the points are made of; nothing is encoded yet.

        Args:
            anchor: The codec.
            clip: The frames to encode.
            yuv: Returns the clip in 4:2:0; called only where something is left to do.
            meter: Meter for decoded frames.
            folder: Folder where the streams of the points stay.
            scratch: Folder where the streams of the search are made.
        """
        self._anchor, self._clip, self._yuv, self._meter = anchor, clip, yuv, meter
        self._folder, self._scratch = folder, scratch
        self._encodes: dict[float, AnchorEncode] = {}
        best, worst = anchor.crf_range
        self._grid = QualityGrid(best, worst, anchor.crf_start, anchor.crf_step, anchor.crf_per_octave)

    def matched(self, series: RdSeries, rates: tuple[float, ...]) -> Iterator[RdSeries]:
        """Add a point for each rate that has none yet.

        Yields:
            The series after each new point.

        Raises:
            BackendUnavailableError: the codec is not there, or refuses these frames.
        """
        known = {_crf(point): point.bpp for point in series.points}
        for rate in rates:
            if series.point_at(rate) is not None:
                continue
            crf = search_quality(rate, self._grid, lambda crf: self._clip.bpp(self._encode(crf).n_bytes), known)
            series = series.with_point(self._point(series, crf, rate))
            yield series

    def lowered(self, series: RdSeries, floor: Floor) -> Iterator[RdSeries]:
        """Add points of ever lower rate until the curve reaches a quality or the codec its lowest one.

        Yields:
            The series after each new point.

        Raises:
            BackendUnavailableError: the codec refuses these frames.
        """
        while series.points and not floor.is_reached_by(series.points[0]):
            crf = max(_crf(point) for point in series.points)
            if crf >= self._grid.worst:
                logger.info("%s is at its lowest quality, above that of stgv", series.label)
                return
            series = series.with_point(self._point(series, self._grid.snapped(crf + self._grid.per_octave), None))
            yield series

    def _point(self, series: RdSeries, crf: float, rate: float | None) -> RdPoint:
        for point in series.points:
            if _crf(point) == crf:
                return dataclasses.replace(point, requested_bpp=rate)
        encoded = self._encode(crf)
        path = self._folder / f"{self._anchor.name}-{series_digest(series)}-crf{crf:g}{self._anchor.suffix}"
        shutil.move(self._stream(crf), path)
        frames = TimedFrames(decode_anchor(self._anchor, self._yuv(), path))
        quality = self._meter.measure(frames)
        n_bytes = path.stat().st_size
        return RdPoint(
            requested_bpp=rate,
            bytes=n_bytes,
            bpp=self._clip.bpp(n_bytes),
            psnr_db=quality.psnr_db,
            ms_ssim=quality.ms_ssim,
            vmaf=quality.vmaf,
            encode_seconds=encoded.seconds,
            decode_seconds=frames.seconds,
            device="cpu",
            file=f"{path.parent.name}/{path.name}",
            parameters={
                "crf": crf,
                "n_key_frames": encoded.n_key_frames,
                "keyint": encoded.key_frame_interval,
                "version": encoded.version,
            },
        )

    def _encode(self, crf: float) -> AnchorEncode:
        if crf not in self._encodes or not self._stream(crf).exists():
            self._encodes[crf] = encode_anchor(self._anchor, self._yuv(), crf, self._stream(crf))
        return self._encodes[crf]

    def _stream(self, crf: float) -> Path:
        return self._scratch / f"{self._anchor.name}-{crf:g}{self._anchor.suffix}"


def series_digest(series: RdSeries) -> str:
    """Return a few characters that stand for a series' settings in the names of its files."""
    text = json.dumps([series.codec, dict(series.settings)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _crf(point: RdPoint) -> float:
    crf = point.parameters["crf"]
    assert isinstance(crf, int | float)
    return float(crf)
