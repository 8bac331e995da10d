"""Colour descriptions, and the one place where YUV and RGB are converted into each other.

The rules:
    - A source without a tag for the matrix is taken for BT.601, and one without a tag for the range for limited range,
      at any size. These are ffmpeg's defaults.
    - A tagged source is what its tags say; `--matrix` overrides the matrix, never the range.
    - RGB sources have matrix 0, are full range, and pass through unchanged.

Conversions are libswscale's through the filter `scale`, with matrix and range passed explicitly, accurate rounding and
full chroma interpolation: the frames of 8-bit sources equal, bit for bit, those of
`ffmpeg -vf scale=in_color_matrix=M:in_range=R:out_range=pc:flags=F,format=rgb24`, F being `_FLAGS` below.
Sources of more bits are converted to 16 bits in the same way, and then dithered to 8 by a fixed pattern of 8x8 pixels.
As in ffmpeg, 4:2:0 chroma is taken as centred between its pixels, whatever the stream's chroma location says.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import av
import numpy as np
import numpy.typing as npt
from av.filter import Graph

from stgvcodec.errors import ConfigError, InputVideoError

RgbImage = npt.NDArray[np.uint8]
"""Full-range RGB picture. [H, W, 3] uint8, contiguous."""

UNSPECIFIED = 2
RGB_MATRIX = 0
MATRICES = {"bt601": 6, "bt709": 1, "bt2020": 9}
"""Value of `--matrix` -> code point of H.273 MatrixCoefficients."""

HDR_TRANSFERS = {16: "PQ (SMPTE ST 2084)", 18: "HLG (ARIB STD-B67)"}

_SWSCALE_MATRICES = {1: "bt709", 4: "fcc", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020"}
_FLAGS = "accurate_rnd+full_chroma_int+full_chroma_inp+bicubic"
_LIMITED, _FULL = 1, 2
# What a level of 8 bits is in 16 bits. swscale takes limited range for 256ths, and gives full range and RGB in 257ths.
_LIMITED_LEVEL, _FULL_LEVEL = 256, 257
_RANGE_NAMES = {_LIMITED: "tv", _FULL: "pc"}


@dataclass(frozen=True)
class ColorTags:
    """Code points of ITU-T H.273; 2 is "unspecified".

    Attributes:
        primaries: Code point of ColourPrimaries.
        transfer: Code point of TransferCharacteristics.
        matrix: Code point of MatrixCoefficients; 0 for RGB.
        full_range: Value of VideoFullRangeFlag.
    """

    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED
    matrix: int = UNSPECIFIED
    full_range: bool = False

    def __str__(self) -> str:
        extent = "full" if self.full_range else "limited"
        return f"primaries {self.primaries}, transfer {self.transfer}, matrix {self.matrix}, {extent} range"


def check_matrix_option(matrix: str | None) -> int | None:
    """Return the code point of a value of `--matrix`; None if the option is not given.

    Raises:
        ConfigError: the matrix does not exist.
    """
    if matrix is None:
        return None
    if matrix not in MATRICES:
        raise ConfigError(f"matrix '{matrix}' does not exist; choose one of {', '.join(MATRICES)}")
    return MATRICES[matrix]


def is_rgb(picture: av.VideoFrame) -> bool:
    """Return whether the samples are red, green and blue (palettes included)."""
    return picture.format.is_rgb or picture.format.has_palette


def has_alpha(picture: av.VideoFrame) -> bool:
    """Return whether the format may carry transparency, as a palette may."""
    return picture.format.has_palette or any(part.is_alpha for part in picture.format.components)


def bits_per_sample(picture: av.VideoFrame) -> int:
    """Return the largest number of bits of any component."""
    return max(part.bits for part in picture.format.components)


def resolve_tags(picture: av.VideoFrame, tags: ColorTags, override: int | None, name: str) -> ColorTags:
    """Return the colour tags of a decoded picture, after the rules for untagged sources.

    Args:
        picture: The decoded picture; its own matrix and range win over the stream's.
        tags: The stream's tags; `full_range` is not read.
        override: Code point of `--matrix`; None to believe the tags.
        name: Name of the picture in error messages.

    Returns:
        Tags whose matrix and range are known.

    Raises:
        InputVideoError: the matrix cannot be converted.
    """
    tags = replace(tags, primaries=tags.primaries or UNSPECIFIED, transfer=tags.transfer or UNSPECIFIED)
    if is_rgb(picture):
        return replace(tags, matrix=RGB_MATRIX, full_range=True)
    color_range = int(picture.color_range)
    gray = len([part for part in picture.format.components if not part.is_alpha]) == 1
    # swscale knows gray pictures as full range only, and so do the image formats that hold them.
    full_range = color_range == _FULL or picture.format.name.startswith("yuvj") or gray
    tagged = int(picture.colorspace)
    matrix = override if override is not None else (MATRICES["bt601"] if tagged == UNSPECIFIED or gray else tagged)
    if matrix not in _SWSCALE_MATRICES:
        raise InputVideoError(
            f"{name}: got H.273 matrix coefficients {matrix}, expected one of {sorted(_SWSCALE_MATRICES)}; "
            "convert the source first, or say which it is with --matrix"
        )
    return replace(tags, matrix=matrix, full_range=full_range)


def output_matrix(tags: ColorTags) -> int:
    """Return the matrix for writing RGB as YUV: the source's, or BT.709 if that cannot be written (RGB sources)."""
    return tags.matrix if tags.matrix in _SWSCALE_MATRICES else MATRICES["bt709"]


