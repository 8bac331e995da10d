"""Reading of video as a lazy stream of RGB frames with timestamps, whatever the source is."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from stgvcodec.errors import ConfigError, InputVideoError, MissingFileError
from stgvcodec.media.atomic import PathLike
from stgvcodec.media.colour import (
    HDR_TRANSFERS,
    ColorConverter,
    ColorTags,
    RgbImage,
    bits_per_sample,
    check_matrix_option,
    has_alpha,
    is_rgb,
    resolve_tags,
)
from stgvcodec.media.image_folder import ImageFolderSource, are_images, stands_for_images
from stgvcodec.media.orientation import UPRIGHT
from stgvcodec.media.selection import Selection, resized_aspect
from stgvcodec.media.source import DecodedPicture, FrameSource
from stgvcodec.media.video_file import VideoFileSource, alpha_message

_log = logging.getLogger(__name__)

_EVERYTHING = Selection()


@dataclass(frozen=True)
class VideoFrame:
    """One frame of a source.

    Attributes:
        rgb: Full-range RGB picture, contiguous. [H, W, 3] uint8.
        pts: Timestamp in the reader's time base.
        known: Pixels that no mask tells to ignore; what `rgb` holds at others means nothing. None: all. [H, W] bool.
    """

    rgb: RgbImage = field(repr=False)
    pts: int
    known: npt.NDArray[np.bool_] | None = field(default=None, repr=False)


class VideoReader:
    """Frames of a video file or of a folder of images, after frames, crop and resize.

    Iterating decodes from the beginning, each time anew, and holds one frame (beside the few of the decoder) at a time.
    Use it in a `with` block, which closes the files of iterations that were left early.

    Attributes:
        name: Name of the source in messages.
        display_size: Width and height of a picture before crop and resize, turned as it is shown, pixels.
        width: Width of the frames after crop and resize, pixels.
        height: Height of the frames after crop and resize, pixels.
        frame_rate: Nominal frames per second.
        time_base: Seconds per unit of `VideoFrame.pts`.
        sample_aspect_ratio: Width over height of a pixel as displayed, after any turn, crop and resize.
        bits_per_sample: Bits of a sample of the source; the frames have 8, to which more are dithered.
        color: Colour tags of the source, after the rules for untagged sources; the frames are full-range RGB.
        n_frames: How many frames to expect, for a progress display; None if unknown.
        selection: What is taken of the source, with the size that square pixels have.
        file: File that may hold sound, subtitles and metadata beside the pictures; None for images.
    """

    def __init__(self, source: FrameSource, selection: Selection, matrix: int | None) -> None:
        self.name = source.name
        self.frame_rate = source.frame_rate
        self.time_base = source.time_base
        self.file = source.file
        self.n_frames = None if source.n_frames is None or selection.time else selection.count(source.n_frames)
        self._source = source
        self._matrix = matrix
        self._open_iterators: list[Generator[object, None, None]] = []
        pictures = source.pictures()
        try:
            first = next(pictures)
        finally:
            pictures.close()
        if matrix is not None and is_rgb(first.picture):
            raise ConfigError(f"{self.name}: got --matrix for an RGB source, which has none; leave the option out")
        self.color = resolve_tags(first.picture, first.tags, matrix, first.name)
        display_size = self._shown_size(first)
        self.display_size = display_size
        turned = source.sample_aspect_ratio
        if first.orientation.transpose:
            turned = 1 / turned
        self.selection = selection.squared(*display_size, turned)
        self.width, self.height = self.selection.output_size(*display_size)
        crop, resize = self.selection.crop, self.selection.resize
        kept = display_size if crop is None else (crop.width, crop.height)
        self.sample_aspect_ratio = turned if resize is None else resized_aspect(turned, kept, resize)
        self.bits_per_sample = bits_per_sample(first.picture)
        self._describe(first)

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[VideoFrame]:
        frames = self._frames()
        self._open_iterators.append(frames)
        return frames

    def __repr__(self) -> str:
        count = "?" if self.n_frames is None else self.n_frames
        return f"VideoReader({self.name!r}, {self.width}x{self.height}, {self.frame_rate} fps, {count} frames)"

    def frames_from(self, pts: int, *, lead_seconds: float = 0.0) -> Generator[VideoFrame, None, None]:
        """Yield the frames from a timestamp on to the end of the source, as `frames_at` finds them."""
        converter = ColorConverter()
        with closing(self._source.pictures(pts - round(lead_seconds / self.time_base))) as pictures:
            for decoded in pictures:
                if decoded.pts >= pts:
                    self._check_size(decoded)
                    yield VideoFrame(self._convert(decoded, converter), decoded.pts)

    def frames_at(self, pts: Sequence[int], *, lead_seconds: float = 0.0) -> list[RgbImage]:
        """Return the frames of these timestamps, whether or not they are among those selected.

        A video file is decoded from the key frame before the first of them. Where a file's index or its key frames are
        not what they seem, frames may be others than those that an iteration gives for the same timestamps.

        Args:
            pts: Timestamps of frames that follow each other.
            lead_seconds: How much earlier the first may be looked for.

        Raises:
            InputVideoError: they are not all found, or the source is damaged.
        """
        found: list[RgbImage] = []
        with closing(self.frames_from(pts[0], lead_seconds=lead_seconds)) as frames:
            for frame in frames:
                if frame.pts != pts[len(found)]:
                    break
                found.append(frame.rgb)
                if len(found) == len(pts):
                    return found
        raise InputVideoError(f"{self.name}: has no frame of the timestamp {pts[len(found)]} where it was looked for")

    def last_frame_duration(self) -> int:
        """Return how long the last frame is shown, time base units; 0 if that is one nominal interval or not known.

        A video file is read to its end for that, without decoding it.
        """
        if self.selection.is_cut_at_end:
            return 0
        duration = self._source.last_frame_duration()
        return 0 if abs(duration - 1 / (self.frame_rate * self.time_base)) < 1 else duration

    def close(self) -> None:
        """End every iteration and close its files."""
        while self._open_iterators:
            self._open_iterators.pop().close()

    def _frames(self) -> Generator[VideoFrame, None, None]:
        selection = self.selection
        converter = ColorConverter()
        n_read = n_taken = 0
        seconds = Fraction(0)
        first_pts: int | None = None
        pictures = self._source.pictures()
        try:
            for decoded in pictures:
                self._check_size(decoded)
                first_pts = decoded.pts if first_pts is None else first_pts
                seconds = (decoded.pts - first_pts) * self.time_base
                if selection.ends_before(n_read, seconds):
                    break
                if not selection.begins_before(n_read, seconds):
                    yield VideoFrame(self._convert(decoded, converter), decoded.pts)
                    n_taken += 1
                n_read += 1
                if n_read == selection.end_frame:
                    return
        finally:
            pictures.close()
        if n_taken == 0:
            raise ConfigError(self._nothing_taken(n_read, seconds))
        if selection.end_frame is not None:
            _log.warning("%s: has %d frames; --frames %s stops there", self.name, n_read, selection.frames_text)

    def _nothing_taken(self, n_read: int, seconds: Fraction) -> str:
        if self.selection.time is not None:
            return (
                f"time {self.selection.time_text}: no frame of {self.name} begins in that range; its last one begins "
                f"{float(seconds):g} s after its first, or the range lies between two frames"
            )
        return (
            f"frames {self.selection.frames_text}: got a first frame of {self.selection.first_frame}, "
            f"expected one of the {n_read} frames of {self.name}"
        )

    def _convert(self, decoded: DecodedPicture, converter: ColorConverter) -> RgbImage:
        picture = decoded.picture
        tags = resolve_tags(picture, decoded.tags, None if is_rgb(picture) else self._matrix, decoded.name)
        crop, resize = self.selection.crop, self.selection.resize
        if has_alpha(picture):
            rgb = self._opaque(decoded, tags, converter)
        elif decoded.orientation == UPRIGHT and crop is None and not any(self._source.cropping):
            # The whole picture is scaled in the pass that converts it, without rounding in between.
            return converter.to_rgb(picture, tags, resize)
        else:
            rgb = converter.to_rgb(picture, tags)
        left, top, right, bottom = self._source.cropping
        rgb = rgb[top : rgb.shape[0] - bottom, left : rgb.shape[1] - right]
        return crop_and_resize(decoded.orientation.apply(rgb), self.selection, converter)

    def _shown_size(self, decoded: DecodedPicture) -> tuple[int, int]:
        """Return the width and height of a picture as it is shown, pixels."""
        picture, (left, top, right, bottom) = decoded.picture, self._source.cropping
        width, height = picture.width - left - right, picture.height - top - bottom
        if width < 1 or height < 1:
            raise InputVideoError(
                f"{decoded.name}: got a picture of {picture.width}x{picture.height} of which {left} columns left, "
                f"{right} right, {top} rows above and {bottom} below are not shown; expected some that are"
            )
        return decoded.orientation.size(width, height)

    def _opaque(self, decoded: DecodedPicture, tags: ColorTags, converter: ColorConverter) -> RgbImage:
        rgba = converter.to_rgba(decoded.picture, tags)
        if int(rgba[..., 3].min()) < 255:
            raise InputVideoError(alpha_message(decoded.name))
        return np.ascontiguousarray(rgba[..., :3])

    def _check_size(self, decoded: DecodedPicture) -> None:
        size = self._shown_size(decoded)
        if size != self.display_size:
            raise InputVideoError(
                f"{decoded.name}: got a picture of {size[0]}x{size[1]}, expected {self.display_size[0]}x"
                f"{self.display_size[1]} throughout; bring the source to one size first, or cut it with --frames"
            )

    def _describe(self, first: DecodedPicture) -> None:
        if self.bits_per_sample > 8:
            _log.warning("%s: has %d bits a sample; it is dithered to 8", self.name, self.bits_per_sample)
        if self.color.transfer in HDR_TRANSFERS:
            _log.warning(
                "%s: is HDR, %s; its values are coded as they are, at 8 bits, and decoded with the same tags",
                self.name,
                HDR_TRANSFERS[self.color.transfer],
            )
        _log.debug("%s: %s, read as %s", self.name, first.picture.format.name, self.color)


def crop_and_resize(rgb: RgbImage, selection: Selection, converter: ColorConverter) -> RgbImage:
    """Return the part of an RGB picture that a selection takes, at the selected size. [H, W, 3] uint8, contiguous.

    Raises:
        ConfigError: the crop is not inside the picture.
    """
    crop, resize = selection.crop, selection.resize
    if crop is not None:
        x, y = crop.place(rgb.shape[1], rgb.shape[0])
        rgb = rgb[y : y + crop.height, x : x + crop.width]
    if resize is not None and resize != (rgb.shape[1], rgb.shape[0]):
        return converter.resize(rgb, resize)
    return np.ascontiguousarray(rgb)


def open_video(
    source: PathLike,
    *,
    selection: Selection = _EVERYTHING,
    matrix: str | None = None,
    frame_rate: Fraction | None = None,
) -> VideoReader:
    """Open a video file, a y4m file, an image, or several images.

    Args:
        source: Path of a file, or of a folder of images, or a name that stands for several: with a number as in printf
            ("frame_%04d.png"), or with the wildcards of a shell ("frame_*.png"), unless a file has that very name.
        selection: Frames, crop and resize, applied in this order.
        matrix: "bt601", "bt709" or "bt2020" to override the source's tag; None to believe the tag.
        frame_rate: Frames per second of images, by default 24, or the times that the pictures of a WebP have; video
            files have a frame rate of their own.

    Returns:
        A reader, which is an iterable of `VideoFrame` and a context manager.

    Raises:
        ConfigError: the selection or the matrix is impossible.
        MissingFileError: the source is missing.
        InputVideoError: the source is empty, damaged, interlaced, transparent, or not a video.
    """
    override = check_matrix_option(matrix)
    if frame_rate is not None and frame_rate <= 0:
        raise ConfigError(f"frame rate: got {frame_rate}, expected more than 0")
    path = Path(source)
    if path.is_dir() or stands_for_images(path):
        return VideoReader(ImageFolderSource(path, frame_rate), selection, override)
    if not path.exists():
        raise MissingFileError(f"{source}: does not exist; expected a video file or a folder of images")
    if not path.is_file():
        raise InputVideoError(f"{source}: is not a regular file; expected a video file or a folder of images")
    if path.stat().st_size == 0:
        raise InputVideoError(f"{source}: is empty (0 bytes); expected a video file or a folder of images")
    if are_images(path):
        return VideoReader(ImageFolderSource(path, frame_rate), selection, override)
    file = VideoFileSource(path, stream=selection.stream, keep_going=selection.keep_going)
    return VideoReader(file, selection, override)


def read_image(path: PathLike) -> RgbImage:
    """Read one image file as RGB; its colours are converted as `open_video` converts them.

    Args:
        path: A PNG, JPEG, BMP, TIFF or WebP file.

    Returns:
        Full-range RGB picture. [H, W, 3] uint8.

    Raises:
        MissingFileError: the file is missing.
        InputVideoError: the file is damaged, transparent, or not an image.
    """
    if not Path(path).is_file():
        raise MissingFileError(f"{path}: does not exist; expected an image")
    reader = VideoReader(ImageFolderSource(Path(path), None), _EVERYTHING, None)
    with reader:
        return next(iter(reader)).rgb
