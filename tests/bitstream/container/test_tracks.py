from __future__ import annotations

import contextlib
import dataclasses
import io
import re
from fractions import Fraction

import pytest
from files import PAYLOADS, make_file
from hypothesis import given
from hypothesis import strategies as st

from stgvcodec.bitstream import LIMITS, ChunkType, StgvReader
from stgvcodec.bitstream.container.overhead import carried_chunk_bytes, video_bytes
from stgvcodec.bitstream.container.tracks import (
    PacketGroup,
    TrackReader,
    grouped,
    pack_metadata,
    pack_track,
    unpack_metadata,
    unpack_track,
)
from stgvcodec.errors import BitstreamError
from stgvcodec.tracks import Track, TrackPacket

SOUND = Track(
    "audio",
    "opus",
    Fraction(1, 48_000),
    "matroska",
    b"set-up",
    sample_rate=48_000,
    n_channels=2,
    channel_layout="stereo",
    dispositions=("default", "visual_impaired"),
    tags={"language": "eng", "title": "Kommentar für alle"},
)
SUBTITLES = Track("subtitle", "mov_text", Fraction(1, 1000), "mp4", b"\0" * 7)
PACKETS = (
    TrackPacket(-312, 960, True, b"first"),
    TrackPacket(648, 960, False, b""),
    TrackPacket(1600, 0, True, bytes(300)),
    TrackPacket(2**40, 5, True, b"late"),
)


@pytest.mark.parametrize("track", [SOUND, SUBTITLES], ids=["sound", "subtitles"])
def test_a_track_round_trips(track):
    assert unpack_track(pack_track(7, track), 0) == (7, track)


@pytest.mark.parametrize("n", [1, 2, 4])
def test_packets_round_trip(n):
    group = PacketGroup(3, list(PACKETS[:n]))
    assert PacketGroup.from_bytes(group.to_bytes(), 0) == group


def test_packets_that_follow_each_other_cost_few_bytes():
    packets = [TrackPacket(1024 * i, 1024, True, bytes(200)) for i in range(47)]
    assert len(PacketGroup(0, packets).to_bytes()) <= 47 * (200 + 6) + 5


TAGS = {"title": "A film", "comment": "two\nlines\n\nand more", "creation_time": "2020-01-02T03:04:05.000000Z"}


def test_metadata_round_trip_line_by_line():
    assert unpack_metadata(pack_metadata(TAGS), 0) == TAGS
    assert unpack_metadata(pack_metadata({}), 0) == {}


def test_metadata_that_the_format_cannot_hold_are_left_out():
    tags = {"a\tb": "x", "k" * 65: "x", "long": "x" * 65_537, "tab": "a\tb\x85c\ud800", "empty": "", "ok": "ä"}
    assert unpack_metadata(pack_metadata(tags), 0) == {"tab": "a b\nc ", "ok": "ä"}
    many = {f"key {i}": "x" for i in range(LIMITS["n_entries"] + 1)}
    assert len(unpack_metadata(pack_metadata(many), 0)) == LIMITS["n_entries"]


def test_a_set_up_has_a_limit():
    most = LIMITS["track_setup_bytes"]
    large = dataclasses.replace(SOUND, setup=bytes(most))
    assert unpack_track(pack_track(0, large), 0) == (0, large)
    with pytest.raises(ValueError, match=rf"{most + 1} bytes, expected {most} at most"):
        pack_track(0, dataclasses.replace(SOUND, setup=bytes(most + 1)))


