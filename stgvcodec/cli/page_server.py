"""A web server for the player in the browser: the page, the files that it plays by byte ranges, and nothing else."""

from __future__ import annotations

import email.utils
import html
import ipaddress
import json
import logging
import os
import re
import socket
import socketserver
import urllib.parse
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO

from stgvcodec.errors import ConfigError, MissingFileError, StgvError

_log = logging.getLogger(__name__)

# The player's page names other types in no request; a file of another type in its folder is not served.
_CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    # No type is registered for it.
    ".stgv": "application/octet-stream",
}
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_COPY_BYTES = 1 << 16
# What a page may load, also where somebody puts text into an address: its own modules, styles and files.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def page_folder() -> Path:
    """Return the folder of the player's page: in the installed package, or beside the package in a source tree.

    Raises:
        StgvError: it is in neither place.
    """
    package = Path(__file__).parents[1]
    for folder in (package / "web", package.parent / "web"):
        if (folder / "index.html").is_file():
            return folder
    raise StgvError(f"{package / 'web'}: the page of the player is not there; install the package again")


class PageServer(ThreadingHTTPServer):
    """Serves the page at /, its modules, and each file at /files/NUMBER/NAME, which /files.json lists.

    Only what is listed when the server is made can be asked for. A request that names another host than this machine is
    refused while the server listens on a loopback address: pages of other sites could otherwise read the files by a
    name of their own that leads to 127.0.0.1.

    Args:
        files: Files to be played.
        host: Address to listen on.
        port: Port to listen on; 0 for any free one.

    Raises:
        ConfigError: the address cannot be listened on.
        MissingFileError: a file is not there.
        StgvError: a file cannot be read by ranges, or the page is not installed.
    """

    daemon_threads = True
    # A port that something else listens on is refused on Windows too, where this would share it.
    allow_reuse_address = os.name == "posix"

    def __init__(self, files: Sequence[Path], host: str, port: int) -> None:
        page = page_folder()
        self.assets: Mapping[str, Path] = {
            f"/{path.relative_to(page).as_posix()}": path
            for path in sorted(page.rglob("*"))
            if path.is_file() and path.suffix in _CONTENT_TYPES
        }
        self.files: Mapping[str, Path] = {
            f"/files/{number}/{urllib.parse.quote(path.name)}": checked_file(path) for number, path in enumerate(files)
        }
        self.address_family, address = _resolved(host, port)
        try:
            super().__init__(address, _PageHandler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise ConfigError(f"cannot listen on {host}, port {port}: {reason}; give another --port") from error
        self.address = ipaddress.ip_address(str(self.server_address[0]))
        self.is_loopback = self.address.is_loopback
        self.host = host

    def server_bind(self) -> None:
        """Bind without the look-up of this machine's name, which takes seconds where no name server answers."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    @property
    def url(self) -> str:
        """Address of the page, for a browser on this machine."""
        address = self.address
        if address.is_unspecified:
            address = ipaddress.ip_address("127.0.0.1" if address.version == 4 else "::1")
        return f"http://{f'[{address}]' if address.version == 6 else address}:{self.server_port}/"

    def is_own_host(self, name: str | None) -> bool:
        """Tell whether the Host header of a request names this server."""
        if not self.is_loopback:
            return True
        own = {self.url.removeprefix("http://").removesuffix("/"), f"localhost:{self.server_port}"}
        return name is not None and name.lower() in (own | {f"{self.host.lower()}:{self.server_port}"})

    def listing(self) -> bytes:
        """Return /files.json: the name, the address and the size of each file."""
        entries = []
        for address, path in self.files.items():
            size = path.stat().st_size if path.is_file() else None
            entries.append({"name": path.name, "src": address.removeprefix("/"), "bytes": size})
        return json.dumps({"files": entries}).encode()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say with -v what went wrong in a request; a browser that goes away in the middle of one is nothing wrong."""
        _log.debug("a request from %s ended early", client_address, exc_info=True)


def checked_file(path: Path) -> Path:
    """Return the path of a file that can be served.

    Raises:
        MissingFileError: it is not there.
        StgvError: it is a folder or a pipe, or cannot be opened.
    """
    if not path.exists():
        raise MissingFileError(f"{path}: does not exist, expected a .stgv file: check the path")
    if not path.is_file():
        raise StgvError(f"{path}: is no regular file, which the browser's seeking needs; copy it to a file first")
    try:
        path.open("rb").close()
    except OSError as error:
        raise StgvError(f"{path}: cannot be read: {error.strerror}") from error
    return path.absolute()


def _resolved(host: str, port: int) -> tuple[socket.AddressFamily, tuple[str, int]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, OverflowError, UnicodeError) as error:
        raise ConfigError(f"--host {host}: is no address of this machine; leave it out, or take 0.0.0.0") from error
    # Of a name with both, such as localhost, the address of version 4: it is the one that a browser tries as well.
    family, *_, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    return family, (str(address[0]), int(address[1]))


def asked_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return the bytes that a Range header asks for.

    Args:
        header: The header; None if there was none.
        size: Bytes of the file.

    Returns:
        Start and end, half-open; an empty range where none of it lies in the file; None for the whole file, which is
        also the answer to several ranges and to units that are not bytes (RFC 9110, section 14.2).
    """
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        return max(0, size - int(last)), size
    if last and int(last) < int(first):
        return None
    return (int(first), min(size, int(last) + 1 if last else size)) if int(first) < size else (size, size)


class _PageHandler(BaseHTTPRequestHandler):
    """Answers GET and HEAD."""

    server: PageServer
    protocol_version = "HTTP/1.1"
    # A connection that nothing is asked on for so long is closed.
    timeout = 60
    server_version = "stgvcodec"
    sys_version = ""
    # Small answers leave at once, in one packet.
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Answer with a file or a part of it."""
        if not self.server.is_own_host(self.headers.get("Host")):
            self._refuse(HTTPStatus.MISDIRECTED_REQUEST, "This server is for the machine that it runs on.")
            return
        address, _, _ = self.path.partition("?")
        if address == "/files.json":
            self._answer(self.server.listing(), "application/json")
            return
        address = "/index.html" if address == "/" else address
        # Names are compared as they are written in the list, however the client has quoted them.
        address = urllib.parse.quote(urllib.parse.unquote(address))
        path = self.server.assets.get(address) or self.server.files.get(address)
        try:
            file = path.open("rb") if path is not None else None
        except OSError:
            file = None
        if path is None or file is None:
            self._refuse(HTTPStatus.NOT_FOUND, "This server has the player and its files, and nothing of this name.")
            return
        with file:
            self._send_file(file, _CONTENT_TYPES.get(path.suffix.lower(), _CONTENT_TYPES[".stgv"]))

    do_HEAD = do_GET

    def _send_file(self, file: BinaryIO, content_type: str) -> None:
        status = os.fstat(file.fileno())
        size, tag = status.st_size, f'"{status.st_mtime_ns:x}-{status.st_size:x}"'
        headers = {"ETag": tag, "Last-Modified": email.utils.formatdate(status.st_mtime, usegmt=True)}
        if tag in (self.headers.get("If-None-Match") or ""):
            self._begin(HTTPStatus.NOT_MODIFIED, headers)
            return
        same = self.headers.get("If-Range") in (None, tag)
        part = asked_range(self.headers.get("Range"), size) if same else None
        start, end = part or (0, size)
        headers |= {"Accept-Ranges": "bytes", "Content-Type": content_type, "Content-Length": str(end - start)}
        if part is None:
            self._begin(HTTPStatus.OK, headers)
        elif start < end:
            self._begin(HTTPStatus.PARTIAL_CONTENT, headers | {"Content-Range": f"bytes {start}-{end - 1}/{size}"})
        else:
            self._begin(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, headers | {"Content-Range": f"bytes */{size}"})
        if self.command == "HEAD":
            return
        file.seek(start)
        while start < end:
            block = file.read(min(_COPY_BYTES, end - start))
            if not block:
                # It has become shorter: the length that was promised cannot be kept.
                self.close_connection = True
                return
            self.wfile.write(block)
            start += len(block)

    def _answer(self, body: bytes, content_type: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        self._begin(status, {"Content-Type": content_type, "Content-Length": str(len(body))})
        if self.command != "HEAD":
            self.wfile.write(body)

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        body = f"<!doctype html><title>{status.value} {status.phrase}</title><p>{html.escape(why)}</p>\n"
        self._answer(body.encode(), _CONTENT_TYPES[".html"], status)

    def _begin(self, status: HTTPStatus, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Cache-Control", "no-cache")
        self.send_header("Content-Security-Policy", _POLICY)
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Say each request with -vv."""
        _log.debug("%s %s", self.address_string(), format % arguments)
