"""Which frames an index means: a whole number, several of them, or a mask; of Python, NumPy or torch."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any, SupportsIndex, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Index: TypeAlias = "SupportsIndex | Tensor"
"""One frame: a whole number, or an array or tensor of no dimension that holds one; negative ones count from the end."""

Indices: TypeAlias = "Sequence[int] | Sequence[bool] | npt.NDArray[Any] | Tensor"
"""Several frames [n], or a mask of all frames [n_frames] that is true for those that are wanted."""


def frame_index(index: object, n_frames: int) -> int:
    """Return the frame that an index means, counted from the first.

    Raises:
        TypeError: the index is not a whole number; truth values are none.
        IndexError: there is no such frame.
    """
    if _is_truth(index):
        raise TypeError(f"{index!r} is a truth value, expected the index of a frame; a mask is as long as the video")
    try:
        number = operator.index(index)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"the index of a frame is {index!r}, expected a whole number") from None
    wrapped = number + n_frames if number < 0 else number
    if not 0 <= wrapped < n_frames:
        raise IndexError(f"frame {number} of a video of {n_frames} frames")
    return wrapped


def frame_indices(indices: Iterable[object] | npt.NDArray[Any] | Tensor, n_frames: int) -> Sequence[int]:
    """Return the frames that a sequence, an array or a mask means, counted from the first, in its order.

    Raises:
        TypeError: what is given is neither whole numbers nor a mask, or has not one dimension.
        IndexError: there is no such frame, or a mask is not as long as the video.
    """
    if isinstance(indices, range) and all(0 <= end < n_frames for end in (*indices[:1], *indices[-1:])):
        return indices  # As it is: it may be a film.
    if isinstance(indices, np.ndarray | Tensor):
        if indices.ndim != 1:
            raise TypeError(f"indices of frames have the shape {list(indices.shape)}, expected one dimension")
        values = indices.tolist()
    elif isinstance(indices, str | bytes) or not isinstance(indices, Iterable):
        raise TypeError(f"indices of frames are {indices!r}, expected whole numbers, a mask or a slice")
    else:
        values = list(indices)
    if values and all(_is_truth(value) for value in values):
        if len(values) != n_frames:
            raise IndexError(f"a mask of {len(values)} frames for a video of {n_frames} frames")
        return [i for i, wanted in enumerate(values) if wanted]
    return [frame_index(value, n_frames) for value in values]


def has_no_dimension(index: object) -> bool:
    """Tell whether an index means one frame: all but sequences and arrays of a dimension do."""
    return index.ndim == 0 if isinstance(index, np.ndarray | Tensor) else not isinstance(index, Sequence)


def _is_truth(value: object) -> bool:
    if isinstance(value, Tensor):
        return value.ndim == 0 and value.dtype == torch.bool
    return isinstance(value, bool | np.bool_) or (isinstance(value, np.ndarray) and value.dtype == np.bool_)
