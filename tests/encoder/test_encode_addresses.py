"""Sources and destinations behind addresses of fsspec, of which its memory stands for all."""

from __future__ import annotations

import re
import socket
import sys
import tempfile
from pathlib import Path

import fsspec
import pytest
from clips import files_under, moving_clip
from track_clips import write_with_tracks

from stgvcodec import EncodeConfig, VideoDecoder, decode, encode
from stgvcodec.cli import main
from stgvcodec.errors import ConfigError, InputVideoError, MissingFileError, OutputError, StgvError
from stgvcodec.media import addresses

CONFIG = EncodeConfig(preset="draft", n_gaussians=9, gop=2)
QUICK = ("--preset", "draft", "--gaussians", "9", "--device", "cpu", "-q")


@pytest.fixture
def memory():
    """fsspec's memory, which ends empty."""
    files = fsspec.filesystem("memory")
    yield files
    files.rm("/", recursive=True)


@pytest.fixture
def scratch(monkeypatch, tmp_path) -> Path:
    """The folder for temporary files, which is empty in the end."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def video(tmp_path) -> Path:
    path = tmp_path / "in.mkv"
    write_with_tracks(path, [("flac", "eng")], [], frames=moving_clip(4, 32, 32))
    return path


def test_a_video_behind_an_address_becomes_the_file_of_the_video(memory, video, tmp_path, scratch):
    memory.pipe_file("/films/in.mkv", video.read_bytes())

    encode(video, tmp_path / "a.stgv", config=CONFIG, device="cpu")
    report = encode("memory://films/in.mkv", "memory://out/a.stgv", config=CONFIG, device="cpu")

    assert memory.cat_file("/out/a.stgv") == (tmp_path / "a.stgv").read_bytes()
    assert report.path == "memory://out/a.stgv"
    assert [track.codec for track in report.tracks] == ["flac"]
    with VideoDecoder(report.path, device="cpu") as decoder:
        assert len(decoder) == 4
    assert files_under(scratch) == []


def test_what_is_not_there_or_no_video_is_named(memory, tmp_path, scratch):
    memory.pipe_file("/text.mp4", b"no video")
    with pytest.raises(MissingFileError, match=r"^memory://none.mp4: does not exist, expected a video"):
        encode("memory://none.mp4", tmp_path / "a.stgv", config=CONFIG)
    with pytest.raises(InputVideoError, match=r"text\.mp4"):
        encode("memory://text.mp4", tmp_path / "a.stgv", config=CONFIG)
    with pytest.raises(ConfigError, match=r"^nonsense://a: is no path and no address that fsspec knows"):
        encode("nonsense://a", tmp_path / "a.stgv", config=CONFIG)
    assert files_under(scratch) == []


def test_a_server_that_does_not_answer_is_told_from_a_file_that_is_missing(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/a"
    said = rf"^{url}.*: the server cannot be reached \(.*Connect call failed.*\): check the address and the connection"
    with pytest.raises(InputVideoError, match=said) as error:
        encode(f"{url}.mp4", tmp_path / "a.stgv", config=CONFIG)
    assert not isinstance(error.value, MissingFileError)
    with pytest.raises(InputVideoError, match=said):
        VideoDecoder(f"{url}.stgv")


def test_an_address_that_cannot_be_fetched_is_named(monkeypatch, memory, tmp_path):
    memory.pipe_file("/in.mp4", b"data")

    def broken(*_):
        raise PermissionError("no key")

    monkeypatch.setattr(addresses.shutil, "copyfileobj", broken)
    with pytest.raises(InputVideoError, match=r"^memory://in.mp4: cannot be fetched \(PermissionError: no key\)"):
        encode("memory://in.mp4", tmp_path / "a.stgv", config=CONFIG)


def test_a_file_that_cannot_be_sent_is_kept(monkeypatch, memory, video, scratch):
    def broken(*_):
        raise PermissionError("no key")

    monkeypatch.setattr(addresses.shutil, "copyfileobj", broken)
    with pytest.raises(OutputError, match=r"^memory://a.stgv: cannot be written \(PermissionError: no key\)") as error:
        encode(video, "memory://a.stgv", config=CONFIG, device="cpu")

    kept = Path(str(error.value).rpartition("the complete file is ")[2])
    assert kept.is_relative_to(scratch)
    with VideoDecoder(kept, device="cpu") as decoder:
        assert len(decoder) == 4


def test_an_encode_that_fails_sends_nothing(memory, video, scratch):
    def stop(progress) -> None:
        if progress.phase == "gop 0: finished":
            raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        encode(video, "memory://a.stgv", config=CONFIG, device="cpu", progress=stop)
    assert memory.find("/") == []
    assert files_under(scratch) == []


@pytest.mark.parametrize("url", ["http://[::1]/a", "https://a.b/a", "simplecache::https://a.b/a"])
def test_an_address_that_can_only_be_read_is_refused_before_the_first_fit(video, tmp_path, url):
    fits = []
    said = rf"^{re.escape(url)}.*: can only be read; choose another output"
    with pytest.raises(OutputError, match=said):
        encode(video, f"{url}.stgv", config=CONFIG, device="cpu", progress=fits.append)
    encode(video, tmp_path / "a.stgv", config=CONFIG, device="cpu")
    with pytest.raises(OutputError, match=said):
        decode(tmp_path / "a.stgv", f"{url}.mp4", device="cpu", progress=fits.append)
    assert fits == []


def test_an_address_cannot_be_continued(memory, video):
    with pytest.raises(ConfigError, match=r"^memory://a.stgv: an address has no part file to continue"):
        encode(video, "memory://a.stgv", config=CONFIG, resume=True)


def test_without_fsspec_it_is_named(monkeypatch, video):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    monkeypatch.setitem(sys.modules, "fsspec.registry", None)
    assert not addresses.is_known("s3://bucket/in.mp4")
    with pytest.raises(StgvError, match=r"^s3://b/a.stgv: needs the package fsspec .*'stgvcodec\[remote\]'"):
        encode(video, "s3://b/a.stgv", config=CONFIG)


def test_schemes_are_known_by_fsspec_or_not():
    for url in ("s3://a/b", "hf://a/b", "memory://a", "simplecache::https://a/b"):
        assert addresses.is_known(url)
    assert not addresses.is_known("rtsp://a/b")


def test_the_command_line_takes_addresses(memory, video, tmp_path, capfd):
    memory.pipe_file("/films/in.mkv", video.read_bytes())

    assert main(["encode", "memory://films/in.mkv", "memory://out/a.stgv", *QUICK, "--json", "-"]) == 0
    assert '"path": "memory://out/a.stgv"' in capfd.readouterr().out
    assert main(["encode", "memory://films/in.mkv", str(video), "-o", str(tmp_path / "out"), *QUICK]) == 2
    assert "would both be encoded to" in capfd.readouterr().err
    assert main(["encode", "memory://films/in.mkv", "-o", str(tmp_path / "out"), *QUICK]) == 0

    assert (tmp_path / "out" / "in.stgv").read_bytes() == memory.cat_file("/out/a.stgv")
    assert main(["encode", str(video), "-o", "memory://out", *QUICK]) == 2
    assert "is an address, expected a folder of this machine" in capfd.readouterr().err


@pytest.mark.parametrize("scheme", ["file", "local"])
def test_addresses_of_this_machine_are_absolute(video, tmp_path, scheme):
    def url(path: Path) -> str:
        return f"{scheme}://{path}"

    assert main(["encode", url(video), url(tmp_path / "a.stgv"), *QUICK]) == 0
    assert main(["encode", url(video), "-o", str(tmp_path / "out"), *QUICK]) == 0
    assert (tmp_path / "out" / "in.stgv").read_bytes() == (tmp_path / "a.stgv").read_bytes()
    assert main(["decode", url(tmp_path / "a.stgv"), url(tmp_path / "b.mp4"), "--device", "cpu", "-q"]) == 0
    assert (tmp_path / "b.mp4").stat().st_size > 0
