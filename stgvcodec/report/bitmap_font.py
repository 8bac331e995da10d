"""A 5x7 bitmap font, enough for labels; lower case is shown as upper case."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

GLYPH_WIDTH_PX = 5
GLYPH_HEIGHT_PX = 7
ADVANCE_PX = GLYPH_WIDTH_PX + 1

# A glyph has seven rows of two hexadecimal digits. The lower five bits of a row are its pixels, the leftmost one in the
# highest of them.
_GLYPHS = {
    " ": "00000000000000",
    "!": "04040404040004",
    "%": "19190204081313",
    "(": "02040808080402",
    ")": "08040202020408",
    "+": "0004041F040400",
    ",": "00000000040408",
    "-": "0000001F000000",
    ".": "00000000000C0C",
    "/": "01010204081010",
    ":": "000C0C000C0C00",
    "=": "00001F001F0000",
    "?": "0E110102040004",
    "_": "0000000000001F",
    "0": "0E11131519110E",
    "1": "040C040404040E",
    "2": "0E11010204081F",
    "3": "1F02040201110E",
    "4": "02060A121F0202",
    "5": "1F101E0101110E",
    "6": "0608101E11110E",
    "7": "1F010204080808",
    "8": "0E11110E11110E",
    "9": "0E11110F01020C",
    "A": "0E11111F111111",
    "B": "1E11111E11111E",
    "C": "0E11101010110E",
    "D": "1C12111111121C",
    "E": "1F10101E10101F",
    "F": "1F10101E101010",
    "G": "0E11101711110F",
    "H": "1111111F111111",
    "I": "0E04040404040E",
    "J": "0702020202120C",
    "K": "11121418141211",
    "L": "1010101010101F",
    "M": "111B1515111111",
    "N": "11111915131111",
    "O": "0E11111111110E",
    "P": "1E11111E101010",
    "Q": "0E11111115120D",
    "R": "1E11111E141211",
    "S": "0F10100E01011E",
    "T": "1F040404040404",
    "U": "1111111111110E",
    "V": "11111111110A04",
    "W": "1111111515150A",
    "X": "11110A040A1111",
    "Y": "1111110A040404",
    "Z": "1F01020408101F",
}


def text_mask(text: str) -> npt.NDArray[np.bool_]:
    """Draw a line of text.

    Args:
        text: One line; a character without a glyph is shown as a question mark.

    Returns:
        Mask of the pixels that are set. Each glyph is followed by an empty column. [7, 6 * len(text)] bool.
    """
    mask = np.zeros((GLYPH_HEIGHT_PX, ADVANCE_PX * len(text)), dtype=np.bool_)
    for i, character in enumerate(text.upper()):
        rows = bytes.fromhex(_GLYPHS.get(character, _GLYPHS["?"]))
        for y, row in enumerate(rows):
            for x in range(GLYPH_WIDTH_PX):
                mask[y, ADVANCE_PX * i + x] = bool(row >> (GLYPH_WIDTH_PX - 1 - x) & 1)
    return mask
