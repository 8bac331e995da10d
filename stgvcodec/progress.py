"""`Progress`: what callbacks are told of how far an encode or a decode has come, and how a caller ends it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from stgvcodec.errors import CancelledError


@dataclass(frozen=True)
class Progress:
    """One step of progress of an encode or a decode.

    Attributes:
        phase: Name of what is being done, e.g. "gop 2: finetune-colors" or "rendering".
        frames_done: Frames whose work is complete.
        n_frames: Frames in all; None while a stream's length is unknown.
        step: Optimiser steps done in this phase.
        n_steps: Optimiser steps of this phase; 0 where there are none.
        psnr_db: Latest PSNR known, that of the training loss, dB; None before there is one.
        fraction: Share of the whole work that is done, in [0, 1]; None while unknown.
        expected_seconds: Time that the whole work takes, as a few steps of it told before it began; None where nothing
            was measured. `EncodePlan` has it too.
    """

    phase: str
    frames_done: int
    n_frames: int | None
    step: int = 0
    n_steps: int = 0
    psnr_db: float | None = None
    fraction: float | None = None
    expected_seconds: float | None = None


ProgressCallback = Callable[[Progress], None]

PROGRESS_INTERVAL_SECONDS = 0.2
"""Least time between two calls of a progress callback."""


class CancelToken(Protocol):
    """What a caller sets, from any thread, to end an encode or a decode: a `threading.Event`, or the like."""

    def is_set(self) -> bool:
        """Tell whether the work shall end."""


def raise_if_set(cancel: CancelToken | None) -> None:
    """End the work if its caller wants so.

    Raises:
        CancelledError: the token is set.
    """
    if cancel is not None and cancel.is_set():
        raise CancelledError("cancelled by the caller")
