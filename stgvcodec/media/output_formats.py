"""What can be written: containers by suffix, encoders by name, and how each of them is set for frames like these."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import av
from av.codec.codec import Capabilities, Codec

from stgvcodec.errors import ConfigError

FF_QP2LAMBDA = 118
"""FFmpeg's units of quality in a step of a quantiser."""


@dataclass(frozen=True)
class Container:
    """A kind of video file.

    Attributes:
        muxer: FFmpeg's name of the format.
        codec: Codec where none is asked for.
    """

    muxer: str
    codec: str


CONTAINERS = MappingProxyType(
    {
        ".mp4": Container("mp4", "h264"),
        ".mov": Container("mov", "h264"),
        ".mkv": Container("matroska", "h264"),
        ".webm": Container("webm", "vp9"),
        ".avi": Container("avi", "h264"),
        ".gif": Container("gif", "gif"),
    }
)
"""Suffix -> container, for all that a muxer of FFmpeg writes."""

Y4M = ".y4m"
Y4M_PIXEL_FORMATS = ("yuv444p", "yuv422p", "yuv420p")
VIDEO_SUFFIXES = (*CONTAINERS, Y4M)
"""Suffixes of all video files that can be written."""


@dataclass(frozen=True)
class CodecOptions:
    """What a user asks of the codec of a video file; None leaves it to the format.

    Attributes:
        codec: Name of a codec ("hevc") or of an encoder of FFmpeg ("libx265").
        crf: Constant rate factor: 0 is the best.
        pixel_format: FFmpeg's name of the format of the samples, such as "yuv444p".
    """

    codec: str | None = None
    crf: int | None = None
    pixel_format: str | None = None

    def __str__(self) -> str:
        """Name what was asked for as it is typed."""
        given = {"--codec": self.codec, "--crf": self.crf, "--pix-fmt": self.pixel_format}
        return " ".join(f"{name} {value}" for name, value in given.items() if value is not None)


@dataclass(frozen=True)
class VideoEncoding:
    """How frames become packets.

    Attributes:
        encoder: FFmpeg's name of the encoder.
        pixel_format: Format of the samples that it gets.
        full_range: Whether these samples are of full range.
        options: Options of the encoder.
    """

    encoder: str
    pixel_format: str
    full_range: bool
    options: Mapping[str, str]

    @property
    def is_rgb(self) -> bool:
        """Whether the samples are red, green and blue."""
        return bool(av.VideoFormat(self.pixel_format).is_rgb)


@dataclass(frozen=True)
class _RateFactor:
    """How an encoder that has a constant rate factor is set.

    Attributes:
        default: Rate factor at which the loss is near or below that of 8-bit 4:2:0 itself.
        worst: The largest rate factor.
        options: Options for all pictures, among them that none refers to a later one: the order of packets is that of
            frames then, so that each has a duration, and FFmpeg 5 loses none at the end.
        lossless: Options for rate factor 0, where that is lossless only by them.
        best: The smallest rate factor.
    """

    default: int
    worst: int
    options: Mapping[str, str]
    lossless: Mapping[str, str] = field(default_factory=dict)
    best: int = 0


