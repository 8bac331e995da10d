"""`play`: the frames of a `.stgv` file, with their sound, through a pipe into a player."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
from fractions import Fraction
from itertools import count
from pathlib import Path

from stgvcodec.decoder.carried_tracks import CarriedTracks
from stgvcodec.decoder.pictures import Pictures, nothing_taken
from stgvcodec.decoder.shown_frames import Shown, as_they_are, at_rate
from stgvcodec.decoder.video_decoder import VideoDecoder
from stgvcodec.errors import BitstreamError, ConfigError
from stgvcodec.media.colour import ColorTags
from stgvcodec.media.output_formats import VideoEncoding
from stgvcodec.media.players import playing
from stgvcodec.media.selection import Selection, resized_aspect
from stgvcodec.media.sinks import VideoFile, VideoFormat
from stgvcodec.media.tracks import TrackMuxer

logger = logging.getLogger(__name__)

_UNCOMPRESSED = VideoEncoding("rawvideo", "yuv420p", full_range=False, options={})
_LOSSLESS = VideoEncoding(
    "libx264", "yuv444p", full_range=False, options={"preset": "ultrafast", "tune": "zerolatency", "crf": "0"}
)
_MILLISECOND = Fraction(1, 1000)
# Rendering that is this much slower than playing shows, after a while in which kernels are compiled.
_MOST_SLOWNESS = 1.1
_MEASURED_SECONDS = 3.0


def play(
    decoder: VideoDecoder,
    command: list[str],
    *,
    start: Fraction = Fraction(0),
    scale: float = 1.0,
    size: tuple[int, int] | None = None,
    fps: Fraction | None = None,
    loop: bool = False,
    audio: bool = True,
) -> int:
    """Show a `.stgv` file in a player, until its end or until the player is closed.

    The player gets uncompressed Matroska, so that the frames have their times and their sound. It sets the pace: it
    takes from the pipe what it needs.

    Args:
        decoder: Decoder of the file, which is complete.
        command: The player, as `player_command` gives it.
        start: Where to begin, seconds from the first frame.
        scale: Size of the pictures over that of the encoded ones; nothing is resampled.
        size: Width and height of the pictures in place of a scale, pixels.
        fps: Frames a second, rendered also between frames; None shows each frame at its own time.
        loop: Whether to begin anew at the end, for as long as the player is open.
        audio: Whether sound is played.

    Returns:
        Number of frames that went to the player.

    Raises:
        ConfigError: there is no frame at the start, or the sound cannot go along.
        BitstreamError: the file is damaged, or has no frames.
        StgvError: the player cannot be started, or fails.
    """
    header = decoder.header
    if len(decoder) == 0:
        raise BitstreamError("there are no frames to play", section="file")
    selection = Selection(time=(start, None) if start else None, audio=audio, subtitles=False, metadata=False)
    indices = selection.indices(decoder.timestamps, header.time_base)
    if not indices:
        raise ConfigError(f"--start {float(start):g}: {nothing_taken('the video', selection, decoder)}")
    shown = _shown(decoder, selection, indices, fps)
    length = _length(decoder, indices, shown)
    pictures = Pictures(decoder, shown, scale=scale, size=size, roi=None)
    ratio = header.sample_aspect_ratio
    if size is not None:
        ratio = resized_aspect(ratio, (header.width, header.height), size)
    video = VideoFormat(
        *pictures.size,
        shown.frame_rate,
        _MILLISECOND,
        ColorTags(**dataclasses.asdict(header.color)),
        ratio,
        round(shown.last_frame_duration * shown.time_base / _MILLISECOND),
    )
    carried = CarriedTracks(decoder, indices.start, selection, "sound.mkv")
    muxer = carried.muxer(length * shown.time_base if loop else None)
    n_done = 0
    pace = _Pace(shown)
    last: int | None = None
    with (
        playing(command) as pipe,
        contextlib.suppress(BrokenPipeError),
        contextlib.closing(_Sink(pipe, video, muxer)) as sink,
    ):
        for n_before in count() if loop else range(1):
            if n_before:
                shown = _shown(decoder, selection, indices, fps)
                pictures = Pictures(decoder, shown, scale=scale, size=size, roi=None)
            for _, pts in shown.frames:
                rgb = pictures.next()
                # Matroska has milliseconds, and two frames never have the same.
                own = round((pts + n_before * length) * shown.time_base / _MILLISECOND)
                last = own if last is None else max(last + 1, own)
                sink.file.write(rgb, last)
                n_done += 1
                pace.check(pictures.seconds, n_done)
        sink.file.finish()
    return n_done


class _Sink:
    """The stream that goes into the pipe; closing it after the player has gone says nothing."""

    def __init__(self, pipe: Path, video: VideoFormat, muxer: TrackMuxer) -> None:
        is_odd = bool(video.width % 2 or video.height % 2)
        # What all players take uncompressed in Matroska is 4:2:0, which odd pictures do not have.
        encoding = _LOSSLESS if is_odd else _UNCOMPRESSED
        self.file = VideoFile(pipe, "matroska", encoding, video, muxer)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.file.close()


class _Pace:
    """Says once where rendering is slower than playing."""

    def __init__(self, shown: Shown) -> None:
        self._rate = float(shown.frame_rate)
        # Kernels may be compiled in the first frame.
        self._first: tuple[float, int] | None = None
        self._is_said = False

    def check(self, render_seconds: float, n_done: int) -> None:
        """Take note of the seconds that frames took so far."""
        if self._first is None:
            self._first = render_seconds, n_done
        seconds, n_frames = render_seconds - self._first[0], n_done - self._first[1]
        if self._is_said or seconds < _MEASURED_SECONDS:
            return
        self._is_said = True
        if seconds > _MOST_SLOWNESS * n_frames / self._rate:
            logger.warning(
                "%.1f frames a second are rendered here, and %.1f are played, so that the player has to wait; "
                "--scale 0.5 renders smaller pictures",
                n_frames / seconds,
                self._rate,
            )


def _shown(decoder: VideoDecoder, selection: Selection, indices: range, fps: Fraction | None) -> Shown:
    if fps is not None:
        return at_rate(decoder, indices, fps, repeat=False)
    return as_they_are(decoder, selection, indices, iter(()))


def _length(decoder: VideoDecoder, indices: range, shown: Shown) -> int:
    """Return after how many units of the time base the frames begin anew."""
    if shown.times is not None:
        assert shown.n_frames is not None
        return round(shown.n_frames / (shown.frame_rate * shown.time_base))
    last = shown.last_frame_duration or max(1, math.floor(1 / (shown.frame_rate * shown.time_base)))
    return decoder.pts(indices[-1]) + last - decoder.pts(indices[0])
