from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

OPTIONS = ("--device", "cpu", "-q")


@pytest.fixture
def existing(tmp_path: Path) -> Path:
    path = tmp_path / "out.mp4"
    path.write_bytes(b"precious")
    return path


@pytest.mark.parametrize("command", ["encode", "decode"])
def test_without_a_terminal_an_existing_file_is_left(
    cli, clip: Path, encoded: Path, tmp_path: Path, command: str
) -> None:
    source = clip if command == "encode" else encoded
    path = tmp_path / "out.xyz"
    path.write_bytes(b"precious")
    cli(command, source, path, *OPTIONS).assert_refused(5, r"out\.xyz: exists already; overwrite it with -y")
    cli(command, source, path, *OPTIONS, "-n").assert_refused(1, r"out\.xyz: exists already and is left as it is")
    assert path.read_bytes() == b"precious"


def test_yes_overwrites_and_no_writes_what_is_not_there(cli, encoded: Path, existing: Path) -> None:
    assert cli("decode", encoded, existing, *OPTIONS, "-y").code == 0
    assert existing.read_bytes() != b"precious"
    assert cli("decode", encoded, existing.with_name("new.mp4"), *OPTIONS, "-n").code == 0
    assert existing.with_name("new.mp4").exists()


def test_a_report_is_not_overwritten_either(cli, encoded: Path, existing: Path, tmp_path: Path) -> None:
    outcome = cli("decode", encoded, tmp_path / "new.mp4", *OPTIONS, "--json", existing)
    outcome.assert_refused(5, r"out\.mp4: exists already")
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_both_are_one_too_many(cli, encoded: Path, existing: Path) -> None:
    cli("decode", encoded, existing, *OPTIONS, "-y", "-n").assert_refused(2, "-y and -n were both given")


def test_the_input_is_not_overwritten_even_with_yes(cli, encoded: Path) -> None:
    before = encoded.read_bytes()
    cli("decode", encoded, encoded, *OPTIONS, "-y").assert_refused(2, "would overwrite the input")
    assert encoded.read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "code"),
    [(b"y\n", 0), (b"n\n", 1), (b"\n", 1), (b"\x04", 1), (b"\x03", 130)],
    ids=["yes", "no", "default", "end of file", "Ctrl-C"],
)
def test_on_a_terminal_it_is_asked(encoded: Path, existing: Path, answer: bytes, code: int) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "stgvcodec", "decode", str(encoded), str(existing), *OPTIONS]
    # A terminal sends signals to those whose controlling terminal it is.
    as_controlling = {"start_new_session": True, "preexec_fn": lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0)}
    deadline = time.monotonic() + 120
    with subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, **as_controlling) as process:
        said = b""
        while b"[y/N]" not in said:
            said += os.read(ours, 4096)
        try:
            # A signal that comes between the question and the wait for its answer is seen with the next one.
            while process.poll() is None:
                os.write(ours, answer)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(20)
                assert time.monotonic() < deadline
            out, _ = process.communicate(timeout=10)
        finally:
            process.kill()
    os.close(theirs)
    os.close(ours)
    assert (process.returncode, out) == (code, b"")
    assert b"out.mp4 exists already. Overwrite it? [y/N]" in said
    assert (existing.read_bytes() == b"precious") == (code != 0)


def test_images_of_a_row_are_asked_for(cli, encoded: Path, tmp_path: Path) -> None:
    row = tmp_path / "f_%02d.png"
    assert cli("decode", encoded, row, *OPTIONS).code == 0
    assert len(list(tmp_path.iterdir())) == 6
    cli("decode", encoded, row, *OPTIONS).assert_refused(5, r"f_00\.png: exists already; overwrite it with -y")
    assert cli("decode", encoded, row, *OPTIONS, "-y").code == 0
    assert cli("encode", row, tmp_path / "a.stgv", "--preset", "draft", "--gaussians", "9", *OPTIONS).code == 0
