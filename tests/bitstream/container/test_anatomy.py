from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path

import pytest

from stgvcodec.bitstream.container.anatomy import file_anatomy
from stgvcodec.bitstream.container.chunks import ChunkType
from stgvcodec.bitstream.container.source import ByteSource
from stgvcodec.bitstream.syntax.sections import SECTIONS

GOLDEN = sorted((Path(__file__).parents[2] / "golden").glob("*.stgv"))
TWO_GOPS = Path(__file__).parents[2] / "golden" / "two_gops.stgv"


def taken_apart(data: bytes):
    return file_anatomy(ByteSource(io.BytesIO(data)))


def assert_covers(pieces, first, end):
    assert pieces[0].first == first
    assert pieces[-1].end == end
    assert all(before.end == after.first for before, after in pairwise(pieces))
    for piece in pieces:
        if piece.children:
            assert_covers(piece.children, piece.first, piece.end)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_pieces_cover_an_intact_file(path):
    data = path.read_bytes()
    pieces = [piece for piece, _ in taken_apart(data)]
    assert_covers(pieces, 0, len(data))
    everything = [inner for piece in pieces for inner in piece.walk()]
    assert all(piece.crc is not False and not piece.note for piece in everything)
    assert {piece.section for piece in everything} <= set(SECTIONS)
    assert [piece.name for piece in pieces][:2] == ["magic", "FILE_HEADER"]
    assert pieces[-1].name == "END"


def test_elements_have_the_values_of_the_file():
    pieces = [inner for piece, _ in taken_apart(TWO_GOPS.read_bytes()) for inner in piece.walk()]
    header = {piece.name: piece.value for piece in pieces if piece.section == "3.2"}
    assert (header["version_major"], header["width"], header["height"]) == (2, 48, 32)
    assert [piece.value for piece in pieces if piece.name == "n_gaussians"] == [80, 80]


@pytest.mark.parametrize("at_byte", range(0, 3262, 97))
def test_a_flipped_bit_is_seen_in_its_chunk_alone(at_byte):
    data = bytearray(TWO_GOPS.read_bytes())
    intact = [piece for piece, _ in taken_apart(bytes(data))]
    data[at_byte] ^= 4
    pieces = [piece for piece, _ in taken_apart(bytes(data))]

    assert_covers(pieces, 0, len(data))
    damaged = [piece for piece in pieces if piece.crc is False or piece.note]
    assert [piece.first <= at_byte < piece.end for piece in damaged] == [True]
    assert [(piece.first, piece.end) for piece in pieces] == [(piece.first, piece.end) for piece in intact]


@pytest.mark.parametrize("n_bytes", [0, 1, 7, 8, 30, 61, 100, 1700, 3000, 3261])
def test_a_file_that_was_cut_short_is_covered(n_bytes):
    found = taken_apart(TWO_GOPS.read_bytes()[:n_bytes])
    if n_bytes:
        assert_covers([piece for piece, _ in found], 0, n_bytes)
    assert sum(chunk is not None and chunk.type == ChunkType.END for _, chunk in found) == 0


def test_a_payload_that_is_malformed_behind_its_crc_is_said():
    from stgvcodec.bitstream.container.chunks import MAGIC, frame_chunk

    data = MAGIC + frame_chunk(ChunkType.FILE_HEADER, b"\x02") + frame_chunk(0x7123, b"private") + b"junk"
    pieces = [piece for piece, _ in taken_apart(data)]
    assert_covers(pieces, 0, len(data))
    assert [piece.name for piece in pieces] == ["magic", "FILE_HEADER", "type 0x7123", "damaged bytes"]
    assert "malformed" in pieces[1].note
    assert [piece.crc for piece in pieces] == [None, True, True, False]


def test_chunks_within_chunks_do_not_take_for_ever():
    """Headers that each claim the rest of the file, whose payloads are never intact."""
    from stgvcodec.bitstream.container.chunks import MAGIC, frame_chunk

    n = 3000
    framed = frame_chunk(ChunkType.GOP, bytes(14 * n))[:14]
    data = MAGIC + framed * n
    assert_covers([piece for piece, _ in taken_apart(data)], 0, len(data))
