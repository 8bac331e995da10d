"""Sound and subtitles that a file carries beside its pictures: tracks and their packets, which are never decoded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

KINDS = ("audio", "subtitle")
"""Kinds of tracks; the index is the number in a file."""

SETUP_FORMATS = ("matroska", "mp4")
"""Kinds of files whose header describes a track's codec; the index is the number in a `.stgv` file."""

DISPOSITIONS = (
    *("default", "dub", "original", "comment", "lyrics", "karaoke"),
    *("forced", "hearing_impaired", "visual_impaired"),
)
"""What players go by to choose a track; the index is the number of the bit in a file, and in FFmpeg."""


@dataclass(frozen=True)
class Track:
    """One track of sound or subtitles.

    Attributes:
        kind: "audio" or "subtitle".
        codec: FFmpeg's name of the codec, such as "aac" or "subrip".
        time_base: Seconds per unit of the packets' timestamps.
        setup_format: Kind of file of `setup`, a name in `SETUP_FORMATS`.
        setup: Header of such a file with this one track and no packets: what a decoder of the codec needs.
        sample_rate: Samples a second; 0 for subtitles, and where it is not known.
        n_channels: Channels; 0 for subtitles, and where they are not known.
        channel_layout: FFmpeg's name of what the channels are, such as "stereo"; empty where that is not known.
        dispositions: Names in `DISPOSITIONS`, in their order.
        tags: Language, title and the like, by name.
    """

    kind: str
    codec: str
    time_base: Fraction
    setup_format: str
    setup: bytes = field(repr=False)
    sample_rate: int = 0
    n_channels: int = 0
    channel_layout: str = ""
    dispositions: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)


class TrackPacket(NamedTuple):
    """One packet of a track, as it came out of its container.

    Attributes:
        pts: Time at which it begins to be played, units of the track's time base.
        duration: Time for which it is played, the same units; 0 where it is not known.
        is_key: Whether a decoder can begin with it.
        data: The coded bytes.
    """

    pts: int
    duration: int
    is_key: bool
    data: bytes

    @property
    def end(self) -> int:
        """Time at which it has been played, units of the track's time base."""
        return self.pts + self.duration


@dataclass(frozen=True)
class TrackInfo:
    """Figures of one track in a file.

    Attributes:
        kind: "audio" or "subtitle".
        codec: FFmpeg's name of the codec.
        sample_rate: Samples a second; 0 for subtitles, and where it is not known.
        n_channels: Channels; 0 for subtitles, and where they are not known.
        channel_layout: FFmpeg's name of what the channels are, such as "stereo"; empty where that is not known.
        dispositions: Names in `DISPOSITIONS`, in their order.
        tags: Language, title and the like, by name.
        n_packets: Packets.
        n_bytes: Bytes of the packets.
        begin_seconds: Time at which the first packet begins to be played; 0 without one.
        end_seconds: Time at which the last packet has been played; 0 without one.
    """

    kind: str
    codec: str
    sample_rate: int
    n_channels: int
    channel_layout: str
    dispositions: tuple[str, ...]
    tags: Mapping[str, str]
    n_packets: int
    n_bytes: int
    begin_seconds: float
    end_seconds: float


class TrackCounter:
    """Counts the packets of a track.

    Args:
        track: The track.
    """

    def __init__(self, track: Track) -> None:
        self._track = track
        self._n_packets = self._n_bytes = 0
        self._begin: int | None = None
        self._end = 0

    def add(self, packet: TrackPacket) -> None:
        """Count a packet."""
        self._n_packets += 1
        self._n_bytes += len(packet.data)
        self._begin = packet.pts if self._begin is None else min(self._begin, packet.pts)
        self._end = packet.end if self._n_packets == 1 else max(self._end, packet.end)

    def info(self) -> TrackInfo:
        """Return the figures of the track and of the packets counted."""
        track = self._track
        return TrackInfo(
            kind=track.kind,
            codec=track.codec,
            sample_rate=track.sample_rate,
            n_channels=track.n_channels,
            channel_layout=track.channel_layout,
            dispositions=track.dispositions,
            tags=track.tags,
            n_packets=self._n_packets,
            n_bytes=self._n_bytes,
            begin_seconds=float((self._begin or 0) * track.time_base),
            end_seconds=float(self._end * track.time_base),
        )


def plays_within(packet: TrackPacket, time_base: Fraction, start: Fraction | None, end: Fraction | None) -> bool:
    """Tell whether any of a packet is played in a span of time.

    A packet without a duration counts as the moment at which it begins.

    Args:
        packet: The packet.
        time_base: Seconds per unit of its times.
        start: Beginning of the span, seconds; None for a span without one.
        end: End of the span, seconds, which is outside of it; None for a span without one.
    """
    if end is not None and packet.pts * time_base >= end:
        return False
    return start is None or packet.end * time_base > start or packet.pts * time_base >= start
