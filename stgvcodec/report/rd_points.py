"""Rate-distortion results: one schema for this codec and for every anchor, as dataclasses and as JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from stgvcodec.errors import ConfigError

SCHEMA = "stgvcodec-rd/1"

PSNR, MS_SSIM = "psnr_db", "ms_ssim_db"
MEASURES = {PSNR: "PSNR", MS_SSIM: "MS-SSIM"}
"""Measures of quality for curves and BD-rates, both in dB -> their names in tables and figures."""

Setting: TypeAlias = "str | int | float | bool | None"


@dataclass(frozen=True)
class RdPoint:
    """Rate, quality and times of one encoded file.

    Attributes:
        requested_bpp: Rate that was asked for, bits per pixel and frame; None for a further point of an anchor.
        bytes: Size of the whole file on disk; for a derived count, its bits / 8 rounded up.
        bpp: Bits per pixel and frame, 8 * bytes / (width * height * n_frames).
        psnr_db: Mean of the frames' 8-bit RGB PSNR, dB; None if all frames are identical.
        ms_ssim: Mean of the frames' RGB MS-SSIM; None if the frames are too small for it.
        vmaf: Mean of the frames' VMAF; None if it was not measured.
        encode_seconds: Wall-clock time of the encoder.
        decode_seconds: Time from the file's bytes to 8-bit RGB frames; None if it was not measured.
        device: Device on which the file was encoded.
        file: Name of the encoded file, which lies beside the JSON; None for a derived count.
        parameters: Settings that vary from point to point, such as crf.
    """

    requested_bpp: float | None
    bytes: int
    bpp: float
    psnr_db: float | None
    ms_ssim: float | None
    vmaf: float | None
    encode_seconds: float
    decode_seconds: float | None
    device: str
    file: str | None
    parameters: Mapping[str, Setting] = field(default_factory=dict)

    @property
    def ms_ssim_db(self) -> float | None:
        """MS-SSIM in dB, -10 log10(1 - MS-SSIM); None if there is no MS-SSIM or the pictures are identical."""
        if self.ms_ssim is None or self.ms_ssim >= 1.0:
            return None
        return -10.0 * math.log10(1.0 - self.ms_ssim)

    def quality(self, measure: str) -> float | None:
        """Return the point's quality by a measure of `MEASURES`, dB."""
        return self.psnr_db if measure == PSNR else self.ms_ssim_db


@dataclass(frozen=True)
class RdSeries:
    """The points of one codec at one setting, from low to high rate.

    Attributes:
        codec: "stgv", or the anchor's name.
        label: Name in tables and figures.
        settings: Settings that all points have in common; points of one codec with equal settings are one series.
        points: The points, from low to high rate.
        derived: Whether the series counts the bits of another series' files in another way.
    """

    codec: str
    label: str
    settings: Mapping[str, Setting]
    points: tuple[RdPoint, ...] = ()
    derived: bool = False

    def point_at(self, requested_bpp: float) -> RdPoint | None:
        """Return the point that was made for a requested rate; None if there is none."""
        return next((point for point in self.points if point.requested_bpp == requested_bpp), None)

    def with_point(self, point: RdPoint) -> RdSeries:
        """Return a copy of the series with one more point, sorted in by rate."""
        return dataclasses.replace(self, points=tuple(sorted((*self.points, point), key=lambda each: each.bpp)))

    def curve(self, measure: str) -> list[tuple[float, float]]:
        """Return (bpp, quality in dB) of the points that have this quality, from low to high rate."""
        return [(point.bpp, quality) for point in self.points if (quality := point.quality(measure)) is not None]


@dataclass(frozen=True)
class RdSource:
    """The frames that were encoded.

    Attributes:
        name: Name of the file or folder.
        frames_sha256: SHA-256 of the 8-bit RGB frames after selection, one behind the other, with their size.
        width: Width of the frames, pixels.
        height: Height of the frames, pixels.
        n_frames: Number of frames.
        frame_rate: Exact frames per second, such as "24/1".
        selection: Texts of --frames, --crop and --resize, None if not given; and the matrix.
        yuv420_psnr_db: PSNR of RGB -> 8-bit 4:2:0 -> RGB without any coding, the ceiling of the anchors; None if
            nothing is lost.
        yuv420_ms_ssim: MS-SSIM of this conversion; None if the frames are too small.
    """

    name: str
    frames_sha256: str
    width: int
    height: int
    n_frames: int
    frame_rate: str
    selection: Mapping[str, Setting]
    yuv420_psnr_db: float | None = None
    yuv420_ms_ssim: float | None = None

    @property
    def pixels(self) -> int:
        """Number of pixels of all frames together, by which bpp is computed."""
        return self.width * self.height * self.n_frames


