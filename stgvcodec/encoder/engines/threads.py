"""`Threads` fits GoPs in the threads that ask for it, on the one device of this process."""

from __future__ import annotations

import torch

from stgvcodec.encoder.encode_gop import GopPayload
from stgvcodec.encoder.engines.gop_job import Check, GopJob, Tell, fit_gop


class Threads:
    """Fits in the calling threads.

    Args:
        device: Device to fit on.
        backend: Name of the operators' back end.
        n_at_once: GoPs that are fitted at the same time.
    """

    def __init__(self, device: torch.device, backend: str, n_at_once: int) -> None:
        self.device, self.backend = device, backend
        self.devices: tuple[str, ...] = (str(device),)
        self.division = ""
        self.is_here, self.takes_several = True, False
        self.n_at_once = self.n_planned = n_at_once

    def __enter__(self) -> Threads:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def start(self, n_gops: int | None) -> None:
        """Do nothing: there is nothing to start."""

    def has_room(self) -> bool:
        """Return False: the device is for one video at a time."""
        return False

    def fit(self, job: GopJob, tell: Tell | None, check: Check) -> GopPayload:
        """Fit a GoP here and now."""
        return fit_gop(job, tell, check)
