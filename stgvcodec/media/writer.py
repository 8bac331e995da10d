"""Writing of video files and folders of PNGs that are complete or not there, with tags that say their colours."""

from __future__ import annotations

import logging
import sys
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol

import av
import numpy as np
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from stgvcodec.errors import ConfigError, OutputError
from stgvcodec.media import y4m
from stgvcodec.media.atomic import PathLike, atomic_folder, atomic_output, check_output_file, check_output_folder
from stgvcodec.media.colour import MATRICES, ColorConverter, ColorTags, RgbImage, output_matrix

_log = logging.getLogger(__name__)

VIDEO_SUFFIXES = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
"""Suffix -> FFmpeg's muxer. All of these hold H.264."""

# The quality is near-transparent: the loss is below that of 8-bit 4:2:0 itself.
# Without B-frames the order of packets is that of frames, so that each has a duration, and FFmpeg 5 loses none at the
# end.
_X264_OPTIONS = {"crf": "8", "preset": "fast", "bf": "0"}
_MAX_TIMESCALE = 2**31 - 1
_MATROSKA_TIME_BASE = Fraction(1, 1000)
_SQUARE = Fraction(1)
_STANDARD_OUTPUT = Path("-")


class _Sink(Protocol):
    def write(self, rgb: RgbImage, pts: int) -> None: ...

    def finish(self) -> None: ...

    def close(self) -> None: ...


class VideoWriter:
    """Takes frames in a `with` block; the destination appears when the block ends well, and not otherwise."""

    def __init__(
        self,
        destination: PathLike,
        *,
        width: int,
        height: int,
        frame_rate: Fraction,
        time_base: Fraction,
        color: ColorTags,
        sample_aspect_ratio: Fraction = _SQUARE,
        last_frame_duration: int = 0,
    ) -> None:
        self._destination = Path(destination)
        self._shape = (height, width, 3)
        self._frame_rate = frame_rate
        self._time_base = time_base
        self._color = color
        self._sample_aspect_ratio = sample_aspect_ratio
        self._last_frame_duration = last_frame_duration
        self._stack = ExitStack()
        self._sink: _Sink | None = None
        self._last_pts: int | None = None

    def __enter__(self) -> VideoWriter:
        if self._destination == _STANDARD_OUTPUT:
            self._sink = self._y4m(sys.stdout.buffer)
            return self
        suffix = self._destination.suffix.lower()
        # An error of a constructor has to reach the temporary output, which would be renamed otherwise.
        with ExitStack() as stack:
            if suffix == "":
                self._sink = _PngFolder(stack.enter_context(atomic_folder(self._destination)))
            else:
                self._sink = self._file_sink(stack.enter_context(atomic_output(self._destination)), suffix)
                stack.callback(self._sink.close)
            self._stack = stack.pop_all()
        return self

    def _file_sink(self, part: Path, suffix: str) -> _Sink:
        if suffix == ".y4m":
            return self._y4m(part.open("wb"))
        muxer = VIDEO_SUFFIXES[suffix]
        return _H264File(
            part,
            muxer,
            self._shape,
            self._frame_rate,
            self._time_base,
            self._color,
            self._sample_aspect_ratio,
            self._last_frame_duration,
        )

    def _y4m(self, file: BinaryIO) -> _Y4mStream:
        return _Y4mStream(file, self._shape, self._frame_rate, self._time_base, self._sample_aspect_ratio)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self._stack.__exit__(kind, error, traceback)
            return
        # An error from here on has to reach the stack, which then removes the temporary file instead of renaming it.
        with self._stack:
            if self._last_pts is None:
                raise OutputError(f"{self._destination}: no frame was written; expected at least one")
            assert self._sink is not None
            try:
                self._sink.finish()
            except (av.FFmpegError, OSError) as failure:
                raise self._failed(failure) from failure

    def write(self, rgb: RgbImage, pts: int) -> None:
        """Append a frame.

        Args:
            rgb: Full-range RGB picture. [H, W, 3] uint8.
            pts: Timestamp in the writer's time base, later than that of the frame before.

        Raises:
            ValueError: the shape or dtype differs from the above, or the timestamp does not rise.
            OutputError: the file cannot be written.
        """
        if rgb.shape != self._shape or rgb.dtype != np.uint8:
            raise ValueError(f"frame: got {rgb.dtype} {list(rgb.shape)}, expected uint8 {list(self._shape)}")
        if self._last_pts is not None and pts <= self._last_pts:
            raise ValueError(f"frame: got timestamp {pts} after {self._last_pts}, expected them to rise")
        if self._sink is None:
            raise ValueError("the writer is not open; use it in a `with` block")
        self._last_pts = pts
        try:
            self._sink.write(rgb, pts)
        except (av.FFmpegError, OSError) as failure:
            raise self._failed(failure) from failure

    def _failed(self, failure: Exception) -> OutputError:
        reason = getattr(failure, "strerror", None) or failure
        return OutputError(f"{self._destination}: cannot be written: {reason}")


