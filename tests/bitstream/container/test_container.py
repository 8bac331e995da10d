from __future__ import annotations

import dataclasses
import io

import independent_decoder
import pytest
from files import CONSTANT_PTS, GOPS, PAYLOADS, VARIABLE_PTS, CountingFile, make_file, raw_file
from gops import HEADER, same_gop, stored

from stgvcodec.bitstream import ChunkType, StgvReader, StgvWriter, payload_stream_bytes, unpack_gop
from stgvcodec.bitstream.container.chunks import Chunk
from stgvcodec.bitstream.container.index import GopEntry, GopTiming, pack_end_chunk
from stgvcodec.bitstream.container.reader import stream_bytes
from stgvcodec.bitstream.syntax.tables import STREAMS
from stgvcodec.errors import BitstreamError, InputVideoError


def opened(data, **options):
    return StgvReader(io.BytesIO(data), **options)


@pytest.mark.parametrize("pts", [CONSTANT_PTS, VARIABLE_PTS], ids=["constant rate", "variable rate"])
def test_round_trip(pts, tmp_path):
    path = tmp_path / "a.stgv"
    path.write_bytes(make_file(pts))
    with StgvReader(path) as reader:
        assert reader.header == HEADER
        assert reader.n_frames == 13
        assert reader.file_bytes == path.stat().st_size
        assert reader.damage == ()
        assert [gop.pts for gop in reader.gops] == [tuple(stamps) for stamps in pts]
        assert [(gop.first_frame, gop.n_frames, gop.n_gaussians) for gop in reader.gops] == [
            (0, 5, 63),
            (5, 5, 40),
            (10, 3, 63),
        ]
        assert [reader.read_gop(i) for i in range(3)] == PAYLOADS
        assert reader.read_gop(-1) == PAYLOADS[2]
        assert all(same_gop(unpack_gop(reader.read_gop(i)), stored(GOPS[i])) for i in range(3))
        reader.verify()
    with pytest.raises(ValueError, match="closed"):
        reader.read_gop(0)


@pytest.mark.parametrize("pts", [CONSTANT_PTS, VARIABLE_PTS], ids=["constant rate", "variable rate"])
def test_independent_decoder_reads_the_container(pts):
    parsed = independent_decoder.parse_file(make_file(pts, [(ChunkType.METADATA, b"\1\1a\1b"), (0x7001, b"")]))
    assert [gop["pts"] for gop in parsed["gops"]] == [list(stamps) for stamps in pts]
    assert [gop["payload"] for gop in parsed["gops"]] == PAYLOADS
    assert parsed["others"] == [(0x20, b"\1\1a\1b"), (0x7001, b"")]


class Pipe:
    """A destination that can only write, and takes seven bytes at a time."""

    def __init__(self):
        self.data = b""

    def write(self, data):
        self.data += bytes(data[:7])
        return min(7, len(data))


def test_writer_needs_only_write():
    pipe = Pipe()
    writer = StgvWriter(pipe, HEADER)
    for payload, pts in zip(PAYLOADS, CONSTANT_PTS, strict=True):
        writer.add_gop(payload, pts)
    writer.finish()
    assert pipe.data == make_file()
    assert writer.n_bytes == len(pipe.data)


def test_opening_reads_the_index_and_not_the_gops():
    file = CountingFile(make_file(chunks=[(ChunkType.TRACK_PACKETS, bytes(100_000))]))
    reader = StgvReader(file)
    assert file.n_read < 300
    before = file.n_read
    reader.read_gop(2)
    assert file.n_read - before < reader.gops[2].n_bytes + 50


def test_stream_bytes_sum_to_the_file():
    data = make_file(chunks=[(ChunkType.METADATA, b"\1\1a\1b")])
    reader = opened(data)
    sizes = stream_bytes([payload_stream_bytes(reader.read_gop(i)) for i in range(len(PAYLOADS))], reader.file_bytes)
    assert sum(sizes.values()) == len(data)
    assert set(sizes) == {*STREAMS, "container"}
    assert sizes["shapes"] == sum(payload_stream_bytes(payload)["shapes"] for payload in PAYLOADS)


def test_constant_rate_costs_no_more_for_more_frames():
    long = GopTiming.from_pts(0, range(0, 1000 * 40, 40))
    assert len(long.to_bytes()) <= 6
    assert long.pts == tuple(range(0, 1000 * 40, 40))
    assert GopTiming.from_pts(3, [17]).pts == (17,)


def test_ancillary_chunks_are_skipped_and_readable():
    reader = opened(make_file(chunks=[(0x7123, b"private"), (ChunkType.TRACK, b"")]))
    assert [reader.read_gop(i) for i in range(3)] == PAYLOADS
    assert [chunk.type for chunk in reader.chunks] == [
        ChunkType.GOP,
        0x7123,
        ChunkType.TRACK,
        ChunkType.GOP,
        ChunkType.GOP,
    ]
    assert reader.read_chunk(1) == b"private"


def test_every_flipped_byte_is_found():
    data = make_file(chunks=[(ChunkType.METADATA, b"\1\1a\1b")])
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 0x10
        with pytest.raises(BitstreamError):
            opened(bytes(damaged)).verify()