BAD_PAYLOADS = {
    "no set-up": (unpack_track, pack_track(0, SOUND)[: -len(SOUND.setup)], "the set-up has 0 bytes, expected 1 to"),
    "large set-up": (unpack_track, pack_track(0, SOUND) + bytes(2**20), "the set-up has 1048582 bytes"),
    "time base": (
        unpack_track,
        pack_track(0, dataclasses.replace(SOUND, time_base=Fraction(3, 5))).replace(b"\3\5", b"\5\5", 1),
        "time_base is 5/5, expected lowest terms",
    ),
    "time base beyond FFmpeg's": (
        unpack_track,
        pack_track(0, dataclasses.replace(SOUND, time_base=Fraction(1, 2**31 - 1))).replace(
            b"\xff\xff\xff\xff\7", b"\x80\x80\x80\x80\x08", 1
        ),
        "time_base_den is 2147483648, expected 1 to 2",
    ),
    "track number": (unpack_track, b"\x80\1" + pack_track(0, SOUND)[1:], "track is 128, expected 0 to 127"),
    "set-up format": (
        unpack_track,
        pack_track(0, SUBTITLES)[:-8] + b"\2" + bytes(7),
        "setup_format is 2, expected 0 to 1",
    ),
    "bytes too few": (PacketGroup.from_bytes, PacketGroup(0, PACKETS).to_bytes()[:-1], "have 309 bytes, 308 are left"),
    "bytes too many": (PacketGroup.from_bytes, PacketGroup(0, PACKETS).to_bytes() + b"x", "309 bytes, 310 are left"),
    "time": (
        PacketGroup.from_bytes,
        PacketGroup(0, [TrackPacket(2**62, 1, True, b"")]).to_bytes(),
        "packet 0 is played from 4611686018427387904 to 4611686018427387905, beyond 4611686018427387904",
    ),
    "bytes behind metadata": (unpack_metadata, pack_metadata(TAGS) + b"x", "1 bytes more than the fields need"),
}


@pytest.mark.parametrize(("unpack", "payload", "message"), BAD_PAYLOADS.values(), ids=BAD_PAYLOADS)
def test_bad_payloads_are_refused(unpack, payload, message):
    with pytest.raises(BitstreamError, match=message):
        unpack(payload, 0)


@given(
    st.sampled_from([unpack_track, PacketGroup.from_bytes, unpack_metadata]),
    st.sampled_from([pack_track(1, SOUND), PacketGroup(1, PACKETS).to_bytes(), pack_metadata(TAGS), b""]),
    st.data(),
)
def test_damaged_payloads_are_read_or_refused(unpack, payload, drawn):
    where = drawn.draw(st.integers(0, len(payload)))
    data = payload[:where] + drawn.draw(st.binary(max_size=12)) + payload[where + drawn.draw(st.integers(0, 3)) :]
    with contextlib.suppress(BitstreamError):
        read = unpack(data, 0)
        if isinstance(read, PacketGroup):
            assert read.to_bytes() == data


def second(number, index):
    """A packet of ten a second."""
    return number, TrackPacket(4800 * index, 4800, True, bytes([number, index]))


def test_packets_of_a_second_share_a_chunk():
    tracks = (SOUND, SOUND, dataclasses.replace(SUBTITLES, time_base=Fraction(1, 1000)))
    packets = [second(number, index) for index in range(25) for number in (0, 1)]
    packets.insert(7, (2, TrackPacket(320, 100, True, b"text")))
    groups = list(grouped(packets, tracks))
    sizes = [(group.number, len(group.packets)) for group in groups]
    # The subtitle does not wait for the next one.
    assert sizes == [(0, 10), (1, 10), (2, 1), (0, 10), (1, 10), (0, 5), (1, 5)]
    for number in range(3):
        assert [(number, packet) for group in groups if group.number == number for packet in group.packets] == [
            each for each in packets if each[0] == number
        ]


def test_large_packets_end_a_chunk():
    packets = [(0, TrackPacket(i, 1, True, bytes(600_000))) for i in range(3)]
    assert [len(group.packets) for group in grouped(packets, [SOUND])] == [1, 1, 1]


def packets_of(number, *pts):
    return ChunkType.TRACK_PACKETS, PacketGroup(
        number, [TrackPacket(each, 10, True, b"data") for each in pts]
    ).to_bytes()


