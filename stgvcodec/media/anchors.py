"""Classical codecs to compare with, through PyAV: frames to a raw elementary stream at constant quality, and back.

Frames go RGB -> 8-bit 4:2:0, BT.709, limited range -> codec -> RGB by the same matrix, all through `ColorConverter`.
Everything that would make a stream depend on the machine's number of cores is fixed, so that the same frames give the
same bytes.
"""

from __future__ import annotations

import dataclasses
import errno
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import av
import numpy as np
from av.bitstream import BitStreamFilterContext
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from stgvcodec.errors import BackendUnavailableError, OutputError
from stgvcodec.media.colour import MATRICES, ColorConverter, ColorTags, RgbImage
from stgvcodec.media.output_formats import silence_encoders

MATRIX = MATRICES["bt709"]
PIXEL_FORMAT = "yuv420p"
_TAGS = ColorTags(primaries=1, transfer=1, matrix=MATRIX, full_range=False)
_LIMITED_RANGE = 1
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_KEYINT = re.compile(rb" keyint=(\d+)")


@dataclass(frozen=True)
class Anchor:
    """A classical codec and how it is run.

    Attributes:
        name: Name on the command line.
        label: Name in tables and figures.
        encoder: FFmpeg's name of the encoder.
        preset: The encoder's preset.
        container: FFmpeg's name of the raw stream's format.
        suffix: Suffix of the raw stream's file.
        options: Further options of the encoder, (name, value).
        crf_parameters: Name of the option that passes parameters to the library, if only these can set a fraction of a
            CRF; None if the option crf takes fractions.
        crf_range: Best and worst constant rate factor (CRF).
        crf_start: CRF at which a search begins.
        crf_step: Distance of two neighbouring CRFs of a search.
        crf_per_octave: Increase of the CRF that about halves the rate.
        text_nal_type: Type of the NAL units in which the encoder leaves a text about itself, which is no part of the
            video and is not kept; None for formats without NAL units.
        version_pattern: Regular expression that finds the library's version in that text.
    """

    name: str
    label: str
    encoder: str
    preset: str
    container: str
    suffix: str
    options: tuple[tuple[str, str], ...]
    crf_parameters: str | None
    crf_range: tuple[float, float]
    crf_start: float
    crf_step: float
    crf_per_octave: float
    text_nal_type: int | None
    version_pattern: bytes = b""

    def settings(self) -> dict[str, str | bool]:
        """Return all settings that are fixed, with the versions of the libraries, for a report."""
        library = ".".join(str(part) for part in av.library_versions["libavcodec"])
        return {
            "encoder": self.encoder,
            "preset": self.preset,
            "options": " ".join(f"{name}={value}" for name, value in self.options),
            "rate_control": "crf",
            "key_frames": "the codec's default",
            "pixel_format": f"{PIXEL_FORMAT}, BT.709, limited range",
            "counted": f"raw stream (.{self.container})"
            + ("" if self.text_nal_type is None else ", without the SEI text about the encoder"),
            "library": f"PyAV {av.__version__}, libavcodec {library}",
        }

    def check_available(self) -> None:
        """Refuse an encoder that this PyAV does not have.

        Raises:
            BackendUnavailableError: PyAV is built without the encoder.
        """
        try:
            av.Codec(self.encoder, "w")
        except ValueError as error:
            raise BackendUnavailableError(
                f"anchor {self.name}: PyAV {av.__version__} is built without {self.encoder}; install a build that has "
                "it, or leave the anchor out"
            ) from error

    def _encoder_options(self, crf: float) -> dict[str, str]:
        options = {"preset": self.preset, **dict(self.options)}
        if self.crf_parameters is None:
            return {**options, "crf": f"{crf:g}"}
        if float(crf).is_integer():
            return {**options, "crf": f"{crf:.0f}"}
        return {**options, "crf": f"{int(crf)}", self.crf_parameters: f"crf={crf:g}"}


_X264 = Anchor(
    name="x264",
    label="x264 medium",
    encoder="libx264",
    preset="medium",
    container="h264",
    suffix=".h264",
    options=(("threads", "1"),),
    crf_parameters=None,
    crf_range=(1.0, 51.0),
    crf_start=28.0,
    crf_step=0.125,
    crf_per_octave=6.0,
    text_nal_type=6,
    version_pattern=rb"x264 - core (\d+[^-]*?) -",
)

