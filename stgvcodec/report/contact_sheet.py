"""Contact sheet: labelled pictures side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

_BACKGROUND = (24, 24, 24)
_TEXT = (235, 235, 235)
_GAP_PX = 4
_PADDING_PX = 4
# Below the smaller size letters cannot be told apart.
_LARGEST_PX, _SMALLEST_PX = 18, 9
# Letters with their ascenders and descenders over the size of a font.
_LINE_HEIGHT = 1.2


def contact_sheet(
    panels: Sequence[tuple[str, npt.NDArray[np.uint8]]], *, n_columns: int | None = None
) -> npt.NDArray[np.uint8]:
    """Put pictures in rows, each under its label.

    Args:
        panels: Pairs of a label and a picture [H, W, 3] uint8, left to right; sizes may differ. All labels have the
            size in which the longest fits its picture; one that does not fit in the smallest either is cut.
        n_columns: Pictures in a row, of which the last may have fewer; None puts all of them in one row.

    Returns:
        Sheet with a strip of labels on top of every row and a gap around every picture. [H', W', 3] uint8.

    Raises:
        ValueError: there are no panels, or a picture is not uint8 [H, W, 3] with at least one pixel.
    """
    if not panels:
        raise ValueError("no panels were given, expected at least one (label, picture)")
    for label, image in panels:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
            raise ValueError(
                f"panel '{label}' is {image.dtype} {list(image.shape)}, expected uint8 [H, W, 3] with H, W > 0"
            )

    font = _font([label for label, _ in panels], [image.shape[1] for _, image in panels])
    strip = math.ceil(font.size * _LINE_HEIGHT) + 2 * _PADDING_PX
    step = n_columns or len(panels)
    rows = [panels[i : i + step] for i in range(0, len(panels), step)]
    heights = [strip + max(image.shape[0] for _, image in row) + _GAP_PX for row in rows]
    width = max(sum(image.shape[1] + _GAP_PX for _, image in row) for row in rows) + _GAP_PX
    sheet = Image.new("RGB", (width, sum(heights)), _BACKGROUND)
    top = 0
    for row, row_height in zip(rows, heights, strict=True):
        left = _GAP_PX
        for label, image in row:
            w = image.shape[1]
            line = Image.new("RGB", (w, strip), _BACKGROUND)
            ImageDraw.Draw(line).text((0, strip / 2), label, fill=_TEXT, font=font, anchor="lm")
            sheet.paste(line, (left, top))
            sheet.paste(Image.fromarray(image), (left, top + strip))
            left += w + _GAP_PX
        top += row_height
    return np.asarray(sheet).copy()


def _font(labels: Sequence[str], widths_px: Sequence[int]) -> ImageFont.FreeTypeFont:
    """Return the largest font in which each label is as wide as its picture at most; else the smallest."""
    size = _LARGEST_PX
    while size > _SMALLEST_PX and not _fits(_font_of(size), labels, widths_px):
        size -= 1
    return _font_of(size)


def _fits(font: ImageFont.FreeTypeFont, labels: Sequence[str], widths_px: Sequence[int]) -> bool:
    return all(font.getlength(label) <= width for label, width in zip(labels, widths_px, strict=True))


def _font_of(size_px: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size=size_px)
    # Pillow has a font of another kind where it was built without FreeType, which no wheel of it is.
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font
