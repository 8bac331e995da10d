from __future__ import annotations

import numpy as np
import pytest

from stgvcodec.report.bitmap_font import _GLYPHS, text_mask
from stgvcodec.report.contact_sheet import contact_sheet


def picture(height: int, width: int, level: int) -> np.ndarray:
    return np.full((height, width, 3), level, dtype=np.uint8)


def test_pictures_stand_side_by_side_unchanged():
    first, second = picture(31, 63, 200), picture(17, 50, 90)
    sheet = contact_sheet([("a", first), ("b", second)])
    assert sheet.shape == (14 + 8 + 31 + 4, 4 + 63 + 4 + 50 + 4, 3)
    assert np.array_equal(sheet[22:53, 4:67], first)
    assert np.array_equal(sheet[22:39, 71:121], second)


def test_labels_stand_over_their_pictures():
    sheet = contact_sheet([("I", picture(9, 40, 0)), ("", picture(9, 40, 0))])
    strip = sheet[:22, :, 0] == 235
    assert np.array_equal(strip[4:18:2, 4:16:2], text_mask("I"))
    assert not strip[:, 44:].any()


def test_long_labels_are_cut_at_their_picture():
    sheet = contact_sheet([("WWWWWWWWWW", picture(5, 11, 7)), ("W", picture(5, 30, 7))])
    text = (sheet[: 7 + 8, :, 0] == 235).any(axis=0)
    assert text[4:15].any()
    assert not text[15:19].any()


def test_no_panels_are_refused():
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet([])


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)],
    ids=["float", "grey", "empty"],
)
def test_other_pictures_are_refused_by_label(image):
    with pytest.raises(ValueError, match=r"panel 'odd one' is .*expected uint8"):
        contact_sheet([("odd one", image)])


def test_every_glyph_is_its_own():
    shapes = {text_mask(character).tobytes() for character in _GLYPHS}
    assert len(shapes) == len(_GLYPHS) == 50
    assert all(
        len(rows) == 14 and all(int(rows[i : i + 2], 16) < 32 for i in range(0, 14, 2)) for rows in _GLYPHS.values()
    )


def test_text_is_read_left_to_right_in_either_case():
    assert np.array_equal(text_mask("L"), text_mask("l"))
    assert text_mask("L")[:, 0].all()
    assert text_mask("L")[6].tolist() == [True] * 5 + [False]
    assert np.array_equal(text_mask("Lx")[:, :6], text_mask("L"))


def test_an_unknown_character_is_a_question_mark():
    assert np.array_equal(text_mask("é"), text_mask("?"))
