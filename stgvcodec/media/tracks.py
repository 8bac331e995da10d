"""Sound and subtitles beside the pictures: taken out of a source and put into an output as they are, never decoded."""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any

import av
from av.audio.codeccontext import AudioCodecContext
from av.codec.context import CodecContext
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Disposition, Stream

from stgvcodec.errors import ConfigError, InputVideoError, OutputError
from stgvcodec.tracks import DISPOSITIONS, Track, TrackPacket

_log = logging.getLogger(__name__)

KIND_NAMES = MappingProxyType({"audio": "sound", "subtitle": "subtitles"})
"""Kinds of tracks as people call them."""

# The header of a file without packets, the same for the same track. MP4 has a header before its packets in fragments
# only. The demuxer of MP4 is that of QuickTime too.
_FRAGMENTS = {"fflags": "+bitexact", "movflags": "+empty_moov+default_base_moof+frag_custom", "write_btrt": "0"}
_SETUP_MUXERS = (
    ("matroska", "matroska", {"fflags": "+bitexact", "live": "1"}),
    ("mp4", "mp4", _FRAGMENTS),
    ("mp4", "mov", _FRAGMENTS),
)
# FFmpeg takes the header of a Matroska file for complete when the first cluster begins.
_END_OF_HEADER = MappingProxyType({"matroska": bytes.fromhex("1f43b67580"), "mp4": b""})
# What containers say of themselves and of the codes in them, which is no longer true of another file.
_OWN_TAGS = (
    *("encoder", "major_brand", "minor_version", "compatible_brands", "duration", "bps", "number_of_frames"),
    *("number_of_bytes", "_statistics_writing_app", "_statistics_writing_date_utc", "_statistics_tags"),
)
_OWN_TRACK_TAGS = (*_OWN_TAGS, "creation_time", "handler_name", "vendor_id", "encoding_tool")
_UNKNOWN_LANGUAGE = "und"
# Limits of a `.stgv` file, which is another room; a test holds them equal.
MOST_TRACKS, MOST_SETUP_BYTES, MOST_PTS, MOST_STEP, MOST_NAME = 128, 2**20, 2**62, 2**40, 64
# A chunk holds such a packet and what comes before it.
_MOST_PACKET_BYTES = 2**27
# Packets of these are shorter than Matroska's unit of time, so that several have one timestamp there. Here each has its
# own, in a unit that is finer by this factor.
_SHORT_PACKETS, _FINER = ("truehd", "mlp"), 48
# What a number of channels stands for where a file names none.
_LAYOUTS = MappingProxyType({1: "mono", 2: "stereo"})


