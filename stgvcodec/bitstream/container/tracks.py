"""The chunks of sound, subtitles and metadata: bitstream_spec.md section 3.5.

A reader of pictures skips them.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from typing import Any, NamedTuple

from stgvcodec.bitstream.container.chunks import Chunk, ChunkType
from stgvcodec.bitstream.container.reader import StgvReader
from stgvcodec.bitstream.container.source import KEEP_GOING_ADVICE
from stgvcodec.bitstream.syntax.elements import read_elements, write_elements
from stgvcodec.bitstream.syntax.limits import LIMITS
from stgvcodec.bitstream.syntax.primitives import ByteReader
from stgvcodec.bitstream.syntax.tables import METADATA, TRACK, TRACK_PACKETS
from stgvcodec.errors import BitstreamError, naming_file
from stgvcodec.tracks import DISPOSITIONS, KINDS, SETUP_FORMATS, Track, TrackPacket

# A chunk holds the packets that begin within so many seconds, unless it is full before.
_GROUP_SECONDS = 1
_GROUP_BYTES = 1 << 20
_GROUP_PACKETS = 2**16 - 1
# Control characters, which texts of the format do not hold, and surrogates, which UTF-8 does not.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class PacketGroup(NamedTuple):
    """Packets of one track that share a chunk.

    Attributes:
        number: Number of the track.
        packets: Packets in the order of their times.
    """

    number: int
    packets: Sequence[TrackPacket]

    def to_bytes(self) -> bytes:
        """Write the payload of a TRACK_PACKETS chunk.

        Raises:
            ValueError: a value is outside the format's limits.
        """
        packets = self.packets
        values = {
            "track": self.number,
            "n_packets": len(packets),
            "pts_first": packets[0].pts,
            "packet_gaps": [packets[i].pts - packets[i - 1].end for i in range(1, len(packets))],
            "packet_durations": [packet.duration for packet in packets],
            "packet_is_key": [int(packet.is_key) for packet in packets],
            "packet_bytes": [len(packet.data) for packet in packets],
        }
        return write_elements(values, TRACK_PACKETS) + b"".join(packet.data for packet in packets)

    @classmethod
    def from_bytes(cls, payload: bytes, base_offset: int) -> PacketGroup:
        """Read the payload of a TRACK_PACKETS chunk.

        Args:
            payload: Payload of the chunk.
            base_offset: Offset of the payload in the file, for error messages.

        Raises:
            BitstreamError: a value is outside its limits, or the packets do not fill the chunk.
        """
        reader = ByteReader(payload, "track packets", base_offset=base_offset)
        values = read_elements(reader, TRACK_PACKETS)
        n_bytes = sum(values["packet_bytes"])
        if n_bytes != reader.remaining:
            raise reader.error(f"the packets have {n_bytes} bytes, {reader.remaining} are left in the chunk")
        pts = values["pts_first"]
        packets: list[TrackPacket] = []
        for i, (duration, is_key, size) in enumerate(
            zip(values["packet_durations"], values["packet_is_key"], values["packet_bytes"], strict=True)
        ):
            if i:
                pts = packets[-1].end + values["packet_gaps"][i - 1]
            if max(abs(pts), abs(pts + duration)) > LIMITS["pts"]:
                raise reader.error(f"packet {i} is played from {pts} to {pts + duration}, beyond {LIMITS['pts']}")
            packets.append(TrackPacket(pts, duration, bool(is_key), reader.take(size)))
        return cls(values["track"], packets)


def pack_track(number: int, track: Track) -> bytes:
    """Make the payload of a TRACK chunk.

    Raises:
        ValueError: a value is outside the format's limits.
    """
    if len(track.setup) > LIMITS["track_setup_bytes"]:
        raise ValueError(f"a set-up has {len(track.setup)} bytes, expected {LIMITS['track_setup_bytes']} at most")
    values = {
        "track": number,
        "kind": KINDS.index(track.kind),
        "codec": track.codec,
        "time_base_num": track.time_base.numerator,
        "time_base_den": track.time_base.denominator,
        "sample_rate": track.sample_rate,
        "n_channels": track.n_channels,
        "channel_layout": track.channel_layout,
        "dispositions": sum(1 << DISPOSITIONS.index(name) for name in track.dispositions),
        **_entries(track.tags),
        "setup_format": SETUP_FORMATS.index(track.setup_format),
    }
    return write_elements(values, TRACK) + track.setup


def unpack_track(payload: bytes, base_offset: int) -> tuple[int, Track]:
    """Read the payload of a TRACK chunk; return the number of the track, and the track.

    Args:
        payload: Payload of the chunk.
        base_offset: Offset of the payload in the file, for error messages.

    Raises:
        BitstreamError: a value is outside its limits.
    """
    reader = ByteReader(payload, "track", base_offset=base_offset)
    values = read_elements(reader, TRACK)
    num, den = values["time_base_num"], values["time_base_den"]
    if math.gcd(num, den) != 1:
        raise reader.error(f"time_base is {num}/{den}, expected lowest terms", at=0)
    if not 0 < reader.remaining <= LIMITS["track_setup_bytes"]:
        raise reader.error(f"the set-up has {reader.remaining} bytes, expected 1 to {LIMITS['track_setup_bytes']}")
    return values["track"], Track(
        kind=KINDS[values["kind"]],
        codec=values["codec"],
        time_base=Fraction(num, den),
        sample_rate=values["sample_rate"],
        n_channels=values["n_channels"],
        channel_layout=values["channel_layout"],
        dispositions=tuple(name for bit, name in enumerate(DISPOSITIONS) if values["dispositions"] >> bit & 1),
        tags=_tags(values),
        setup_format=SETUP_FORMATS[values["setup_format"]],
        setup=reader.take(reader.remaining),
    )


def pack_metadata(tags: Mapping[str, str]) -> bytes:
    """Make the payload of a METADATA chunk."""
    return write_elements(_entries(tags), METADATA)


def unpack_metadata(payload: bytes, base_offset: int) -> dict[str, str]:
    """Read the payload of a METADATA chunk.

    Args:
        payload: Payload of the chunk.
        base_offset: Offset of the payload in the file, for error messages.

    Raises:
        BitstreamError: a value is outside its limits.
    """
    reader = ByteReader(payload, "metadata", base_offset=base_offset)
    values = read_elements(reader, METADATA)
    reader.expect_end()
    return _tags(values)


def _entries(tags: Mapping[str, str]) -> dict[str, Any]:
    """Return the elements of tags: an entry for each line of a value. What is too long for the format is left out."""
    entries = [
        (key, line)
        for key, value in tags.items()
        for line in _printable(value)
        if [key] == _printable(key)
        and len(key.encode("utf-8")) <= LIMITS["tool_bytes"]
        and len(line.encode("utf-8")) <= LIMITS["text_bytes"]
    ][: LIMITS["n_entries"]]
    return {
        "n_entries": len(entries),
        "keys": [key for key, _ in entries],
        "values": [line for _, line in entries],
    }


def _printable(text: str) -> list[str]:
    """Return the lines of a text with spaces in place of what the format's texts do not hold."""
    return [_UNPRINTABLE.sub(" ", line) for line in text.splitlines()]


