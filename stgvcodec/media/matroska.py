"""What Matroska says of a picture that FFmpeg's users decide upon and PyAV does not hand out: its cropping.

Elements are those of RFC 9559, their coding that of RFC 8794 (EBML).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

EBML, SEGMENT = 0x1A45DFA3, 0x18538067
_TRACKS, _TRACK_ENTRY, _VIDEO = 0x1654AE6B, 0xAE, 0xE0
# PixelCropLeft, -Top, -Right and -Bottom.
_CROP_SIDES = (0x54CC, 0x54BB, 0x54DD, 0x54AA)
# No more elements than this are looked at on one level.
_MOST_ELEMENTS = 10_000
_MOST_NUMBER_BYTES = 8


class Cropping(NamedTuple):
    """Pixels that a decoded picture has beside what is shown, on each side."""

    left: int = 0
    top: int = 0
    right: int = 0
    bottom: int = 0


class Element(NamedTuple):
    """An EBML element: its id, where its data begin, and their size; None if that is unknown, as in live streams."""

    id: int
    start: int
    size: int | None


def cropping_of(path: Path, n: int) -> Cropping:
    """Return the cropping of the n-th video track, from 0; none for files of another kind, or damaged ones."""
    n_bytes = path.stat().st_size
    with path.open("rb") as file:
        videos = list(_descend(file, Element(0, 0, n_bytes), (SEGMENT, _TRACKS, _TRACK_ENTRY, _VIDEO), n_bytes))
        if n >= len(videos):
            return Cropping()
        return Cropping(*(_number(file, videos[n], side, n_bytes) for side in _CROP_SIDES))


def _descend(file: BinaryIO, parent: Element, path: Sequence[int], n_bytes: int) -> Iterator[Element]:
    """Find the elements at the end of a path of ids."""
    for element in _elements(file, parent.start, _end(parent, n_bytes), path[0]):
        if len(path) == 1:
            yield element
        else:
            yield from _descend(file, element, path[1:], n_bytes)


def read_element(file: BinaryIO, at: int) -> Element | None:
    """Read the head of the element at a place; None if there is none."""
    file.seek(at)
    head = file.read(12)
    first = _vint_bytes(head, 0)
    if first is None or first > 4:
        return None
    length = _vint_bytes(head, first)
    if length is None or len(head) < first + length:
        return None
    bits = 7 * length
    value = int.from_bytes(head[first : first + length], "big") & ((1 << bits) - 1)
    size = None if value == (1 << bits) - 1 else value
    return Element(int.from_bytes(head[:first], "big"), at + first + length, size)


def _vint_bytes(head: bytes, at: int) -> int | None:
    """Return how many bytes a number of variable length has, by the zeros before its first one."""
    return 9 - head[at].bit_length() if at < len(head) and head[at] else None


def _elements(file: BinaryIO, start: int, end: int, wanted: int) -> Iterator[Element]:
    at = start
    for _ in range(_MOST_ELEMENTS):
        element = read_element(file, at) if at < end else None
        if element is None:
            return
        if element.id == wanted:
            yield element
        if element.size is None:
            return
        at = element.start + element.size


def _end(element: Element, n_bytes: int) -> int:
    return n_bytes if element.size is None else min(element.start + element.size, n_bytes)


def _number(file: BinaryIO, parent: Element, wanted: int, n_bytes: int) -> int:
    for element in _elements(file, parent.start, _end(parent, n_bytes), wanted):
        if element.size is not None and element.size <= _MOST_NUMBER_BYTES:
            file.seek(element.start)
            return int.from_bytes(file.read(element.size), "big")
    return 0
