"""The server of the player's page: what it gives, in which ranges and with which types, and what it refuses."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stgvcodec.bitstream.container.chunks import MAGIC
from stgvcodec.cli.page_server import PageServer, asked_range, page_folder
from stgvcodec.errors import ConfigError

CONTENT = bytes(range(256)) * 8
# What the command takes for a .stgv file.
STGV = MAGIC + b"bytes"
NAME = "two words & ünï.stgv"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PageServer]:
    """Serves two files on a free port of 127.0.0.1."""
    (tmp_path / NAME).write_bytes(CONTENT)
    (tmp_path / "other.stgv").write_bytes(b"other")
    (tmp_path / "private.txt").write_text("private")
    with PageServer([tmp_path / NAME, tmp_path / "other.stgv"], "127.0.0.1", 0) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


class Answer:
    """What came back for a request."""

    def __init__(self, server: PageServer, path: str, method: str = "GET", **headers: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, headers=names)
        response = connection.getresponse()
        self.status, self.headers, self.body = response.status, response.headers, response.read()
        connection.close()


def file_address(server: PageServer, number: int = 0) -> str:
    return "/" + json.loads(Answer(server, "/files.json").body)["files"][number]["src"]


def test_the_page_and_its_modules_are_served_with_their_types(server: PageServer) -> None:
    assert Answer(server, "/").body == (page_folder() / "index.html").read_bytes()
    assert Answer(server, "/?src=files/0/x.stgv").headers["Content-Type"] == "text/html; charset=utf-8"
    module = Answer(server, "/decoder/index.js")
    assert module.headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert module.body == (page_folder() / "decoder" / "index.js").read_bytes()
    assert module.headers["X-Content-Type-Options"] == "nosniff"
    assert "script-src 'self'" in module.headers["Content-Security-Policy"]


def test_the_files_are_listed_and_served_by_their_names(server: PageServer) -> None:
    listed = json.loads(Answer(server, "/files.json").body)["files"]
    assert [(entry["name"], entry["bytes"]) for entry in listed] == [(NAME, len(CONTENT)), ("other.stgv", 5)]
    whole = Answer(server, file_address(server))
    assert (whole.status, whole.body, whole.headers["Accept-Ranges"]) == (200, CONTENT, "bytes")
    assert whole.headers["Content-Type"] == "application/octet-stream"
    assert Answer(server, file_address(server, 1)).body == b"other"


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("bytes=0-99", CONTENT[:100]),
        ("bytes=100-", CONTENT[100:]),
        ("bytes=-8", CONTENT[-8:]),
        ("bytes=2047-9999", CONTENT[2047:]),
        ("bytes=-9999", CONTENT),
    ],
)
def test_a_range_of_bytes_is_sent_alone(server: PageServer, asked: str, expected: bytes) -> None:
    part = Answer(server, file_address(server), Range=asked)
    assert (part.status, part.body) == (206, expected)
    start = len(CONTENT) - len(expected) if asked != "bytes=0-99" else 0
    assert part.headers["Content-Range"] == f"bytes {start}-{start + len(expected) - 1}/{len(CONTENT)}"


@pytest.mark.parametrize("asked", ["bytes=2048-", "bytes=9999-99999", "bytes=-0"])
def test_a_range_behind_the_file_is_refused_with_its_size(server: PageServer, asked: str) -> None:
    refused = Answer(server, file_address(server), Range=asked)
    assert (refused.status, refused.body) == (416, b"")
    assert refused.headers["Content-Range"] == f"bytes */{len(CONTENT)}"


@pytest.mark.parametrize("asked", ["bytes=5-2", "bytes=0-1,4-5", "lines=0-1", "bytes=-", "bytes=a-b"])
def test_ranges_that_are_not_one_of_bytes_are_answered_with_the_whole_file(server: PageServer, asked: str) -> None:
    whole = Answer(server, file_address(server), Range=asked)
    assert (whole.status, whole.body) == (200, CONTENT)


def test_ranges_of_an_empty_file() -> None:
    assert asked_range("bytes=0-", 0) == (0, 0)
    assert asked_range("bytes=-5", 0) == (0, 0)
    assert asked_range(None, 0) is None


def test_head_has_the_headers_and_no_body(server: PageServer) -> None:
    head = Answer(server, file_address(server), "HEAD", Range="bytes=0-9")
    assert (head.status, head.headers["Content-Length"], head.body) == (206, "10", b"")
    assert Answer(server, "/files.json", "HEAD").body == b""


def test_a_file_that_changes_is_known_by_its_tag(server: PageServer) -> None:
    address = file_address(server)
    tag = Answer(server, address).headers["ETag"]
    assert Answer(server, address, If_None_Match=tag).status == 304
    assert Answer(server, address, Range="bytes=0-9", If_Range=tag).status == 206
    path = server.files[address]
    path.write_bytes(b"new")
    os.utime(path, ns=(1, 1))
    assert Answer(server, address, If_None_Match=tag).body == b"new"
    assert Answer(server, address, Range="bytes=0-0", If_Range=tag).body == b"new"
    path.unlink()
    assert Answer(server, address).status == 404


@pytest.mark.parametrize(
    "path",
    [
        *("/files", "/files/", "/files/0/", "/files/0/private.txt", "/files/2/other.stgv", "/decoder/", "/README.md"),
        *("/../pyproject.toml", "/files/0/../private.txt", "/files/0/%2e%2e/%2e%2e/private.txt", "/package.json"),
        "/decoder/index.js/",
    ],
)
def test_nothing_else_is_served(server: PageServer, path: str) -> None:
    refused = Answer(server, path)
    assert refused.status == 404
    assert b"private" not in refused.body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_nothing_can_be_sent(server: PageServer, method: str) -> None:
    assert Answer(server, "/", method).status == 501


def test_a_page_of_another_site_cannot_read_by_a_name_of_its_own(server: PageServer) -> None:
    for host in ("evil.example", f"evil.example:{server.server_port}", "127.0.0.1:1", ""):
        refused = Answer(server, file_address(server), Host=host)
        assert (refused.status, CONTENT in refused.body) == (421, False), host
    for host in ("127.0.0.1", "localhost", "LOCALHOST"):
        assert Answer(server, "/", Host=f"{host}:{server.server_port}").status == 200, host
    assert Answer(server, "/").headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_a_request_that_breaks_off_harms_no_other(server: PageServer) -> None:
    for started in (b"GET / HT", b"\x00\x01\r\n\r\n", b"GET / HTTP/1.1\r\n"):
        with socket.create_connection(("127.0.0.1", server.server_port)) as connection:
            connection.sendall(started)
    assert Answer(server, "/").status == 200


def test_a_name_that_is_loopback_and_one_that_is_not(tmp_path: Path) -> None:
    with PageServer([], "localhost", 0) as server:
        assert server.is_loopback
        assert not server.is_own_host("elsewhere")
    with PageServer([], "0.0.0.0", 0) as server:
        assert not server.is_loopback
        assert server.is_own_host("elsewhere")
        assert server.url == f"http://127.0.0.1:{server.server_port}/"


def test_a_port_that_is_taken_is_named(server: PageServer) -> None:
    with pytest.raises(ConfigError, match=rf"cannot listen on 127.0.0.1, port {server.server_port}: .*another --port"):
        PageServer([], "127.0.0.1", server.server_port)


def test_what_cannot_be_served_is_refused(cli: Callable, tmp_path: Path) -> None:
    cli("serve").assert_refused(2, r"Missing argument 'FILE\.\.\.'")
    cli("serve", tmp_path / "no.stgv").assert_refused(3, "no.stgv: does not exist")
    cli("serve", tmp_path).assert_refused(1, "is no regular file")
    cli("serve", "https://example.org/a.stgv").assert_refused(2, "is an address, expected a file")
    (tmp_path / "a.stgv").touch()
    cli("serve", tmp_path / "a.stgv", "--port", "0").assert_refused(4, "a.stgv: file, at byte 0: the file is empty")
    (tmp_path / "a.mp4").write_bytes(b"\0\0\0\x20ftypisom")
    cli("serve", tmp_path / "a.mp4", "--port", "0").assert_refused(4, "a.mp4: file, at byte 0: not a .stgv file")
    cli("serve", tmp_path / "a.stgv", "--host", "no such host").assert_refused(2, "--host no such host: is no address")


@pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX")
@pytest.mark.parametrize(
    ("number", "code", "said"),
    [(signal.SIGINT, 0, ""), (signal.SIGTERM, 143, r"stgvcodec: error: .*SIGTERM; serving has ended\n")],
)
def test_a_signal_ends_it(tmp_path: Path, number: int, code: int, said: str) -> None:
    (tmp_path / "a.stgv").write_bytes(STGV)
    command = [sys.executable, "-m", "stgvcodec", "serve", str(tmp_path / "a.stgv"), "--port", "0", "--no-open"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        line = running.stdout.readline()
        address = re.fullmatch(r"(http://127\.0\.0\.1:\d+/) plays a\.stgv; Ctrl-C ends it\n", line)[1]
        with urllib.request.urlopen(f"{address}files/0/a.stgv") as response:
            assert response.read() == STGV
        running.send_signal(number)
        _, err = running.communicate(timeout=20)
    assert running.returncode == code
    assert re.fullmatch(said, err), err


def test_others_being_let_in_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.stgv").write_bytes(STGV)
    command = [sys.executable, "-m", "stgvcodec", "serve", str(tmp_path / "a.stgv"), "--port", "0", "--no-open"]
    with subprocess.Popen([*command, "--host", "0.0.0.0"], stderr=subprocess.PIPE, text=True) as running:
        line = running.stderr.readline()
        running.terminate()
    assert line == "stgvcodec: WARNING: everybody who can reach 0.0.0.0 over the network can read the files\n"


def test_the_browser_is_opened_where_there_is_a_display(tmp_path: Path, monkeypatch, cli: Callable) -> None:
    opened = []
    (tmp_path / "a.stgv").write_bytes(STGV)
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr(PageServer, "serve_forever", lambda server: None)
    monkeypatch.setattr("stgvcodec.cli.serve.has_display", lambda: True)
    assert cli("serve", tmp_path / "a.stgv", "--port", "0").code == 0
    assert cli("serve", tmp_path / "a.stgv", "--port", "0", "--no-open").code == 0
    monkeypatch.setattr("stgvcodec.cli.serve.has_display", lambda: False)
    assert cli("serve", tmp_path / "a.stgv", "--port", "0").code == 0
    assert len(opened) == 1
    assert cli("serve", tmp_path / "a.stgv", "--port", "0", "--open", "-q") == (0, "", "")
    assert len(opened) == 2