def open_writer(
    destination: PathLike,
    *,
    width: int,
    height: int,
    frame_rate: Fraction,
    time_base: Fraction,
    color: ColorTags,
    sample_aspect_ratio: Fraction = _SQUARE,
    last_frame_duration: int = 0,
) -> VideoWriter:
    """Create a writer; the destination's suffix decides its kind.

    - `.mp4`, `.mov`, `.mkv`: H.264 of near-transparent quality, 4:2:0 (4:4:4 where a side is odd), limited range, with
      the source's matrix (BT.709 for RGB sources), primaries and transfer. Timestamps are kept exactly (`.mkv` stores
      whole milliseconds; a negative start is moved to zero).
    - `.y4m`: 8-bit 4:4:4, BT.601 limited, since the format cannot say another matrix. Timestamps are not kept.
    - `-`: the same on the standard output.
    - no suffix: a folder of lossless PNGs, `000000.png` and on. Timestamps are not kept.

    Args:
        destination: File or folder that will be written.
        width: Width of every frame, pixels.
        height: Height of every frame, pixels.
        frame_rate: Nominal frames per second.
        time_base: Seconds per unit of the timestamps.
        color: Colour tags of the source.
        sample_aspect_ratio: Width over height of a pixel as displayed; a folder of PNGs does not keep it.
        last_frame_duration: How long the last frame is shown, units of `time_base`; 0 is one nominal interval. Only
            `.mp4`, `.mov` and `.mkv` keep it.

    Returns:
        A context manager that takes the frames.

    Raises:
        ConfigError: the suffix is unknown, or a size or rate is not positive.
        OutputError: the destination cannot be written; nothing has been created.
    """
    path = Path(destination)
    suffix = path.suffix.lower()
    if path == _STANDARD_OUTPUT:
        if sys.stdout is None or sys.stdout.isatty():
            raise ConfigError("-: the standard output is a terminal; pipe it, for example into `ffplay -`")
        suffix = ".y4m"
    if suffix not in ("", ".y4m", *VIDEO_SUFFIXES):
        supported = ", ".join([*VIDEO_SUFFIXES, ".y4m"])
        raise ConfigError(
            f"{destination}: got the suffix '{suffix}', expected {supported}, or none for a folder of PNGs"
        )
    if width < 1 or height < 1 or frame_rate <= 0 or time_base <= 0:
        raise ConfigError(
            f"output: got {width}x{height}, {frame_rate} fps, time base {time_base}, expected more than 0"
        )
    if suffix in (".mp4", ".mov") and time_base.denominator > _MAX_TIMESCALE:
        raise ConfigError(
            f"{destination}: got time base {time_base}, expected at most {_MAX_TIMESCALE} units; use .mkv"
        )
    if suffix == "":
        check_output_folder(path)
    elif path != _STANDARD_OUTPUT:
        check_output_file(path)
    if suffix == "" and sample_aspect_ratio != 1:
        _log.warning("%s: PNGs do not keep the ratio of pixels that are not square (%s)", path, sample_aspect_ratio)
    return VideoWriter(
        path,
        width=width,
        height=height,
        frame_rate=frame_rate,
        time_base=time_base,
        color=color,
        sample_aspect_ratio=sample_aspect_ratio,
        last_frame_duration=last_frame_duration,
    )


def write_png(path: PathLike, rgb: RgbImage) -> None:
    """Write one PNG image, complete or not at all.

    Args:
        path: File that will be written.
        rgb: RGB picture. [H, W, 3] uint8.

    Raises:
        OutputError: the file cannot be written.
    """
    with atomic_output(path) as part:
        part.write_bytes(encode_png(rgb))


def encode_png(rgb: RgbImage) -> bytes:
    """Encode an RGB picture [H, W, 3] uint8 as the bytes of a PNG file."""
    context = av.CodecContext.create("png", "w")
    assert isinstance(context, VideoCodecContext)
    context.height, context.width = rgb.shape[:2]
    context.pix_fmt = "rgb24"
    context.time_base = Fraction(1)
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
    picture.pts = 0
    return b"".join(bytes(packet) for packet in [*context.encode(picture), *context.encode(None)])