def _tags(values: Mapping[str, Any]) -> dict[str, str]:
    lines: dict[str, list[str]] = {}
    for key, line in zip(values["keys"], values["values"], strict=True):
        lines.setdefault(key, []).append(line)
    return {key: "\n".join(own) for key, own in lines.items()}


def grouped(packets: Iterable[tuple[int, TrackPacket]], tracks: Sequence[Track]) -> Iterator[PacketGroup]:
    """Gather packets for chunks: those of a track that begin within a second.

    Args:
        packets: Numbers of tracks and packets, as they lie in a file.
        tracks: The tracks, by number.

    Yields:
        Groups, each as soon as a packet of any track begins a second after the first of it.
    """
    pending: dict[int, list[TrackPacket]] = {}
    n_bytes: dict[int, int] = {}
    for number, packet in packets:
        now = packet.pts * tracks[number].time_base
        for other, group in list(pending.items()):
            is_full = other == number and (
                n_bytes[other] + len(packet.data) > _GROUP_BYTES or len(group) == _GROUP_PACKETS
            )
            if is_full or now - group[0].pts * tracks[other].time_base >= _GROUP_SECONDS:
                yield PacketGroup(other, pending.pop(other))
        if number not in pending:
            pending[number], n_bytes[number] = [], 0
        pending[number].append(packet)
        n_bytes[number] += len(packet.data)
    for number, group in pending.items():
        yield PacketGroup(number, group)


