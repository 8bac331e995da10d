"""`Threads` fits GoPs in the threads that ask for it, on the one device of this process."""

from __future__ import annotations

from stgvcodec.encoder.encode_gop import GopPayload
from stgvcodec.encoder.engines.gop_job import Check, GopJob, Tell, fit_gop


class Threads:
    """Fits in the calling threads.

    Args:
        n_at_once: GoPs that are fitted at the same time.
    """

    def __init__(self, n_at_once: int) -> None:
        self.n_at_once = self.n_planned = n_at_once

    def fit(self, job: GopJob, tell: Tell | None, check: Check) -> GopPayload:
        """Fit a GoP here and now."""
        return fit_gop(job, tell, check)
