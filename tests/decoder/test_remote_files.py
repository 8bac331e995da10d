"""Files behind addresses: what is fetched of them, what copies of a decoder do, and what is said where it fails."""

from __future__ import annotations

import copy
import functools
import os
import pickle
import re
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pytest
import torch
from clips import read_frames
from gops import random_gop, write_gops

import stgvcodec
from stgvcodec import VideoDecoder
from stgvcodec.bitstream import pack_gop
from stgvcodec.cli import main
from stgvcodec.errors import BitstreamError, ConfigError, InputVideoError, MissingFileError, OutputError, StgvError

N_GOPS = 120


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    """A file of many GoPs of two frames, of which any one is a small part."""
    gops = [pack_gop(random_gop(seed, n_frames=2)) for seed in range(4)] * (N_GOPS // 4)
    return write_gops(tmp_path_factory.mktemp("remote") / "many.stgv", gops)


@pytest.fixture(scope="module")
def frames(path) -> torch.Tensor:
    with VideoDecoder(path, device="cpu") as decoder:
        return decoder[:8]


class RangeServer(ThreadingHTTPServer):
    """Serves the files of a folder by ranges, and counts what it sends."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _RangeHandler)
        self.folder = folder
        self.n_bytes = self.n_requests = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _RangeHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: RangeServer

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        file = self.server.folder / self.path.lstrip("/")
        if not file.is_file():
            self.send_error(404)
            return
        data = file.read_bytes()
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        first, last = (int(asked[1]), int(asked[2] or len(data) - 1)) if asked else (0, len(data) - 1)
        part = data[first : last + 1]
        self.send_response(206 if asked else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(part)))
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{first + len(part) - 1}/{len(data)}")
        self.end_headers()
        if with_body:
            self.server.n_requests += 1
            self.server.n_bytes += len(part)
            self.wfile.write(part)

    def log_message(self, *_: object) -> None:
        pass


def _served(server: ThreadingHTTPServer):
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def server(path):
    yield from _served(RangeServer(path.parent))


@pytest.fixture
def server_without_ranges(path):
    handler = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(path.parent)))
    server.handle_error = lambda *_: None  # The client goes away when it gets the whole file.
    yield from _served(server)


@pytest.fixture
def in_memory(path):
    """The address of the file in fsspec's memory."""
    files = fsspec.filesystem("memory")
    files.pipe_file("/many.stgv", path.read_bytes())
    yield "memory://many.stgv"
    files.rm("/many.stgv")


def test_only_what_is_needed_is_fetched(server, path, frames):
    with VideoDecoder(f"{server.url}/many.stgv", device="cpu") as decoder:
        opened, file_bytes = server.n_bytes, path.stat().st_size
        assert len(decoder) == 2 * N_GOPS
        assert file_bytes > 140_000
        # It is the header with what is read ahead, the size of the index, and the index.
        assert opened < 18_000
        assert server.n_requests == 3

        n_requests = server.n_requests
        assert torch.equal(decoder[7], frames[7])
        assert torch.equal(decoder[6], frames[6])
        assert server.n_bytes - opened < 17_000
        assert server.n_requests - n_requests == 1


@pytest.mark.parametrize("kind", ["address", "chain", "open file"])
def test_a_decoder_of_a_file_system_and_its_copies(in_memory, frames, kind, tmp_path):
    source = {
        "address": in_memory,
        "chain": f"simplecache::{in_memory}",
        "open file": fsspec.open(in_memory),
    }[kind]
    with VideoDecoder(source, device="cpu") as decoder:
        assert torch.equal(decoder[3], frames[3])
        assert decoder.metadata.n_frames == 2 * N_GOPS
        for again in (pickle.loads(pickle.dumps(decoder)), copy.deepcopy(decoder)):
            assert torch.equal(again[5], frames[5])
            again.close()
        assert torch.equal(decoder[4], frames[4])


def test_info_and_decode_of_an_address(in_memory, server, tmp_path):
    assert stgvcodec.read_info(in_memory).n_frames == 2 * N_GOPS
    report = stgvcodec.decode(f"{server.url}/many.stgv", tmp_path / "out", selection=stgvcodec.Selection((2, 4)))
    assert report.n_frames == len(list((tmp_path / "out").glob("*.png"))) == 2


def test_a_video_is_sent_to_an_address_when_it_is_complete(in_memory, tmp_path, capfd):
    files = fsspec.filesystem("memory")
    some = stgvcodec.Selection((2, 5))
    report = stgvcodec.decode(in_memory, tmp_path / "a.y4m", selection=some)
    assert stgvcodec.decode(in_memory, "memory://out/a.y4m", selection=some).path == "memory://out/a.y4m"
    assert files.cat_file("/out/a.y4m") == report.path.read_bytes()
    assert main(["decode", in_memory, "memory://out/b.mp4", "--frames", "0:4", "--device", "cpu", "--json", "-"]) == 0
    assert '"path": "memory://out/b.mp4"' in capfd.readouterr().out
    files.get_file("/out/b.mp4", str(tmp_path / "b.mp4"))
    assert len(read_frames(tmp_path / "b.mp4")) == 4


def test_nothing_is_sent_of_a_decode_that_fails(in_memory, monkeypatch, tmp_path):
    files = fsspec.filesystem("memory")

    def stop(progress) -> None:
        raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        stgvcodec.decode(in_memory, "memory://out/c.y4m", progress=stop)
    for name in ("folder", "frame_%04d.png", "c.stgv"):
        with pytest.raises(ConfigError, match=rf"^memory://out/{name}: is an address, which takes a video file, .mp4"):
            stgvcodec.decode(in_memory, f"memory://out/{name}")
    assert not files.exists("/out/c.y4m")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(OutputError, match=r"^file:///proc/nowhere/c.y4m: cannot be written \(FileNotFoundError: "):
        stgvcodec.decode(in_memory, "file:///proc/nowhere/c.y4m")
    (tmp_path / "folder.y4m").mkdir()
    with pytest.raises(OutputError, match=r"folder.y4m: cannot be written \(IsADirectoryError.*the complete file is "):
        stgvcodec.decode(in_memory, f"file://{tmp_path}/folder.y4m", selection=stgvcodec.Selection((0, 2)))
    (kept,) = tmp_path.glob("stgvcodec-*/folder.y4m")
    assert len(read_frames(kept)) == 2


def test_a_file_that_fsspec_opened_is_a_file(in_memory, frames):
    with fsspec.open(in_memory) as file, VideoDecoder(file, device="cpu") as decoder:
        assert torch.equal(decoder[3], frames[3])


def test_what_is_not_there_is_missing(server):
    for url in ("memory://none.stgv", f"{server.url}/none.stgv"):
        with pytest.raises(
            MissingFileError, match=rf"^{url}: does not exist, expected a .stgv file: check the address"
        ):
            VideoDecoder(url)


def test_a_server_without_ranges_is_named(server_without_ranges):
    url = f"http://127.0.0.1:{server_without_ranges.server_address[1]}/many.stgv"
    with pytest.raises(InputVideoError, match=rf"^{url}: cannot be read by ranges \(.*fetch the whole file first"):
        VideoDecoder(url)


def test_a_server_that_goes_away_is_named(server):
    with VideoDecoder(f"{server.url}/many.stgv", device="cpu") as decoder:
        server.folder = server.folder / "elsewhere"
        with pytest.raises(InputVideoError, match=r"many.stgv: (cannot be read by ranges|does not exist)"):
            decoder[2 * N_GOPS // 2]


def test_errors_in_the_file_name_the_address():
    fsspec.filesystem("memory").pipe_file("/text.stgv", b"plain text")
    with pytest.raises(BitstreamError, match=r"^memory://text.stgv: file, at byte 0: not a .stgv file"):
        VideoDecoder("memory://text.stgv")


def test_addresses_that_mean_nothing_are_refused(in_memory):
    with pytest.raises(
        ConfigError, match=r"^nonsense://a: is no path and no address that fsspec knows .*check the sch"
    ):
        VideoDecoder("nonsense://a")
    with pytest.raises(ConfigError, match=r"many.stgv: is to be decompressed by gzip.* leave the compression out"):
        VideoDecoder(fsspec.open(in_memory, compression="gzip"))


def test_without_fsspec_it_is_named(hide_package):
    hide_package("fsspec")
    with pytest.raises(StgvError, match=r"^https://a/b: needs the package fsspec .*'stgvcodec\[remote\]'$"):
        VideoDecoder("https://a/b")


@pytest.mark.parametrize(
    ("url", "told", "remedy"),
    [
        ("s3://a/b", "Install s3fs to access S3", "it with: pip install s3fs"),
        ("gs://a/b", "Please install gcsfs to access Google Storage", "it with: pip install gcsfs"),
        ("sftp://a/b", 'SFTPFileSystem requires "paramiko" to be installed', "that"),
        ("dask://a/b", "Install dask distributed to access worker file system", "that"),
        (
            "http://a/b",
            'HTTPFileSystem requires "requests" and "aiohttp" to be installed',
            "it with: pip install 'stgvcodec[remote]'",
        ),
    ],
)
def test_what_fsspec_lacks_is_named(monkeypatch, url, told, remedy):
    def lacking(*_: object) -> None:
        raise ImportError(told)

    monkeypatch.setattr(fsspec, "open", lacking)
    said = f"{url}: fsspec needs one more package for it ({told}); install {remedy}"
    with pytest.raises(StgvError, match=f"^{re.escape(said)}$"):
        VideoDecoder(url)


WORKERS = """
import sys
import torch
from stgvcodec import VideoDecoder

if __name__ == "__main__":
    decoder = VideoDecoder(sys.argv[1], device="cpu")
    expected = decoder[:8]  # The parent has used its connection before its workers get theirs.
    for kind in ("fork", "spawn"):
        loader = torch.utils.data.DataLoader(
            decoder, batch_size=4, num_workers=2, multiprocessing_context=kind, timeout=60, sampler=range(8)
        )
        assert torch.equal(torch.cat(list(loader)), expected), kind
    print("equal")
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_workers_have_connections_of_their_own(server, tmp_path):
    script = tmp_path / "workers.py"
    script.write_text(WORKERS)
    command = [sys.executable, str(script), f"{server.url}/many.stgv"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert result.stdout == "equal\n", result.stderr
