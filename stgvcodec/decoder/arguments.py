"""Checks of what a caller of `VideoDecoder` asks for."""

from __future__ import annotations

from collections.abc import Sequence

from stgvcodec.bitstream.container.file_header import StreamHeader
from stgvcodec.bitstream.syntax.limits import LIMITS
from stgvcodec.errors import ConfigError
from stgvcodec.model.gaussians import Scale


def check_torchcodecs(
    stream_index: int | None, seek_mode: str, transforms: Sequence[object] | None, custom_frame_mappings: object
) -> None:
    """Refuse arguments of torchcodec's decoder that would ask for something else than this one gives."""
    if stream_index not in (None, 0):
        raise ConfigError(f"stream_index is {stream_index}, expected 0: a .stgv file has one video stream")
    if seek_mode not in ("exact", "approximate"):
        raise ConfigError(f"seek_mode is '{seek_mode}', expected 'exact'; a .stgv file has an index, by which it seeks")
    if transforms:
        raise ConfigError(
            "transforms are not applied while decoding: leave them out, render at another size (`render` and "
            "`iter_frames` do), or apply transforms to the frames"
        )
    if custom_frame_mappings is not None:
        raise ConfigError("custom_frame_mappings are those of another file: leave them out, a .stgv file has an index")


def chosen_scale(scale: float, size: tuple[int, int] | None, header: StreamHeader) -> Scale:
    """Return the scale at which pictures are rendered.

    Args:
        scale: Output size over encoded size, 1.0 where a size is given.
        size: (H, W) of the output, pixels, or None.
        header: Encoded size.

    Raises:
        ConfigError: the picture would be smaller than a pixel or pass the format's limits, or both are given.
    """
    limit = LIMITS["width"]
    if size is not None:
        if scale != 1.0:
            raise ConfigError("scale and size both choose a size; give one of them")
        height, width = size
        is_within = all(1 <= side <= limit for side in size)
        if not is_within or width * height > LIMITS["frame_pixels"]:
            raise ConfigError(
                f"size is {width}x{height}, expected a width and a height from 1 to {limit}, and at most "
                f"{LIMITS['frame_pixels']} pixels in all"
            )
        return width / header.width, height / header.height
    longest = max(header.width, header.height)
    if not (scale > 0 and longest * scale <= limit):
        raise ConfigError(
            f"scale is {scale}, expected more than 0 and at most {limit / longest:g} for this video "
            f"({header.width}x{header.height}; no side may pass {limit} pixels)"
        )
    return scale
