"""Reading of video files of any kind that FFmpeg reads, y4m included."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from stgvcodec.errors import ConfigError, InputVideoError
from stgvcodec.media.addresses import FileAtAddress
from stgvcodec.media.colour import ColorTags
from stgvcodec.media.completeness import shortfall
from stgvcodec.media.matroska import Cropping, cropping_of
from stgvcodec.media.orientation import UPRIGHT, orientation_by_matrix
from stgvcodec.media.packet_balance import PacketBalance
from stgvcodec.media.source import DecodedPicture

_log = logging.getLogger(__name__)

_FALLBACK_RATE = Fraction(25)
# FFmpeg draws text files as pictures of a terminal.
_TEXT_CODECS = ("ansi", "bintext", "xbin", "idf")
# These decoders conceal what is damaged and mark the picture. Told to stop at errors, they would stop at what their
# parsers only remark too: a message that is not needed, or a first picture that is not a key frame.
_CONCEALING_CODECS = (
    *("h264", "mpeg1video", "mpeg2video", "mpeg4", "h263", "flv1", "vc1", "wmv1", "wmv2", "wmv3"),
    *("msmpeg4v1", "msmpeg4v2", "msmpeg4v3"),
)
# So many packets before the joint of two recordings may be flagged for it.
_JOINT_PACKETS = 2
# What ffmpeg gives the default stream over others, as pixels.
_DEFAULT_BONUS = 100_000_000


class VideoFileSource:
    """One video stream of a file: the one that ffmpeg would take, unless another is asked for.

    Args:
        path: An existing file, or one behind an address.
        stream: Index of the stream in the file, as ffprobe counts; None chooses.
        keep_going: Whether to read on where the file is damaged. What cannot be decoded is left out then, and what is
            not whole is taken as it is.

    Raises:
        ConfigError: the file has no such video stream.
        InputVideoError: the file holds no video that can be read.
    """

    def __init__(self, path: Path | FileAtAddress, *, stream: int | None = None, keep_going: bool = False) -> None:
        self.name = str(path)
        self.file: Path | None = path if isinstance(path, Path) else None
        self._path = path
        self._index = stream
        self._keep_going = keep_going
        self._has_said_left_out = False
        with self._open() as (container, video):
            self.time_base: Fraction = video.time_base or 1 / _FALLBACK_RATE
            self.frame_rate: Fraction = video.average_rate or video.guessed_rate or video.base_rate or _FALLBACK_RATE
            self.n_frames = _estimate_n_frames(container, video, self.frame_rate)
            self.sample_aspect_ratio = Fraction(video.sample_aspect_ratio or 1)
            self.cropping = Cropping()
            if "matroska" in container.format.name:
                indices = [each.index for each in container.streams.video]
                with path.open("rb") as file:
                    self.cropping = cropping_of(file, indices.index(video.index))
            self._name_others(container, video)

    def last_frame_duration(self) -> int:
        """Return the duration of the packet that is shown last, time base units; 0 where the container has none.

        The packets are read to the end, and not decoded.
        """
        last = (-1, 0)
        with self._open() as (container, stream), closing(_packets(container, stream)) as packets:
            try:
                for packet in packets:
                    if packet.size and packet.pts is not None and not packet.is_discard:
                        last = max(last, (packet.pts, packet.duration or 0))
            except (av.FFmpegError, OSError):
                # What is damaged is named where it is decoded.
                return 0
        return max(last[1], 0)

    def pictures(self, start: int | None = None) -> Generator[DecodedPicture, None, None]:
        """Decode from the beginning, or the key frame before a timestamp; at most a few pictures are held at a time.

        Where a file's index or its key frames are not what they seem, pictures behind that key frame may be others than
        those of a reading from the beginning. Whoever gives a timestamp must know by what to tell.

        Raises:
            InputVideoError: the file is damaged, cut short or interlaced, or its timestamps do not rise.
        """
        step = max(1, round(1 / (self.frame_rate * self.time_base)))
        pts, orientation = -step, UPRIGHT
        damage = _Damage(self.name, keep_going=self._keep_going)
        for picture, decoded_pts in self._decoded(damage, start):
            name = f"{self.name}, frame {damage.n_read}"
            if picture.interlaced_frame:
                raise InputVideoError(
                    f"{name}: got an interlaced frame, expected progressive video; deinterlace first, for example with "
                    f"ffmpeg -i {shlex.quote(self.name)} -vf yadif progressive.mp4"
                )
            if start is not None and decoded_pts is None:
                raise InputVideoError(f"{self.name}: has no timestamps to find frames by")
            previous, pts = pts, pts + step if decoded_pts is None else decoded_pts
            if damage.n_read > 0 and pts <= previous:
                if not self._keep_going:
                    raise InputVideoError(f"{name}: {self._not_rising(previous, pts, damage.n_read)}")
                damage.found(f"timestamp {pts} after {previous}")
                pts = previous
                continue
            if damage.n_read == 0:
                orientation = orientation_by_matrix(picture, name)
            yield DecodedPicture(picture, pts, self._tags, orientation, name)
            damage.n_read += 1
        damage.report()
        if damage.n_read == 0:
            raise InputVideoError(f"{self.name}: has no frames that can be decoded, expected one; give another video")

    def _decoded(self, damage: _Damage, start: int | None) -> Iterator[tuple[av.VideoFrame, int | None]]:
        """Yield pictures with their timestamps; a picture without one follows at the nominal rate."""
        # The packets end before their file is closed.
        with self._open() as (container, stream), closing(_packets(container, stream)) as packets:
            if start is not None and start > (stream.start_time or 0):
                _seek(container, stream, start, self.name)
            context = stream.codec_context
            balance = PacketBalance(context.name, has_timestamps="avi" not in container.format.name.split(","))
            n_doubtful, packet = 0, None
            while True:
                pictures = []
                try:
                    packet = next(packets, None)
                    if n_doubtful > _JOINT_PACKETS or (n_doubtful and packet is None):
                        n_doubtful = 0
                        damage.found("a packet that is cut short")
                    if packet is None:
                        break
                    # Where transport streams were joined, a packet before the joint looks like damage, and is none.
                    if balance.restarts_with(packet):
                        n_doubtful = 0
                    elif n_doubtful or packet.is_corrupt:
                        n_doubtful += 1
                    balance.put(packet)
                    # An empty packet says that the picture before is shown on; decoders would take it for the end.
                    pictures = [] if packet.size == 0 and packet.dts is not None else packet.decode()
                except (av.FFmpegError, OSError) as error:
                    if packet is None or not balance.is_leading(packet):
                        damage.found(str(error.strerror or error))
                for picture in pictures:
                    assert isinstance(picture, av.VideoFrame)
                    pts, n_missing = balance.take(picture)
                    if n_missing:
                        damage.found(f"{n_missing} packets without a picture")
                    if picture.is_corrupt:
                        damage.found("a frame that does not decode cleanly")
                    self._tags = ColorTags(int(context.color_primaries), int(context.color_trc))
                    yield picture, pts
        n_first, n_missing = balance.left()
        if n_first and damage.n_read:
            self._say_left_out(n_first)
        if n_missing:
            damage.found(f"{n_missing} packets without a picture")
        if isinstance(self._path, Path) and (missing := shortfall(self._path)):
            damage.found(missing)

    def _say_left_out(self, n: int) -> None:
        if self._has_said_left_out:
            return
        self._has_said_left_out = True
        _log.warning(
            "%s: the first %d packets hold no picture that can be decoded, since the file begins between key frames; "
            "they are left out",
            self.name,
            n,
        )

    def _not_rising(self, previous: int, pts: int, n_read: int) -> str:
        if pts < previous:
            return (
                f"got timestamp {pts} after {previous}, expected them to rise: timestamps restart, as in files that "
                f"were joined byte by byte; take the first with --frames 0:{n_read}, or time all frames anew with "
                f"ffmpeg -r {self.frame_rate} -i {shlex.quote(self.name)} joined.mp4"
            )
        return (
            f"got timestamp {pts} after {previous}, expected them to rise: two frames share a time in units of "
            f"{self.time_base} seconds; spread them first, with "
            f"ffmpeg -r {self.frame_rate} -i {shlex.quote(self.name)} spread.mp4"
        )

    @contextmanager
    def _open(self) -> Iterator[tuple[InputContainer, VideoStream]]:
        advice = "expected a whole video file or a folder of images"
        with ExitStack() as files:
            try:
                # The prefix keeps a name such as "a:b.mp4" from being read as an address.
                file = f"file:{self._path}" if isinstance(self._path, Path) else files.enter_context(self._path.open())
                container = files.enter_context(av.open(file, "r", metadata_errors="replace"))
            except (av.FFmpegError, OSError, ValueError) as error:
                reason = getattr(error, "strerror", None) or error
                raise InputVideoError(f"{self.name}: cannot be read as video: got '{reason}', {advice}") from error
            streams = _video_streams(container)
            if not streams or streams[0].codec_context.name in _TEXT_CODECS:
                kinds = ", ".join(sorted({each.type for each in container.streams if not _is_cover(each)}))
                found = "text" if streams else kinds or "nothing"
                raise InputVideoError(f"{self.name}: has no video stream: got {found}, {advice}")
            stream = self._chosen(streams)
            if stream.metadata.get("alpha_mode") == "1":
                raise InputVideoError(alpha_message(self.name))
            # Decoders that work on several frames at once lose what is wrong with the last of them.
            stream.thread_type = "SLICE"
            if stream.codec_context.name not in _CONCEALING_CODECS:
                stream.codec_context.options = {"err_detect": "explode"}
            yield container, stream

    def _chosen(self, streams: list[VideoStream]) -> VideoStream:
        if self._index is None:
            return max(streams, key=_preference)
        for stream in streams:
            if stream.index == self._index:
                return stream
        there = ", ".join(_describe(stream) for stream in streams)
        raise ConfigError(f"--stream {self._index}: {self.name} has no such video stream; choose of {there}")

    def _name_others(self, container: InputContainer, chosen: VideoStream) -> None:
        others = [stream for stream in _video_streams(container) if stream.index != chosen.index]
        if others and self._index is None:
            _log.warning(
                "%s: video stream %s is read, and not %s; --stream chooses",
                self.name,
                _describe(chosen),
                ", ".join(_describe(stream) for stream in others),
            )


class _Damage:
    """Decides what becomes of damage: an error at once, or a count that is reported in the end.

    Attributes:
        n_read: Number of frames read before, which the reader counts.
    """

    def __init__(self, name: str, *, keep_going: bool) -> None:
        self.n_read = 0
        self._name, self._keep_going = name, keep_going
        self._found: list[str] = []

    def found(self, what: str) -> None:
        """Take note of damage.

        Raises:
            InputVideoError: reading is not to go on.
        """
        if not self._keep_going:
            rescue = f", keep what comes before with --frames 0:{self.n_read}" if self.n_read else ""
            raise InputVideoError(
                f"{self._name}: damaged or cut short at frame {self.n_read}: got {what}, expected whole frames to the "
                f"end; fetch the file again{rescue}, or read on with --keep-going"
            )
        self._found.append(f"{what} at frame {self.n_read}")

    def report(self) -> None:
        """Say what was found, if reading went on."""
        if self._found:
            more = f", and {len(self._found) - 1} more" if len(self._found) > 1 else ""
            _log.warning("%s: is damaged (%s%s); what could be decoded is taken", self._name, self._found[0], more)


def alpha_message(name: str) -> str:
    """Return the error message for a source with transparency."""
    return (
        f"{name}: got an alpha channel, expected opaque pictures; lay it over a background first, "
        "or drop the channel with ffmpeg -i IN -vf format=yuv444p OUT.mkv (format=rgb24 for PNG)"
    )


def _video_streams(container: InputContainer) -> list[VideoStream]:
    return [each for each in container.streams.video if each.codec_context is not None and not _is_cover(each)]


def _seek(container: InputContainer, stream: VideoStream, pts: int, name: str) -> None:
    try:
        container.seek(pts, stream=stream)
    except (av.FFmpegError, OSError) as error:
        raise InputVideoError(f"{name}: cannot be read from the middle: {error.strerror or error}") from error


def _packets(container: InputContainer, stream: VideoStream) -> Generator[Packet[VideoStream], None, None]:
    yield from container.demux(stream)


def _is_cover(stream: av.stream.Stream) -> bool:
    return bool(stream.disposition & Disposition.attached_pic)


def _preference(stream: VideoStream) -> int:
    """Return by how much ffmpeg prefers a video stream: by its pixels, and before that for being the default."""
    return stream.width * stream.height + _DEFAULT_BONUS * bool(stream.disposition & Disposition.default)


def _describe(stream: VideoStream) -> str:
    return f"{stream.index} ({stream.width}x{stream.height})"


def _estimate_n_frames(container: InputContainer, stream: VideoStream, frame_rate: Fraction) -> int | None:
    if stream.frames > 0:
        return stream.frames
    if stream.duration is not None and stream.time_base is not None:
        return max(1, round(stream.duration * stream.time_base * frame_rate))
    if container.duration is not None:
        return max(1, round(Fraction(container.duration, av.time_base) * frame_rate))
    return None
