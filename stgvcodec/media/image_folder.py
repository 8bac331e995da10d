"""Reading of a folder of images as a video, an image a frame, and of a single image as a video of its pictures."""

from __future__ import annotations

import logging
import re
import struct
import warnings
from bisect import bisect_left
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import accumulate, islice
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from PIL import Image

from stgvcodec.errors import InputVideoError
from stgvcodec.media.colour import ColorTags
from stgvcodec.media.matroska import Cropping
from stgvcodec.media.numbered import NumberedName, globbed
from stgvcodec.media.orientation import UPRIGHT, Orientation, orientation_by_exif
from stgvcodec.media.source import DecodedPicture

_log = logging.getLogger(__name__)

# FFmpeg's TIFF decoder refuses intact files when it is strict, and reports missing bytes even when it is not.
_LENIENT_CODECS = ("tiff",)
DEFAULT_IMAGE_RATE = Fraction(24)
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
# FFmpeg's demuxers of these kinds.
_STREAMS_OF_IMAGES = ("png_pipe", "jpeg_pipe", "bmp_pipe", "tiff_pipe", "webp_pipe")
# FFmpeg's PNG decoder takes a chunk beside the picture that does not parse for damage. Pillow does not, and finds
# damage of the picture as surely. It knows these modes to 8 bits.
_SECOND_OPINION = (".png",)
_EIGHT_BIT_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")
_UNREADABLE = (OSError, SyntaxError, ValueError, KeyError, TypeError, struct.error, Image.DecompressionBombError)
_EXIF_ORIENTATION, _TIFF_SUBFILE_TYPE = 0x0112, 254
# Messages name this many of the files that are left out.
_MOST_NAMED = 5


class _ImageFacts(NamedTuple):
    """What a file says beside its pixels: how it is turned, and the indices of its pictures."""

    orientation: Orientation
    pages: tuple[int, ...]


class ImageFolderSource:
    """Images as the frames of a video, in natural order ("9.png" before "10.png").

    Args:
        path: A folder, a name that stands for several images, or one image, whose pages are the frames if it has
            several.
        frame_rate: Frames per second that the images stand for; None for the times that the pages of a WebP have, and
            24 for other images.

    Raises:
        InputVideoError: there are no images, or the name stands for something else too.
    """

    def __init__(self, path: Path, frame_rate: Fraction | None) -> None:
        self.name = str(path)
        self.sample_aspect_ratio = Fraction(1)
        self.cropping = Cropping()
        self._are_many = not path.is_file()
        if path.is_file():
            self._files = [path]
        else:
            self._files = _images_in(path) if path.is_dir() else _images_named(path)
        self.n_frames: int | None = len(self._files) if self._are_many else len(_facts(path).pages)
        self.file: Path | None = None
        durations = [] if self._are_many or frame_rate is not None else _milliseconds(path)
        # Where the pages of a WebP begin and, behind the last one, where it ends; units of the time base.
        self._times = list(accumulate(durations, initial=0)) if all(durations) else [0]
        if len(self._times) > 1:
            self.time_base = Fraction(1, 1000)
            self.frame_rate = Fraction(1000 * len(durations), self._times[-1])
        else:
            self.frame_rate = frame_rate or DEFAULT_IMAGE_RATE
            self.time_base = 1 / self.frame_rate

    def last_frame_duration(self) -> int:
        """Return how long the last page of a WebP is shown; 0 for other images, all shown for one interval."""
        return self._times[-1] - self._times[-2] if len(self._times) > 1 else 0

    def pictures(self, start: int | None = None) -> Generator[DecodedPicture, None, None]:
        """Decode from the first image, or from that of a timestamp on; one is held at a time.

        Raises:
            InputVideoError: an image is damaged, has several pictures in a folder, or is shown in another size than the
                first.
        """
        first: tuple[int, int] | None = None
        n_before = 0
        if start is not None:
            n_before = bisect_left(self._times, start) if len(self._times) > 1 else max(start, 0)
        for index, (picture, tags, orientation, name) in enumerate(self._decoded(n_before), n_before):
            size = orientation.size(picture.width, picture.height)
            first = first or size
            if size != first:
                turned = "" if orientation == UPRIGHT else " once it is turned as its EXIF says"
                raise InputVideoError(
                    f"{name}: got an image of {size[0]}x{size[1]}{turned}, expected {first[0]}x{first[1]} as in "
                    f"{self._files[0].name}; make all images the same size"
                )
            pts = self._times[index] if len(self._times) > 1 else index
            yield DecodedPicture(picture, pts, tags, orientation, name)

    def _decoded(self, n_before: int) -> Iterator[tuple[av.VideoFrame, ColorTags, Orientation, str]]:
        """Decode pictures behind some that are left out."""
        for path in self._files[n_before:] if self._are_many else self._files:
            facts = _facts(path)
            if len(facts.pages) == 1:
                picture, tags = decode_image(path)
                yield picture, tags, facts.orientation, str(path)
                continue
            if self._are_many:
                raise InputVideoError(
                    f"{path}: has {len(facts.pages)} pictures, expected one in each of several images; encode it "
                    "alone, or replace it by its pictures"
                )
            for page in facts.pages[n_before:]:
                yield _by_pillow(path, page), ColorTags(), facts.orientation, f"{path}, page {page}"