@dataclass(frozen=True)
class RdBdRate:
    """BD-rate of one series against another.

    Attributes:
        series: Label of the series that is measured, one of `RdResult.labels`.
        against: Label of the series that it is compared with.
        measure: "psnr_db" or "ms_ssim_db".
        percent: Rate at equal quality, percent more (above 0) or less (below 0); None if it cannot be measured.
        reason: Why it cannot be measured; None if it can.
        overlap_db: Range of quality (low, high) that both series cover, dB; None if there is none.
        overlap_share: Part of the measured series' range of quality that lies in `overlap_db`, 0 to 1.
    """

    series: str
    against: str
    measure: str
    percent: float | None
    reason: str | None
    overlap_db: tuple[float, float] | None
    overlap_share: float


@dataclass(frozen=True)
class RdResult:
    """Rate-distortion curves of one clip.

    Attributes:
        source: The frames that were encoded.
        tool: Program and version that wrote the file.
        note: What a reader of the figures should know; empty if there is nothing.
        measures: Name of each figure -> how it was measured, in words.
        series: The curves, this codec's first.
        bd_rate: BD-rates of every series against every other, by both measures.
    """

    source: RdSource
    tool: str
    note: str = ""
    measures: Mapping[str, str] = field(default_factory=dict)
    series: tuple[RdSeries, ...] = ()
    bd_rate: tuple[RdBdRate, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of the series. Where two would have the same, the settings in which they differ are added to each."""
        return _distinct_labels(self.series)

    def find(self, codec: str, settings: Mapping[str, Setting]) -> RdSeries | None:
        """Return the series of a codec with exactly these settings; None if there is none."""
        return next((each for each in self.series if each.codec == codec and each.settings == settings), None)

    def with_series(self, series: RdSeries) -> RdResult:
        """Return a copy in which `series` replaces the series of the same codec and settings, or else is added."""
        keys = [(each.codec, each.settings) for each in self.series]
        key = (series.codec, series.settings)
        if key not in keys:
            return dataclasses.replace(self, series=(*self.series, series))
        at = keys.index(key)
        return dataclasses.replace(self, series=(*self.series[:at], series, *self.series[at + 1 :]))

    def bd_rate_of(self, series: str, against: str, measure: str) -> RdBdRate | None:
        """Return the BD-rate of one label against another by a measure; None if there is none."""
        wanted = (series, against, measure)
        return next((each for each in self.bd_rate if (each.series, each.against, each.measure) == wanted), None)


def rd_to_json(result: RdResult) -> str:
    """Write a result as JSON text, with a trailing newline."""
    return json.dumps({"schema": SCHEMA, **dataclasses.asdict(result)}, indent=1, allow_nan=False) + "\n"


def rd_from_json(text: str, name: str) -> RdResult:
    """Read a result that `rd_to_json` wrote.

    Args:
        text: Contents of the file.
        name: Name of the file in error messages.

    Returns:
        The result.

    Raises:
        ConfigError: the text is not JSON or has another schema, or a field is missing, unknown or of another type.
    """
    try:
        values = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"{name}: is not JSON ({error}); expected a file of 'stgvcodec rd --json'") from error
    schema = values.get("schema") if isinstance(values, dict) else None
    if schema != SCHEMA:
        raise ConfigError(f"{name}: got the schema {schema!r}, expected '{SCHEMA}'; choose a file of 'stgvcodec rd'")
    try:
        result = RdResult(
            source=RdSource(**values["source"]),
            tool=values["tool"],
            note=values["note"],
            measures=values["measures"],
            series=tuple(_series(each) for each in values["series"]),
            bd_rate=tuple(_bd_rate(each) for each in values["bd_rate"]),
        )
        _check_numbers(result)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{name}: does not fit the schema '{SCHEMA}': {error!r}; it may have been edited") from error
    return result


def _series(values: Mapping[str, Any]) -> RdSeries:
    return RdSeries(**{**values, "points": tuple(RdPoint(**point) for point in values["points"])})


def _bd_rate(values: Mapping[str, Any]) -> RdBdRate:
    overlap = values["overlap_db"]
    return RdBdRate(**{**values, "overlap_db": None if overlap is None else (overlap[0], overlap[1])})


def _check_numbers(result: RdResult) -> None:
    for point in (point for each in result.series for point in each.points):
        if not (math.isfinite(point.bpp) and point.bpp > 0 and point.bytes > 0):
            raise ValueError(f"a point has {point.bytes} bytes and {point.bpp} bpp, expected more than 0")
    if result.source.pixels < 1:
        raise ValueError(f"the source has {result.source.pixels} pixels, expected 1 at least")


def _distinct_labels(series: Sequence[RdSeries]) -> tuple[str, ...]:
    counts = Counter(each.label for each in series)
    labels = []
    for each in series:
        twins = [other for other in series if other.label == each.label]
        names = sorted({name for other in twins for name in other.settings})
        differing = [name for name in names if len({str(other.settings.get(name)) for other in twins}) > 1]
        suffix = ", ".join(
            f"{name} {each.settings[name]}" if name in each.settings else f"no {name}" for name in differing
        )
        labels.append(each.label if counts[each.label] == 1 else f"{each.label} ({suffix})")
    return tuple(labels)
