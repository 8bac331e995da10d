from __future__ import annotations

import dataclasses
import io
import logging
import math
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from track_clips import RATE, SAMPLE_RATE, TAGS, write_with_tracks

from stgvcodec.bitstream import LIMITS
from stgvcodec.errors import ConfigError, InputVideoError, OutputError
from stgvcodec.media.output_formats import CONTAINERS
from stgvcodec.media.tracks import (
    MOST_NAME,
    MOST_PTS,
    MOST_SETUP_BYTES,
    MOST_STEP,
    MOST_TRACKS,
    SourceTracks,
    TrackMuxer,
    holds_tracks,
    refuse_unheld,
    track_name,
)
from stgvcodec.tracks import KINDS, Track, TrackPacket, plays_within

MUXERS = {suffix: container.muxer for suffix, container in CONTAINERS.items()}


@pytest.fixture(scope="session")
def mp4(tmp_path_factory):
    sound = [("aac", "eng"), ("libmp3lame", "deu")]
    return write_with_tracks(tmp_path_factory.mktemp("tracks") / "a.mp4", sound, [("mov_text", "fra")])


@pytest.fixture(scope="session")
def mkv(tmp_path_factory):
    sound = [("libopus", "eng"), ("flac", "jpn"), ("pcm_s16le", "deu")]
    return write_with_tracks(tmp_path_factory.mktemp("tracks") / "a.mkv", sound, [("srt", "fra"), ("ass", "ita")])


def tracks_of(path, kinds=KINDS, **options):
    return SourceTracks(path, kinds=kinds, metadata=True, **options)


def by_number(source):
    return dict(enumerate(source.tracks))


def test_limits_are_those_of_the_format():
    names = ("n_tracks", "track_setup_bytes", "pts", "pts_step", "tool_bytes")
    assert tuple(LIMITS[name] for name in names) == (MOST_TRACKS, MOST_SETUP_BYTES, MOST_PTS, MOST_STEP, MOST_NAME)


def check(destination, muxer, source):
    """`refuse_unheld` as `decode` calls it."""
    firsts = dict(reversed(list(source.packets())))
    refuse_unheld(destination, muxer, by_number(source), firsts, MUXERS)


def test_tracks_are_described(mp4, mkv):
    first = tracks_of(mp4)
    assert [(track.kind, track.codec, track.setup_format) for track in first.tracks] == [
        ("audio", "aac", "matroska"),
        ("audio", "mp3", "matroska"),
        ("subtitle", "mov_text", "mp4"),
    ]
    assert first.tracks[0].tags == {"language": "eng", "title": "Title eng"}
    assert (first.tracks[0].sample_rate, first.tracks[0].n_channels) == (SAMPLE_RATE, 2)
    assert (first.tracks[0].time_base, first.tracks[2].sample_rate) == (Fraction(1, SAMPLE_RATE), 0)
    assert [track.dispositions for track in first.tracks] == [("default",), (), ("default",)]
    assert first.tags == TAGS
    assert [track.codec for track in tracks_of(mkv).tracks] == ["opus", "flac", "pcm_s16le", "subrip", "ass"]
    assert track_name(first.tracks[2]) == "subtitles in mov_text (fra)"


def test_the_description_of_a_track_is_the_same_each_time(mkv):
    assert tracks_of(mkv).tracks == tracks_of(mkv).tracks


def test_kinds_and_metadata_may_be_left_out(mp4):
    assert [track.kind for track in tracks_of(mp4, ("subtitle",)).tracks] == ["subtitle"]
    assert {number for number, _ in tracks_of(mp4, ("subtitle",)).packets()} == {0}
    without = SourceTracks(mp4, kinds=(), metadata=False)
    assert (without.tracks, without.tags, list(without.packets())) == ((), {}, [])


def test_packets_are_those_of_the_demuxer(mp4):
    source = tracks_of(mp4)
    packets = list(source.packets())
    with av.open(str(mp4)) as container:
        expected = [
            (packet.stream.index - 1, TrackPacket(packet.pts, packet.duration, packet.is_keyframe, bytes(packet)))
            for packet in container.demux([stream for stream in container.streams if stream.type != "video"])
            if packet.size
        ]
    assert packets == expected
    assert min(packet.pts for _, packet in packets) < 0  # what AAC begins with


def test_sound_of_a_transport_stream_becomes_that_of_an_mp4(tmp_path):
    """AAC in a transport stream has its headers in the packets; MP4 has them in the track."""
    source = tracks_of(write_with_tracks(tmp_path / "a.ts", [("aac", "eng")], []))
    check("a.mp4", "mp4", source)
    with av.open(str(tmp_path / "b.mp4"), "w") as container:
        muxer = TrackMuxer(by_number(source), source.packets(), {})
        muxer.attach(container)
        muxer.finish()
    with av.open(str(tmp_path / "b.mp4")) as container:
        n_samples = sum(frame.samples for frame in container.decode(audio=0))
    assert n_samples >= 1.6 * SAMPLE_RATE