_X264 = _RateFactor(8, 51, {"preset": "fast", "bf": "0"})
_X265_PARAMETERS = "log-level=none:bframes=0"
_RATE_FACTORS: Mapping[str, _RateFactor] = MappingProxyType(
    {
        "libx264": _X264,
        "libx264rgb": _X264,
        "libx265": _RateFactor(
            10,
            51,
            {"preset": "fast", "x265-params": _X265_PARAMETERS},
            {"x265-params": f"{_X265_PARAMETERS}:lossless=1"},
        ),
        "libsvtav1": _RateFactor(12, 63, {"preset": "8"}),
        "libaom-av1": _RateFactor(12, 63, {"cpu-used": "6", "row-mt": "1"}, {"aom-params": "lossless=1"}),
        "libvpx-vp9": _RateFactor(
            10, 63, {"deadline": "good", "cpu-used": "4", "row-mt": "1"}, {"lossless": "1"}
        ),
        # It takes a rate factor only below a bit rate; this one is out of reach.
        "libvpx": _RateFactor(4, 63, {"deadline": "good", "cpu-used": "4", "b": "1000M"}, best=4),
    }
)  # fmt: skip
# What is not listed is either an encoder's name already, or is called as the codec is.
_ENCODERS = MappingProxyType(
    {
        "h264": "libx264",
        "h265": "libx265",
        "hevc": "libx265",
        "av1": "libsvtav1",
        "vp9": "libvpx-vp9",
        "vp8": "libvpx",
        "prores": "prores_ks",
    }
)
# Lossy encoders without a rate factor get a quantiser: at 2 of 31, MPEG's and JPEG's loss is near that of 4:2:0 itself.
_QUANTIZER = MappingProxyType({"flags": "+qscale", "global_quality": str(2 * FF_QP2LAMBDA)})
_WITH_SAMPLE_ASPECT = ("libx264", "libx264rgb", "libx265", "mpeg4", "mpeg2video", "mjpeg")
# Streams that say their matrix by themselves, and those that have BT.601 whatever is said of them.
_WITH_MATRIX = ("libx264", "libx264rgb", "libx265", "libsvtav1", "libaom-av1", "libvpx-vp9", "mpeg2video", "prores_ks")
_BT601_ENCODERS = ("libvpx", "mjpeg")
# Encoders that need another device do not all say so.
_HARDWARE = ("_v4l2m2m", "_vaapi", "_nvenc", "_qsv", "_amf", "_mf", "_vulkan", "_videotoolbox")
_EVEN_ENCODERS = ("prores", "prores_aw", "prores_ks")
_RGB_TWINS = MappingProxyType({"libx264": "libx264rgb"})
# The samples of lossless codecs are those of the frames if they can be; elsewhere these are what players take.
_RGB_FORMATS = ("bgr0", "gbrp", "rgb24", "bgr24")
_FULL_RANGE_ENCODERS = ("mjpeg",)
_FULL_RANGE_FORMATS = ("yuvj", "gray")


def video_encoding(name: str, container: Container, options: CodecOptions, *, width: int, height: int) -> VideoEncoding:
    """Choose the encoder of a video file and its settings.

    Args:
        name: Name of the file, for error messages.
        container: Kind of the file.
        options: What was asked for.
        width: Width of every frame, pixels.
        height: Height of every frame, pixels.

    Raises:
        ConfigError: there is no such encoder, the container does not hold its codec, or an option does not fit it.
    """
    asked = options.codec or container.codec
    encoder = _ENCODERS.get(asked, asked)
    if options.pixel_format in _RGB_FORMATS:
        encoder = _RGB_TWINS.get(encoder, encoder)
    codec = _encoder(encoder)
    if codec is None or codec.canonical_name not in _held_codecs(container):
        why = "there is no such encoder here" if codec is None else "the container does not hold it"
        raise ConfigError(f"{name}: got --codec {asked}: {why}; choose one of {', '.join(encoder_names(container))}")
    factor = _RATE_FACTORS.get(encoder)
    settings = dict(_QUANTIZER) if codec.lossy and not codec.lossless else {}
    if factor is not None:
        crf = factor.default if options.crf is None else options.crf
        if not factor.best <= crf <= factor.worst:
            raise ConfigError(f"{name}: got --crf {crf}, expected {factor.best} to {factor.worst} for {asked}")
        settings = {**factor.options, "crf": str(crf), **(factor.lossless if crf == 0 else {})}
    elif options.crf is not None:
        with_factor = [each for each in encoder_names(container) if _ENCODERS.get(each, each) in _RATE_FACTORS]
        which = f"; codecs of this container that do: {', '.join(with_factor)}" if with_factor else ""
        raise ConfigError(f"{name}: got --crf, but {asked} has no rate factor{which}")
    is_odd = bool(width % 2 or height % 2)
    if is_odd and encoder in _EVEN_ENCODERS:
        raise ConfigError(
            f"{name}: got {width}x{height}, expected even sides for {asked}; choose another codec or size"
        )
    pixel_format = _pixel_format(name, asked, codec, options.pixel_format, is_odd=is_odd)
    if pixel_format == "yuv420p" and encoder in ("libx264", "libx265"):
        # The stream is tagged with the chroma location that the converter makes: centred between its pixels.
        key = "x264-params" if encoder == "libx264" else "x265-params"
        settings[key] = ":".join(filter(None, (settings.get(key), "chromaloc=1")))
    full_range = (
        encoder in _FULL_RANGE_ENCODERS
        or pixel_format.startswith(_FULL_RANGE_FORMATS)
        or bool(av.VideoFormat(pixel_format).is_rgb)
    )
    return VideoEncoding(encoder, pixel_format, full_range, settings)