class ColorConverter:
    """Converts and scales pictures, bicubic if the size changes. The filter graph is kept for pictures of one kind."""

    def __init__(self) -> None:
        self._key: tuple[object, ...] = ()
        self._graph: Graph | None = None

    def to_rgb(self, picture: av.VideoFrame, tags: ColorTags, size: tuple[int, int] | None = None) -> RgbImage:
        """Convert a decoded picture to RGB.

        Args:
            picture: Decoded picture of any format without alpha.
            tags: Colour tags that `resolve_tags` returned.
            size: Size (width, height) of the result, to which the same pass scales; None keeps the size.

        Returns:
            Full-range RGB picture. [H, W, 3] uint8.
        """
        if bits_per_sample(picture) > 8:
            return _dithered(self._convert(picture, "rgb48le", _source_options(picture, tags), tags, size), tags)
        return _array(self._convert(picture, "rgb24", _source_options(picture, tags), tags, size))

    def to_rgba(self, picture: av.VideoFrame, tags: ColorTags) -> npt.NDArray[np.uint8]:
        """Convert a decoded picture with alpha to full-range RGBA. [H, W, 4] uint8."""
        if bits_per_sample(picture) > 8:
            return _dithered(self._convert(picture, "rgba64le", _source_options(picture, tags), tags, None), tags)
        return _array(self._convert(picture, "rgba", _source_options(picture, tags), tags, None))

    def resize(self, rgb: RgbImage, size: tuple[int, int]) -> RgbImage:
        """Scale an RGB picture to another (width, height). [H, W, 3] uint8."""
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
        return _array(self._convert(picture, "rgb24", [], ColorTags(matrix=RGB_MATRIX, full_range=True), size))

    def from_rgb(self, rgb: RgbImage, pixel_format: str, matrix: int, *, full_range: bool = False) -> av.VideoFrame:
        """Convert RGB to samples for an encoder.

        Args:
            rgb: Full-range RGB picture. [H, W, 3] uint8.
            pixel_format: FFmpeg's name of the format, such as "yuv420p" or "gbrp".
            matrix: Code point of H.273 MatrixCoefficients, one that `output_matrix` may return; not read for RGB.
            full_range: Whether the samples are of full range, as RGB and gray are.

        Returns:
            A picture without a timestamp.
        """
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
        options = []
        if not av.VideoFormat(pixel_format).is_rgb:
            extent = _RANGE_NAMES[_FULL if full_range else _LIMITED]
            options = [f"out_color_matrix={_SWSCALE_MATRICES[matrix]}", f"out_range={extent}"]
        return self._convert(picture, pixel_format, options, ColorTags(matrix=RGB_MATRIX, full_range=True), None)

    def _convert(
        self,
        picture: av.VideoFrame,
        pixel_format: str,
        options: list[str],
        tags: ColorTags,
        size: tuple[int, int] | None,
    ) -> av.VideoFrame:
        if picture.format.name == pixel_format and size in (None, (picture.width, picture.height)):
            return picture
        # The picture gets the tags too, so that it agrees with the options of the graph.
        picture.colorspace = tags.matrix
        picture.color_range = _FULL if tags.full_range else _LIMITED
        width, height = size or (picture.width, picture.height)
        key = (picture.format.name, picture.width, picture.height, tags, pixel_format, *options, width, height)
        if self._graph is None or key != self._key:
            scale = ":".join([f"w={width}:h={height}", *options, f"flags={_FLAGS}"])
            self._graph, self._key = _build_graph(picture, scale, pixel_format), key
        self._graph.push(picture)
        converted = self._graph.pull()
        assert isinstance(converted, av.VideoFrame)
        return converted