HELD = {
    ".mkv": {"opus", "flac", "pcm_s16le", "subrip", "ass", "aac", "mp3"},
    ".mp4": {"opus", "flac", "pcm_s16le", "aac", "mp3", "mov_text"},
    ".mov": {"pcm_s16le", "aac", "mp3", "mov_text"},
    ".webm": {"opus"},
    ".avi": {"flac", "pcm_s16le", "aac", "mp3"},
}


@pytest.mark.parametrize("suffix", HELD)
def test_what_a_container_holds(mp4, mkv, suffix):
    held = set()
    for track in (*tracks_of(mp4).tracks, *tracks_of(mkv).tracks):
        try:
            refuse_unheld("out", MUXERS[suffix], {0: track}, {}, {})
        except ConfigError:
            continue
        held.add(track.codec)
    assert held == HELD[suffix]


def test_an_output_that_cannot_hold_a_track_is_refused_with_advice(mp4, mkv):
    message = r"^b.mp4: .* cannot hold track 3, .*\), track 4, .*; write .mkv, or leave them out with --no-subtitles$"
    with pytest.raises(ConfigError, match=message):
        check("b.mp4", "mp4", tracks_of(mkv))
    with pytest.raises(ConfigError, match=r"track 2, subtitles in mov_text \(fra\); write .mp4 or .mov, or leave it"):
        check("b.mkv", "matroska", tracks_of(mp4))
    both = dict(enumerate([*tracks_of(mkv).tracks, *tracks_of(mp4).tracks]))
    of_both_kinds = r"track 0, sound in opus \(eng\), .* \(ita\); leave them out with --no-audio --no-subtitles$"
    with pytest.raises(ConfigError, match=of_both_kinds):
        refuse_unheld("b.mov", "mov", both, {}, MUXERS)


def test_what_a_container_refuses_at_its_end_is_refused_before(mkv):
    """MP4 describes a track behind its packets, and then wants to know which channels PCM has."""
    source = tracks_of(mkv)
    pcm = dataclasses.replace(source.tracks[2], channel_layout="")
    first = next(packet for number, packet in source.packets() if number == 2)
    with pytest.raises(ConfigError, match=r"cannot hold track 0, sound in pcm_s16le \(deu\); write .mov or .mkv"):
        refuse_unheld("b.mp4", "mp4", {0: pcm}, {0: first}, MUXERS)
    refuse_unheld("b.mkv", "matroska", {0: pcm}, {0: first}, MUXERS)


def test_packets_that_are_shorter_than_the_unit_of_time_are_all_kept():
    """TrueHD has 1200 packets a second, of which Matroska gives some the same millisecond."""
    path = Path(__file__).parent / "cases" / "truehd.mkv"
    with av.open(str(path)) as container:
        expected = [(packet.pts, bytes(packet)) for packet in container.demux(audio=0) if packet.size]
    assert len({pts for pts, _ in expected}) < len(expected)

    source = tracks_of(path)
    (track,) = source.tracks
    kept = [packet for _, packet in source.packets()]

    assert [(math.floor(packet.pts * track.time_base * 1000), packet.data) for packet in kept] == expected
    assert all(earlier.pts < later.pts for earlier, later in pairwise(kept))


@pytest.mark.parametrize(("codec", "suffix"), [("pcm_s24le", ".mkv"), ("pcm_mulaw", ".mov"), ("alac", ".mkv")])
@pytest.mark.parametrize("destination", [".mp4", ".mov", ".mkv"])
def test_sound_that_says_little_of_itself_is_played_to_the_end(tmp_path, codec, suffix, destination):
    """Matroska names no layout of channels, nor the duration of a packet of ALAC; QuickTime alone knows mu-law."""
    path = write_with_tracks(tmp_path / f"source{suffix}", [(codec, "eng")], [])
    source, out = tracks_of(path), tmp_path / f"out{destination}"
    assert source.tracks[0].channel_layout == "stereo"
    try:
        check(out, MUXERS[destination], source)
    except ConfigError:
        assert (codec, destination) in {("pcm_mulaw", ".mp4"), ("pcm_mulaw", ".mkv")}
        return
    with av.open(str(out), "w") as container:
        muxer = TrackMuxer(by_number(source), source.packets(), {})
        muxer.attach(container)
        muxer.finish()
    samples = []
    for name in (path, out):
        with av.open(str(name)) as container:
            samples.append(np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1))
    assert np.array_equal(*samples)


def test_a_set_up_that_is_another_one_is_refused(mp4):
    sound, _, text = tracks_of(mp4).tracks
    swapped = Track("audio", "aac", sound.time_base, text.setup_format, text.setup)
    noise = Track("audio", "aac", sound.time_base, "matroska", np.random.default_rng(0).bytes(300))
    for track in (swapped, noise):
        with pytest.raises(ConfigError, match="cannot hold track 0"):
            refuse_unheld("b.mp4", "mp4", {0: track}, {}, MUXERS)


