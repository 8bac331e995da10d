from __future__ import annotations

import io
import re

import numpy as np
import pytest
from files import PAYLOADS, CountingFile, make_file, raw_file
from gops import HEADER

from stgvcodec.bitstream import ChunkType, StgvReader, payload_stream_bytes
from stgvcodec.bitstream.container.chunks import SYNC, frame_chunk
from stgvcodec.bitstream.container.reader import stream_bytes
from stgvcodec.errors import BitstreamError

DATA = make_file(chunks=[(ChunkType.METADATA, b"\1\1a\1b")])
GOPS = StgvReader(io.BytesIO(DATA)).gops
END = GOPS[2].offset + GOPS[2].n_bytes


def recovered(data):
    return StgvReader(io.BytesIO(data), keep_going=True)


def flipped(position, data=DATA):
    damaged = bytearray(data)
    damaged[position] ^= 0x40
    return bytes(damaged)


def test_intact_file_has_no_damage():
    reader = recovered(DATA)
    assert reader.damage == ()
    assert reader.header == HEADER
    assert [gop.pts for gop in reader.gops] == [gop.pts for gop in GOPS]
    assert [reader.read_gop(i) for i in range(3)] == PAYLOADS
    assert len(reader.chunks) == 4


DAMAGE = {
    "unfinished": (
        DATA[:END],
        [0, 1, 2],
        [f"byte {END}: the end chunk is missing or damaged, so that frames behind 12 may be missing"],
    ),
    "index": (
        flipped(END + 20),
        [0, 1, 2],
        [f"byte {END}: 61 bytes were skipped, the payload of the END chunk is damaged", "end chunk is missing"],
    ),
    "payload": (
        flipped(GOPS[1].offset + 100),
        [0, 2],
        [
            f"byte {GOPS[1].offset}: {GOPS[1].n_bytes} bytes were skipped, the payload of the GOP chunk is damaged",
            "frames 5 to 9 are missing",
        ],
    ),
    "chunk header": (
        flipped(GOPS[2].offset + 2),
        [0, 1],
        [f"byte {GOPS[2].offset}: .* no chunk begins here", "frames 10 to 12 are missing"],
    ),
    "cut in a GoP": (
        DATA[: GOPS[1].offset + 300],
        [0],
        [
            f"byte {GOPS[1].offset}: 300 bytes were skipped, the GOP chunk is cut short: it ends at byte",
            "end chunk is missing",
        ],
    ),
    "deleted bytes": (
        DATA[: GOPS[1].offset + 200] + DATA[GOPS[1].offset + 233 :],
        [0, 2],
        ["the payload of the GOP chunk is damaged", "frames 5 to 9 are missing"],
    ),
    "trailing bytes": (
        DATA + b"tail",
        [0, 1, 2],
        [f"byte {len(DATA)}: 4 bytes were skipped", f"byte {len(DATA)}: 4 bytes follow"],
    ),
}


@pytest.mark.parametrize(("data", "kept", "notes"), DAMAGE.values(), ids=DAMAGE)
def test_what_is_intact_is_kept_and_what_is_not_is_noted(data, kept, notes):
    """Every note is there, in order, and no other."""
    reader = recovered(data)
    assert [reader.read_gop(i) for i in range(len(reader.gops))] == [PAYLOADS[index] for index in kept]
    assert [gop.first_frame for gop in reader.gops] == [GOPS[index].first_frame for index in kept]
    assert reader.n_frames == sum(GOPS[index].n_frames for index in kept)
    assert len(reader.damage) == len(notes), reader.damage
    for got, expected in zip(reader.damage, notes, strict=True):
        assert re.search(expected, got), (got, expected)
    streams = [payload_stream_bytes(reader.read_gop(i)) for i in range(len(reader.gops))]
    assert sum(stream_bytes(streams, reader.file_bytes).values()) == len(data)


@pytest.mark.parametrize("where", ["in a GoP", "between GoPs"])
def test_inserted_bytes(where):
    at = GOPS[1].offset + (50 if where == "in a GoP" else 0)
    data = DATA[:at] + SYNC + b"garbage" + SYNC + DATA[at:]
    kept = [0, 2] if where == "in a GoP" else [0, 1, 2]
    reader = recovered(data)
    assert [reader.read_gop(i) for i in range(len(reader.gops))] == [PAYLOADS[index] for index in kept]
    assert any("bytes were skipped" in note for note in reader.damage)


@pytest.mark.parametrize("n_bytes", [1, 8])
def test_damaged_magic(n_bytes):
    reader = recovered(DATA[n_bytes:])
    assert len(reader.gops) == 3
    assert reader.damage[0] == "byte 0: the magic bytes are damaged"


def test_a_file_behind_its_copy_is_read_once():
    twice = recovered(DATA + DATA)
    assert len(twice.gops) == 3
    assert sum("begins again at frame" in note for note in twice.damage) == 3
    assert sum("second file header" in note for note in twice.damage) == 1


def test_damaged_file_header_is_refused():
    with pytest.raises(
        BitstreamError, match=r"file header is damaged, so that nothing can be decoded \(4 intact chunks"
    ):
        recovered(flipped(25))


def test_nothing_intact_is_refused():
    with pytest.raises(BitstreamError, match="no GoP is intact"):
        recovered(DATA[: GOPS[0].offset + 50])
    with pytest.raises(BitstreamError, match="file header is damaged"):
        recovered(b"")
    with pytest.raises(BitstreamError, match="file header is damaged"):
        recovered(bytes(1000))


def test_unknown_critical_chunk_is_refused():
    at = GOPS[1].offset
    with pytest.raises(BitstreamError, match="critical chunk of type 0x8777 is not known"):
        recovered(DATA[:at] + frame_chunk(0x8777, b"new") + DATA[at:])


def test_malformed_gop_in_an_intact_chunk_is_skipped():
    at = GOPS[1].offset
    data = DATA[:at] + frame_chunk(ChunkType.GOP, b"\xff\xff") + DATA[at:]
    reader = recovered(data)
    assert len(reader.gops) == 3
    assert any(note.startswith("GoP, at byte") for note in reader.damage)


def test_damage_anywhere_never_ends_in_another_error():
    rng = np.random.default_rng(4)
    n_recovered = 0
    for _ in range(150):
        data = bytearray(DATA)
        for _ in range(rng.integers(1, 6)):
            at = int(rng.integers(len(data)))
            kind = rng.integers(3)
            if kind == 0:
                data[at] = int(rng.integers(256))
            elif kind == 1:
                data[at:at] = rng.bytes(int(rng.integers(1, 40)))
            else:
                del data[at : at + int(rng.integers(1, 40))]
        try:
            reader = recovered(bytes(data))
        except BitstreamError:
            continue
        n_recovered += 1
        for index in range(len(reader.gops)):
            assert reader.read_gop(index) in PAYLOADS
    assert n_recovered > 50


def test_hostile_headers_do_not_make_the_search_long():
    """Each header says that most of the file is its payload; at most eight times the file is checked."""
    head = frame_chunk(0x7000, bytes(1_000_000))[:14]
    file = CountingFile(raw_file((ChunkType.FILE_HEADER, HEADER.to_bytes())) + head * 100_000)
    with pytest.raises(BitstreamError, match="no GoP is intact"):
        StgvReader(file, keep_going=True)
    n_bytes = len(file.getvalue())
    assert file.n_read < 24 * n_bytes