def test_every_cut_is_refused():
    data = make_file()
    for length in range(len(data)):
        with pytest.raises(BitstreamError):
            opened(data[:length])


def test_a_damaged_file_header_is_not_said_to_be_rescued():
    data = bytearray(make_file())
    data[30] ^= 1
    for keep_going in (False, True):
        with pytest.raises(BitstreamError, match=r"nothing can be decoded.*fetch the file again") as caught:
            opened(bytes(data), keep_going=keep_going)
        assert "--keep-going" not in str(caught.value)


def end_payload(data):
    size = int.from_bytes(data[-8:-4], "little")
    return data[len(data) - size + 14 : -4]


HEADER_PAYLOAD = HEADER.to_bytes()


def with_index(*entries, n_frames, body=(), header=HEADER_PAYLOAD, more=b""):
    """A file whose index holds what it is told: entries are (Chunk, GopTiming or None, n_gaussians)."""
    gops = [GopEntry(timing, n, chunk.offset, chunk.n_bytes) for chunk, timing, n in entries if timing]
    payload = bytearray(pack_end_chunk([chunk for chunk, _, _ in entries], gops))
    assert payload[0] == sum(gop.n_frames for gop in gops)
    payload[0] = n_frames
    size = int.from_bytes(payload[-4:], "little") + len(more)
    payload[-4:] = more + size.to_bytes(4, "little")
    return raw_file((ChunkType.FILE_HEADER, header), *body, (ChunkType.END, bytes(payload)))


START = len(raw_file((ChunkType.FILE_HEADER, HEADER_PAYLOAD)))
TIMINGS = [GopTiming.from_pts(0, CONSTANT_PTS[0]), GopTiming.from_pts(5, CONSTANT_PTS[1])]
BODY = [(ChunkType.GOP, timing.to_bytes() + payload) for timing, payload in zip(TIMINGS, PAYLOADS, strict=False)]
CHUNKS = [Chunk(ChunkType.GOP, START, len(BODY[0][1]))]
CHUNKS.append(Chunk(ChunkType.GOP, CHUNKS[0].end, len(BODY[1][1])))
GOOD = [(CHUNKS[0], TIMINGS[0], 63), (CHUNKS[1], TIMINGS[1], 40)]
LATE = dataclasses.replace(TIMINGS[1], first_frame=6)
EARLY = dataclasses.replace(TIMINGS[1], pts_first=3003)


def test_hand_made_index_is_accepted():
    assert opened(with_index(*GOOD, n_frames=10, body=BODY)).n_frames == 10


def test_the_index_of_a_later_minor_version_may_have_more_elements():
    header = bytes([HEADER_PAYLOAD[0], HEADER_PAYLOAD[1] + 1]) + HEADER_PAYLOAD[2:]
    data = with_index(*GOOD, n_frames=10, body=BODY, header=header, more=b"new elements")
    assert opened(data).n_frames == 10
    assert len(independent_decoder.parse_file(data)["gops"]) == 2


BAD_INDEX = {
    "frames": (lambda: with_index(*GOOD, n_frames=9, body=BODY), "9 frames are declared, the GoPs have 10"),
    "gap": (lambda: with_index(GOOD[0], n_frames=5, body=BODY), "its chunks end at byte"),
    "overlap": (
        lambda: with_index(*GOOD, (CHUNKS[0], TIMINGS[0], 63), n_frames=15, body=BODY),
        "behind the end chunk's start",
    ),
    "first frame": (
        lambda: with_index(GOOD[0], (CHUNKS[1], LATE, 40), n_frames=10, body=BODY),
        "GoP 1 is out of order",
    ),
    "timestamps": (
        lambda: with_index(GOOD[0], (CHUNKS[1], EARLY, 40), n_frames=10, body=BODY),
        "GoP 1 is out of order",
    ),
    "second header": (
        lambda: with_index(
            GOOD[0],
            (Chunk(ChunkType.FILE_HEADER, CHUNKS[0].end, len(HEADER_PAYLOAD)), None, 0),
            n_frames=5,
            body=[BODY[0], (ChunkType.FILE_HEADER, HEADER_PAYLOAD)],
        ),
        "a second FILE_HEADER chunk",
    ),
    "unknown critical": (
        lambda: with_index(
            GOOD[0], (Chunk(0x8123, CHUNKS[0].end, 2), None, 0), n_frames=5, body=[BODY[0], (0x8123, b"ab")]
        ),
        "critical chunk of type 0x8123 .* is not known: use a newer",
    ),
    "end chunk's size": (
        lambda: raw_file(
            (ChunkType.FILE_HEADER, HEADER_PAYLOAD),
            *BODY,
            (ChunkType.END, end_payload(with_index(*GOOD, n_frames=10, body=BODY))[:-4] + b"\1\0\0\0"),
        ),
        "the end chunk is damaged",
    ),
    "bytes behind the index": (
        lambda: with_index(*GOOD, n_frames=10, body=BODY, more=b"x"),
        "1 bytes more than the fields need",
    ),
}


