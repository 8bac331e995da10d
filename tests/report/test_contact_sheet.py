from __future__ import annotations

import numpy as np
import pytest

from stgvcodec.report.contact_sheet import contact_sheet


def picture(height: int, width: int, level: int) -> np.ndarray:
    return np.full((height, width, 3), level, dtype=np.uint8)


def drawn(strip: np.ndarray) -> np.ndarray:
    """Where a strip of labels is not background. [H, W] bool."""
    return (strip > 60).any(axis=2)


def test_pictures_stand_side_by_side_unchanged():
    first, second = picture(31, 63, 200), picture(17, 50, 90)
    sheet = contact_sheet([("a", first), ("b", second)])
    strip = sheet.shape[0] - 31 - 4
    assert sheet.shape[1:] == (4 + 63 + 4 + 50 + 4, 3)
    assert np.array_equal(sheet[strip : strip + 31, 4:67], first)
    assert np.array_equal(sheet[strip : strip + 17, 71:121], second)


def test_labels_stand_over_their_pictures():
    sheet = contact_sheet([("I", picture(9, 40, 0)), ("", picture(9, 40, 0))])
    text = drawn(sheet[:-13])
    assert text[:, 4:44].any()
    assert not text[:, 44:].any()
    # Letters keep off the edges of the strip.
    assert not text[:2].any()
    assert not text[-2:].any()


def test_labels_are_as_large_as_the_longest_allows():
    def height(label: str) -> int:
        return int(
            drawn(contact_sheet([("X", picture(5, 200, 0)), (label, picture(5, 200, 0))])[:-9, :204]).any(1).sum()
        )

    assert height("X") > height("31.24 dB, 1 800 bytes a frame") > 5


def test_letters_of_both_cases_differ_and_any_script_is_drawn():
    labels = ["db", "dB", "1 800", "é"]
    shapes = {contact_sheet([(label, picture(5, 60, 0))])[:-9].tobytes() for label in labels}
    assert len(shapes) == len(labels)


def test_long_labels_are_cut_at_their_picture():
    sheet = contact_sheet([("WWWWWWWWWW", picture(5, 11, 7)), ("W", picture(5, 30, 7))])
    text = drawn(sheet[:-9]).any(axis=0)
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
