from __future__ import annotations

import codecs
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from track_clips import demuxed, write_with_tracks

from stgvcodec import VideoDecoder
from stgvcodec.cli import main, play
from stgvcodec.media import players

COLUMNS, LINES = 40, 13
# A player that writes down its arguments and its standard input, as far as it is told to read it.
FAKE = """#!{python}
import json, os, sys
folder = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(folder, "arguments.json"), "w") as file:
    json.dump(sys.argv[1:], file)
most = int(os.environ.get("FAKE_PLAYER_BYTES", "-1"))
with open(os.path.join(folder, "stream.mkv"), "wb") as file:
    file.write(sys.stdin.buffer.read() if most < 0 else sys.stdin.buffer.read(most))
sys.exit(int(os.environ.get("FAKE_PLAYER_CODE", "0")))
"""


@pytest.fixture
def player(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Puts a player on the PATH, beside no other; returns the folder in which it writes things down."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("DISPLAY", ":9")

    def install(name: str) -> Path:
        (folder / name).write_text(FAKE.format(python=sys.executable))
        (folder / name).chmod(0o755)
        return folder

    return install


@pytest.fixture(scope="module")
def with_sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six frames at ten a second with sound, in one GoP."""
    folder = tmp_path_factory.mktemp("play")
    source = write_with_tracks(folder / "in.mkv", [("flac", "eng")], [("srt", "fra")], n_frames=6)
    options = ["--preset", "draft", "--gaussians", "20", "--device", "cpu", "-q"]
    assert main(["encode", str(source), str(folder / "a film.stgv"), *options]) == 0
    return folder / "a film.stgv"


def pictures(path: Path) -> tuple[list[np.ndarray], list[float]]:
    """Pictures of a stream, and their times, seconds."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return [frame.to_ndarray(format="rgb24") for frame in frames], [frame.time for frame in frames]


def test_a_player_gets_every_frame_with_its_time_and_the_sound(cli, player, with_sound: Path) -> None:
    folder = player("ffplay")
    outcome = cli("play", with_sound, "--device", "cpu")
    assert outcome == (0, "", "")

    arguments = json.loads((folder / "arguments.json").read_text())
    assert arguments[arguments.index("-window_title") + 1] == "a film.stgv"
    assert arguments[-1] == "-"
    shown, times = pictures(folder / "stream.mkv")
    assert times == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 0.5])
    with VideoDecoder(with_sound, device="cpu") as decoder:
        for picture, frame in zip(shown, decoder[:], strict=True):
            # 4:2:0 blurs colours.
            assert np.abs(picture.astype(int) - frame.permute(1, 2, 0).numpy()).mean() < 8
    assert [track.codec for track in demuxed(folder / "stream.mkv").tracks] == ["flac"]


def test_options_of_the_picture_and_the_start_reach_the_player(cli, player, with_sound: Path) -> None:
    folder = player("mpv")
    options = ["--start", "0.3", "--size", "31x20", "--fps", "20", "--no-audio"]
    assert cli("play", with_sound, "--player", "mpv", *options, "--device", "cpu").code == 0
    arguments = json.loads((folder / "arguments.json").read_text())
    assert "--force-media-title=a film.stgv" in arguments
    shown, times = pictures(folder / "stream.mkv")
    assert {picture.shape for picture in shown} == {(20, 31, 3)}
    assert times == pytest.approx([0.3 + k / 20 for k in range(6)])
    assert demuxed(folder / "stream.mkv").tracks == []


def test_a_loop_goes_on_until_the_player_is_closed_which_says_nothing(cli, player, monkeypatch, with_sound) -> None:
    folder = player("mpv")
    monkeypatch.setenv("FAKE_PLAYER_BYTES", "100000")
    assert cli("play", with_sound, "--loop", "--device", "cpu") == (0, "", "")
    stream = folder / "stream.mkv"
    assert stream.stat().st_size == 100_000
    # 48x32 in 4:2:0 are 2304 bytes: the stream goes round several times.
    with av.open(str(stream)) as container:
        packets = [(p.stream.type, float(p.pts * p.time_base)) for p in container.demux() if p.pts is not None]
    video, sound = ([time for kind, time in packets if kind == wanted] for wanted in ("video", "audio"))
    assert len(video) > 20
    assert video == pytest.approx([k / 10 for k in range(len(video))])
    assert sound == sorted(set(sound))
    assert sound[-1] == pytest.approx(video[-1], abs=0.3)