def are_images(path: Path) -> bool:
    """Tell whether a path is read as images: a folder, a name that stands for several, or the file of a single image.

    A PNG of several pictures is a video, since each has a time of its own, and so are images behind each other in one
    stream. A file without the suffix of an image, as a pipe's copy is, is told by its content.
    """
    if path.is_dir() or stands_for_images(path):
        return True
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return suffix != ".png" or len(_facts(path).pages) == 1
    return _holds_one_image(path)


def _holds_one_image(path: Path) -> bool:
    try:
        with path.open("rb") as file, av.open(file, "r", metadata_errors="replace") as container:
            if container.format.name not in _STREAMS_OF_IMAGES:
                return False
            return sum(packet.size > 0 for packet in islice(container.demux(video=0), 2)) == 1
    except (av.FFmpegError, OSError, ValueError, IndexError):
        return False


def decode_image(path: Path) -> tuple[av.VideoFrame, ColorTags]:
    """Return the first picture of an image file, unconverted, and its colour tags.

    Raises:
        InputVideoError: the file is missing, damaged or not an image.
    """
    try:
        return _by_ffmpeg(path)
    except (av.FFmpegError, OSError, ValueError, StopIteration, IndexError) as error:
        if path.suffix.lower() in _SECOND_OPINION and path.is_file():
            try:
                return _by_pillow(path, 0), ColorTags()
            except InputVideoError:
                pass
        reason = getattr(error, "strerror", None) or error or "no picture in it"
        raise InputVideoError(f"{path}: cannot be read as an image: got '{reason}'; replace or remove it") from error


def _by_ffmpeg(path: Path) -> tuple[av.VideoFrame, ColorTags]:
    # FFmpeg gets a stream of bytes: it would read "%03d" in a file name as a pattern, and the suffix as the format.
    with path.open("rb") as file, av.open(file, "r", metadata_errors="replace") as container:
        context = container.streams.video[0].codec_context
        if context.name not in _LENIENT_CODECS:
            context.options = {"err_detect": "explode"}
        picture = next(container.decode(video=0))
        if picture.is_corrupt:
            raise InputVideoError(f"{path}: is damaged or cut short, expected a whole image; replace it")
        return picture, ColorTags(int(context.color_primaries), int(context.color_trc))


def _by_pillow(path: Path, page: int) -> av.VideoFrame:
    try:
        with _quiet(), Image.open(path) as image:
            image.seek(page)
            if image.mode.startswith("I;16"):
                rgb = np.repeat(np.asarray(image).astype(np.uint16)[..., None] >> 8, 3, axis=2).astype(np.uint8)
                return av.VideoFrame.from_ndarray(rgb, format="rgb24")
            if image.mode not in _EIGHT_BIT_MODES:
                raise ValueError(f"pixels of the kind '{image.mode}'")
            has_alpha = image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info
            pixels = np.asarray(image.convert("RGBA" if has_alpha else "RGB"))
            return av.VideoFrame.from_ndarray(pixels, format="rgba" if has_alpha else "rgb24")
    except _UNREADABLE as error:
        raise InputVideoError(
            f"{path}, page {page}: cannot be read as an image: got '{error}'; replace or remove it"
        ) from error


