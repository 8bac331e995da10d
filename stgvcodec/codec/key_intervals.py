"""Which GoPs are predicted while encoding: those behind a key GoP, as far as its interval goes and content allows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stgvcodec.bitstream.syntax.limits import LIMITS
from stgvcodec.codec.gop_prediction import Predecessor
from stgvcodec.encoder.encode_gop import GopPayload


class KeyIntervals:
    """Where key GoPs come.

    Args:
        longest: Most frames from the beginning of a key GoP to that of the next.
    """

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._last: Predecessor | None = None
        self._n_frames = 0
        self._n_predicted = 0

    @property
    def has_predicted(self) -> bool:
        """Whether any GoP may be predicted at all."""
        return self._longest > 1

    def predecessor(self, frames: npt.NDArray[np.uint8], *, backend: str) -> Predecessor | None:
        """What the next GoP is to be predicted from; None where it is to stand alone.

        Args:
            frames: Of that GoP. RGB. [T, H, W, 3] uint8.
            backend: Of the rasteriser.
        """
        last = self._last
        is_full = self._n_frames + len(frames) > self._longest or self._n_predicted == LIMITS["predicted_gops"]
        if last is None or is_full:
            return None
        return last if last.explains(frames, backend=backend) else None

    def note(self, payload: GopPayload, n_frames: int) -> None:
        """Take note of the next GoP, now that it is coded."""
        if payload.is_key:
            self._n_frames = self._n_predicted = 0
        else:
            self._n_predicted += 1
        self._n_frames += n_frames
        self._last = payload.as_predecessor if self.has_predicted else None
