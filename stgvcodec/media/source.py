"""What every kind of source gives the reader: decoded pictures in presentation order, each with a timestamp."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av

from stgvcodec.media.colour import ColorTags
from stgvcodec.media.matroska import Cropping
from stgvcodec.media.orientation import Orientation


@dataclass(frozen=True)
class DecodedPicture:
    """One picture before any conversion.

    Attributes:
        picture: Picture as FFmpeg's decoder returned it.
        pts: Timestamp in the source's time base.
        tags: The stream's colour tags, before the rules for untagged sources.
        orientation: How the picture is turned for display.
        name: Name of the picture in error messages.
    """

    picture: av.VideoFrame
    pts: int
    tags: ColorTags
    orientation: Orientation
    name: str


class FrameSource(Protocol):
    """A video file or a folder of images.

    Attributes:
        name: Name of the source in error messages.
        frame_rate: Nominal frames per second.
        time_base: Seconds per unit of the timestamps.
        sample_aspect_ratio: Width over height of a pixel as displayed, before any turn; 1 where nothing is known.
        cropping: Pixels that a picture has beside what is shown, before any turn.
        n_frames: How many pictures there should be; None if that is not known before reading.
        file: File that may hold sound, subtitles and metadata beside the pictures; None for images.
    """

    name: str
    frame_rate: Fraction
    time_base: Fraction
    sample_aspect_ratio: Fraction
    cropping: Cropping
    n_frames: int | None
    file: Path | None

    def last_frame_duration(self) -> int:
        """Return how long the last picture is shown, time base units; 0 where nothing is known, or frames are even."""

    def pictures(self, start: int | None = None) -> Generator[DecodedPicture, None, None]:
        """Decode from the beginning, or without most of what comes before a timestamp.

        Raises:
            InputVideoError: the source is damaged or of an unsupported kind.
        """
