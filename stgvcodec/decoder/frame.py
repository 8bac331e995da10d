"""`Frame` and `FrameBatch`: decoded pictures with the times at which they are shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import overload

from torch import Tensor


@dataclass(frozen=True)
class Frame:
    """One decoded frame.

    Attributes:
        data: RGB picture. [3, H, W] uint8, or [H, W, 3] if the decoder has that order, on the decoder's device.
        pts_seconds: Time at which it begins to be shown, seconds.
        duration_seconds: Time for which it is shown, seconds.

    Examples:
        >>> picture, begins, lasts = decoder.get_frame_at(1)
        >>> picture.shape, begins, round(lasts, 3)
        (torch.Size([3, 32, 48]), 0.04, 0.06)
    """

    data: Tensor
    pts_seconds: float
    duration_seconds: float

    def __iter__(self) -> Iterator[Tensor | float]:
        """Yield picture, time and duration, so that a frame can be unpacked."""
        return iter((self.data, self.pts_seconds, self.duration_seconds))

    def __repr__(self) -> str:
        """Print shape and times, not pixels."""
        return (
            f"Frame(data={_describe(self.data)}, pts_seconds={self.pts_seconds}, "
            f"duration_seconds={self.duration_seconds})"
        )


@dataclass(frozen=True)
class FrameBatch:
    """Several decoded frames.

    Attributes:
        data: RGB pictures. [n, 3, H, W] uint8, or [n, H, W, 3] if the decoder has that order, on the decoder's device.
        pts_seconds: Time at which each begins to be shown, seconds. [n] float64.
        duration_seconds: Time for which each is shown, seconds. [n] float64.

    Examples:
        >>> batch = decoder.get_frames_at([0, 1])
        >>> [frame.pts_seconds for frame in batch], batch[1:].data.shape
        ([0.0, 0.04], torch.Size([1, 3, 32, 48]))
    """

    data: Tensor
    pts_seconds: Tensor
    duration_seconds: Tensor

    def __len__(self) -> int:
        """Number of frames."""
        return int(self.data.shape[0])

    def __iter__(self) -> Iterator[Frame]:
        """Yield each frame with its times."""
        return (self[i] for i in range(len(self)))

    @overload
    def __getitem__(self, key: int) -> Frame: ...
    @overload
    def __getitem__(self, key: slice) -> FrameBatch: ...
    def __getitem__(self, key: int | slice) -> Frame | FrameBatch:
        """Return one frame with its times, or a part of the batch."""
        if isinstance(key, slice):
            return FrameBatch(self.data[key], self.pts_seconds[key], self.duration_seconds[key])
        return Frame(self.data[key], float(self.pts_seconds[key]), float(self.duration_seconds[key]))

    def __repr__(self) -> str:
        """Print shapes, not pixels."""
        return f"FrameBatch(data={_describe(self.data)}, n_frames={len(self)})"


def _describe(data: Tensor) -> str:
    return f"{data.dtype} {list(data.shape)} on {data.device}"