def keeps_matrix(muxer: str, encoder: str) -> bool:
    """Tell whether a file can say which matrix its samples have; readers take those of others for BT.601."""
    return encoder not in _BT601_ENCODERS and (muxer != "avi" or encoder in _WITH_MATRIX)


def keeps_sample_aspect(muxer: str, encoder: str) -> bool:
    """Tell whether a file keeps a ratio of pixels: MP4 and MOV by themselves, others in the stream of some codecs."""
    return muxer in ("mp4", "mov") or encoder in _WITH_SAMPLE_ASPECT


def silence_encoders() -> None:
    """Keep SVT-AV1 from writing a page about itself to stderr for every encode, past FFmpeg's log."""
    os.environ.setdefault("SVT_LOG", "1")


def encoder_names(container: Container) -> list[str]:
    """Return what a container can be asked for: short names first, then the other encoders of this build of FFmpeg."""
    held = _held_codecs(container)
    there = [codec for name in sorted(av.codecs_available) if (codec := _encoder(name)) is not None]
    fitting = {codec.name for codec in there if codec.canonical_name in held}
    short = [name for name, encoder in _ENCODERS.items() if encoder in fitting and name != "h265"]
    return [*short, *sorted(fitting - set(_ENCODERS.values()) - set(short))]


def _encoder(name: str) -> Codec | None:
    """Return an encoder of opaque pictures that runs on the CPU; None where there is none of that name."""
    try:
        codec = av.Codec(name, "w")
    except ValueError:
        return None
    unfit = Capabilities.hardware | Capabilities.experimental
    is_usable = codec.type == "video" and not codec.capabilities & unfit and not name.endswith(_HARDWARE)
    return codec if is_usable and _opaque_formats(codec) else None


def _held_codecs(container: Container) -> set[str]:
    with av.open(io.BytesIO(), "w", format=container.muxer) as opened:
        return set(opened.supported_codecs)


def _opaque_formats(codec: Codec) -> list[str]:
    """Return the formats of opaque samples that an encoder takes; none if it does not say."""
    formats = codec.video_formats or []
    return [each.name for each in formats if not each.has_palette and not any(c.is_alpha for c in each.components)]


def _pixel_format(name: str, asked: str, codec: Codec, wanted: str | None, *, is_odd: bool) -> str:
    formats = _opaque_formats(codec)
    if wanted is not None:
        if wanted not in formats:
            raise ConfigError(f"{name}: got --pix-fmt {wanted}, expected one that {asked} takes: {', '.join(formats)}")
        return wanted
    preferred = ["yuv444p", "yuv420p"] if is_odd else ["yuv420p", "yuv444p"]
    if (codec.lossless and not codec.lossy) or codec.name in _RGB_TWINS.values():
        preferred = [*_RGB_FORMATS, *preferred]
    return next(each for each in (*preferred, *formats) if each in formats)