class TrackReader:
    """The tracks of sound and subtitles and the metadata of an open file.

    Attributes:
        tracks: Number of each track -> the track.
        tags: Title, creation time and the like of the whole file, by name.
        damage: What `keep_going` passed over so far, with byte offsets.

    Args:
        reader: The file.
        keep_going: Whether to leave out tracks and packets that are damaged.

    Raises:
        BitstreamError: a track or the metadata is damaged.
    """

    def __init__(self, reader: StgvReader, *, keep_going: bool = False) -> None:
        self.tracks: dict[int, Track] = {}
        self.tags: dict[str, str] = {}
        self.damage: list[str] = []
        self._reader = reader
        self._keep_going = keep_going
        has_tags = False
        for found in self._payloads((ChunkType.TRACK, ChunkType.METADATA)):
            if found is None:
                break
            chunk, payload = found
            with self._damaged_or_raised():
                if chunk.type == ChunkType.TRACK:
                    number, track = unpack_track(payload, chunk.payload_offset)
                    if number in self.tracks:
                        raise _error(chunk, f"a second track {number}, expected one")
                    self.tracks[number] = track
                else:
                    tags = unpack_metadata(payload, chunk.payload_offset)
                    if has_tags:
                        raise _error(chunk, "a second METADATA chunk, expected one in a file")
                    self.tags, has_tags = tags, True

    def packets(self, numbers: Collection[int]) -> Iterator[tuple[int, TrackPacket]]:
        """Read the packets of some tracks, chunk by chunk, in the order of the file.

        Args:
            numbers: Numbers of the tracks.

        Yields:
            The number of a track, and a packet of it. Timestamps of a track rise; those of subtitles may repeat.

        Raises:
            BitstreamError: a chunk is damaged, belongs to no track, or its timestamps do not rise.
        """
        for packet in self.packets_as_they_come(numbers):
            if packet is None:
                return
            yield packet

    def packets_as_they_come(self, numbers: Collection[int]) -> Iterator[tuple[int, TrackPacket] | None]:
        """Read packets as `packets` does; None where a file that is being written has no more of them yet."""
        last: dict[int, int] = {}
        for found in self._payloads((ChunkType.TRACK_PACKETS,)):
            if found is None:
                yield None
                continue
            chunk, payload = found
            group = None
            with self._damaged_or_raised():
                read = PacketGroup.from_bytes(payload, chunk.payload_offset)
                if read.number not in self.tracks:
                    raise _error(chunk, f"packets of track {read.number}, which the file does not have")
                least = 1 if self.tracks[read.number].kind == "audio" else 0
                before = last.get(read.number)
                for packet in read.packets:
                    if before is not None and packet.pts < before + least:
                        raise _error(chunk, f"timestamp {packet.pts} after {before}, expected them to rise")
                    before = packet.pts
                group = read
            if group is None:
                continue
            last[group.number] = group.packets[-1].pts
            if group.number in numbers:
                for packet in group.packets:
                    yield group.number, packet

    def _payloads(self, types: Collection[int]) -> Iterator[tuple[Chunk, bytes] | None]:
        """Yield chunks of some types with their payloads; None where there are no more of them yet."""
        for index in itertools.count():
            while index >= len(self._reader.chunks):
                if self._reader.is_complete:
                    return
                yield None
            chunk = self._reader.chunks[index]
            if chunk.type not in types:
                continue
            payload = None
            with self._damaged_or_raised():
                payload = self._reader.read_chunk(index)
            if payload is not None:
                yield chunk, payload

    @contextmanager
    def _damaged_or_raised(self) -> Iterator[None]:
        """Note the damage that a block comes upon and go on, or raise it."""
        try:
            with naming_file(self._reader.name):
                yield
        except BitstreamError as error:
            if not self._keep_going:
                raise
            # Packets may be read more than once.
            fault = str(error).removesuffix(f"; {KEEP_GOING_ADVICE}")
            if fault not in self.damage:
                self.damage.append(fault)


def _error(chunk: Chunk, message: str) -> BitstreamError:
    return BitstreamError(f"{message}; {KEEP_GOING_ADVICE}", section=chunk.name, offset=chunk.offset)
