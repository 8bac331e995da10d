"""What is done to the frames before they are fitted, table by table, and the classical filters of Table VI."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from benchmarks.paper.interpolation import ENLARGEMENTS, HALVED, reduced
from examples.denoise import noisy
from examples.inpaint import random_squares
from stgvcodec.media.masks import filled

NOISES = ("white", "black", "salt and pepper")


class Source(NamedTuple):
    """A clip, and what is seen of it.

    Attributes:
        clean: Frames as they were. [T, H, W, 3] uint8.
        seen: Frames as they are given; masked pixels are black. [T, h, w, 3] uint8.
        known: Pixels that are not masked; None if none is. [T, h, w] bool.
        is_halved: Whether every second frame is given, and those between them are compared.
    """

    clean: np.ndarray
    seen: np.ndarray
    known: np.ndarray | None = None
    is_halved: bool = False

    def part(self, frames: range) -> Source:
        """What a fit of these frames is given, and what it is compared with."""
        part = slice(frames.start, frames.stop)
        clean, seen = self.clean[part], self.seen[part]
        if self.is_halved:
            return Source(clean[1:-1:2], seen[::2], is_halved=True)
        return Source(clean, seen, None if self.known is None else self.known[part])


def corrupted(clean: np.ndarray, corruption: str) -> Source:
    """Corrupt a whole clip [T, H, W, 3], always in the same way."""
    if not corruption:
        return Source(clean, clean)
    if corruption in ENLARGEMENTS:
        return Source(clean, reduced(clean, ENLARGEMENTS[corruption]))
    if corruption == HALVED:
        return Source(clean, clean, is_halved=True)
    if corruption == "squares":
        known = ~random_squares(clean.shape[:3])
        return Source(clean, np.where(known[..., None], clean, 0).astype(np.uint8), known)
    return Source(clean, noisy(clean, corruption))


def to_fit(seen: np.ndarray, known: np.ndarray | None) -> np.ndarray:
    """Frames as `encode --mask` hands them to a fit: what is not known is smooth."""
    if known is None:
        return seen
    return np.stack([filled(frame, mask) for frame, mask in zip(seen, known, strict=True)])


def filtered(seen: np.ndarray, name: str) -> np.ndarray:
    """Frames after a filter of 3x3 pixels, or a Gaussian of one pixel. [T, H, W, 3] uint8."""
    size = (1, 3, 3, 1)
    filters = {
        "none": lambda frames: frames,
        "gaussian": lambda frames: ndimage.gaussian_filter(frames, (0, 1, 1, 0)),
        "uniform": lambda frames: ndimage.uniform_filter(frames, size),
        "median": lambda frames: ndimage.median_filter(frames, size),
        "minimum": lambda frames: ndimage.minimum_filter(frames, size),
        "maximum": lambda frames: ndimage.maximum_filter(frames, size),
    }
    return filters[name](seen)
