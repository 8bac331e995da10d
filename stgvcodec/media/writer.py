"""Writing of videos and of images that are complete or not there, with tags that say their colours."""

from __future__ import annotations

import logging
import sys
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import av
import numpy as np

from stgvcodec.errors import ConfigError, OutputError
from stgvcodec.media.atomic import (
    PathLike,
    atomic_files,
    atomic_folder,
    atomic_output,
    check_output_file,
    check_output_files,
    check_output_folder,
)
from stgvcodec.media.colour import ColorTags, RgbImage
from stgvcodec.media.image_output import WRITTEN_SUFFIXES, NumberedImages, png_folder
from stgvcodec.media.numbered import NumberedName
from stgvcodec.media.output_formats import (
    CONTAINERS,
    VIDEO_SUFFIXES,
    Y4M,
    Y4M_PIXEL_FORMATS,
    CodecOptions,
    video_encoding,
)
from stgvcodec.media.sinks import FrameSink, GifFile, VideoFile, VideoFormat, Y4mStream
from stgvcodec.media.tracks import TrackMuxer

_log = logging.getLogger(__name__)

_MAX_TIMESCALE = 2**31 - 1
_SQUARE = Fraction(1)
_STANDARD_OUTPUT = Path("-")
_DEFAULT_CODEC = CodecOptions()


class VideoWriter:
    """Takes frames in a `with` block; the destination appears when the block ends well, and not otherwise."""

    def __init__(
        self, destination: PathLike, video: VideoFormat, codec: CodecOptions, tracks: TrackMuxer | None = None
    ) -> None:
        self._destination = Path(destination)
        self._tracks = tracks or TrackMuxer({}, (), {})
        self._shape = (video.height, video.width, 3)
        self._video = video
        self._codec = codec
        self._stack = ExitStack()
        self._sink: FrameSink | None = None
        self._last_pts: int | None = None

    def __enter__(self) -> VideoWriter:
        if self._destination == _STANDARD_OUTPUT:
            self._sink = self._y4m(sys.stdout.buffer)
            return self
        if self._destination.is_fifo():
            try:
                self._sink = self._y4m(self._stack.enter_context(self._destination.open("wb")))
            except OSError as failure:
                raise self._failed(failure) from failure
            return self
        suffix = self._destination.suffix.lower()
        # An error of a constructor has to reach the temporary output, which would be renamed otherwise.
        with ExitStack() as stack:
            if suffix == "":
                self._sink = png_folder(stack.enter_context(atomic_folder(self._destination)))
            elif suffix in WRITTEN_SUFFIXES:
                folder = stack.enter_context(atomic_files(self._destination))
                name = NumberedName.parse(self._destination) or self._destination.name
                self._sink = NumberedImages(folder, name, suffix)
            else:
                try:
                    self._sink = self._file_sink(stack.enter_context(atomic_output(self._destination)), suffix)
                except OverflowError as failure:
                    raise self._failed(failure) from failure
                stack.callback(self._sink.close)
            self._stack = stack.pop_all()
        return self

    def _file_sink(self, part: Path, suffix: str) -> FrameSink:
        if suffix == Y4M:
            return self._y4m(part.open("wb"))
        if suffix == ".gif":
            return GifFile(part, self._video)
        container = CONTAINERS[suffix]
        encoding = video_encoding(
            str(self._destination), container, self._codec, width=self._video.width, height=self._video.height
        )
        return VideoFile(part, container.muxer, encoding, self._video, self._tracks)

    def _y4m(self, file: BinaryIO) -> Y4mStream:
        return Y4mStream(file, self._video, self._codec.pixel_format or Y4M_PIXEL_FORMATS[0])

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
            except (av.FFmpegError, OSError, OverflowError) as failure:
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
        except (av.FFmpegError, OSError, OverflowError) as failure:
            raise self._failed(failure) from failure

    def _failed(self, failure: Exception) -> OutputError:
        reason = getattr(failure, "strerror", None) or failure
        if isinstance(failure, OverflowError):
            reason = "a time or a ratio is larger than such a file can hold; write .y4m, or a folder of PNGs"
        return OutputError(f"{self._destination}: cannot be written: {reason}")


