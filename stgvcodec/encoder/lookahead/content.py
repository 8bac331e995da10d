"""What a video's frames hold, measured in one pass before the encode: changes, detail, cuts and timestamps."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stgvcodec.encoder.lookahead.scene_cuts import scene_cuts
from stgvcodec.media.reader import VideoFrame

# Motion is searched on pictures of about this many rows: of the whole picture, then of blocks, this many of their
# pixels in each direction.
_ROWS = 90
_BLOCK = 8
_REACH = 4
# Differences of half this, 8-bit levels, and changes of detail much below it count as noise.
_NOISE_LEVELS = 2.0
# What a move by one pixel of the small picture adds to a block's change.
_MOTION_WEIGHT = 0.06

_Small = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Content:
    """Measures of each frame of a video; all tuples have its length.

    Attributes:
        pts: Timestamps, in the source's time base.
        is_cut: Whether a new scene starts with the frame.
        change: How much of the frame is not the one before moved about: 0 for a still, about 1 for another picture.
            0 for the first.
        detail: Mean gradient on a small picture, 8-bit levels; 0 where the frame is flat.
    """

    pts: tuple[int, ...]
    is_cut: tuple[bool, ...]
    change: tuple[float, ...]
    detail: tuple[float, ...]

    @property
    def n_frames(self) -> int:
        """Frames of the video."""
        return len(self.pts)


def measure_content(frames: Iterable[VideoFrame], on_frame: Callable[[int], None] | None = None) -> Content:
    """Read a video to its end, keeping two small pictures and a few numbers a frame.

    Args:
        frames: In presentation order.
        on_frame: Called after each frame with how many there were.
    """
    pts: list[int] = []
    cuts: list[bool] = []
    changes: list[float] = []
    details: list[float] = []
    before: _Small | None = None
    for frame, is_cut in scene_cuts(frames):
        small = small_picture(frame.rgb)
        pts.append(frame.pts)
        cuts.append(is_cut)
        details.append(_detail(small))
        changes.append(0.0 if before is None else picture_change(before, small))
        before = small
        if on_frame is not None:
            on_frame(len(pts))
    return Content(tuple(pts), tuple(cuts), tuple(changes), tuple(details))


def small_picture(rgb: npt.NDArray[np.uint8]) -> _Small:
    """Block means of the green channel at about 90 rows. [H, W, 3] uint8 -> [h, w] float32, 8-bit levels."""
    height, width, _ = rgb.shape
    factor = max(1, min(height, width) // _ROWS)
    rows, columns = height // factor, width // factor
    green = rgb[: rows * factor, : columns * factor, 1]
    sums = np.zeros((rows, columns), np.uint32)
    for y in range(factor):
        for x in range(factor):
            sums += green[y::factor, x::factor]
    return sums.astype(np.float32) / np.float32(factor * factor)


def picture_change(before: _Small, after: _Small) -> float:
    """How much of a picture blocks of the one before, moved about, do not explain, and how far they move.

    A move of the whole picture is free: a field follows it at no cost to speak of.

    Args:
        before: [h, w] float32, 8-bit levels.
        after: The same.

    Returns:
        Mean over blocks of the residual over the block's own detail, at most 1, and a small part of the way moved.
    """
    height, width = after.shape
    rows, columns = -(-height // _BLOCK), -(-width // _BLOCK)
    padding = ((0, rows * _BLOCK - height), (0, columns * _BLOCK - width))
    now = np.pad(after, padding, mode="edge")
    reference = np.pad(np.pad(_panned(before, after), padding, mode="edge"), _REACH, mode="edge")
    least = np.full((rows, columns), np.inf, np.float32)
    moved = np.zeros((rows, columns), np.float32)
    # Near moves first, so that a flat block stays where it is.
    for distance, dy, dx in _MOVES:
        top, left = _REACH + dy, _REACH + dx
        other = reference[top : top + now.shape[0], left : left + now.shape[1]]
        error = _block_means(np.abs(now - other))
        better = error < least - np.float32(0.02)
        least = np.where(better, error, least)
        moved = np.where(better, np.float32(distance), moved)
    means = np.repeat(np.repeat(_block_means(now), _BLOCK, 0), _BLOCK, 1)
    detail = _block_means(np.abs(now - means))
    residual = np.maximum(least - 0.5 * _NOISE_LEVELS, 0.0) / (detail + _NOISE_LEVELS)
    return float(np.minimum(residual + _MOTION_WEIGHT * moved, 1.0).mean())


def _panned(before: _Small, after: _Small) -> _Small:
    """A picture, moved as a whole where that brings it nearer to another one (by phase correlation)."""
    height, width = after.shape
    taper = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1])
    spectra = [np.fft.rfft2((picture - picture.mean()) * taper) for picture in (before, after)]
    cross = spectra[0] * np.conj(spectra[1])
    magnitude = np.abs(cross)
    peaks = np.fft.irfft2(cross / (magnitude + 1e-3 * magnitude.mean() + 1e-12), s=after.shape)
    dy, dx = np.unravel_index(int(peaks.argmax()), peaks.shape)
    # Beyond half the picture a peak is that of a move the other way; what comes in is the border, repeated.
    rows = np.clip(np.arange(height) + (dy if dy < height / 2 else dy - height), 0, height - 1)
    columns = np.clip(np.arange(width) + (dx if dx < width / 2 else dx - width), 0, width - 1)
    moved = before[np.ix_(rows, columns)]
    return moved if np.abs(after - moved).mean() < np.abs(after - before).mean() else before


_BLOCK_WEIGHTS = np.full(_BLOCK, 1.0 / _BLOCK, np.float32)
_MOVES = sorted(
    (float(np.hypot(dy, dx)), dy, dx) for dy in range(-_REACH, _REACH + 1) for dx in range(-_REACH, _REACH + 1)
)


def _block_means(picture: _Small) -> _Small:
    height, width = picture.shape
    # As a product the short inner sums are several times as fast.
    rows = picture.reshape(height, width // _BLOCK, _BLOCK) @ _BLOCK_WEIGHTS
    return np.asarray(rows.reshape(height // _BLOCK, _BLOCK, width // _BLOCK).mean(axis=1), np.float32)


def _detail(picture: _Small) -> float:
    gradients = [np.abs(np.diff(picture, axis=axis)).mean() for axis in (0, 1) if picture.shape[axis] > 1]
    return float(sum(gradients)) / max(len(gradients), 1)
