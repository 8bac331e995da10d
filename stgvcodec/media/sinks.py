"""What takes the frames of an output, for each kind of it: video files of FFmpeg's muxers, GIF and y4m."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, Protocol

import av
import numpy as np
from av.filter import Graph
from av.packet import Packet
from av.video.stream import VideoStream

from stgvcodec.errors import ConfigError
from stgvcodec.media import y4m
from stgvcodec.media.colour import MATRICES, RGB_MATRIX, ColorConverter, ColorTags, RgbImage, output_matrix
from stgvcodec.media.output_formats import VideoEncoding, keeps_matrix, keeps_sample_aspect, silence_encoders
from stgvcodec.media.tracks import TrackMuxer

_log = logging.getLogger(__name__)

_MILLISECOND, _CENTISECOND = Fraction(1, 1000), Fraction(1, 100)
_MATROSKA = ("matroska", "webm")
# Players show frames of less than two hundredths of a second for ten.
_LEAST_GIF_STEP = 2


@dataclass(frozen=True)
class VideoFormat:
    """What all frames of a video have in common; `open_writer` explains the attributes."""

    width: int
    height: int
    frame_rate: Fraction
    time_base: Fraction
    color: ColorTags
    sample_aspect_ratio: Fraction
    last_frame_duration: int

    @property
    def frame_step(self) -> Fraction:
        """Nominal distance of two frames, units of the time base."""
        return 1 / (self.frame_rate * self.time_base)

    @property
    def last_frame_seconds(self) -> Fraction:
        """How long the last frame is shown, seconds."""
        return self.last_frame_duration * self.time_base if self.last_frame_duration else 1 / self.frame_rate


class FrameSink(Protocol):
    """Takes the frames of one output, in order."""

    def write(self, rgb: RgbImage, pts: int) -> None:
        """Append a frame [H, W, 3] uint8 with its timestamp."""

    def finish(self) -> None:
        """Write what is held back, so that the output is complete."""

    def close(self) -> None:
        """Close the file, complete or not."""


class Y4mStream:
    """YUV4MPEG2, to a file or a pipe."""

    def __init__(self, file: BinaryIO, video: VideoFormat, pixel_format: str) -> None:
        self._file = file
        self._pixel_format = pixel_format
        self._file.write(
            y4m.header(video.width, video.height, video.frame_rate, video.sample_aspect_ratio, pixel_format)
        )
        self._converter = ColorConverter()
        self._step = video.frame_step
        self._next_pts: Fraction | None = None

    def write(self, rgb: RgbImage, pts: int) -> None:
        """Append a frame."""
        if self._next_pts is not None and abs(pts - self._next_pts) > self._step / 2:
            _log.warning("y4m has no timestamps: the frames' uneven ones are lost; write .mp4 to keep them")
            self._step = Fraction(0)
        self._next_pts = pts + self._step if self._step else None
        self._file.write(y4m.frame(self._converter.from_rgb(rgb, self._pixel_format, MATRICES["bt601"])))

    def finish(self) -> None:
        """Write what is held back."""
        self._file.flush()

    def close(self) -> None:
        """Close the file, complete or not."""
        self._file.close()


class VideoFile:
    """A file of one of FFmpeg's muxers."""

    def __init__(self, path: Path, muxer: str, encoding: VideoEncoding, video: VideoFormat, tracks: TrackMuxer) -> None:
        self._encoding = encoding
        self._tracks = tracks
        if encoding.is_rgb:
            self._matrix = RGB_MATRIX
        else:
            can_tell = keeps_matrix(muxer, encoding.encoder)
            self._matrix = output_matrix(video.color) if can_tell else MATRICES["bt601"]
        self._time_base = 1 / video.frame_rate if muxer == "avi" else video.time_base
        self._unit = video.time_base
        self._clock = _Clock(video, self._time_base) if muxer == "avi" else None
        self._last_duration = max(1, round(video.last_frame_seconds / self._time_base))
        self._waiting: Packet[VideoStream] | None = None
        self._offset: int | None = None
        # What is added to the times of frames, seconds.
        self._shift = Fraction(0)
        self._converter = ColorConverter()
        if muxer in _MATROSKA and (video.time_base / _MILLISECOND).denominator != 1:
            _log.warning("Matroska stores whole milliseconds: timestamps are rounded; write .mp4 to keep them exactly")
        if video.sample_aspect_ratio != 1 and not keeps_sample_aspect(muxer, encoding.encoder):
            _log.warning(
                "%s in this container does not keep the ratio of pixels that are not square (%s); write .mp4",
                encoding.encoder,
                video.sample_aspect_ratio,
            )
        silence_encoders()
        # MP4 stores the start offset in an edit list, which counts in units of the movie. These are set to the units of
        # the stream, so that the offset is exact.
        timescale = str(tracks.timescale(video.time_base.denominator))
        options = {"movie_timescale": timescale} if muxer in ("mp4", "mov") else {}
        self._container = av.open(f"file:{path}", "w", format=muxer, options=options)
        stream = self._container.add_stream(encoding.encoder, rate=video.frame_rate, options=dict(encoding.options))
        assert isinstance(stream, VideoStream)
        self._stream = stream
        context = self._stream.codec_context
        context.width, context.height, context.pix_fmt = video.width, video.height, encoding.pixel_format
        if muxer in ("mp4", "mov") and encoding.encoder == "libx265":
            # QuickTime plays no other kind of HEVC.
            context.codec_tag = "hvc1"
        context.time_base = self._stream.time_base = self._time_base
        context.sample_aspect_ratio = video.sample_aspect_ratio
        context.color_range = 2 if encoding.full_range else 1
        context.colorspace = self._matrix
        context.color_primaries = video.color.primaries
        context.color_trc = video.color.transfer
        tracks.attach(self._container)
        try:
            self._container.start_encoding()
        except av.FFmpegError as error:
            raise ConfigError(
                f"{encoding.encoder} does not take frames of {video.width}x{video.height}, {encoding.pixel_format}, "
                f"{video.frame_rate} a second: got '{error.strerror}'; choose another --codec or --pix-fmt"
            ) from error

    def write(self, rgb: RgbImage, pts: int) -> None:
        """Append a frame."""
        if self._offset is None:
            self._offset = max(0, -pts)
            if self._offset:
                _log.info("timestamps start at %d: moved to zero, since players cut what is before it", pts)
            # AVI has no times: its first frame is at zero.
            self._shift = (self._offset if self._clock is None else -pts) * self._unit
        picture = self._converter.from_rgb(
            rgb, self._encoding.pixel_format, self._matrix, full_range=self._encoding.full_range
        )
        picture.pts = pts + self._offset if self._clock is None else self._clock.tick(pts)
        picture.time_base = self._time_base
        self._mux(picture)

    def finish(self) -> None:
        """Write what is held back."""
        self._mux(None)
        self._tracks.finish(self._shift)
        self._container.close()
        if self._clock is not None:
            self._clock.say_lost("AVI has frames at the nominal rate: uneven times are lost; write .mp4 to keep them")

    def close(self) -> None:
        """Close the file, complete or not."""
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
        self._tracks.write_until(packet.pts * self._time_base, self._shift)
        self._container.mux(packet)