def check_suffix(destination: PathLike) -> None:
    """Refuse an output of no kind that `open_writer` lists.

    Raises:
        ConfigError: the suffix is unknown, or the output is a named pipe with the suffix of something else than y4m.
    """
    suffix = Path(destination).suffix.lower()
    if suffix not in ("", Y4M) and Path(destination).is_fifo():
        raise ConfigError(f"{destination}: is a pipe, which takes y4m alone; give it that suffix or none")
    if suffix not in ("", *VIDEO_SUFFIXES, *WRITTEN_SUFFIXES):
        supported = ", ".join((*VIDEO_SUFFIXES, *WRITTEN_SUFFIXES))
        raise ConfigError(
            f"{destination}: got the suffix '{suffix}', expected {supported}, or none for a folder of PNGs"
        )


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
    codec: CodecOptions = _DEFAULT_CODEC,
    tracks: TrackMuxer | None = None,
) -> VideoWriter:
    """Create a writer; the destination's suffix decides its kind.

    - `.mp4`, `.mov`, `.mkv`, `.avi`: H.264 of near-transparent quality, or another codec; `.webm`: VP9. Unless other
      samples are asked for they are 4:2:0 (4:4:4 where a side is odd), limited range, with the source's matrix (BT.709
      for RGB sources), primaries and transfer; lossless codecs get RGB. `.mp4` and `.mov` keep timestamps exactly,
      `.mkv` and `.webm` as whole milliseconds; a negative start is moved to zero. `.avi` has the nominal rate.
    - `.gif`: 256 colours in each frame, times in hundredths of a second.
    - `.y4m`: 8-bit 4:4:4 or another subsampling, BT.601 limited, since the format cannot say another matrix. Timestamps
      are not kept.
    - `-`: the same on the standard output. A named pipe takes it too, with the suffix `.y4m` or none.
    - no suffix: a folder of lossless PNGs, `000000.png` and on. Timestamps are not kept.
    - `.png`, `.bmp`, `.tif`, `.webp` (all lossless), `.jpg`: images, numbered from 0 where the name says how, as
      `frame_%03d.png` does; without that, one frame.

    Args:
        destination: File or folder that will be written.
        width: Width of every frame, pixels.
        height: Height of every frame, pixels.
        frame_rate: Nominal frames per second.
        time_base: Seconds per unit of the timestamps.
        color: Colour tags of the source.
        sample_aspect_ratio: Width over height of a pixel as displayed; images do not keep it.
        last_frame_duration: How long the last frame is shown, units of `time_base`; 0 is one nominal interval. `.avi`,
            `.y4m` and images do not keep it.
        codec: Codec, rate factor and samples of a video file.
        tracks: Sound, subtitles and metadata that go into the same file. GIF, y4m and images have no place for them.

    Returns:
        A context manager that takes the frames.

    Raises:
        ConfigError: the suffix is unknown, an option of the codec does not fit, or a size or rate is not positive.
        OutputError: the destination cannot be written; nothing has been created.
    """
    path = Path(destination)
    suffix = path.suffix.lower()
    if path == _STANDARD_OUTPUT:
        if sys.stdout is None or sys.stdout.isatty():
            raise ConfigError("-: the standard output is a terminal; pipe it, for example into `ffplay -`")
        suffix = Y4M
    check_suffix(destination)
    is_pipe = path.is_fifo()
    if is_pipe:
        suffix = Y4M
    if width < 1 or height < 1 or frame_rate <= 0 or time_base <= 0:
        raise ConfigError(
            f"output: got {width}x{height}, {frame_rate} fps, time base {time_base}, expected more than 0"
        )
    if suffix in (".mp4", ".mov") and time_base.denominator > _MAX_TIMESCALE:
        raise ConfigError(
            f"{destination}: got time base {time_base}, expected at most {_MAX_TIMESCALE} units; use .mkv"
        )
    _check_codec(path, suffix, codec, width, height)
    if suffix == "":
        check_output_folder(path)
    elif suffix in WRITTEN_SUFFIXES:
        check_output_files(path)
    elif path != _STANDARD_OUTPUT and not is_pipe:
        check_output_file(path)
    if suffix in ("", *WRITTEN_SUFFIXES) and sample_aspect_ratio != 1:
        _log.warning("%s: images do not keep the ratio of pixels that are not square (%s)", path, sample_aspect_ratio)
    video = VideoFormat(width, height, frame_rate, time_base, color, sample_aspect_ratio, last_frame_duration)
    return VideoWriter(path, video, codec, tracks)


def _check_codec(path: Path, suffix: str, codec: CodecOptions, width: int, height: int) -> None:
    """Refuse options of a codec that the output does not have."""
    if suffix in CONTAINERS and suffix != ".gif":
        video_encoding(str(path), CONTAINERS[suffix], codec, width=width, height=height)
        return
    if suffix == Y4M and codec.codec is None and codec.crf is None and codec.pixel_format:
        if codec.pixel_format not in Y4M_PIXEL_FORMATS:
            raise ConfigError(
                f"{path}: got --pix-fmt {codec.pixel_format}, expected one of {', '.join(Y4M_PIXEL_FORMATS)} for y4m"
            )
    elif codec != _DEFAULT_CODEC:
        what = {Y4M: "y4m is not compressed", ".gif": "a GIF has one codec and 256 colours"}
        reason = what.get(suffix, "images have no codec of a video")
        raise ConfigError(f"{path}: got {codec}: {reason}; leave that out, or write .mkv")