class _PngFolder:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._n_written = 0

    def write(self, rgb: RgbImage, pts: int) -> None:
        (self._folder / f"{self._n_written:06d}.png").write_bytes(encode_png(rgb))
        self._n_written += 1

    def finish(self) -> None:
        pass

    def close(self) -> None:
        pass


class _Y4mStream:
    def __init__(
        self,
        file: BinaryIO,
        shape: tuple[int, int, int],
        frame_rate: Fraction,
        time_base: Fraction,
        sample_aspect_ratio: Fraction,
    ) -> None:
        self._file = file
        self._file.write(y4m.header(shape[1], shape[0], frame_rate, sample_aspect_ratio))
        self._converter = ColorConverter()
        self._step = 1 / (frame_rate * time_base)
        self._next_pts: Fraction | None = None

    def write(self, rgb: RgbImage, pts: int) -> None:
        if self._next_pts is not None and abs(pts - self._next_pts) > self._step / 2:
            _log.warning("y4m has no timestamps: the frames' uneven ones are lost; write .mp4 to keep them")
            self._step = Fraction(0)
        self._next_pts = pts + self._step if self._step else None
        self._file.write(y4m.frame(self._converter.from_rgb(rgb, "yuv444p", MATRICES["bt601"])))

    def finish(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class _H264File:
    def __init__(
        self,
        path: Path,
        muxer: str,
        shape: tuple[int, int, int],
        frame_rate: Fraction,
        time_base: Fraction,
        color: ColorTags,
        sample_aspect_ratio: Fraction,
        last_frame_duration: int,
    ) -> None:
        height, width, _ = shape
        self._pixel_format = "yuv444p" if width % 2 or height % 2 else "yuv420p"
        self._matrix = output_matrix(color)
        self._time_base = time_base
        self._last_duration = last_frame_duration or max(1, round(1 / (frame_rate * time_base)))
        self._waiting: Packet[VideoStream] | None = None
        self._offset: int | None = None
        self._converter = ColorConverter()
        if muxer == "matroska" and (time_base / _MATROSKA_TIME_BASE).denominator != 1:
            _log.warning(
                "%s", "Matroska stores whole milliseconds: timestamps are rounded; write .mp4 to keep them exactly"
            )
        # MP4 stores the start offset in an edit list, which counts in units of the movie. These are set to the units of
        # the stream, so that the offset is exact.
        options = {} if muxer == "matroska" else {"movie_timescale": str(time_base.denominator)}
        self._container = av.open(f"file:{path}", "w", format=muxer, options=options)
        self._stream = self._container.add_stream("libx264", rate=frame_rate, options=dict(_X264_OPTIONS))
        context = self._stream.codec_context
        context.width, context.height, context.pix_fmt = width, height, self._pixel_format
        if self._pixel_format == "yuv420p":
            # The stream is tagged with the chroma location that the converter makes: centred between its pixels.
            context.options = {**_X264_OPTIONS, "x264-params": "chromaloc=1"}
        context.time_base = self._stream.time_base = time_base
        context.sample_aspect_ratio = sample_aspect_ratio
        context.color_range = 1
        context.colorspace = self._matrix
        context.color_primaries = color.primaries
        context.color_trc = color.transfer

    def write(self, rgb: RgbImage, pts: int) -> None:
        if self._offset is None:
            self._offset = max(0, -pts)
            if self._offset:
                _log.info("timestamps start at %d: moved to zero, since players cut what is before it", pts)
        picture = self._converter.from_rgb(rgb, self._pixel_format, self._matrix)
        picture.pts = pts + self._offset
        picture.time_base = self._time_base
        self._mux(picture)

    def finish(self) -> None:
        self._mux(None)
        self._container.close()

    def close(self) -> None:
        self._container.close()

    def _mux(self, picture: av.VideoFrame | None) -> None:
        for packet in self._stream.encode(picture):
            self._mux_waiting(packet)
            self._waiting = packet
        if picture is None:
            self._mux_waiting(None)

    def _mux_waiting(self, following: Packet[VideoStream] | None) -> None:
        """Write the packet before, whose duration is known now."""
        packet, self._waiting = self._waiting, None
        if packet is None:
            return
        assert packet.pts is not None
        next_pts = None if following is None else following.pts
        packet.duration = self._last_duration if next_pts is None else next_pts - packet.pts
        self._container.mux(packet)