class SourceTracks:
    """The tracks and the metadata of a file, without decoding any.

    Args:
        path: A file that FFmpeg reads, from which the pictures come.
        kinds: Kinds of tracks that are wanted, names in `tracks.KINDS`.
        metadata: Whether the file's metadata are wanted.
        keep_going: Whether packets may end early, with a warning, where the file is damaged.

    Attributes:
        tracks: The tracks, in the order of the file.
        tags: Title, creation time and the like, by name.
        left_out: Streams beside the pictures that are wanted but cannot be carried, each with the reason.

    Raises:
        InputVideoError: the file cannot be read.
    """

    def __init__(self, path: Path, *, kinds: Sequence[str], metadata: bool, keep_going: bool = False) -> None:
        self._path = path
        self._keep_going = keep_going
        self._said: set[str] = set()
        self.left_out: tuple[str, ...] = ()
        tracks: dict[int, Track] = {}
        with self._open() as container:
            self.tags = _kept_tags(container.metadata, _OWN_TAGS) if metadata else {}
            for stream in container.streams:
                if not kinds or stream.type == "video" or (stream.type in KIND_NAMES and stream.type not in kinds):
                    continue
                track = _track_of(stream) if len(tracks) < MOST_TRACKS else "there are more tracks than a file holds"
                if isinstance(track, Track):
                    tracks[stream.index] = track
                else:
                    self.left_out += (f"stream {stream.index}, {_stream_name(stream)}: {track}",)
        self._numbers = {index: number for number, index in enumerate(tracks)}
        self.tracks = tuple(tracks.values())

    def packets(self) -> Iterator[tuple[int, TrackPacket]]:
        """Read the packets of all tracks from the beginning, in the order of the file.

        Yields:
            The index of a track in `tracks`, and a packet of it. Timestamps of a track rise; those of subtitles may
            repeat.

        Raises:
            InputVideoError: the file is damaged, unless packets may end early.
        """
        if not self.tracks:
            return
        last: dict[int, TrackPacket] = {}
        # A packet of sound without a duration waits for the next one, which tells it. The last one has that of the
        # one before.
        waiting: dict[int, TrackPacket] = {}
        steps: dict[int, int] = {}
        n_lost = 0
        with self._open() as container:
            for packet in self._demuxed(container):
                number = self._numbers[packet.stream.index]
                if not packet.size:
                    continue
                kept = _kept_packet(packet, last.get(number), self.tracks[number])
                if kept is None:
                    n_lost += 1
                    continue
                before = waiting.pop(number, None)
                if before is not None:
                    steps[number] = min(kept.pts - before.pts, MOST_STEP)
                    yield number, before._replace(duration=steps[number])
                last[number] = kept
                if kept.duration or self.tracks[number].kind != "audio":
                    yield number, kept
                else:
                    waiting[number] = kept
        for number, kept in waiting.items():
            yield number, kept._replace(duration=steps.get(number, 0))
        if n_lost:
            self._warn(f"{n_lost} packets of sound or subtitles have no timestamp that rises, and are left out")

    def _demuxed(self, container: InputContainer) -> Iterator[Packet[Stream]]:
        packets = container.demux([container.streams[index] for index in self._numbers])
        while True:
            try:
                packet = next(packets, None)
            except (av.FFmpegError, OSError) as error:
                if not self._keep_going:
                    raise self._unreadable(error) from error
                self._warn(f"sound and subtitles end early: got '{error.strerror or error}'")
                return
            if packet is None:
                return
            yield packet

    def _warn(self, message: str) -> None:
        """Say something once, however often the packets are read."""
        if message not in self._said:
            self._said.add(message)
            _log.warning("%s: %s", self._path, message)

    @contextmanager
    def _open(self) -> Iterator[InputContainer]:
        try:
            # The prefix keeps a name such as "a:b.mp4" from being read as an address.
            container = av.open(f"file:{self._path}", metadata_errors="replace")
        except (av.FFmpegError, OSError, ValueError) as error:
            raise self._unreadable(error) from error
        with container:
            yield container

    def _unreadable(self, error: Exception) -> InputVideoError:
        reason = getattr(error, "strerror", None) or error
        return InputVideoError(
            f"{self._path}: sound and subtitles cannot be read: got '{reason}'; fetch the file again, leave them out "
            "with --no-audio --no-subtitles, or read on with --keep-going"
        )


def _track_of(stream: Stream) -> Track | str:
    """Describe a stream, or say why it cannot be carried."""
    if stream.type not in KIND_NAMES:
        return "only sound and subtitles are kept"
    context = stream.codec_context
    if context is None or stream.time_base is None:
        return "its codec is not known"
    setups = ((kind, _setup(stream, muxer, options)) for kind, muxer, options in _SETUP_MUXERS)
    setup_format, setup = next(((kind, each) for kind, each in setups if each is not None), ("", None))
    if setup is None:
        return "neither Matroska nor MP4 nor QuickTime describes this codec"
    tags = _kept_tags(stream.metadata, _OWN_TRACK_TAGS)
    # MP4 has another name for the title of a track.
    name = tags.pop("name", None)
    if name is not None:
        tags.setdefault("title", name)
    if tags.get("language") == _UNKNOWN_LANGUAGE:
        del tags["language"]
    codec = context.codec.canonical_name
    return Track(
        kind=stream.type,
        codec=codec,
        time_base=stream.time_base / _FINER if codec in _SHORT_PACKETS else stream.time_base,
        setup_format=setup_format,
        setup=setup,
        sample_rate=getattr(context, "sample_rate", None) or 0,
        n_channels=getattr(context, "channels", None) or 0,
        channel_layout=_layout_name(context),
        dispositions=tuple(name for name in DISPOSITIONS if stream.disposition & Disposition[name]),
        tags=tags,
    )


def _setup(stream: Stream, muxer: str, options: Mapping[str, str]) -> bytes | None:
    """Return the header of a file with one stream like this one; None if that cannot be, or is too large."""
    file = io.BytesIO()
    try:
        with av.open(file, "w", format=muxer, options=dict(options)) as container:
            container.add_stream_from_template(stream)
            container.start_encoding()
            # What is written behind the header, when the file is closed, is no part of it.
            size = file.tell()
    except (av.FFmpegError, ValueError):
        return None
    return file.getvalue()[:size] if size <= MOST_SETUP_BYTES else None


