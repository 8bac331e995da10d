"""Sound and subtitles on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from track_clips import TAGS, demuxed, write_with_tracks

DRAFT = ("--preset", "draft", "--gaussians", "10", "--frames", "0:2")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    return write_with_tracks(folder / "in.mkv", [("aac", "eng"), ("flac", "deu")], [("srt", "fra")], n_frames=6)


def test_tracks_go_through_every_command(cli, source: Path, tmp_path: Path) -> None:
    stgv = tmp_path / "out.stgv"
    outcome = cli("encode", source, stgv, *DRAFT)
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    assert "  sound      aac, 48 000 Hz, stereo, eng, Title eng" in lines
    assert "  subtitles  subrip, fra, Title fra" in lines
    shown, described = cli("info", stgv), cli("info", stgv, "--json")
    assert "  sound: flac, 48 000 Hz, stereo, deu, Title deu" in shown.out
    assert "  comment        two / lines" in shown.out.splitlines()
    info = json.loads(described.out)
    assert [(track["kind"], track["codec"], track["tags"]["language"]) for track in info["tracks"]] == [
        ("audio", "aac", "eng"),
        ("audio", "flac", "deu"),
        ("subtitle", "subrip", "fra"),
    ]
    assert info["tags"] == TAGS
    outcome = cli("decode", stgv, tmp_path / "out.mkv", "--no-subtitles", "--no-metadata", "--json", "-")
    assert [track["codec"] for track in json.loads(outcome.out)["tracks"]] == ["aac", "flac"]
    found = demuxed(tmp_path / "out.mkv")
    assert [(track.codec, track.language) for track in found.tracks] == [("aac", "eng"), ("flac", "deu")]
    assert not found.tags.keys() & TAGS.keys()


def test_an_output_that_cannot_hold_a_track_is_one_line(cli, source: Path, tmp_path: Path) -> None:
    assert cli("encode", source, tmp_path / "out.stgv", *DRAFT, "--no-audio", "-q").code == 0
    said = "cannot hold track 0, subtitles in subrip .fra.; write .mkv, or leave it out with --no-subtitles"
    cli("decode", tmp_path / "out.stgv", tmp_path / "out.mp4").assert_refused(2, said)