@pytest.mark.parametrize(("make", "message"), BAD_INDEX.values(), ids=BAD_INDEX)
def test_bad_index_is_refused(make, message):
    with pytest.raises(BitstreamError, match=message):
        opened(make())
    with pytest.raises(independent_decoder.SpecError):
        independent_decoder.parse_file(make())


def test_gop_that_is_not_what_the_index_says_is_refused():
    wrong = (CHUNKS[1], TIMINGS[1], 41)
    reader = opened(with_index(GOOD[0], wrong, n_frames=10, body=BODY))
    reader.read_gop(0)
    with pytest.raises(BitstreamError, match=r"GoP 1.*not what the index says"):
        reader.read_gop(1)


def test_index_with_a_chunk_that_is_not_there_is_refused_on_reading():
    body = [(ChunkType.METADATA, BODY[0][1]), BODY[1]]
    reader = opened(with_index(*GOOD, n_frames=10, body=body))
    with pytest.raises(BitstreamError, match=r"GoP 0, at byte .* the chunk that the index names is not here"):
        reader.read_gop(0)


BAD_FILES = {
    "empty": (lambda: b"", "the file is empty"),
    "a byte of the magic": (lambda: b"\x89STF" + make_file()[4:], "damaged: the file begins with .* --keep-going"),
    "not ours": (lambda: b"\x89PNG\r\n\x1a\n" + bytes(100), "not a .stgv file"),
    "short magic": (lambda: make_file()[:5], "cut short: the file has 5 bytes"),
    "CRLF to LF": (lambda: make_file().replace(b"\r\n", b"\n"), "text mode"),
    "as UTF-8": (lambda: make_file().decode("latin-1").encode("utf-8"), "text mode"),
    "header only": (lambda: make_file()[:START], "no end chunk, so the file was not finished"),
    "unfinished": (lambda: make_file(finish=False), "no end chunk, so .* --keep-going"),
    "cut in a GoP": (lambda: make_file()[:-300], "cut short: the GOP chunk ends at byte .* --keep-going"),
    "trailing bytes": (lambda: make_file() + b"tail", "4 bytes follow the end chunk, expected none: remove them"),
    "two files": (
        lambda: make_file() + make_file(),
        "behind the end chunk|out of order|follow the end chunk|begins at",
    ),
    "no header": (lambda: raw_file((ChunkType.GOP, PAYLOADS[0])), "file header, at byte 8: damaged or cut short"),
    "GoP header flipped": (
        lambda: (lambda d: d[: START + 5] + bytes([d[START + 5] ^ 1]) + d[START + 6 : -1])(make_file()),
        f"at byte {START}: damaged or cut short: no chunk begins here",
    ),
}


@pytest.mark.parametrize(("make", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_bad_files_are_refused_with_advice(make, message):
    with pytest.raises(BitstreamError, match=message):
        opened(make())
    with pytest.raises(independent_decoder.SpecError):
        independent_decoder.parse_file(make())


def started():
    writer = StgvWriter(io.BytesIO(), HEADER)
    writer.add_gop(PAYLOADS[0], CONSTANT_PTS[0])
    return writer


def finished():
    writer = started()
    writer.finish()
    return writer


MISUSE = {
    "timestamps missing": (lambda: started().add_gop(PAYLOADS[1], [99999]), "1 timestamps for a GoP of 5 frames"),
    "timestamps repeat": (
        lambda: started().add_gop(PAYLOADS[1], [99999, 99999, 100000, 100001, 100002]),
        "larger than the one before",
    ),
    "timestamps overlap": (lambda: started().add_gop(PAYLOADS[1], CONSTANT_PTS[0]), "expected more than 12012"),
    "critical chunk": (lambda: started().add_chunk(ChunkType.GOP, b""), "expected an ancillary one"),
    "wide type": (lambda: started().add_chunk(0x10010, b""), "expected an ancillary one"),
    "no GoP": (lambda: StgvWriter(io.BytesIO(), HEADER).finish(), "no GoP was added"),
    "GoP after the end": (lambda: finished().add_gop(PAYLOADS[1], CONSTANT_PTS[1]), "is finished"),
    "finished twice": (lambda: finished().finish(), "is finished"),
}


@pytest.mark.parametrize(("act", "message"), MISUSE.values(), ids=MISUSE)
def test_writer_refuses_misuse(act, message):
    with pytest.raises(ValueError, match=message):
        act()


def test_writer_refuses_bytes_that_are_no_gop():
    with pytest.raises(BitstreamError):
        StgvWriter(io.BytesIO(), HEADER).add_gop(PAYLOADS[0][:-1], CONSTANT_PTS[0])


def test_missing_file_and_pipe_are_refused(tmp_path):
    with pytest.raises(InputVideoError, match=r"does not exist, expected a .stgv file: check the path"):
        StgvReader(tmp_path / "none.stgv")

    class Unseekable(io.BytesIO):
        def seekable(self):
            return False

    with pytest.raises(InputVideoError, match="not a file that can seek"):
        StgvReader(Unseekable(make_file()))