def _layout_name(context: CodecContext) -> str:
    """Return FFmpeg's name of a decoder's channels; empty where only their number is known, and it is above two."""
    if not isinstance(context, AudioCodecContext) or not context.channels:
        return ""
    name = context.layout.name
    if name == f"{context.channels} channels":
        return _LAYOUTS.get(context.channels, "")
    return name if len(name) <= MOST_NAME else ""


def _kept_packet(packet: Packet[Stream], last: TrackPacket | None, track: Track) -> TrackPacket | None:
    """Return a packet as it is carried; None if it has no place in time behind the last one."""
    pts = packet.pts if packet.pts is not None else packet.dts
    duration = max(packet.duration or 0, 0)
    if track.codec in _SHORT_PACKETS and pts is not None:
        pts, duration = pts * _FINER, duration * _FINER
        if last is not None and pts <= last.pts < pts + _FINER:
            pts = last.pts + 1
    if pts is None and last is not None:
        pts = last.end
    least = None if last is None else last.pts + (track.kind == "audio")
    if pts is None or (least is not None and pts < least) or max(abs(pts), abs(pts + duration)) > MOST_PTS:
        return None
    if duration > MOST_STEP or packet.size > _MOST_PACKET_BYTES or (last and abs(pts - last.end) > MOST_STEP):
        return None
    return TrackPacket(pts, duration, packet.is_keyframe, bytes(packet))


def _kept_tags(tags: Mapping[str, str], own: Sequence[str]) -> dict[str, str]:
    """Return tags that hold for other files too, with names in small letters."""
    kept = {}
    for key, value in tags.items():
        name = key.lower()
        # Matroska's statistics may have a language behind their names.
        if name.split("-")[0] not in own and value:
            kept[name] = value
    return kept


def _stream_name(stream: Stream) -> str:
    context = stream.codec_context
    return stream.type if context is None else f"{stream.type} {context.codec.canonical_name}"


def track_name(track: Track) -> str:
    """Return what a message calls a track: its kind, codec and language."""
    language = track.tags.get("language")
    return f"{KIND_NAMES[track.kind]} in {track.codec}" + (f" ({language})" if language else "")


class TrackMuxer:
    """Puts tracks and metadata into a file that is being written, beside its pictures.

    Args:
        tracks: Number of each track -> the track.
        packets: Numbers of tracks and packets, about in the order of their times; None where the next ones are not
            there yet, which are asked for again later.
        tags: Metadata of the file, by name.
    """

    def __init__(
        self, tracks: Mapping[int, Track], packets: Iterable[tuple[int, TrackPacket] | None], tags: Mapping[str, str]
    ) -> None:
        self._tracks = tracks
        self._packets = iter(packets)
        self._tags = tags
        self._next: tuple[int, TrackPacket] | None = None
        self._streams: dict[int, Stream] = {}
        self._container: OutputContainer | None = None

    def timescale(self, video: int) -> int:
        """Return the units a second in which the start of every track of an MP4 file is exact, if there are such.

        Args:
            video: Units a second of the pictures' timestamps.
        """
        units = math.lcm(video, *(_mp4_units(track) for track in self._tracks.values()))
        return units if units < 2**31 else video

    def attach(self, container: OutputContainer) -> None:
        """Add the tracks and the metadata to a file that is not begun."""
        self._container = container
        container.metadata.update(self._tags)
        for number, track in self._tracks.items():
            self._streams[number] = _add_track(container, track)

    def write_until(self, seconds: Fraction, shift: Fraction = Fraction(0)) -> None:
        """Write the packets that begin to be played before a time.

        Args:
            seconds: The time, in the file that is written.
            shift: What is added to every time, seconds; the pictures' own times have been moved by as much.
        """
        while (found := self._peek()) is not None:
            number, packet = found
            time_base = self._tracks[number].time_base
            if packet.pts * time_base + shift >= seconds:
                return
            self._mux(number, packet, round(shift / time_base))

    def finish(self, shift: Fraction = Fraction(0)) -> None:
        """Write the packets that are left."""
        while (found := self._peek()) is not None:
            number, packet = found
            self._mux(number, packet, round(shift / self._tracks[number].time_base))

    def _peek(self) -> tuple[int, TrackPacket] | None:
        if self._next is None:
            self._next = next(self._packets, None)
        return self._next

    def _mux(self, number: int, packet: TrackPacket, shift: int) -> None:
        self._next = None
        assert self._container is not None
        if packet.pts + shift < 0 and self._container.format.name == "avi":
            # AVI begins with its first frame: what comes before has no place.
            return
        if abs(packet.pts + shift) > MOST_PTS:
            raise OutputError(f"track {number}: a packet is played at {packet.pts + shift}, beyond what files can say")
        out: Packet[Stream] = Packet(packet.data)
        out.stream = self._streams[number]
        out.time_base = self._tracks[number].time_base
        out.pts = out.dts = packet.pts + shift
        out.duration = packet.duration
        out.is_keyframe = packet.is_key
        self._container.mux(out)