def test_which_outputs_have_a_place_for_tracks():
    assert {suffix for suffix, muxer in MUXERS.items() if not holds_tracks(muxer)} == {".gif"}


def test_what_cannot_be_carried_is_named(tmp_path):
    path = write_with_tracks(tmp_path / "a.mkv", [("flac", "eng")], [])
    with av.open(str(path)) as source, av.open(str(tmp_path / "b.mkv"), "w") as container:
        streams = {each.index: container.add_stream_from_template(each) for each in source.streams}
        container.add_attachment("font.ttf", "font/ttf", b"a font")
        for packet in source.demux():
            if packet.size:
                packet.stream = streams[packet.stream.index]
                container.mux(packet)
    carried = tracks_of(tmp_path / "b.mkv")
    assert [track.codec for track in carried.tracks] == ["flac"]
    assert carried.left_out == ("stream 2, attachment: only sound and subtitles are kept",)


def test_a_source_that_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(InputVideoError, match=r"sound and subtitles cannot be read: got '.*--no-audio"):
        tracks_of(tmp_path / "a.mp4")


@pytest.fixture
def broken(tmp_path, monkeypatch):
    """A source of sound whose demuxer fails behind ten packets."""
    path = write_with_tracks(tmp_path / "a.mkv", [("flac", "eng")], [])
    demuxed = SourceTracks._demuxed

    class Failing:
        def __init__(self, container):
            self.streams, self._container = container.streams, container

        def demux(self, streams):
            yield from islice(self._container.demux(streams), 10)
            raise av.InvalidDataError(1, "Invalid data", str(path))

    monkeypatch.setattr(SourceTracks, "_demuxed", lambda self, container: demuxed(self, Failing(container)))
    return path


def test_damage_is_refused_or_ends_the_tracks(broken, caplog):
    with pytest.raises(
        InputVideoError, match=r"sound and subtitles cannot be read: got 'Invalid data'; .*--keep-going"
    ):
        list(tracks_of(broken).packets())
    source = tracks_of(broken, keep_going=True)
    with caplog.at_level(logging.WARNING):
        assert [len(list(source.packets())) for _ in range(2)] == [10, 10]
    assert caplog.text.count("sound and subtitles end early: got 'Invalid data'") == 1


def test_timestamps_that_do_not_rise_are_left_out(tmp_path, monkeypatch, caplog):
    path = write_with_tracks(tmp_path / "a.mkv", [("flac", "eng")], [])
    source = tracks_of(path)
    whole = list(source.packets())
    demuxed = SourceTracks._demuxed

    def twice(self, container):
        for packet in demuxed(self, container):
            yield packet
            yield packet

    monkeypatch.setattr(SourceTracks, "_demuxed", twice)
    with caplog.at_level(logging.WARNING):
        assert list(source.packets()) == whole
    assert f"{len(whole)} packets of sound or subtitles have no timestamp that rises" in caplog.text


@pytest.mark.parametrize(
    ("packet", "start", "end", "plays"),
    [
        ((0, 10), None, None, True),
        ((0, 10), 10, None, False),
        ((0, 10), 9, None, True),
        ((10, 0), 10, None, True),
        ((9, 0), 10, None, False),
        ((20, 5), None, 20, False),
        ((19, 5), None, 20, True),
        ((0, 100), 30, 40, True),
    ],
)
def test_which_packets_play_in_a_span(packet, start, end, plays):
    seconds = [None if time is None else Fraction(time, RATE) for time in (start, end)]
    assert plays_within(TrackPacket(*packet, True, b""), Fraction(1, RATE), *seconds) is plays


def test_the_timescale_of_a_movie_makes_every_start_exact(mp4):
    muxer = TrackMuxer(by_number(tracks_of(mp4)), (), {})
    assert muxer.timescale(90_000) == 18_000_000
    assert muxer.timescale(2**30 + 1) == 2**30 + 1
    assert TrackMuxer({}, (), {}).timescale(12_800) == 12_800


def test_a_time_that_no_file_has_is_refused(mp4, tmp_path):
    track = tracks_of(mp4).tracks[0]
    with av.open(str(tmp_path / "b.mp4"), "w") as container:
        muxer = TrackMuxer({0: track}, [(0, TrackPacket(2**62 - 1, 0, True, b"data"))], {})
        muxer.attach(container)
        with pytest.raises(OutputError, match=r"track 0: a packet is played at \d+, beyond what files can say"):
            muxer.finish(shift=Fraction(1))


def test_metadata_alone_are_written(tmp_path, mp4):
    with av.open(str(mp4)) as source, av.open(str(tmp_path / "b.mp4"), "w") as container:
        video = container.add_stream_from_template(source.streams.video[0])
        TrackMuxer({}, (), {"title": "Alone"}).attach(container)
        packet = next(source.demux(video=0))
        packet.stream = video
        container.mux(packet)
    with av.open(io.BytesIO((tmp_path / "b.mp4").read_bytes())) as container:
        assert container.metadata["title"] == "Alone"
