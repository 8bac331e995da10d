"""Reading of video files of any kind that FFmpeg reads, y4m included."""

from __future__ import annotations

import logging
import math
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from stgvcodec.errors import InputVideoError
from stgvcodec.media import y4m
from stgvcodec.media.colour import ColorTags
from stgvcodec.media.orientation import UPRIGHT, orientation_by_matrix
from stgvcodec.media.source import DecodedPicture

_log = logging.getLogger(__name__)

_FALLBACK_RATE = Fraction(25)
# FFmpeg draws text files as pictures of a terminal.
_TEXT_CODECS = ("ansi", "bintext", "xbin", "idf")


class VideoFileSource:
    """The first video stream of a file.

    Args:
        path: An existing file.

    Raises:
        InputVideoError: the file holds no video that can be read.
    """

    alpha_allowed = False

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path
        with self._open() as (container, stream):
            self.time_base: Fraction = stream.time_base or 1 / _FALLBACK_RATE
            self.frame_rate: Fraction = stream.average_rate or stream.guessed_rate or stream.base_rate or _FALLBACK_RATE
            self.n_frames = _estimate_n_frames(container, stream, self.frame_rate)
            self.has_audio = bool(container.streams.audio)
            if stream.sample_aspect_ratio not in (None, 0, 1):
                _log.warning(
                    "%s: its pixels are not square (%s); they are coded as they are and the ratio is not kept",
                    self.name,
                    stream.sample_aspect_ratio,
                )

    def pictures(self) -> Generator[DecodedPicture, None, None]:
        """Decode from the beginning; at most a few pictures are held at a time.

        Raises:
            InputVideoError: the file is damaged, cut short or interlaced, or its timestamps do not rise.
        """
        step = max(1, round(1 / (self.frame_rate * self.time_base)))
        n_read, pts, orientation = 0, -step, UPRIGHT
        for picture in self._decoded():
            name = f"{self.name}, frame {n_read}"
            if picture.interlaced_frame:
                raise InputVideoError(
                    f"{name}: got an interlaced frame, expected progressive video; deinterlace first, for example with "
                    f"ffmpeg -i {self.name} -vf yadif progressive.mp4"
                )
            previous, pts = pts, pts + step if picture.pts is None else picture.pts
            if n_read > 0 and pts <= previous:
                raise InputVideoError(
                    f"{name}: got timestamp {pts} after {previous}, expected them to rise; "
                    f"repair the file first, for example with ffmpeg -i {self.name} -fps_mode cfr repaired.mp4"
                )
            if n_read == 0:
                orientation = orientation_by_matrix(picture, name)
            yield DecodedPicture(picture, pts, self._tags, orientation, name)
            n_read += 1
        if n_read == 0:
            raise InputVideoError(f"{self.name}: has no frames, expected at least one; give another video")

    def _decoded(self) -> Iterator[av.VideoFrame]:
        n_read = n_packets = 0
        end_seconds = 0.0
        with self._open() as (container, stream):
            context = stream.codec_context
            try:
                for packet in container.demux(stream):
                    if packet.is_corrupt:
                        raise self._damaged(n_read, "a packet that is cut short")
                    n_packets += packet.size > 0
                    for picture in packet.decode():
                        assert isinstance(picture, av.VideoFrame)
                        if picture.is_corrupt:
                            raise self._damaged(n_read, "a frame that does not decode cleanly")
                        if picture.pts is not None:
                            end_seconds = float(picture.pts * self.time_base + 1 / self.frame_rate)
                        self._tags = ColorTags(int(context.color_primaries), int(context.color_trc))
                        yield picture
                        n_read += 1
            except (av.FFmpegError, OSError) as error:
                raise self._damaged(n_read, str(error.strerror or error)) from error
            shortfall = _shortfall(container, stream, n_packets, end_seconds, float(1 / self.frame_rate))
        shortfall = shortfall or y4m.shortfall(self._path)
        if shortfall:
            raise self._damaged(n_read, shortfall)

    def _damaged(self, n_read: int, what: str) -> InputVideoError:
        rescue = f", or keep what is intact with --frames 0:{n_read}" if n_read else ""
        return InputVideoError(
            f"{self.name}: damaged or cut short at frame {n_read}: got {what}, expected whole frames to the end; "
            f"fetch the file again{rescue}"
        )

    @contextmanager
    def _open(self) -> Iterator[tuple[InputContainer, VideoStream]]:
        advice = "expected a whole video file or a folder of images"
        try:
            # The prefix keeps a name such as "a:b.mp4" from being read as an address.
            container = av.open(f"file:{self._path}", metadata_errors="replace")
        except (av.FFmpegError, OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputVideoError(f"{self.name}: cannot be read as video: got '{reason}', {advice}") from error
        with container:
            streams = [stream for stream in container.streams.video if not _is_cover(stream)]
            if not streams or streams[0].codec_context is None or streams[0].codec_context.name in _TEXT_CODECS:
                kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
                found = "text" if streams else kinds
                raise InputVideoError(f"{self.name}: has no video stream: got {found}, {advice}")
            if streams[0].metadata.get("alpha_mode") == "1":
                raise InputVideoError(alpha_message(self.name))
            streams[0].thread_type = "AUTO"
            streams[0].codec_context.options = {"err_detect": "explode"}
            yield container, streams[0]


def alpha_message(name: str) -> str:
    """Return the error message for a source with transparency."""
    return (
        f"{name}: got an alpha channel, expected opaque pictures; lay it over a background first, "
        "or drop the channel with ffmpeg -i IN -vf format=yuv444p OUT.mkv (format=rgb24 for PNG)"
    )


def _is_cover(stream: VideoStream) -> bool:
    return "attached_pic" in str(getattr(stream, "disposition", "")).lower()


def _estimate_n_frames(container: InputContainer, stream: VideoStream, frame_rate: Fraction) -> int | None:
    if stream.frames > 0:
        return stream.frames
    if stream.duration is not None and stream.time_base is not None:
        return max(1, round(stream.duration * stream.time_base * frame_rate))
    if container.duration is not None:
        return max(1, round(Fraction(container.duration, av.time_base) * frame_rate))
    return None


def _shortfall(
    container: InputContainer, stream: VideoStream, n_packets: int, end_seconds: float, frame_seconds: float
) -> str | None:
    """Say what a file lacks whose demuxer ends without an error where the bytes end; None if it lacks nothing."""
    if "avi" in container.format.name.split(",") and n_packets < stream.frames:
        return f"{n_packets} of {stream.frames} packets"
    if "matroska" in container.format.name:
        promised = _parse_clock(stream.metadata.get("DURATION", ""))
        if promised is None and len(container.streams) == 1 and container.duration is not None:
            promised = container.duration / av.time_base
        if promised is not None and end_seconds < promised - 2 * frame_seconds - 0.01:
            return f"{end_seconds:.3f} of {promised:.3f} seconds"
    return None


def _parse_clock(text: str) -> float | None:
    """Convert "HH:MM:SS.fraction" to seconds; None for any other text, or for no time above 0."""
    try:
        hours, minutes, seconds = (float(part) for part in text.split(":"))
    except ValueError:
        return None
    total = 3600 * hours + 60 * minutes + seconds
    return total if math.isfinite(total) and total > 0 else None