def test_a_player_that_fails_is_named(cli, player, monkeypatch, with_sound: Path) -> None:
    player("ffplay")
    monkeypatch.setenv("FAKE_PLAYER_CODE", "3")
    cli("play", with_sound, "--device", "cpu").assert_refused(1, "ffplay ended with exit code 3")


def test_without_a_player_one_line_says_what_to_install(cli, player, with_sound: Path) -> None:
    cli("play", with_sound).assert_refused(1, "neither mpv nor ffplay is on the PATH.*install mpv, or ffmpeg")
    cli("play", "no.stgv").assert_refused(3, "no.stgv: does not exist")
    cli("play", with_sound, "--player", "mpv").assert_refused(1, "mpv is not on the PATH; install mpv")
    cli("play", with_sound, "--player", "ffplay").assert_refused(1, "install ffmpeg, which has it")
    cli("play", with_sound, "--player", "terminal").assert_refused(1, "is no terminal with colours")


def test_a_player_without_a_display_is_said(cli, player, monkeypatch, with_sound: Path) -> None:
    player("mpv")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(play.sys, "platform", "linux")
    cli("play", with_sound).assert_refused(1, "mpv is there, but no display")


def test_starts_outside_of_the_video_are_refused(cli, player, with_sound: Path) -> None:
    player("mpv")
    cli("play", with_sound, "--start", "-1").assert_refused(2, "--start -1: expected a number of seconds from 0")
    cli("play", with_sound, "--start", "7", "--device", "cpu").assert_refused(2, "--start 7: .*0.5 s after its first")


def test_the_players_are_those_of_the_option() -> None:
    assert ("auto", *players.PLAYERS, "terminal") == play.PLAYERS