ANCHORS = {
    anchor.name: anchor
    for anchor in (
        _X264,
        # By default x264 spends bits on what looks better and lowers PSNR: adaptive quantisation, psychovisual
        # decisions. A comparison by PSNR that leaves them on flatters what it compares with.
        dataclasses.replace(
            _X264,
            name="x264-psnr",
            label="x264 medium -tune psnr",
            options=(("tune", "psnr"), *_X264.options),
        ),
        Anchor(
            name="x265",
            label="x265 medium",
            encoder="libx265",
            preset="medium",
            container="hevc",
            suffix=".h265",
            # Frame threads and lookahead slices follow the number of cores by default, and change the stream. The
            # thread pool does not change it.
            options=(("x265-params", "log-level=error:frame-threads=1:lookahead-slices=1"),),
            crf_parameters=None,
            crf_range=(1.0, 51.0),
            crf_start=30.0,
            crf_step=0.125,
            crf_per_octave=5.5,
            text_nal_type=39,
            version_pattern=rb"x265 \(build \d+\) - ([^:]*):",
        ),
        Anchor(
            name="svtav1",
            label="SVT-AV1 preset 8",
            encoder="libsvtav1",
            preset="8",
            container="obu",
            suffix=".obu",
            options=(),
            crf_parameters="svtav1-params",
            crf_range=(1.0, 63.0),
            crf_start=40.0,
            crf_step=0.25,
            crf_per_octave=9.0,
            text_nal_type=None,
        ),
    )
}


@dataclass(frozen=True)
class AnchorEncode:
    """Result of `encode_anchor`.

    Attributes:
        n_bytes: Size of the file, bytes.
        seconds: Wall-clock time of encoding, conversion from RGB not included.
        n_key_frames: Number of frames from which decoding can begin.
        key_frame_interval: Largest number of frames from one key frame to the next; None if the encoder does not say.
        version: Version of the encoder's library; None if it is not known.
    """

    n_bytes: int
    seconds: float
    n_key_frames: int
    key_frame_interval: int | None
    version: str | None


