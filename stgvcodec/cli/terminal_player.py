"""Playing in a terminal: two pixels a character as half blocks, in real time, with keys for pause and seek."""

from __future__ import annotations

import math
import os
import select
import sys
import time
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import numpy.typing as npt

from stgvcodec.errors import ConfigError, StgvError

if TYPE_CHECKING:
    from stgvcodec.decoder.video_decoder import VideoDecoder

SEEK_SECONDS = 5.0
"""Step of the keys for seeking."""

_KEYS = {b" ": "pause", b"q": "quit", b"\x1b[D": "back", b"\x1bOD": "back", b"\x1b[C": "on", b"\x1bOC": "on"}
_ENTER = b"\x1b[?1049h\x1b[?25l\x1b[2J"
_LEAVE = b"\x1b[0m\x1b[?25h\x1b[?1049l"
_WAIT_SECONDS = 0.05
_LEVELS_OF_256 = 5


class TerminalPlayer:
    """Plays a video on the terminal of the process.

    The clock goes on whatever rendering takes: the frame of the time is drawn, and those that were missed are left out.

    Args:
        decoder: Decoder of the file.
        title: What is shown below the picture.
        fps: Pictures a second, rendered also between frames; None draws each frame.
        loop: Whether to begin anew at the end.

    Raises:
        StgvError: the file has no frames.
    """

    def __init__(self, decoder: VideoDecoder, title: str, *, fps: Fraction | None, loop: bool) -> None:
        if len(decoder) == 0:
            raise StgvError(f"{title}: there are no frames to play")
        self._decoder, self._title, self._loop = decoder, title, loop
        self._fps = None if fps is None else float(fps)
        header = decoder.header
        self._unit = header.time_base
        self._first = decoder.pts(0) * self._unit
        last = header.last_frame_duration * self._unit or 1 / header.frame_rate
        self.seconds = float(decoder.pts(len(decoder) - 1) * self._unit + last - self._first)
        self._aspect = float(Fraction(header.width, header.height) * header.sample_aspect_ratio)
        from rich.console import Console

        self._is_true_color = Console(file=sys.stdout).color_system == "truecolor"
        self._position = 0.0
        self._since: float | None = None  # When the clock was started; None while it stands.

    def run(self, start: float = 0.0) -> None:
        """Play from a time on, seconds from the first frame, until the end or the key q.

        Raises:
            ConfigError: the start is behind the end.
        """
        if start >= self.seconds:
            raise ConfigError(f"--start {start:g}: expected less than the {self.seconds:g} seconds of the video")
        self._position = start
        drawn: tuple[object, ...] | None = None
        # Kernels are compiled before the clock starts.
        self._picture(start, (2, 2))
        with _keyboard() as keys, _screen() as screen:
            self._since = time.monotonic()
            while True:
                now = self._now()
                if now >= self.seconds:
                    if not self._loop:
                        return
                    self._go_to(now % self.seconds)
                    continue
                wanted = (self._moment(now), os.get_terminal_size(screen.fileno()), self._since is None)
                if wanted != drawn:
                    self._draw(screen, now, wanted[1])
                    drawn = wanted
                for key in keys.pressed(self._wait_seconds()):
                    if key == "quit":
                        return
                    self._act(key)

    def _now(self) -> float:
        return self._position + (0.0 if self._since is None else time.monotonic() - self._since)

    def _go_to(self, seconds: float) -> None:
        self._position = min(max(0.0, seconds), self.seconds)
        if self._since is not None:
            self._since = time.monotonic()

    def _act(self, key: str) -> None:
        if key == "pause":
            self._position = self._now()
            self._since = time.monotonic() if self._since is None else None
        else:
            self._go_to(self._now() + (SEEK_SECONDS if key == "on" else -SEEK_SECONDS))

    def _moment(self, seconds: float) -> int:
        """Return the number of the picture that is shown at a time."""
        if self._fps is not None:
            return math.floor(seconds * self._fps)
        ticks = (Fraction(seconds) + self._first) / self._unit
        return max(0, bisect_right(self._decoder.timestamps, ticks) - 1)

    def _wait_seconds(self) -> float:
        """Return how long there is nothing to draw, which may be none at all."""
        if self._since is None:
            return _WAIT_SECONDS
        now = self._now()
        moment = self._moment(now)
        if self._fps is not None:
            following = (moment + 1) / self._fps
        elif moment + 1 < len(self._decoder):
            following = float(self._decoder.pts(moment + 1) * self._unit - self._first)
        else:
            following = self.seconds
        return min(_WAIT_SECONDS, max(0.0, following - now))

    def _picture(self, seconds: float, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
        """Render the picture of a time at a size (H, W). [H, W, 3] uint8."""
        moment = self._moment(seconds)
        if self._fps is not None:
            frames = self._decoder.iter_pictures([float(self._first) + moment / self._fps], size=size)
        else:
            frames = self._decoder.iter_frames([moment], size=size)
        rgb: npt.NDArray[np.uint8] = next(frames).cpu().numpy()
        return rgb

    def _draw(self, screen: BinaryIO, seconds: float, terminal: os.terminal_size) -> None:
        columns, rows = max(1, terminal.columns), max(1, terminal.lines - 1)
        width, height = fitted(self._aspect, columns, 2 * rows)
        picture = self._picture(seconds, (height, width))
        lines = half_blocks(picture, true_color=self._is_true_color)
        left, top = (columns - width) // 2 + 1, (rows - len(lines)) // 2 + 1
        parts = [f"\x1b[{top + i};{left}H{line}" for i, line in enumerate(lines)]
        state = "paused, " if self._since is None else ""
        status = (
            f"{_clock(seconds)} / {_clock(self.seconds)}  {state}{self._title}  space: pause, left/right: 5 s, q: end"
        )
        parts.append(f"\x1b[{terminal.lines};1H\x1b[2K{status[:columns]}")
        # Without this a change of the terminal's size leaves old pixels around the picture.
        clear = "" if terminal == getattr(self, "_cleared", None) else "\x1b[2J"
        self._cleared = terminal
        screen.write((clear + "".join(parts)).encode())
        screen.flush()


def fitted(aspect: float, most_width: int, most_height: int) -> tuple[int, int]:
    """Return the largest width and even height of an aspect ratio that fit.

    Examples:
        >>> from stgvcodec.cli.terminal_player import fitted
        >>> fitted(16 / 9, 80, 46)
        (80, 44)
    """
    width = min(most_width, max(1, round(most_height * aspect)))
    height = min(most_height, max(2, 2 * round(width / aspect / 2)))
    return width, height


def half_blocks(picture: npt.NDArray[np.uint8], *, true_color: bool) -> list[str]:
    """Return a picture as lines of upper half blocks, each of the colours of two pixels above each other.

    Args:
        picture: The picture, of an even height. [H, W, 3] uint8.
        true_color: Whether the terminal has 24 bits of colour; else it has a cube of 6x6x6 colours.

    Returns:
        H / 2 lines, which end with the terminal's own colours.
    """
    if not true_color:
        levels = np.rint(picture / 255 * _LEVELS_OF_256).astype(np.int64)
        codes = 16 + levels @ np.array([36, 6, 1])  # [H, W]
        picture, kind = codes[..., None], "5"
    else:
        kind = "2"
    lines = []
    for upper, lower in zip(picture[0::2].tolist(), picture[1::2].tolist(), strict=True):
        parts, before = [], None
        for pair in zip(upper, lower, strict=True):
            if pair != before:
                above, below = (";".join(map(str, color)) for color in pair)
                parts.append(f"\x1b[38;{kind};{above};48;{kind};{below}m")
                before = pair
            parts.append("▀")
        lines.append("".join(parts) + "\x1b[0m")
    return lines


def _clock(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}:{math.floor(rest * 10) / 10:04.1f}"


@contextmanager
def _screen() -> Iterator[BinaryIO]:
    """Give the terminal's other screen, and at the end its own back as it was."""
    screen = sys.stdout.buffer
    sys.stdout.flush()
    screen.write(_ENTER)
    try:
        yield screen
    finally:
        screen.write(_LEAVE)
        screen.flush()


class _Keys:
    """Keys of the terminal, read as they are pressed; none where there is no terminal to read from."""

    def __init__(self, number: int | None) -> None:
        self._number = number

    def pressed(self, seconds: float) -> Iterator[str]:
        """Wait for keys, for at most some seconds, and yield what they mean."""
        if self._number is None:
            time.sleep(seconds)
            return
        if not select.select([self._number], [], [], seconds)[0]:
            return
        text = os.read(self._number, 1024)
        if not text:
            # The terminal was closed.
            self._number = None
        while text:
            key = next((key for key in _KEYS if text.startswith(key)), text[:1])
            text = text[len(key) :]
            if key in _KEYS:
                yield _KEYS[key]


@contextmanager
def _keyboard() -> Iterator[_Keys]:
    """Give the keys of the terminal without waiting for a line, and set it back at the end."""
    try:
        import termios
        import tty

        # The standard input may be the pipe that brings the file.
        number = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except (ImportError, OSError):
        yield _Keys(None)
        return
    before = termios.tcgetattr(number)
    try:
        tty.setcbreak(number)
        yield _Keys(number)
    finally:
        termios.tcsetattr(number, termios.TCSADRAIN, before)
        os.close(number)