class GifFile:
    """A GIF, each frame of which has the 256 colours that suit it best."""

    def __init__(self, path: Path, video: VideoFormat) -> None:
        self._unit = video.time_base
        self._clock = _Clock(video, _CENTISECOND, least_step=_LEAST_GIF_STEP)
        delay = max(_LEAST_GIF_STEP, round(video.last_frame_seconds / _CENTISECOND))
        self._container = av.open(f"file:{path}", "w", format="gif", options={"final_delay": str(delay)})
        self._stream = self._container.add_stream("gif", rate=video.frame_rate)
        context = self._stream.codec_context
        context.width, context.height, context.pix_fmt = video.width, video.height, "pal8"
        context.time_base = self._stream.time_base = _CENTISECOND
        context.sample_aspect_ratio = video.sample_aspect_ratio
        self._palette = _palette_graph(video.width, video.height)

    def write(self, rgb: RgbImage, pts: int) -> None:
        """Append a frame."""
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
        picture.pts, picture.time_base = self._clock.tick(pts), _CENTISECOND
        self._mux(picture)

    def finish(self) -> None:
        """Write what is held back."""
        self._mux(None)
        self._container.mux(self._stream.encode(None))
        self._container.close()
        self._clock.say_lost(
            "GIF has times in hundredths of a second, and 50 frames a second at most: times are changed by more than "
            "that; write fewer frames with --fps"
        )

    def close(self) -> None:
        """Close the file, complete or not."""
        self._container.close()

    def _mux(self, picture: av.VideoFrame | None) -> None:
        self._palette.push(picture)
        for mapped in _pulled(self._palette):
            self._container.mux(self._stream.encode(mapped))


class _Clock:
    """Times in the units of a format that has no others; the first frame is at zero.

    Args:
        video: Format of the frames, whose time base timestamps have.
        unit: Seconds per unit of the format.
        least_step: Least distance of two frames, in these units.
    """

    def __init__(self, video: VideoFormat, unit: Fraction, *, least_step: int = 1) -> None:
        self._ratio = video.time_base / unit
        self._least_step = least_step
        self._first: int | None = None
        self._last: int | None = None
        self._most_off = Fraction(0)

    def tick(self, pts: int) -> int:
        """Return the time of the next frame: the nearest one that is far enough behind the last."""
        self._first = pts if self._first is None else self._first
        exact = (pts - self._first) * self._ratio
        tick = round(exact)
        if self._last is not None:
            tick = max(tick, self._last + self._least_step)
        self._last = tick
        self._most_off = max(self._most_off, abs(exact - tick))
        return tick

    def say_lost(self, message: str) -> None:
        """Warn, if a time was off by more than half a unit."""
        if self._most_off > Fraction(1, 2):
            _log.warning("%s", message)


def _palette_graph(width: int, height: int) -> Graph:
    """Return a graph that maps each picture to a palette of its own; an ordered dither is still where pictures are."""
    graph = Graph()
    source = graph.add("buffer", f"video_size={width}x{height}:pix_fmt=rgb24:time_base={_CENTISECOND}:pixel_aspect=1/1")
    split = graph.add("split")
    palette = graph.add("palettegen", "stats_mode=single:reserve_transparent=0")
    use = graph.add("paletteuse", "new=1:dither=bayer:bayer_scale=3")
    sink = graph.add("buffersink")
    source.link_to(split)
    split.link_to(use, 0, 0)
    split.link_to(palette, 1, 0)
    palette.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    return graph


def _pulled(graph: Graph) -> Iterator[av.VideoFrame]:
    """Yield the pictures that a graph has ready."""
    while True:
        try:
            picture = graph.pull()
        except (av.BlockingIOError, av.EOFError):
            return
        assert isinstance(picture, av.VideoFrame)
        yield picture
