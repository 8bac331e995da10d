"""YUV4MPEG2: the uncompressed pipe format of mjpegtools, x264, VMAF and many more.

This module writes 8-bit 4:4:4, 4:2:2 or 4:2:0, BT.601, limited range. The format cannot say its matrix, so its readers
(this package's included) take it for BT.601. It has no timestamps either: frames are at the nominal rate.
"""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

_MAGIC = b"YUV4MPEG2 "
_FRAME = b"FRAME\n"
# What a header says of samples; chroma of 4:2:0 is centred between its pixels, as the converter makes it.
_SAMPLES = {
    "yuv444p": "C444 XYSCSS=444",
    "yuv422p": "C422 XYSCSS=422",
    "yuv420p": "C420jpeg XYSCSS=420JPEG",
}
_MAX_HEADER_BYTES = 4096
_CHROMA = re.compile(r"(420|422|444|mono)(?:jpeg|mpeg2|paldv)?(?:p?(\d+))?")


def header(
    width: int, height: int, frame_rate: Fraction, sample_aspect_ratio: Fraction = Fraction(1), samples: str = "yuv444p"
) -> bytes:
    """Return the header line, which stands before the frames; `samples` is a key of `_SAMPLES`."""
    return (
        f"YUV4MPEG2 W{width} H{height} F{frame_rate.numerator}:{frame_rate.denominator} Ip "
        f"A{sample_aspect_ratio.numerator}:{sample_aspect_ratio.denominator} {_SAMPLES[samples]} XCOLORRANGE=LIMITED\n"
    ).encode()


def frame(picture: av.VideoFrame) -> bytes:
    """Return a frame of one of the formats of `_SAMPLES` as bytes, with the marker before it."""
    planes = []
    for plane in picture.planes:
        # Rows are padded in memory, and not in the file.
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        planes.append(rows[: plane.height, : plane.width].tobytes())
    return _FRAME + b"".join(planes)


def shortfall(path: Path) -> str | None:
    """Say how a y4m file is cut short, since FFmpeg drops a partial last frame without a message.

    Returns:
        Description of the partial frame; None for a whole file, for other formats, and if the frames carry parameters
        of their own.
    """
    with path.open("rb") as file:
        start = file.read(_MAX_HEADER_BYTES)
    line, newline, rest = start.partition(b"\n")
    if not line.startswith(_MAGIC) or not newline or not rest.startswith(_FRAME):
        return None
    frame_bytes = _picture_bytes(line.decode("ascii", "replace").split(" ")[1:])
    if frame_bytes is None:
        return None
    left_over = (path.stat().st_size - len(line) - 1) % (len(_FRAME) + frame_bytes)
    return f"{left_over} bytes of a frame of {len(_FRAME) + frame_bytes}" if left_over else None


def _picture_bytes(parameters: list[str]) -> int | None:
    values = {parameter[0]: parameter[1:] for parameter in reversed(parameters) if parameter}
    try:
        width, height = int(values["W"]), int(values["H"])
    except (KeyError, ValueError):
        return None
    chroma = _CHROMA.fullmatch(values.get("C", "420"))
    if chroma is None:
        return None
    half_width, half_height = (width + 1) // 2, (height + 1) // 2
    samples = {
        "420": width * height + 2 * half_width * half_height,
        "422": width * height + 2 * half_width * height,
        "444": 3 * width * height,
        "mono": width * height,
    }[chroma[1]]
    return samples * (2 if int(chroma[2] or 8) > 8 else 1)
