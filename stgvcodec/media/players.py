"""Players of videos that are installed here, and the pipe through which one of them shows a stream."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stgvcodec.errors import StgvError

PLAYERS = ("mpv", "ffplay")
"""Players that show what comes through a pipe, the one that can seek in it first."""

_CLOSING_SECONDS = 5.0


def installed_players() -> dict[str, str]:
    """Return the players on the PATH: name -> path of the program, the best first.

    Examples:
        >>> from stgvcodec.media.players import PLAYERS, installed_players
        >>> set(installed_players()) <= set(PLAYERS)
        True
    """
    found = {name: shutil.which(name) for name in PLAYERS}
    return {name: path for name, path in found.items() if path is not None}


def player_command(name: str, program: str, title: str) -> list[str]:
    """Return the command by which a player shows its standard input.

    Args:
        name: One of `PLAYERS`.
        program: Path of the program.
        title: Title of the window.

    Examples:
        >>> from stgvcodec.media.players import player_command
        >>> player_command("ffplay", "/usr/bin/ffplay", "a film")[-1]
        '-'
    """
    if name == "mpv":
        # What has been shown, and what comes next, stays in memory up to these sizes; mpv seeks in that.
        cache = ("--cache=yes", "--demuxer-max-bytes=512MiB", "--demuxer-max-back-bytes=512MiB")
        # The name is no template of mpv's when it is the title of the medium.
        titles = (f"--force-media-title={title}", "--title=${media-title}")
        return [program, "--msg-level=all=error", "--no-rebase-start-time", *titles, *cache, "-"]
    # It takes the shape of the window and the times from the stream, and ends with it.
    return [program, "-hide_banner", "-loglevel", "error", "-window_title", title, "-autoexit", "-i", "-"]


@contextmanager
def playing(command: list[str]) -> Iterator[Path]:
    """Start a player, and wait at the end of the block until its user has closed it.

    A player that was closed leaves a broken pipe, which is for the block to end at.

    Args:
        command: The command, as `player_command` gives it.

    Yields:
        Path of the pipe that it reads. It is to be opened once, for writing.

    Raises:
        StgvError: the player cannot be started, or ends with an error of its own.
    """
    name = Path(command[0]).name
    reading, writing = os.pipe()
    try:
        try:
            player = subprocess.Popen(command, stdin=reading)
        except OSError as error:
            raise StgvError(f"{command[0]}: cannot be started: {error.strerror}; choose another --player") from error
        finally:
            os.close(reading)
        with player:
            try:
                yield Path(f"/dev/fd/{writing}")
                # Its end of the stream is that nobody can write any more.
                os.close(writing)
                writing = -1
                exit_code = player.wait()
            except BaseException:
                _end(player)
                raise
    finally:
        if writing >= 0:
            os.close(writing)
    if exit_code > 0:
        raise StgvError(f"{name} ended with exit code {exit_code}; see what it says above, or choose another --player")


def _end(player: subprocess.Popen[bytes]) -> None:
    player.terminate()
    try:
        player.wait(_CLOSING_SECONDS)
    except subprocess.TimeoutExpired:
        player.kill()
