"""Whether a file has all the bytes that it promises, for containers whose demuxer ends in silence where bytes end.

A promise is the size that the outermost element of a file states. Nominal rates, numbers of packets and durations are
none: intact files of variable rate or with dropped frames differ from them.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from stgvcodec.media import matroska, y4m

_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")
# Each packet of a transport stream begins with this byte; those of Blu-ray have a time of four bytes before it.
_SYNC, _TRANSPORT_PACKETS = 0x47, ((0, 188), (4, 192))
# The first bytes of a file tell its kind.
_FIRST_BYTES = 4096


def shortfall(path: Path) -> str | None:
    """Say how a file is cut short; None if it is whole, or of a kind that does not tell.

    Matroska and WebM (the size of the segment), AVI (the sizes of its RIFF chunks), MP4 and MOV (the sizes of their
    boxes), transport streams (packets of a fixed size) and y4m tell.
    """
    n_bytes = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(_FIRST_BYTES)
        if start.startswith(matroska.EBML.to_bytes(4, "big")):
            promised = _end_of_segment(file)
        elif start[:4] == b"RIFF" and start[8:12] == b"AVI ":
            promised = _end_of_riff(file, n_bytes)
        elif start[4:8] in _FIRST_BOXES:
            promised = _end_of_boxes(file, n_bytes)
        elif (size := _packet_bytes(start)) is not None:
            promised = -(-n_bytes // size) * size
        else:
            return y4m.shortfall(path)
    return None if promised is None or promised <= n_bytes else f"{n_bytes} of {promised} bytes"


def _end_of_segment(file: BinaryIO) -> int | None:
    """Return where the segment of a Matroska file ends; None where its size is unknown, as in live streams."""
    header = matroska.read_element(file, 0)
    if header is None or header.size is None:
        return None
    segment = matroska.read_element(file, header.start + header.size)
    if segment is None or segment.id != matroska.SEGMENT or segment.size is None:
        return None
    return segment.start + segment.size


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
