"""Sound, subtitles and metadata from a source to a `.stgv` file and from there to a video."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import pytest
from fits import TINY
from track_clips import N_FRAMES, RATE, TAGS, demuxed, write_with_tracks

from stgvcodec import EncodeConfig, Selection, VideoDecoder, decode, encode
from stgvcodec.bitstream import ChunkType, StgvReader
from stgvcodec.decoder.gop_renderer import GopRenderer
from stgvcodec.decoder.stream_info import read_info
from stgvcodec.encoder.engines import gop_job
from stgvcodec.encoder.presets import PRESETS
from stgvcodec.encoder.reports import EncodeReport
from stgvcodec.errors import BitstreamError, ConfigError, InputVideoError
from stgvcodec.media.tracks import SourceTracks

SOURCES = {
    ".mp4": ([("aac", "eng"), ("libmp3lame", "deu")], [("mov_text", "fra")]),
    ".mkv": ([("libopus", "eng"), ("flac", "deu")], [("srt", "fra"), ("ass", "ita")]),
}


def config() -> EncodeConfig:
    return EncodeConfig(preset="tiny", n_gaussians=20, scene_cut=False)


@dataclass(frozen=True)
class Carried:
    """A source with tracks, and the file that was made of it."""

    source: Path
    path: Path
    report: EncodeReport


@pytest.fixture(scope="module", params=SOURCES)
def carried(request, tmp_path_factory) -> Carried:
    folder = tmp_path_factory.mktemp("carried")
    source = write_with_tracks(folder / f"source{request.param}", *SOURCES[request.param])
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "tiny", TINY)
        report = encode(source, folder / "a.stgv", config=config(), device="cpu")
    return Carried(source, folder / "a.stgv", report)


def written(carried, folder, **options):
    path = folder / f"out{carried.source.suffix}"
    return decode(carried.path, path, device="cpu", **options), demuxed(path)


def test_packets_come_out_as_they_went_in(carried, tmp_path):
    before = demuxed(carried.source)
    report, after = written(carried, tmp_path)
    assert after.frames == before.frames
    assert after.tracks == before.tracks
    assert {key: after.tags.get(key) for key in TAGS} == TAGS
    assert [track.n_packets for track in report.tracks] == [len(track.packets) for track in before.tracks]
    assert report.tracks == carried.report.tracks


def test_the_order_of_chunks_and_the_sizes(carried):
    with StgvReader(carried.path) as reader:
        kinds = [chunk.type for chunk in reader.chunks]
    n_tracks = len(carried.report.tracks)
    assert kinds[: n_tracks + 1] == [ChunkType.METADATA, *[ChunkType.TRACK] * n_tracks]
    assert kinds[n_tracks + 1] == ChunkType.GOP
    last_gop = max(i for i, kind in enumerate(kinds) if kind == ChunkType.GOP)
    # The first second of sound lies before the GoP that begins at 1.2 s.
    assert ChunkType.TRACK_PACKETS in kinds[:last_gop]
    info = read_info(carried.path)
    assert info.carried_bytes == carried.report.carried_bytes == info.streams["carried"]
    assert sum(info.streams.values()) == info.file_bytes == carried.report.file_bytes
    assert info.bpp == carried.report.bpp == 8 * (info.file_bytes - info.carried_bytes) / (48 * 32 * N_FRAMES)
    assert info.tracks == carried.report.tracks
    assert info.tags == TAGS
    assert (info.damage, carried.report.left_out) == ((), ())


@pytest.mark.parametrize("frames", [(0, 5), (6, 11), (9, N_FRAMES)], ids=["start", "middle", "end"])
def test_a_part_has_the_packets_that_play_with_it(carried, tmp_path, frames):
    before = demuxed(carried.source)
    _, after = written(carried, tmp_path, selection=Selection(frames=frames))
    check_part(before, after, *frames)


def test_a_range_of_time_has_the_packets_that_play_with_it(carried, tmp_path):
    before = demuxed(carried.source)
    _, after = written(carried, tmp_path, selection=Selection(time=(Fraction(6, RATE), Fraction(11, RATE))))
    check_part(before, after, 6, 11)


def test_frames_at_another_rate_stay_in_sync(carried, tmp_path):
    before = demuxed(carried.source)
    _, after = written(carried, tmp_path, selection=Selection(frames=(6, 11)), fps=2 * RATE)
    assert len(after.frames) == 10
    check_part(before, after, 6, 11)


def test_avi_has_sound_from_its_first_frame_on(tmp_path):
    """AVI has no time at which sound begins: a packet that straddles the first frame has no place."""
    source = write_with_tracks(tmp_path / "source.mkv", [("flac", "eng")], [])
    encode(source, tmp_path / "a.stgv", config=config(), device="cpu")
    decode(tmp_path / "a.stgv", tmp_path / "out.avi", selection=Selection(frames=(6, 11)), device="cpu")
    (before,), (after,) = demuxed(source).tracks, demuxed(tmp_path / "out.avi").tracks
    assert after.data == [data for begin, _, data in before.packets if 0.6 <= begin < 1.1]


def check_part(before, after, first, stop):
    """All packets of which a part is played from one frame to another, and no others, in sync with the frames."""
    start = Fraction(first, RATE) if first else None
    end = Fraction(stop, RATE) if stop < N_FRAMES else None
    shift = before.frames[first] - after.frames[0]
    for track, part in zip(before.tracks, after.tracks, strict=True):
        kept = [
            packet
            for packet in track.packets
            if (start is None or packet[0] + packet[1] > start) and (end is None or packet[0] < end)
        ]
        # MP4 fills the times without a subtitle with empty ones.
        wanted = [packet for packet in kept if packet[2] != b"\0\0"]
        found = [packet for packet in part.packets if packet[2] != b"\0\0"]
        assert [data for _, _, data in found] == [data for _, _, data in wanted]
        assert [begin + shift for begin, _, _ in found] == [begin for begin, _, _ in wanted]


@pytest.mark.parametrize(
    "selection",
    [Selection(frames=(3, 9)), Selection(time=(Fraction(3, RATE), Fraction(9, RATE)))],
    ids=["frames", "time"],
)
@pytest.mark.parametrize("suffix", SOURCES)
def test_a_part_that_is_encoded_has_the_packets_that_play_with_it(tmp_path, suffix, selection):
    source = write_with_tracks(tmp_path / f"source{suffix}", *SOURCES[suffix])
    wanted = EncodeConfig(preset="tiny", bpp_target=8.0)
    report = encode(source, tmp_path / "a.stgv", config=wanted, selection=selection, device="cpu")
    assert report.plan is not None
    assert report.plan.carried_bytes == report.carried_bytes
    decode(tmp_path / "a.stgv", tmp_path / f"out{suffix}", device="cpu")
    check_part(demuxed(source), demuxed(tmp_path / f"out{suffix}"), 3, 9)


def test_what_is_not_wanted_is_left_out(carried, tmp_path):
    report, after = written(carried, tmp_path, selection=Selection(audio=False))
    assert {track.kind for track in report.tracks} == {"subtitle"}
    assert len(after.tracks) == len(report.tracks)
    report, after = written(carried, tmp_path, selection=Selection().pictures_only)
    assert (report.tracks, after.tracks, after.tags.keys() & TAGS.keys()) == ((), [], set())


def test_an_encode_of_pictures_only_is_a_file_of_gops(carried, tmp_path):
    report = encode(
        carried.source, tmp_path / "a.stgv", config=config(), selection=Selection().pictures_only, device="cpu"
    )
    assert (report.carried_bytes, report.tracks) == (0, ())
    assert [gop.n_bytes for gop in report.gops] == [gop.n_bytes for gop in carried.report.gops]
    with StgvReader(tmp_path / "a.stgv") as reader:
        assert {chunk.type for chunk in reader.chunks} == {ChunkType.GOP}


def test_damage_of_tracks_is_known_before_the_first_fit(carried, tmp_path, monkeypatch):
    def unreadable(self):
        raise InputVideoError("sound is damaged")

    def fitted(*_):
        raise AssertionError("a GoP was fitted")

    monkeypatch.setattr(SourceTracks, "packets", unreadable)
    monkeypatch.setattr(gop_job, "encode_gop", fitted)
    for options in ({"n_gaussians": 20}, {"bpp_target": 8.0}):
        with pytest.raises(InputVideoError, match="sound is damaged"):
            encode(carried.source, tmp_path / "a.stgv", config=EncodeConfig(preset="tiny", **options), device="cpu")


def test_packets_are_read_no_further_than_the_frames(carried, tmp_path, monkeypatch):
    read = []
    packets = SourceTracks.packets

    def counted(self):
        for number, packet in packets(self):
            read.append(number)
            yield number, packet

    monkeypatch.setattr(SourceTracks, "packets", counted)
    encode(carried.source, tmp_path / "a.stgv", config=config(), selection=Selection(frames=(0, 2)), device="cpu")
    assert 0 < len(read) < sum(track.n_packets for track in carried.report.tracks)


@pytest.fixture
def no_rendering(monkeypatch):
    def rendered(*_, **__):
        raise AssertionError("a frame was rendered")

    monkeypatch.setattr(GopRenderer, "__init__", rendered)


@pytest.mark.usefixtures("no_rendering")
def test_an_output_that_cannot_hold_a_track_is_refused_before_anything_is_rendered(carried, tmp_path):
    name = {".mp4": "out.mkv", ".mkv": "out.mp4"}[carried.source.suffix]
    with pytest.raises(ConfigError, match=rf"{name}: .* cannot hold track 2, subtitles in .* --no-subtitles"):
        decode(carried.path, tmp_path / name, device="cpu")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["out", "out.y4m"])
def test_outputs_without_a_place_for_tracks_say_what_is_left_out(carried, tmp_path, name, caplog):
    with caplog.at_level(logging.WARNING):
        report = decode(carried.path, tmp_path / name, device="cpu", selection=Selection(frames=(0, 1)))
    assert report.tracks == ()
    assert f"{name}: has no place for sound or subtitles; left out: sound in" in caplog.text
    caplog.clear()
    wanted = Selection(frames=(0, 1)).pictures_only
    decode(carried.path, tmp_path / f"again-{name}", device="cpu", selection=wanted)
    assert caplog.text == ""


def test_a_damaged_track_is_left_out_if_asked(carried, tmp_path):
    with StgvReader(carried.path) as reader:
        chunk = next(each for each in reader.chunks if each.type == ChunkType.TRACK)
    data = bytearray(carried.path.read_bytes())
    data[chunk.payload_offset + 10] ^= 1
    path = tmp_path / "damaged.stgv"
    path.write_bytes(data)
    out = tmp_path / f"out{carried.source.suffix}"
    with pytest.raises(BitstreamError, match=r"TRACK chunk, .*--keep-going"):
        decode(path, out, device="cpu")
    assert not out.exists()
    report = decode(path, out, device="cpu", keep_going=True)
    assert len(demuxed(out).tracks) == len(carried.report.tracks) - 1 == len(report.tracks)
    assert any("payload of the TRACK chunk is damaged" in note for note in report.damage)
    assert any("packets of track 0, which the file does not have" in note for note in report.damage)
    with VideoDecoder(path, device="cpu", keep_going=True) as decoder:
        assert len(decoder.metadata.tracks) == len(carried.report.tracks) - 1
        assert len(decoder) == N_FRAMES


def test_a_decoder_gives_packets(carried):
    before = demuxed(carried.source)
    with VideoDecoder(carried.path, device="cpu") as decoder:
        tracks = decoder.tracks
        assert [packet.data for _, packet in tracks.packets({1})] == before.tracks[1].data
        assert tracks.tags["title"] == TAGS["title"]
