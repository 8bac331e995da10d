"""What a Matroska file says that PyAV does not hand out: the cropping of its pictures, and where it is broken.

Elements are those of RFC 9559, their coding that of RFC 8794 (EBML).
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import BinaryIO, NamedTuple

EBML, SEGMENT = 0x1A45DFA3, 0x18538067
_TRACKS, _TRACK_ENTRY, _VIDEO = 0x1654AE6B, 0xAE, 0xE0
_CLUSTER = 0x1F43B675
# All elements of a segment have ids of four bytes, but for Void and CRC-32, which may be anywhere.
_ANYWHERE, _LEAST_TOP_LEVEL_ID = (0xEC, 0xBF), 0x10000000
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


def cropping_of(file: BinaryIO, n: int) -> Cropping:
    """Return the cropping of the n-th video track, from 0; none for files of another kind, or damaged ones."""
    n_bytes = file.seek(0, io.SEEK_END)
    videos = list(_descend(file, Element(0, 0, n_bytes), (SEGMENT, _TRACKS, _TRACK_ENTRY, _VIDEO), n_bytes))
    if n >= len(videos):
        return Cropping()
    return Cropping(*(_number(file, videos[n], side, n_bytes) for side in _CROP_SIDES))


def break_in(file: BinaryIO, segment: Element, end: int) -> int | None:
    """Return the place where the elements of a segment and its clusters do not follow one another; None if all do.

    FFmpeg goes on at the next cluster there, without a word.

    Args:
        file: The whole file.
        segment: Its segment.
        end: Where the segment ends, in the file.
    """
    at = segment.start
    while at < end:
        element = read_element(file, at)
        if element is None or not _is_top_level(element):
            return at
        if element.id == _CLUSTER:
            at, is_whole = _walk_cluster(file, element, end)
            if not is_whole:
                return at
        elif element.size is None:
            return at
        else:
            at = element.start + element.size
    return None if at == end else at


def _is_top_level(element: Element) -> bool:
    return element.id >= _LEAST_TOP_LEVEL_ID or element.id in _ANYWHERE


def _walk_cluster(file: BinaryIO, cluster: Element, segment_end: int) -> tuple[int, bool]:
    """Return where the elements of a cluster end, and whether they fill it; one of unknown size ends at the next."""
    at = cluster.start
    end = segment_end if cluster.size is None else cluster.start + cluster.size
    while at < end:
        child = read_element(file, at)
        if cluster.size is None and child is not None and child.id >= _LEAST_TOP_LEVEL_ID:
            return at, True
        if child is None or child.size is None or child.start + child.size > end:
            return at, False
        at = child.start + child.size
    return at, at == end


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