TRACKS = [
    (ChunkType.METADATA, pack_metadata(TAGS)),
    (ChunkType.TRACK, pack_track(0, SOUND)),
    (ChunkType.TRACK, pack_track(4, SUBTITLES)),
]
GOOD = [*TRACKS, packets_of(0, 0, 10), packets_of(4, 5, 5), packets_of(0, 20)]


def opened(chunks, **options):
    return StgvReader(io.BytesIO(make_file(chunks=chunks)), **options)


def test_tracks_are_read_and_pictures_do_not_mind():
    reader = opened(GOOD)
    assert [reader.read_gop(i) for i in range(3)] == PAYLOADS
    tracks = TrackReader(reader)
    assert tracks.tracks == {0: SOUND, 4: SUBTITLES}
    assert tracks.tags == TAGS
    assert [(number, packet.pts) for number, packet in tracks.packets({0, 4})] == [
        (0, 0),
        (0, 10),
        (4, 5),
        (4, 5),
        (0, 20),
    ]
    assert [packet.pts for _, packet in tracks.packets({4})] == [5, 5]


def test_what_is_carried_is_no_part_of_the_video():
    plain, carried = opened([]), opened([*GOOD, (0x7001, b"private")])
    private = carried_chunk_bytes(0x7001, 7)
    # The number of chunks takes a byte in both indices.
    assert video_bytes(carried.chunks, carried.file_bytes) == plain.file_bytes + private
    assert video_bytes(plain.chunks, plain.file_bytes) == plain.file_bytes


BAD_FILES = {
    "second track": ([*TRACKS, TRACKS[1]], "a second track 0, expected one", 0),
    "second metadata": ([*TRACKS, TRACKS[0]], "a second METADATA chunk", 0),
    "malformed track": ([*TRACKS, (ChunkType.TRACK, b"\5")], r"track, at byte \d+: cut short", 0),
    "no such track": ([*TRACKS, packets_of(1, 0)], "packets of track 1, which the file does not have", 0),
    "sound repeats": ([*TRACKS, packets_of(0, 0, 10), packets_of(0, 10, 20)], "timestamp 10 after 10", 2),
    "sound goes back in a chunk": ([*TRACKS, packets_of(0, 5, 4)], "timestamp 4 after 5, expected them to rise", 0),
    "subtitles go back": ([*TRACKS, packets_of(4, 5), packets_of(4, 4)], "timestamp 4 after 5", 1),
}


@pytest.mark.parametrize(("chunks", "message", "n_left"), BAD_FILES.values(), ids=BAD_FILES)
def test_bad_tracks_are_refused_or_passed_over(chunks, message, n_left):
    with pytest.raises(BitstreamError, match=message):
        list(TrackReader(opened(chunks)).packets({0, 4}))
    tracks = TrackReader(opened(chunks, keep_going=True), keep_going=True)
    assert tracks.tracks == {0: SOUND, 4: SUBTITLES}
    assert tracks.tags == TAGS
    assert len(list(tracks.packets({0, 4}))) == n_left
    (note,) = tracks.damage
    assert re.search(message, note)
    assert "--keep-going" not in note


def test_a_damaged_chunk_of_packets_costs_only_itself():
    data = bytearray(make_file(chunks=GOOD))
    reader = StgvReader(io.BytesIO(bytes(data)))
    chunk = reader.chunks[4]
    assert chunk.type == ChunkType.TRACK_PACKETS
    data[chunk.payload_offset + 3] ^= 1
    with pytest.raises(BitstreamError, match=r"TRACK_PACKETS chunk, .*--keep-going"):
        list(TrackReader(StgvReader(io.BytesIO(bytes(data)))).packets({0}))
    damaged = StgvReader(io.BytesIO(bytes(data)), keep_going=True)
    assert len(damaged.damage) == 1
    assert [packet.pts for _, packet in TrackReader(damaged, keep_going=True).packets({0, 4})] == [5, 5, 20]
