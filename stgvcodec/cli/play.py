"""The command `stgvcodec play`."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from stgvcodec.cli import options, output, paths
from stgvcodec.cli.exits import Interrupted
from stgvcodec.cli.hints import check_address
from stgvcodec.cli.pipes import STANDARD_STREAM, spooled
from stgvcodec.cli.sections import SectionedCommand
from stgvcodec.cli.verbosity import Verbosity, verbosity_options
from stgvcodec.errors import ConfigError, StgvError

TERMINAL = "terminal"
# The names of the players are written out, since the module that has them must not be imported for `--help`; a test
# holds them equal.
PLAYERS = ("auto", "mpv", "ffplay", TERMINAL)


@click.command("play", cls=SectionedCommand, short_help="Play a .stgv file in a window or in the terminal.")
@click.argument("file", metavar="FILE", type=paths.ENCODED_PATH)
@click.option(
    "--player",
    type=click.Choice(PLAYERS),
    default="auto",
    show_default=True,
    help="What shows the pictures. auto: mpv or ffplay where there is a display, else the terminal.",
)
@click.option(
    "--start", type=float, default=0.0, show_default=True, metavar="SECONDS", help="Where to begin, from the start."
)
@options.playing_options
@click.option("--loop", is_flag=True, help="Begin anew at the end, until it is closed.")
@click.option("--no-audio", is_flag=True, help="Play no sound.")
@options.budget_options
@options.device_options
@verbosity_options
def play_command(
    verbosity: Verbosity,
    file: Path,
    *,
    player: str,
    start: float,
    rendering: dict[str, Any],
    loop: bool,
    no_audio: bool,
    budget: dict[str, Any],
    device: str,
    backend: str,
) -> None:
    """Play the .stgv file FILE as it is decoded; FILE may be - or a named pipe.

    A window is that of mpv or ffplay, with their keys and with sound. They read from a pipe: mpv seeks within what it
    has in memory, a gigabyte of pictures around the one that is shown; ffplay does not seek. --start begins anywhere.

    The terminal shows half blocks in 24 or 8 bits of colour, at the size that fits, without sound; frames are left out
    where it is slower than the video. Space: pause. Left and right: 5 s back and on, to any place at once. q: end.
    """
    check_address(file, "stgvcodec play -")
    if not 0 <= start < float("inf"):
        raise ConfigError(f"--start {start:g}: expected a number of seconds from 0")
    from stgvcodec.decoder.video_decoder import VideoDecoder

    title = "standard input" if os.fspath(file) == STANDARD_STREAM else output.name(Path(file.name))
    with (
        _nothing_to_remove(),
        spooled(file) as readable,
        VideoDecoder(readable, **budget, device=device, backend=backend) as decoder,
    ):
        chosen, program = chosen_player(player)
        if chosen == TERMINAL:
            from stgvcodec.cli.terminal_player import TerminalPlayer

            TerminalPlayer(decoder, title, fps=rendering["fps"], loop=loop).run(start)
            return
        from fractions import Fraction

        from stgvcodec.decoder.play_file import play
        from stgvcodec.media.players import player_command

        command = player_command(chosen, program, title)
        play(decoder, command, start=Fraction(start), loop=loop, audio=not no_audio, **rendering)


@contextlib.contextmanager
def _nothing_to_remove() -> Iterator[None]:
    """Let a signal say that playing has ended, where other commands say what became of their output."""
    try:
        yield
    except Interrupted as interrupted:
        interrupted.add_note("playing has ended")
        raise


def chosen_player(wanted: str) -> tuple[str, str]:
    """Return the player that is used, and the path of its program, which is empty for the terminal.

    Raises:
        StgvError: the one that is wanted is not there, or none is.
    """
    from stgvcodec.media.players import installed_players

    players = installed_players()
    if wanted in players:
        return wanted, players[wanted]
    if wanted == TERMINAL:
        if not has_colours():
            raise StgvError("the standard output is no terminal with colours (TERM, NO_COLOR); give another --player")
        return TERMINAL, ""
    if wanted != "auto":
        package = {"mpv": "mpv", "ffplay": "ffmpeg, which has it"}[wanted]
        raise StgvError(f"{wanted} is not on the PATH; install {package}, or give another --player")
    if players and has_display():
        return next(iter(players.items()))
    if has_colours():
        return TERMINAL, ""
    if players:
        raise StgvError(
            f"{next(iter(players))} is there, but no display for its window (DISPLAY, WAYLAND_DISPLAY), and the "
            "standard output is no terminal with colours; run it in one, or write a video: stgvcodec decode"
        )
    raise StgvError(
        "no player is found: neither mpv nor ffplay is on the PATH, and the standard output is no terminal with "
        "colours; install mpv, or ffmpeg, which has ffplay, or play it in a browser: stgvcodec serve"
    )


def has_display() -> bool:
    """Tell whether programs can open a window here."""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def has_colours() -> bool:
    """Tell whether the standard output is a terminal of 256 colours or more."""
    from rich.console import Console

    console = Console(file=sys.stdout)
    return console.is_terminal and not console.no_color and console.color_system in ("truecolor", "256")