def _mp4_units(track: Track) -> int:
    """Return the units a second in which MP4 counts the time of a track."""
    return track.sample_rate or track.time_base.denominator


def _add_track(container: OutputContainer, track: Track) -> Stream:
    """Add a track to an output.

    Raises:
        ValueError: the container cannot hold the codec, or the set-up is not one of such a track.
        av.FFmpegError: the same.
    """
    setup = io.BytesIO(track.setup + _END_OF_HEADER[track.setup_format])
    with av.open(setup, format=track.setup_format, metadata_errors="replace") as file:
        if len(file.streams) != 1 or file.streams[0].type != track.kind:
            raise ValueError(f"the set-up holds {[each.type for each in file.streams]}, expected one {track.kind}")
        stream: Stream = container.add_stream_from_template(file.streams[0])
    stream.time_base = track.time_base
    if track.channel_layout and isinstance(stream.codec_context, AudioCodecContext):
        # Matroska says how many channels there are, and not which.
        stream.codec_context.layout = track.channel_layout
    stream.metadata.update(track.tags)
    # PyAV 16 takes a number only. The bits are FFmpeg's.
    flags: Any = sum(1 << DISPOSITIONS.index(name) for name in track.dispositions)
    stream.disposition = flags
    return stream


def holds_tracks(muxer: str) -> bool:
    """Tell whether FFmpeg's muxer of a name has a place for sound or subtitles."""
    with av.open(io.BytesIO(), "w", format=muxer) as container:
        return container.default_audio_codec != "none" or container.default_subtitle_codec != "none"


def refuse_unheld(
    destination: str,
    muxer: str,
    tracks: Mapping[int, Track],
    firsts: Mapping[int, TrackPacket],
    others: Mapping[str, str],
) -> None:
    """Refuse, before any work, an output that cannot hold a track.

    Args:
        destination: The output, for the message.
        muxer: FFmpeg's name of its container.
        tracks: Number of each track -> the track.
        firsts: Number of each track that has packets -> its first packet.
        others: Suffix of each kind of output -> its muxer, to advise.

    Raises:
        ConfigError: there is a track that the container cannot hold.
    """
    unheld = {number: track for number, track in tracks.items() if not _holds(muxer, track, firsts.get(number))}
    if not unheld:
        return
    suffixes = [
        suffix
        for suffix, other in others.items()
        if all(_holds(other, track, firsts.get(number)) for number, track in tracks.items())
    ]
    names = ", ".join(f"track {number}, {track_name(track)}" for number, track in unheld.items())
    kinds = {track.kind for track in unheld.values()}
    options = [option for kind, option in (("audio", "--no-audio"), ("subtitle", "--no-subtitles")) if kind in kinds]
    what = "them" if len(unheld) > 1 else "it"
    advice = f"write {' or '.join(suffixes)}, or leave {what}" if suffixes else f"leave {what}"
    raise ConfigError(f"{destination}: this kind of file cannot hold {names}; {advice} out with {' '.join(options)}")


def _holds(muxer: str, track: Track, first: TrackPacket | None) -> bool:
    """Tell whether a container can hold a track: whether FFmpeg writes a file with it and its first packet."""
    tracks = TrackMuxer({0: track}, () if first is None else [(0, first)], {})
    try:
        with av.open(io.BytesIO(), "w", format=muxer) as container:
            tracks.attach(container)
            container.start_encoding()
            tracks.finish()
    except (av.FFmpegError, ValueError):
        return False
    return True