def _facts(path: Path) -> _ImageFacts:
    """Read what an image says of itself; what cannot be read counts as one upright picture."""
    try:
        with _quiet(), Image.open(path) as image:
            pages = tuple(page for page in range(getattr(image, "n_frames", 1)) if not _is_thumbnail(image, page))
            image.seek(0)
            value = image.getexif().get(_EXIF_ORIENTATION, 1)
    except _UNREADABLE:
        return _ImageFacts(UPRIGHT, (0,))
    return _ImageFacts(orientation_by_exif(value), pages or (0,))


def _milliseconds(path: Path) -> list[int]:
    """Return how long each page of a WebP is shown, milliseconds; none for an image of one page or of another kind."""
    durations = []
    try:
        with _quiet(), Image.open(path, formats=["WEBP"]) as image:
            for page in range(getattr(image, "n_frames", 1)):
                image.seek(page)
                # Pillow tells the duration of a page when it has decoded it.
                image.load()
                durations.append(int(image.info.get("duration", 0)))
    except _UNREADABLE:
        # This is another kind of image, or reading its pictures says what is wrong.
        return []
    return durations if len(durations) > 1 else []


def _is_thumbnail(image: Image.Image, page: int) -> bool:
    """Tell whether a page of a TIFF is another one made smaller."""
    if not hasattr(image, "tag_v2"):
        return False
    image.seek(page)
    return bool(int(image.tag_v2.get(_TIFF_SUBFILE_TYPE, 0)) & 1)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Pillow from warning of metadata that it cannot read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _images_in(folder: Path) -> list[Path]:
    try:
        names = [path for path in folder.iterdir() if not path.name.startswith(".") and not path.is_dir()]
    except OSError as error:
        raise InputVideoError(f"{folder}: cannot be listed: {error.strerror or error}") from error
    # A link to nothing is no file; reading it says so.
    files = [path for path in names if path.suffix.lower() in IMAGE_SUFFIXES]
    if not files:
        raise InputVideoError(f"{folder}: has no images, expected files ending in {', '.join(IMAGE_SUFFIXES)}")
    left_out = sorted(path.name for path in set(names) - set(files))
    if left_out:
        more = f" and {len(left_out) - _MOST_NAMED} more" if len(left_out) > _MOST_NAMED else ""
        _log.warning("%s: %s%s are left out, not being images that are read", folder, _named(left_out), more)
    return sorted(files, key=_natural_key)


def stands_for_images(path: Path) -> bool:
    """Tell whether a name that is no file's stands for several, as `frame_%04d.png` and `frame_*.png` do."""
    return not path.exists() and (NumberedName.parse(path) is not None or globbed(path) is not None)


def _images_named(path: Path) -> list[Path]:
    numbered = NumberedName.parse(path)
    files = sorted(globbed(path) or [], key=_natural_key) if numbered is None else list(numbered.files().values())
    if not files:
        raise InputVideoError(f"{path}: there are no files of such a name; expected images")
    others = [each.name for each in files if each.suffix.lower() not in IMAGE_SUFFIXES]
    if others:
        raise InputVideoError(
            f"{path}: stands for {_named(others)} too, expected images alone, ending in {', '.join(IMAGE_SUFFIXES)}"
        )
    if numbered is not None:
        there = list(numbered.files())
        n_missing = there[-1] - there[0] + 1 - len(there)
        if n_missing:
            _log.warning(
                "%s: %d numbers between the first and the last are missing; they are passed over", path, n_missing
            )
    return files


def _named(names: list[str]) -> str:
    return ", ".join(names[:_MOST_NAMED])


def _natural_key(path: Path) -> tuple[list[tuple[int, str]], str]:
    # Digits compare as numbers. The split alternates text and digits, so that equal places hold equal kinds.
    parts = re.split(r"(\d+)", str(path).lower())
    return [(int(part), "") if index % 2 else (0, part) for index, part in enumerate(parts)], str(path)
