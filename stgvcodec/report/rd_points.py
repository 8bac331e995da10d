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
"""Measures that curves are drawn and BD-rates taken by -> their names; both in dB."""

Setting: TypeAlias = "str | int | float | bool | None"


@dataclass(frozen=True)
class RdPoint:
    """One encoded file and what it is worth.

    Attributes:
        requested_bpp: Rate that was asked for, bits per pixel and frame; None for a further point of an anchor.
        bytes: Size of the file on disk, all of it; of a derived count, its bits / 8 rounded up.
        bpp: 8 * bytes / (width * height * n_frames).
        psnr_db: Mean over the frames of RGB PSNR, 8-bit; None if all are identical.
        ms_ssim: Mean over the frames of RGB MS-SSIM; None where frames are too small for it.
        vmaf: Mean over the frames; None where it was not measured.
        encode_seconds: Wall-clock time of the encoder.
        decode_seconds: From the file's bytes to 8-bit RGB frames; None where that was not timed.
        device: Where it was encoded.
        file: The encoded file, beside the JSON; None for a derived count.
        parameters: What varies from point to point, e.g. crf.
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
        """-10 log10(1 - MS-SSIM); None where there is no MS-SSIM or the pictures are identical."""
        if self.ms_ssim is None or self.ms_ssim >= 1.0:
            return None
        return -10.0 * math.log10(1.0 - self.ms_ssim)

    def quality(self, measure: str) -> float | None:
        """The point's value of a measure of `MEASURES`, dB."""
        return self.psnr_db if measure == PSNR else self.ms_ssim_db


@dataclass(frozen=True)
class RdSeries:
    """The points of one codec at one setting, from low to high rate.

    Attributes:
        codec: "stgv", or the anchor's name.
        label: As it is shown.
        settings: What all points have in common; equal settings are one series.
        points: By rate.
        derived: Whether it is another count of the bits of another series' files.
    """

    codec: str
    label: str
    settings: Mapping[str, Setting]
    points: tuple[RdPoint, ...] = ()
    derived: bool = False

    def point_at(self, requested_bpp: float) -> RdPoint | None:
        """The point that was made for this rate, if there is one."""
        return next((point for point in self.points if point.requested_bpp == requested_bpp), None)

    def with_point(self, point: RdPoint) -> RdSeries:
        """The same with one more point, in its place."""
        return dataclasses.replace(self, points=tuple(sorted((*self.points, point), key=lambda each: each.bpp)))

    def curve(self, measure: str) -> list[tuple[float, float]]:
        """(bpp, quality in dB) of the points that have it, from low to high rate."""
        return [(point.bpp, quality) for point in self.points if (quality := point.quality(measure)) is not None]


@dataclass(frozen=True)
class RdSource:
    """What was encoded.

    Attributes:
        name: Name of the file or folder.
        frames_sha256: Of the RGB frames after selection, 8-bit, one behind the other, with their size.
        width: Pixels.
        height: Pixels.
        n_frames: Frames.
        frame_rate: Exact, e.g. "24/1".
        selection: --frames, --crop and --resize as text, None where not given; and the matrix.
        yuv420_psnr_db: PSNR of RGB -> 8-bit 4:2:0 -> RGB without any coding, the ceiling of the anchors; None where
            nothing is lost.
        yuv420_ms_ssim: MS-SSIM of the same; None where frames are too small.
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
        """Pixels of all frames together, what bpp is counted over."""
        return self.width * self.height * self.n_frames


@dataclass(frozen=True)
class RdBdRate:
    """BD-rate of one series against another.

    Attributes:
        series: Label of the series that is measured, as of `RdResult.labels`.
        against: Label of the one it is measured against.
        measure: "psnr_db" or "ms_ssim_db".
        percent: Rate at equal quality, percent more (above 0) or less (below 0); None where it cannot be measured.
        reason: Why it cannot; None where it can.
        overlap_db: Range of quality that both cover; None where there is none.
        overlap_share: Part of the measured series' range of quality that lies in it.
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
        source: What was encoded.
        tool: Program and version that wrote the file.
        note: What a reader of the figures should know; empty without one.
        measures: How each figure was taken, in words.
        series: The curves, this codec's first.
        bd_rate: Every series against every other, by both measures.
    """

    source: RdSource
    tool: str
    note: str = ""
    measures: Mapping[str, str] = field(default_factory=dict)
    series: tuple[RdSeries, ...] = ()
    bd_rate: tuple[RdBdRate, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """A label for each series; where two would have the same, with the settings in which they differ."""
        return _distinct_labels(self.series)

    def find(self, codec: str, settings: Mapping[str, Setting]) -> RdSeries | None:
        """The series of this codec with just these settings."""
        return next((each for each in self.series if each.codec == codec and each.settings == settings), None)

    def with_series(self, series: RdSeries) -> RdResult:
        """The same with this series, in place of the one of the same codec and settings or added."""
        keys = [(each.codec, each.settings) for each in self.series]
        key = (series.codec, series.settings)
        if key not in keys:
            return dataclasses.replace(self, series=(*self.series, series))
        at = keys.index(key)
        return dataclasses.replace(self, series=(*self.series[:at], series, *self.series[at + 1 :]))

    def bd_rate_of(self, series: str, against: str, measure: str) -> RdBdRate | None:
        """The entry of two labels and a measure, if there is one."""
        wanted = (series, against, measure)
        return next((each for each in self.bd_rate if (each.series, each.against, each.measure) == wanted), None)


def rd_to_json(result: RdResult) -> str:
    """The result as JSON text, with a trailing newline."""
    return json.dumps({"schema": SCHEMA, **dataclasses.asdict(result)}, indent=1, allow_nan=False) + "\n"


def rd_from_json(text: str, name: str) -> RdResult:
    """Read what `rd_to_json` wrote.

    Args:
        text: Contents of the file.
        name: What the file is called in an error.

    Returns:
        The result.

    Raises:
        ConfigError: not JSON, another schema, or a field that is missing, unknown or of another type.
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
