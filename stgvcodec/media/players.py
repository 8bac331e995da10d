"""Players of videos that are installed here."""

from __future__ import annotations

import shutil

PLAYERS = ("mpv", "ffplay")
"""Players that show what comes through a pipe, the one that can seek in it first."""


def installed_players() -> dict[str, str]:
    """Return the players on the PATH: name -> path of the program, the best first.

    Examples:
        >>> from stgvcodec.media.players import PLAYERS, installed_players
        >>> set(installed_players()) <= set(PLAYERS)
        True
    """
    found = {name: shutil.which(name) for name in PLAYERS}
    return {name: path for name, path in found.items() if path is not None}