def test_ending_the_command_ends_the_player(player, with_sound: Path, tmp_path: Path) -> None:
    folder = player("mpv")
    sleeper = f"#!/bin/sh\necho $$ > {folder / 'pid'}\nexec /bin/sleep 60\n"
    (folder / "mpv").write_text(sleeper)
    command = [sys.executable, "-m", "stgvcodec", "play", str(with_sound), "--loop", "--device", "cpu"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not (folder / "pid").exists() or not (folder / "pid").read_text().strip():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert said == b"stgvcodec: error: interrupted by SIGTERM; playing has ended\n"
    with pytest.raises(ProcessLookupError):
        os.kill(int((folder / "pid").read_text()), 0)


class Terminal:
    """The command line on a terminal of its own, of 40 columns and 13 lines."""

    def __init__(self, *arguments: object, colors: str) -> None:
        self.text = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        command = [sys.executable, "-m", "stgvcodec", "play", *map(str, arguments), "--device", "cpu"]
        environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": colors, "PATH": "/nowhere"}
        self._pid, self._number = pty.fork()
        if self._pid == 0:
            environment.pop("NO_COLOR", None)
            os.execve(sys.executable, command, environment)
        fcntl.ioctl(self._number, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))

    def wait_for(self, pattern: str) -> re.Match[str]:
        deadline = time.monotonic() + 60
        while (found := re.search(pattern, self.text)) is None:
            assert time.monotonic() < deadline, self.text[-500:]
            assert self._read(), self.text[-500:]
        return found

    def press(self, keys: str) -> None:
        self.text = ""
        os.write(self._number, keys.encode())

    def end(self) -> int:
        while self._read():
            pass
        os.close(self._number)
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])

    def _read(self) -> bool:
        try:
            if select.select([self._number], [], [], 60)[0]:
                data = os.read(self._number, 1 << 16)
                self.text += self._decoder.decode(data)
                return bool(data)
        except OSError:  # The other end is closed.
            return False
        raise AssertionError(f"nothing came for a minute; last: {self.text[-500:]}")


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen frames, one a second."""
    folder = tmp_path_factory.mktemp("long")
    write_with_tracks(folder / "in.mkv", [], [], n_frames=16)
    (folder / "images").mkdir()
    with av.open(str(folder / "in.mkv")) as container:
        for i, frame in enumerate(container.decode(video=0)):
            frame.to_image().save(folder / "images" / f"{i:02d}.png")
    options = ["--preset", "draft", "--gaussians", "20", "--fps", "1", "--device", "cpu", "-q"]
    assert main(["encode", str(folder / "images"), str(folder / "long.stgv"), *options]) == 0
    return folder / "long.stgv"


def cells(text: str) -> np.ndarray:
    """The colours of the half blocks of the first picture in what a terminal got. [H, W, 3]."""
    picture = text.partition(" / ")[0]
    rows: list[list[tuple[int, ...]]] = []
    for line in re.findall(r"\x1b\[\d+;\d+H((?:\x1b\[38[^m]*m|▀)+)\x1b\[0m", picture):
        upper, lower = [], []
        for code, blocks in re.findall(r"\x1b\[38;2;([\d;]+)m(▀+)", line):
            r, g, b, _, _, *below = map(int, code.split(";"))
            upper += [(r, g, b)] * len(blocks)
            lower += [tuple(below)] * len(blocks)
        rows += [upper, lower]
    return np.array(rows)


def test_a_terminal_shows_what_is_rendered_at_its_size(long: Path) -> None:
    terminal = Terminal(long, colors="truecolor")
    terminal.wait_for(r"0:00\.\d / 0:16\.0  long\.stgv")
    # 48x32 in 40 columns and 24 half lines.
    with VideoDecoder(long, device="cpu") as decoder:
        expected = next(decoder.iter_frames([0], size=(24, 36))).numpy()
    assert np.array_equal(cells(terminal.text), expected)
    terminal.press("q")
    assert terminal.end() == 0
    # The terminal is left as it was.
    assert "\x1b[0m\x1b[?25h\x1b[?1049l" in terminal.text[-40:]


def test_keys_seek_and_pause(long: Path) -> None:
    terminal = Terminal(long, "--start", "8", colors="truecolor")
    terminal.wait_for(r"0:08\.\d / 0:16\.0")
    terminal.press(" ")
    paused = terminal.wait_for(r"(0:\d\d\.\d) / 0:16\.0  paused")[1]
    terminal.press("\x1b[D")
    back = terminal.wait_for(r"0:(\d\d\.\d) / 0:16\.0  paused")[1]
    assert float(back) == pytest.approx(float(paused[2:]) - 5, abs=0.11)
    terminal.press("\x1b[C")
    assert terminal.wait_for(r"(0:\d\d\.\d) / 0:16\.0  paused")[1] == paused
    terminal.press("\x1b[C\x1b[C")
    # The end of the video is the end of the command.
    assert terminal.end() == 0


def test_frames_that_are_late_are_left_out_and_the_end_comes_in_time(with_sound: Path) -> None:
    started = time.monotonic()
    terminal = Terminal(with_sound, "--start", "0.2", "--fps", "1000", colors="truecolor")
    assert terminal.end() == 0
    shown = [float(seconds) for seconds in re.findall(r"0:(\d\d\.\d) / 0:00\.6", terminal.text)]
    assert shown == sorted(shown)
    assert 1 <= len(shown) < 400
    assert time.monotonic() - started < 60


def test_a_terminal_of_256_colours_gets_its_own(long: Path) -> None:
    terminal = Terminal(long, "--loop", colors="")
    terminal.wait_for("long.stgv")
    assert "\x1b[38;5;" in terminal.text
    assert "\x1b[38;2;" not in terminal.text
    terminal.press("q")
    assert terminal.end() == 0


def test_a_terminal_without_colours_is_refused(with_sound: Path) -> None:
    command = [sys.executable, "-m", "stgvcodec", "play", str(with_sound)]
    environment = {**os.environ, "NO_COLOR": "1", "TERM": "dumb", "PATH": "/nowhere"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "no player is found" in done.stderr
