"""Whether a file has all the bytes that it promises, for containers whose demuxer is silent where bytes are missing.

A promise is the size that an element of a file states. Nominal rates, numbers of packets and durations are none: intact
files of variable rate or with dropped frames differ from them.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from stgvcodec.media import matroska, y4m

_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")
# Each packet of a transport stream begins with this byte; those of Blu-ray have a time of four bytes before it.
_SYNC, _TRANSPORT_PACKETS = 0x47, ((0, 188), (4, 192))
# Sound, video and data; the size of each tag is repeated behind it.
_FLV_KINDS, _FLV_KIND, _FLV_TAG_HEAD, _FLV_BACK_POINTER = (8, 9, 18), 0x1F, 11, 4
# The first bytes of a file tell its kind.
_FIRST_BYTES = 4096


def shortfall(path: Path) -> str | None:
    """Say how a file is cut short or broken; None if it is whole, or of a kind that does not tell.

    Matroska and WebM (the sizes of the segment, of clusters and blocks), FLV (of its tags), AVI (of its RIFF chunks),
    MP4 and MOV (of their boxes), transport streams (packets of a fixed size) and y4m tell.
    """
    n_bytes = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(_FIRST_BYTES)
        if start.startswith(matroska.EBML.to_bytes(4, "big")):
            segment = _segment(file)
            if segment is None:
                return None
            promised = None if segment.size is None else segment.start + segment.size
            if promised is None or promised <= n_bytes:
                return _broken(matroska.break_in(file, segment, n_bytes if promised is None else promised))
        elif start.startswith(b"FLV"):
            return _broken(_break_in_tags(file, n_bytes))
        elif start[:4] == b"RIFF" and start[8:12] == b"AVI ":
            promised = _end_of_riff(file, n_bytes)
        elif start[4:8] in _FIRST_BOXES:
            promised = _end_of_boxes(file, n_bytes)
        elif (size := _packet_bytes(start)) is not None:
            promised = -(-n_bytes // size) * size
        else:
            return y4m.shortfall(path)
    return None if promised is None or promised <= n_bytes else f"{n_bytes} of {promised} bytes"


def _broken(at: int | None) -> str | None:
    return None if at is None else f"a container that is broken at byte {at}"


def _segment(file: BinaryIO) -> matroska.Element | None:
    """Return the segment of a Matroska file; its size is unknown in live streams."""
    header = matroska.read_element(file, 0)
    if header is None or header.size is None:
        return None
    segment = matroska.read_element(file, header.start + header.size)
    return segment if segment is not None and segment.id == matroska.SEGMENT else None


def _break_in_tags(file: BinaryIO, n_bytes: int) -> int | None:
    """Return the place where no tag of an FLV file begins, or one that is cut short; None if all follow one another."""
    file.seek(5)
    at = int.from_bytes(file.read(4), "big") + _FLV_BACK_POINTER
    while at < n_bytes:
        file.seek(at)
        head = file.read(_FLV_TAG_HEAD)
        end = at + _FLV_TAG_HEAD + int.from_bytes(head[1:4], "big")
        if head[0] & _FLV_KIND not in _FLV_KINDS or end > n_bytes:
            return at
        at = end + _FLV_BACK_POINTER
    return None


def _end_of_boxes(file: BinaryIO, n_bytes: int) -> int | None:
    """Return where the boxes of an MP4 or MOV file end; the last may reach to the end of the file, whatever that is."""
    end = 0
    while end < n_bytes:
        file.seek(end)
        head = file.read(16)
        size = int.from_bytes(head[:4], "big")
        if size == 1:
            size = int.from_bytes(head[8:16], "big")
        if size == 0:
            return None
        if size < 8:
            # It is no box: something else was appended, which readers of the format skip.
            return end
        end += size
    return end


def _packet_bytes(start: bytes) -> int | None:
    """Return the size of a transport stream's packets; None if this is not the beginning of one."""
    for first, size in _TRANSPORT_PACKETS:
        places = range(first, min(len(start), 8 * size), size)
        if len(places) > 2 and all(start[place] == _SYNC for place in places):
            return size
    return None


def _end_of_riff(file: BinaryIO, n_bytes: int) -> int | None:
    """Return where the RIFF chunks of an AVI file end; None where the first has no size, as in live streams."""
    end = 0
    while end < n_bytes:
        file.seek(end)
        head = file.read(8)
        if head[:4] != b"RIFF" or len(head) < 8:
            break
        size = int.from_bytes(head[4:], "little")
        if size == 0:
            return None
        end += 8 + size
    return end