def _array(picture: av.VideoFrame) -> npt.NDArray[np.uint8]:
    # PyAV returns a view with gaps where the rows are padded.
    return np.ascontiguousarray(picture.to_ndarray(), dtype=np.uint8)


def _dithered(picture: av.VideoFrame, tags: ColorTags) -> npt.NDArray[np.uint8]:
    """Bring a picture of 16 bits to 8, so that the mean of an area stays what it was; levels of 8 bits stay themselves.

    The three colours share a pattern, so that gray stays gray. Alpha is rounded.
    """
    level = _FULL_LEVEL if tags.full_range else _LIMITED_LEVEL
    wide = np.asarray(picture.to_ndarray(), dtype=np.uint32)  # [H, W, 3 or 4]
    height, width, _ = wide.shape
    pattern = np.tile(_PATTERN, (-(-height // 8), -(-width // 8)))[:height, :width, None]
    wide[..., :3] += (pattern * level) >> _PATTERN_BITS
    wide[..., 3:] += level // 2
    return np.minimum(wide // level, 255).astype(np.uint8)


def _ordered_pattern() -> npt.NDArray[np.uint32]:
    """Return Bayer's thresholds of 8x8 pixels, the odd numbers below 2^_PATTERN_BITS."""
    pattern = np.zeros((1, 1), dtype=np.uint32)
    for _ in range(3):
        pattern = np.block([[4 * pattern, 4 * pattern + 2], [4 * pattern + 3, 4 * pattern + 1]])
    return 2 * pattern + 1


_PATTERN_BITS = 7
_PATTERN = _ordered_pattern()


def _source_options(picture: av.VideoFrame, tags: ColorTags) -> list[str]:
    if is_rgb(picture):
        return []
    extent = _RANGE_NAMES[_FULL if tags.full_range else _LIMITED]
    return [f"in_color_matrix={_SWSCALE_MATRICES[tags.matrix]}", f"in_range={extent}", "out_range=pc"]


def _build_graph(picture: av.VideoFrame, scale: str, pixel_format: str) -> Graph:
    graph = Graph()
    source = graph.add(
        "buffer",
        f"video_size={picture.width}x{picture.height}:pix_fmt={picture.format.name}:time_base=1/1:pixel_aspect=1/1"
        f":colorspace={int(picture.colorspace)}:range={int(picture.color_range)}",
    )
    chain = [source, graph.add("scale", scale), graph.add("format", pixel_format), graph.add("buffersink")]
    for upstream, downstream in pairwise(chain):
        upstream.link_to(downstream)
    graph.configure()
    return graph
