"""Contact sheet: labelled pictures side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from stgvcodec.report.bitmap_font import ADVANCE_PX, GLYPH_HEIGHT_PX, text_mask

_BACKGROUND = (24, 24, 24)
_TEXT = (235, 235, 235)
_GAP_PX = 4
_PADDING_PX = 4


def contact_sheet(
    panels: Sequence[tuple[str, npt.NDArray[np.uint8]]], *, n_columns: int | None = None
) -> npt.NDArray[np.uint8]:
    """Put pictures in rows, each under its label.

    Args:
        panels: Pairs of a label and a picture [H, W, 3] uint8, left to right; sizes may differ. Labels are doubled in
            size if all of them fit so. A label that is wider than its picture is cut.
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

    fits_doubled = all(2 * ADVANCE_PX * len(label) <= image.shape[1] for label, image in panels)
    magnification = 2 if fits_doubled else 1
    strip = magnification * GLYPH_HEIGHT_PX + 2 * _PADDING_PX
    step = n_columns or len(panels)
    rows = [panels[i : i + step] for i in range(0, len(panels), step)]
    heights = [strip + max(image.shape[0] for _, image in row) + _GAP_PX for row in rows]
    width = max(sum(image.shape[1] + _GAP_PX for _, image in row) for row in rows) + _GAP_PX
    sheet = np.full((sum(heights), width, 3), _BACKGROUND, dtype=np.uint8)
    top = 0
    for row, row_height in zip(rows, heights, strict=True):
        left = _GAP_PX
        for label, image in row:
            h, w = image.shape[:2]
            mask = text_mask(label).repeat(magnification, 0).repeat(magnification, 1)[:, :w]
            text_top = top + _PADDING_PX
            sheet[text_top : text_top + mask.shape[0], left : left + mask.shape[1]][mask] = _TEXT
            sheet[top + strip : top + strip + h, left : left + w] = image
            left += w + _GAP_PX
        top += row_height
    return sheet