@dataclass(frozen=True)
class Yuv420Clip:
    """Frames as 8-bit 4:2:0 in a raw file, which every encode of a search reads again.

    Attributes:
        path: The raw file.
        width: Width of the RGB frames, pixels. If it is odd, the last column is coded twice.
        height: Height of the RGB frames, pixels. If it is odd, the last row is coded twice.
        frame_rate: Frames per second.
    """

    path: Path
    width: int
    height: int
    frame_rate: Fraction

    @classmethod
    def write(
        cls, frames: Iterable[RgbImage], path: Path, *, size: tuple[int, int], frame_rate: Fraction
    ) -> Yuv420Clip:
        """Convert frames into a raw file.

        Args:
            frames: RGB frames, each [H, W, 3] uint8.
            path: File that will be written.
            size: (width, height) of the frames.
            frame_rate: Frames per second.
        """
        clip = cls(path, *size, frame_rate)
        converter = ColorConverter()
        with path.open("wb") as file:
            for rgb in frames:
                even = np.pad(rgb, ((0, rgb.shape[0] % 2), (0, rgb.shape[1] % 2), (0, 0)), mode="edge")
                picture = converter.from_rgb(even, PIXEL_FORMAT, MATRIX)
                file.write(np.ascontiguousarray(picture.to_ndarray()).tobytes())
        return clip

    @property
    def coded_size(self) -> tuple[int, int]:
        """Width and height, rounded up to even numbers, pixels."""
        return self.width + self.width % 2, self.height + self.height % 2

    def pictures(self) -> Iterator[av.VideoFrame]:
        """Yield the frames, with timestamps that count them."""
        width, height = self.coded_size
        shape = (height * 3 // 2, width)
        with self.path.open("rb") as file:
            index = 0
            while data := file.read(shape[0] * shape[1]):
                picture = av.VideoFrame.from_ndarray(np.frombuffer(data, np.uint8).reshape(shape), format=PIXEL_FORMAT)
                picture.colorspace, picture.color_range = MATRIX, _LIMITED_RANGE
                picture.pts, picture.time_base = index, 1 / self.frame_rate
                yield picture
                index += 1

    def frames(self) -> Iterator[RgbImage]:
        """Yield the frames converted back to RGB: no codec of this format can do better. [H, W, 3] uint8."""
        yield from _as_rgb(self.pictures(), self)


def encode_anchor(anchor: Anchor, clip: Yuv420Clip, crf: float, path: Path) -> AnchorEncode:
    """Encode a clip at a constant quality.

    Args:
        anchor: Codec that encodes.
        clip: Frames to encode.
        crf: Constant rate factor, within the anchor's `crf_range` and on the grid of its `crf_step`.
        path: File of the raw stream that will be written.

    Returns:
        Size of the stream, and how it was made.

    Raises:
        BackendUnavailableError: the encoder is not available, or refuses these frames.
        OutputError: the disk is full.
    """
    anchor.check_available()
    silence_encoders()
    started = time.perf_counter()
    n_key_frames, head = 0, b""
    try:
        with av.open(f"file:{path}", "w", format=anchor.container) as container:
            stream = container.add_stream(anchor.encoder, rate=clip.frame_rate, options=anchor._encoder_options(crf))
            context = stream.codec_context
            assert isinstance(stream, VideoStream)
            assert isinstance(context, VideoCodecContext)
            (context.width, context.height), context.pix_fmt = clip.coded_size, PIXEL_FORMAT
            context.time_base = 1 / clip.frame_rate
            context.color_range, context.colorspace = _LIMITED_RANGE, MATRIX
            context.color_primaries, context.color_trc = _TAGS.primaries, _TAGS.transfer
            strip: BitStreamFilterContext | None = None
            for picture in _then_none(clip.pictures()):
                for packet in stream.encode(picture):
                    n_key_frames += packet.is_keyframe
                    head = head or bytes(packet)
                    if anchor.text_nal_type is None:
                        container.mux(packet)
                        continue
                    strip = strip or BitStreamFilterContext(f"filter_units=remove_types={anchor.text_nal_type}", stream)
                    for stripped in strip.filter(packet):
                        container.mux(stripped)
    except av.FFmpegError as error:
        if error.errno in _DISK_FULL:
            raise OutputError(f"{path}: cannot be written: {error.strerror}; free some space") from error
        width, height = clip.coded_size
        raise BackendUnavailableError(
            f"anchor {anchor.name}: {anchor.encoder} cannot encode {width}x{height} at CRF {crf:g}: {error}; "
            "leave the anchor out, or choose another size"
        ) from error
    interval = _KEYINT.search(head)
    return AnchorEncode(
        n_bytes=path.stat().st_size,
        seconds=time.perf_counter() - started,
        n_key_frames=n_key_frames,
        key_frame_interval=None if interval is None else int(interval[1]),
        version=_version(anchor, head),
    )


def decode_anchor(anchor: Anchor, clip: Yuv420Clip, path: Path) -> Iterator[RgbImage]:
    """Decode a raw stream.

    Args:
        anchor: Codec that wrote the stream.
        clip: Frames that were encoded, of which only the size is used.
        path: File of the raw stream.

    Yields:
        RGB frames in order. [H, W, 3] uint8.

    Raises:
        BackendUnavailableError: FFmpeg has no decoder for the stream, or the stream is damaged.
    """
    try:
        with av.open(f"file:{path}", format=anchor.container) as container:
            yield from _as_rgb(container.decode(video=0), clip)
    except (av.FFmpegError, ValueError) as error:
        raise BackendUnavailableError(
            f"anchor {anchor.name}: {path} cannot be decoded: {error}; leave the anchor out"
        ) from error


def _as_rgb(pictures: Iterable[av.VideoFrame], clip: Yuv420Clip) -> Iterator[RgbImage]:
    converter = ColorConverter()
    for picture in pictures:
        yield np.ascontiguousarray(converter.to_rgb(picture, _TAGS)[: clip.height, : clip.width])


def _then_none(pictures: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame | None]:
    """Yield the pictures, then None, which makes an encoder flush its last packets."""
    yield from pictures
    yield None


def _version(anchor: Anchor, head: bytes) -> str | None:
    """Find the version of the encoder's library in its text in the stream, or else in the library's file name."""
    if anchor.version_pattern:
        found = re.search(anchor.version_pattern, head)
        return None if found is None else found[1].decode("ascii", "replace")
    try:
        names = [file.name for file in files("av") or ()]
    except PackageNotFoundError:
        return None
    versions = (re.search(r"SvtAv1Enc.*\.so\.([\d.]+)$", name) for name in names)
    return next((found[1] for found in versions if found), None)
