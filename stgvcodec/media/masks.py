"""Masks: which pixels of a source are to be ignored, and a picture without them."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor

from stgvcodec.errors import ConfigError, InputVideoError
from stgvcodec.media.colour import RgbImage
from stgvcodec.media.opening import opened
from stgvcodec.media.reader import VideoFrame, VideoReader

logger = logging.getLogger(__name__)

MaskSource: TypeAlias = "str | os.PathLike[str] | npt.NDArray[np.bool_] | npt.NDArray[np.uint8] | Tensor"
"""An image, a folder of images or a video, by its path; or an array or tensor, [H, W] or [T, H, W], bool or uint8."""


class Masks:
    """The masks of a video, one a frame, or one for all.

    Attributes:
        name: Name of their source in messages.
        is_one: Whether there is one for all frames.
    """

    def __init__(self, reader: VideoReader, *, is_one: bool) -> None:
        self.name = reader.name
        self._reader = reader
        self.is_one = is_one

    def known(self) -> Iterator[npt.NDArray[np.bool_]]:
        """Yield for each frame which of its pixels are known. [H, W]."""
        for frame in self._reader:
            known: npt.NDArray[np.bool_] = np.equal(frame.rgb.max(axis=2), 0)
            yield known
            while self.is_one:
                yield known


@contextmanager
def opened_masks(source: MaskSource, video: VideoReader) -> Iterator[Masks]:
    """Open masks for a `with` block.

    They are cropped and resized as the video is. Those of a folder, a video or an array [T, H, W] belong to the frames
    of the whole video, of which it selects some; a single picture belongs to every frame.

    Args:
        source: Masks; a pixel that is not 0 is ignored. A pixel between the two of a resized mask is ignored, too.
        video: The video.

    Raises:
        ConfigError: frames were selected by their time and have a mask each, the array is none of masks, or a mask for
            every frame hides all of the picture.
        InputVideoError: the masks cannot be read, or have another size than the video.
    """
    selection = replace(video.selection.pictures_only, stream=None, square=False, keep_going=False)
    if isinstance(source, str | os.PathLike):
        with opened(os.fspath(source), selection=replace(selection, frames=None, time=None)) as reader:
            is_one = reader.n_frames == 1 and not _is_video(Path(source))
        pictures: object = os.fspath(source)
        fps = None
    else:
        array = np.asarray(source.cpu() if isinstance(source, Tensor) else source)
        if array.ndim not in (2, 3) or array.dtype not in (np.bool_, np.uint8):
            raise ConfigError(
                f"the mask is {array.dtype} {list(array.shape)}, expected bool or uint8, [H, W] or [T, H, W]"
            )
        is_one = array.ndim == 2
        planes = (array != 0).astype(np.uint8)[None] if is_one else (array != 0).astype(np.uint8)
        pictures, fps = np.repeat(255 * planes[..., None], 3, axis=3), 24.0
    if is_one:
        selection = replace(selection, frames=None, time=None)
    elif selection.time is not None:
        raise ConfigError("masks belong to frames by their numbers: select frames with --frames in place of --time")
    order = None if fps is None else "NHWC"
    with opened(pictures, selection=selection, fps=fps, dimension_order=order) as reader:  # type: ignore[arg-type]
        if reader.display_size != video.display_size:
            size, expected = ("{}x{}".format(*each.display_size) for each in (reader, video))
            raise InputVideoError(f"{reader.name}: has masks of {size}, expected {expected} as {video.name} has")
        if not is_one and None not in (reader.n_frames, video.n_frames) and reader.n_frames != video.n_frames:
            # Headers of video files may be wrong; what is read has the last word.
            logger.warning(
                "%s: has %s masks, and %s should have %s frames: the encode ends where one is missing",
                reader.name, reader.n_frames, video.name, video.n_frames,
            )  # fmt: skip
        masks = Masks(reader, is_one=is_one)
        if is_one and not next(masks.known()).any():
            raise ConfigError(
                f"{reader.name}: the mask hides every pixel, and nothing is left to encode; pixels that are not 0 are "
                "ignored: is it inverted?"
            )
        yield masks


class MaskedFrames:
    """The frames of a video with their masks, read anew each time; pixels to ignore are filled with smooth colours.

    Nothing of what the video holds at those pixels is left, so that no later stage can use it.

    Args:
        video: The video.
        masks: Its masks.
    """

    def __init__(self, video: VideoReader, masks: Masks) -> None:
        self._video = video
        self._masks = masks

    def __iter__(self) -> Iterator[VideoFrame]:
        """Read the frames in order.

        Raises:
            InputVideoError: there are fewer masks than frames, or more.
        """
        known_pixels = self._masks.known()
        n_read = 0
        for frame in self._video:
            known = next(known_pixels, None)
            if known is None:
                raise InputVideoError(
                    f"{self._masks.name}: has {n_read} masks, expected one for each frame of {self._video.name}"
                )
            yield VideoFrame(filled(frame.rgb, known), frame.pts, known)
            n_read += 1
        if not self._masks.is_one and next(known_pixels, None) is not None:
            raise InputVideoError(
                f"{self._masks.name}: has more than the {n_read} masks that {self._video.name} has frames"
            )


def _is_video(path: Path) -> bool:
    from stgvcodec.media.image_folder import are_images

    return not are_images(path)


def filled(rgb: RgbImage, known: npt.NDArray[np.bool_]) -> RgbImage:
    """Fill the pixels that are not known with smooth colours from those around them.

    Means of known pixels are taken over squares that double in size until every square has one (pull-push, Gortler et
    al. 1996); what the picture holds at other pixels has no part in it.

    Args:
        rgb: Picture. [H, W, 3] uint8.
        known: Which of its pixels are known. [H, W].

    Returns:
        A picture that is `rgb` at known pixels; grey where none is known. [H, W, 3] uint8.
    """
    if known.all():
        return rgb
    if not known.any():
        return np.full_like(rgb, 128)
    weight = known.astype(np.float32)
    smooth = _pulled_and_pushed(rgb * weight[..., None], weight)
    result = np.where(known[..., None], rgb, np.clip(np.rint(smooth), 0, 255).astype(np.uint8))
    return np.ascontiguousarray(result)


def _pulled_and_pushed(total: npt.NDArray[np.float32], weight: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the colours total / weight where there is weight, and smooth ones elsewhere. [h, w, 3], [h, w]."""
    height, width = weight.shape
    has_weight = weight > 0
    mean = np.divide(total, weight[..., None], out=np.zeros_like(total), where=has_weight[..., None])
    if has_weight.all():
        return mean
    rows, columns = -(-height // 2), -(-width // 2)
    padding = ((0, 2 * rows - height), (0, 2 * columns - width))
    # A square counts by its mean: one that is half known is as good as one that is known.
    squares = np.pad(mean, (*padding, (0, 0))).reshape(rows, 2, columns, 2, 3).sum(axis=(1, 3))
    counts = np.pad(has_weight.astype(np.float32), padding).reshape(rows, 2, columns, 2).sum(axis=(1, 3))
    coarse = _pulled_and_pushed(squares, counts)
    return np.where(has_weight[..., None], mean, _enlarged(coarse)[:height, :width])


def _enlarged(picture: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Double a picture's size by linear interpolation. [h, w, 3] -> [2h, 2w, 3]."""
    for axis in (0, 1):
        padded = np.concatenate([picture.take([0], axis), picture, picture.take([-1], axis)], axis)
        n = picture.shape[axis]
        before, after = (padded.take(range(i, i + n), axis) for i in (0, 2))
        near = 0.75 * picture
        pairs: npt.NDArray[np.float32] = np.stack([near + 0.25 * other for other in (before, after)], axis=axis + 1)
        picture = pairs.reshape(*picture.shape[:axis], 2 * n, *picture.shape[axis + 1 :])
    return picture
