"""`GopOrigin`: where the frames of a GoP come from, so that another process can read them in place of getting them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stgvcodec.encoder.fitted_gop import frames_crc
from stgvcodec.errors import InputVideoError
from stgvcodec.media.masks import filled
from stgvcodec.media.shared_source import SharedSource

# The key frame that an index names may lie behind the frame that is wanted, or refer to frames before it. Another one
# is looked for so much earlier then.
_LEADS_SECONDS = (0.0, 1.0, 10.0)


@dataclass(frozen=True)
class GopOrigin:
    """Frames of a source, by their timestamps and their checksum.

    Attributes:
        source: The source.
        pts: Timestamp of each frame, in the source's time base.
        crc: `frames_crc` of the frames and their masks.
    """

    source: SharedSource
    pts: tuple[int, ...]
    crc: int

    def read(self, known: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.uint8]:
        """Read the frames, which are the very same as those that the checksum was taken of.

        Args:
            known: Pixels that no mask tells to ignore; None: all. [T, H, W].

        Returns:
            RGB frames. [T, H, W, 3] uint8.

        Raises:
            InputVideoError: the source is not here, or these frames cannot be read here as they were read there.
        """
        with self.source.opened() as video:
            for lead_seconds in _LEADS_SECONDS:
                with suppress(InputVideoError):
                    pictures = video.frames_at(self.pts, lead_seconds=lead_seconds)
                    if known is not None:
                        pictures = [filled(picture, pixels) for picture, pixels in zip(pictures, known, strict=True)]
                    frames = np.stack(pictures)
                    if frames_crc(frames, known) == self.crc:
                        return frames
        raise InputVideoError(f"{self.source.name}: gives other frames here, or none, from the middle")
