"""Reading of a folder of images as a video, an image a frame, and of a single image as a video of one frame."""

from __future__ import annotations

import re
from collections.abc import Generator
from fractions import Fraction
from pathlib import Path

import av

from stgvcodec.errors import InputVideoError
from stgvcodec.media.colour import ColorTags
from stgvcodec.media.orientation import orientation_by_angle
from stgvcodec.media.source import DecodedPicture

# FFmpeg's TIFF decoder refuses intact files when it is strict, and reports missing bytes even when it is not.
_LENIENT_CODECS = ("tiff",)
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")


class ImageFolderSource:
    """Images as the frames of a video, in natural order ("9.png" before "10.png").

    Args:
        path: A folder, or one image.
        frame_rate: Frames per second that the images stand for.

    Raises:
        InputVideoError: the folder holds no images.
    """

    alpha_allowed = True

    def __init__(self, path: Path, frame_rate: Fraction) -> None:
        self.name = str(path)
        self.frame_rate = frame_rate
        self.time_base = 1 / frame_rate
        self.sample_aspect_ratio = Fraction(1)
        self._files = [path] if path.is_file() else _images_in(path)
        self.n_frames: int | None = len(self._files)
        self.has_audio = False

    def pictures(self) -> Generator[DecodedPicture, None, None]:
        """Decode from the first image; one is held at a time.

        Raises:
            InputVideoError: an image is damaged or has another size than the first.
        """
        first: tuple[int, int] | None = None
        for index, path in enumerate(self._files):
            picture, tags = decode_image(path)
            size = (picture.width, picture.height)
            first = first or size
            if size != first:
                raise InputVideoError(
                    f"{path}: got an image of {size[0]}x{size[1]}, expected {first[0]}x{first[1]} as in "
                    f"{self._files[0].name}; make all images of a folder the same size"
                )
            yield DecodedPicture(picture, index, tags, orientation_by_angle(picture, str(path)), str(path))


def decode_image(path: Path) -> tuple[av.VideoFrame, ColorTags]:
    """Return the first picture of an image file, unconverted, and its colour tags.

    Raises:
        InputVideoError: the file is missing, damaged or not an image.
    """
    try:
        # FFmpeg gets a stream of bytes: it would read "%03d" in a file name as a pattern, and the suffix as the format.
        with path.open("rb") as file, av.open(file, "r", metadata_errors="replace") as container:
            context = container.streams.video[0].codec_context
            if context.name not in _LENIENT_CODECS:
                context.options = {"err_detect": "explode"}
            picture = next(container.decode(video=0))
            if picture.is_corrupt:
                raise InputVideoError(f"{path}: is damaged or cut short, expected a whole image; replace it")
            return picture, ColorTags(int(context.color_primaries), int(context.color_trc))
    except (av.FFmpegError, OSError, ValueError, StopIteration, IndexError) as error:
        reason = getattr(error, "strerror", None) or error or "no picture in it"
        raise InputVideoError(f"{path}: cannot be read as an image: got '{reason}'; replace or remove it") from error


def _images_in(folder: Path) -> list[Path]:
    try:
        files = [
            path
            for path in folder.iterdir()
            if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file() and not path.name.startswith(".")
        ]
    except OSError as error:
        raise InputVideoError(f"{folder}: cannot be listed: {error.strerror or error}") from error
    if not files:
        raise InputVideoError(f"{folder}: has no images, expected files ending in {', '.join(IMAGE_SUFFIXES)}")
    return sorted(files, key=_natural_key)


def _natural_key(path: Path) -> tuple[list[tuple[int, str]], str]:
    # Digits compare as numbers. The split alternates text and digits, so that equal places hold equal kinds.
    parts = re.split(r"(\d+)", path.name.lower())
    return [(int(part), "") if index % 2 else (0, part) for index, part in enumerate(parts)], path.name
