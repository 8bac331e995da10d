"""`ProgressBoard`, which an actor of Ray holds: tasks tell it how far they are, and the writer of the file looks.

It imports nothing, so that its process is small.
"""

from __future__ import annotations

from typing import Any


class ProgressBoard:
    """The newest progress of each fit, until it is taken."""

    def __init__(self) -> None:
        self._told: dict[int, tuple[Any, ...]] = {}

    def tell(self, number: int, progress: tuple[Any, ...]) -> None:
        """Take the values of a `FitProgress` of a fit."""
        self._told[number] = progress

    def take(self) -> dict[int, tuple[Any, ...]]:
        """Return what was told since the last time."""
        told, self._told = self._told, {}
        return told
