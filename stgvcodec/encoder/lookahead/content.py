"""Measures of a video's frames, taken in one pass before the encode: change, detail, cuts and timestamps."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stgvcodec.encoder.lookahead.scene_cuts import scene_cuts
from stgvcodec.media.reader import VideoFrame
from stgvcodec.ops.block_search import BLOCK, REACH, block_search

# Motion is searched on pictures of about `_ROWS` rows: first that of the whole picture, then that of its blocks.
_ROWS = 90
# Differences of up to half of this, 8-bit levels, count as noise, and so does detail that is much below it.
_NOISE_LEVELS = 2.0
# Amount that a move by one pixel of the small picture adds to a block's change.
_MOTION_WEIGHT = 0.06
# Frames that are read but not yet measured.
_MOST_UNDER_WAY = 4

_Small = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Content:
    """Measures of each frame of a video; every tuple has one entry for each frame.

    Attributes:
        pts: Timestamps, in the source's time base.
        is_cut: Whether a new scene starts with the frame.
        change: Part of the frame that blocks of the frame before, moved about, do not explain: 0 for a still, about 1
            for another picture, and 0 for the first frame.
        detail: Mean gradient on a small picture, 8-bit levels; 0 where the frame is flat.
        texture: Mean gradient on the frame itself, 8-bit levels a pixel.
    """

    pts: tuple[int, ...]
    is_cut: tuple[bool, ...]
    change: tuple[float, ...]
    detail: tuple[float, ...]
    texture: tuple[float, ...]

    @property
    def n_frames(self) -> int:
        """Number of frames of the video."""
        return len(self.pts)


def measure_content(frames: Iterable[VideoFrame], on_frame: Callable[[int], None] | None = None) -> Content:
    """Read a video to its end; two small pictures and a few numbers for each frame are kept.

    Args:
        frames: Frames in presentation order.
        on_frame: Called after each frame with the number of frames read so far.
    """
    pts: list[int] = []
    cuts: list[bool] = []
    measures: list[tuple[float, float, float]] = []
    before: _Small | None = None

    def measured(rgb: npt.NDArray[np.uint8]) -> tuple[float, float, float]:
        nonlocal before
        small = small_picture(rgb)
        change = 0.0 if before is None else picture_change(before, small)
        before = small
        return change, _detail(small), _texture(rgb)

    # One thread measures, in order, while this one decodes the next frames.
    with ThreadPoolExecutor(1) as pool:
        under_way: deque[Future[tuple[float, float, float]]] = deque()
        for frame, is_cut in scene_cuts(frames):
            under_way.append(pool.submit(measured, frame.rgb))
            pts.append(frame.pts)
            cuts.append(is_cut)
            if len(under_way) > _MOST_UNDER_WAY:
                measures.append(under_way.popleft().result())
            if on_frame is not None:
                on_frame(len(pts))
        measures += [future.result() for future in under_way]
    changes, details, textures = zip(*measures, strict=True) if measures else ((), (), ())
    return Content(tuple(pts), tuple(cuts), changes, details, textures)


def small_picture(rgb: npt.NDArray[np.uint8]) -> _Small:
    """Return block means of the green channel at about 90 rows. [H, W, 3] uint8 -> [h, w] float32, 8-bit levels."""
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
    """Measure how much of a picture blocks of the one before, moved about, do not explain, and how far they move.

    A move of the whole picture is free, since a deformation field follows it with hardly any bits.

    Args:
        before: The earlier picture. [h, w] float32, 8-bit levels.
        after: The later picture. [h, w] float32, 8-bit levels.

    Returns:
        Mean over the blocks of the residual, relative to the block's own detail, plus a small part of the distance
        moved; each block counts at most 1.
    """
    height, width = after.shape
    rows, columns = -(-height // BLOCK), -(-width // BLOCK)
    padding = ((0, rows * BLOCK - height), (0, columns * BLOCK - width))
    now = np.pad(after, padding, mode="edge")
    reference = np.pad(np.pad(_panned(before, after), padding, mode="edge"), REACH, mode="edge")
    least, moved = block_search(now, reference)
    blocks = now.reshape(rows, BLOCK, columns, BLOCK)
    detail = np.abs(blocks - blocks.mean(axis=(1, 3), keepdims=True)).mean(axis=(1, 3))
    residual = np.maximum(least - 0.5 * _NOISE_LEVELS, 0.0) / (detail + _NOISE_LEVELS)
    return float(np.minimum(residual + _MOTION_WEIGHT * moved, 1.0).mean())


def _panned(before: _Small, after: _Small) -> _Small:
    """Return `before`, moved as a whole by phase correlation where that brings it nearer to `after`."""
    height, width = after.shape
    taper = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1])
    spectra = [np.fft.rfft2((picture - picture.mean()) * taper) for picture in (before, after)]
    cross = spectra[0] * np.conj(spectra[1])
    magnitude = np.abs(cross)
    peaks = np.fft.irfft2(cross / (magnitude + 1e-3 * magnitude.mean() + 1e-12), s=after.shape)
    dy, dx = np.unravel_index(int(peaks.argmax()), peaks.shape)
    # A peak beyond half the picture is that of a move the other way; pixels that come in repeat the border.
    rows = np.clip(np.arange(height) + (dy if dy < height / 2 else dy - height), 0, height - 1)
    columns = np.clip(np.arange(width) + (dx if dx < width / 2 else dx - width), 0, width - 1)
    moved = before[np.ix_(rows, columns)]
    return moved if np.abs(after - moved).mean() < np.abs(after - before).mean() else before


def _detail(picture: _Small) -> float:
    gradients = [np.abs(np.diff(picture, axis=axis)).mean() for axis in (0, 1) if picture.shape[axis] > 1]
    return float(sum(gradients)) / max(len(gradients), 1)


def _texture(rgb: npt.NDArray[np.uint8]) -> float:
    """Mean gradient of the green channel along every fourth row and every fourth column."""
    lines = np.diff(rgb[::4, :, 1].astype(np.int16), axis=1), np.diff(rgb[:, ::4, 1].astype(np.int16), axis=0)
    gradients = [np.abs(line).mean() for line in lines if line.size]
    return float(sum(gradients)) / max(len(gradients), 1)
