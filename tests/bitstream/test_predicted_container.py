"""Files with predicted GoPs: rules of the writer, of the index, of the reader and of recovery."""

from __future__ import annotations

import dataclasses
import io
import re

import independent_decoder
import pytest
from files import PAYLOADS, raw_file
from gops import HEADER
from random_predicted import PREDICTED_HEADER, random_predicted
from random_sets import SET_HEADER, random_set, same_set
from test_pack import SMALLEST_FIELD

from stgvcodec.bitstream import (
    LIMITS,
    ChunkType,
    StgvReader,
    StgvWriter,
    StreamHeader,
    pack_gop_set,
    pack_predicted_gop,
    payloads,
    stream_bytes,
    unpack_predicted_gop,
)
from stgvcodec.bitstream.container.chunks import Chunk, frame_chunk
from stgvcodec.bitstream.container.index import GopEntry, GopTiming, pack_end_chunk
from stgvcodec.errors import BitstreamError

T = 2
SIZES = {"n_frames": T, "n_gaussians": 9, **SMALLEST_FIELD}
KEYS = [pack_gop_set(random_set(seed, **SIZES)) for seed in range(2)]
PREDICTED = [pack_predicted_gop(random_predicted(seed, **SIZES)) for seed in range(3)]
OTHER_KEY = pack_gop_set(random_set(5, **{**SIZES, "n_gaussians": 7}))
OTHER_PREDICTED = pack_predicted_gop(random_predicted(5, **{**SIZES, "n_gaussians": 7}))
IS_KEY = {payload: payload in (*KEYS, OTHER_KEY) for payload in (*KEYS, OTHER_KEY, *PREDICTED, OTHER_PREDICTED)}
ORDER = [KEYS[0], PREDICTED[0], PREDICTED[1], KEYS[1], PREDICTED[2]]


def pts_of(index):
    return range(10 * T * index, 10 * T * (index + 1), 10)


def written(*gops, header=PREDICTED_HEADER, finish=True):
    """A file by the writer; an ancillary chunk lies behind every GoP."""
    file = io.BytesIO()
    writer = StgvWriter(file, header)
    for index, payload in enumerate(gops):
        writer.add_gop(payload, pts_of(index), predicted=not IS_KEY[payload])
        writer.add_chunk(0x7001, b"private")
    if finish:
        writer.finish()
    return file.getvalue()


def by_hand(*gops, header=PREDICTED_HEADER, firsts=None):
    """A file whose index holds what it is told, in whatever order; `firsts` are numbers of the GoPs' places in time."""
    payload = header.to_bytes()
    places = range(len(gops)) if firsts is None else firsts
    body, entries = [], []
    offset = len(raw_file((ChunkType.FILE_HEADER, payload)))
    for place, gop in zip(places, gops, strict=True):
        timing = GopTiming.from_pts(T * place, pts_of(place))
        kind = ChunkType.GOP if IS_KEY[gop] else ChunkType.PREDICTED_GOP
        body.append((kind, timing.to_bytes() + gop))
        chunk = Chunk(kind, offset, len(body[-1][1]))
        n_gaussians = payloads.read_header(3, gop, predicted=not IS_KEY[gop]).n_gaussians
        entries.append((chunk, GopEntry(timing, n_gaussians, offset, chunk.n_bytes, IS_KEY[gop])))
        offset = chunk.end
    end = pack_end_chunk([chunk for chunk, _ in entries], [entry for _, entry in entries])
    return raw_file((ChunkType.FILE_HEADER, payload), *body, (ChunkType.END, end))


def opened(data, **options):
    return StgvReader(io.BytesIO(data), **options)


@pytest.mark.parametrize("keep_going", [False, True], ids=["by the index", "by a scan"])
@pytest.mark.parametrize("profile", ["paper", "compact"])
def test_round_trip(profile, keep_going):
    header = dataclasses.replace(PREDICTED_HEADER, profile=profile)
    data = written(*ORDER, header=header)
    reader = opened(data, keep_going=keep_going)
    assert (reader.header, reader.damage) == (header, ())
    assert [gop.is_key for gop in reader.gops] == [True, False, False, True, False]
    assert [gop.n_gaussians for gop in reader.gops] == [9] * 5
    assert [gop.first_frame for gop in reader.gops] == [0, 2, 4, 6, 8]
    assert [gop.pts for gop in reader.gops] == [tuple(pts_of(i)) for i in range(5)]
    assert [reader.read_gop(i) for i in range(5)] == ORDER
    assert [reader.key_of(i) for i in range(5)] == [0, 0, 0, 3, 3]
    assert [reader.key_of(i) for i in (-1, -2, -3)] == [3, 3, 0]
    with pytest.raises(IndexError):
        reader.key_of(5)
    assert same_set(unpack_predicted_gop(reader.read_gop(4)), random_predicted(2, **SIZES))
    reader.verify()
    sizes = [
        payloads.stream_bytes(header.profile_id, reader.read_gop(i), predicted=not gop.is_key)
        for i, gop in enumerate(reader.gops)
    ]
    assert sum(stream_bytes(sizes, len(data)).values()) == len(data)


def test_independent_decoder_reads_the_container():
    parsed = independent_decoder.parse_file(written(*ORDER))
    assert [gop["payload"] for gop in parsed["gops"]] == ORDER
    assert [gop["is_key"] for gop in parsed["gops"]] == [True, False, False, True, False]
    assert (parsed["header"]["version_major"], parsed["header"]["version_minor"]) == (1, 2)


def test_new_files_are_of_version_1_2():
    fields = dataclasses.asdict(PREDICTED_HEADER)
    del fields["format_version"], fields["color"]
    assert StreamHeader(color=PREDICTED_HEADER.color, **fields).format_version == (1, 2)


def test_files_of_key_gops_differ_from_version_1_1_in_the_version_only():
    new, old = written(*KEYS), written(*KEYS, header=SET_HEADER)
    assert [opened(data).header.format_version for data in (new, old)] == [(1, 2), (1, 1)]
    at = len(raw_file((ChunkType.FILE_HEADER, PREDICTED_HEADER.to_bytes())))
    assert new[at:] == old[at:]


def added(*gops, header=PREDICTED_HEADER):
    return lambda: written(*gops, header=header, finish=False)


MISUSE = {
    "first": (added(PREDICTED[0]), "the first GoP is predicted, expected one that is not: add a GoP of its own"),
    "other Gaussians": (
        added(KEYS[0], OTHER_PREDICTED),
        "a predicted GoP has 7 Gaussians, expected 9 as in the GoP before",
    ),
    "other Gaussians than the last": (
        added(KEYS[0], PREDICTED[0], OTHER_KEY, PREDICTED[1]),
        "a predicted GoP has 9 Gaussians, expected 7 as in the GoP before",
    ),
    "chain": (
        added(KEYS[0], *[PREDICTED[0]] * 256),
        "256 predicted GoPs follow one another, expected 255 at most",
    ),
    "version 1.1": (
        added(KEYS[0], PREDICTED[0], header=SET_HEADER),
        r"a predicted GoP in a file of version 1\.1, expected version 1\.2 or later",
    ),
}


@pytest.mark.parametrize(("act", "message"), MISUSE.values(), ids=MISUSE)
def test_writer_refuses_predicted_gops_where_they_cannot_be(act, message):
    with pytest.raises(ValueError, match=message):
        act()


def test_writer_refuses_predicted_gops_in_profile_1():
    writer = StgvWriter(io.BytesIO(), HEADER)
    writer.add_gop(PAYLOADS[0], range(5))
    with pytest.raises(ValueError, match=r"a predicted GoP in a file of version 1\.0, expected version 1\.2"):
        writer.add_gop(PREDICTED[0], [10, 11], predicted=True)


@pytest.mark.parametrize("predicted", [False, True])
def test_writer_refuses_payloads_of_the_other_kind(predicted):
    writer = StgvWriter(io.BytesIO(), PREDICTED_HEADER)
    writer.add_gop(KEYS[0], pts_of(0))
    n_bytes = writer.n_bytes
    with pytest.raises(BitstreamError):
        writer.add_gop(KEYS[1] if predicted else PREDICTED[0], pts_of(1), predicted=predicted)
    with pytest.raises(BitstreamError):
        writer.add_gop(PREDICTED[0][:-1], pts_of(1), predicted=True)
    with pytest.raises(ValueError, match="expected an ancillary one"):
        writer.add_chunk(ChunkType.PREDICTED_GOP, b"")
    assert writer.n_bytes == n_bytes


def test_the_longest_chain():
    gops = [KEYS[0], *[PREDICTED[0]] * LIMITS["predicted_gops"], KEYS[1], PREDICTED[1]]
    for data in (written(*gops), by_hand(*gops)):
        reader = opened(data)
        assert [reader.key_of(i) for i in (254, 255, 256, 257)] == [0, 0, 256, 256]
        assert not opened(data, keep_going=True).damage
        independent_decoder.parse_file(data)


BAD_INDEX = {
    "first": (lambda: by_hand(PREDICTED[0], KEYS[0]), "GoP 0: the first GoP is predicted, expected one that is not"),
    "other Gaussians": (
        lambda: by_hand(KEYS[0], PREDICTED[0], OTHER_PREDICTED),
        "GoP 2: a predicted GoP has 7 Gaussians, expected 9 as in the GoP before",
    ),
    "chain": (
        lambda: by_hand(KEYS[0], *[PREDICTED[0]] * 256),
        "GoP 256: 256 predicted GoPs follow one another, expected 255 at most",
    ),
    "version 1.1": (
        lambda: by_hand(KEYS[0], PREDICTED[0], header=SET_HEADER),
        r"GoP 1: a predicted GoP in a file of version 1\.1, expected version 1\.2 or later",
    ),
    "profile 1": (
        lambda: by_hand(KEYS[0], PREDICTED[0], header=HEADER),
        r"GoP 1: a predicted GoP in a file of version 1\.0, expected version 1\.2 or later",
    ),
}


@pytest.mark.parametrize(("make", "message"), BAD_INDEX.values(), ids=BAD_INDEX)
def test_bad_index_is_refused(make, message):
    with pytest.raises(BitstreamError, match=f"index, at byte .*{message}"):
        opened(make())
    with pytest.raises(independent_decoder.SpecError):
        independent_decoder.parse_file(make())


def test_hand_made_files_are_taken_where_they_are_in_order():
    reader = opened(by_hand(*ORDER))
    assert [reader.read_gop(i) for i in range(5)] == ORDER


def test_a_chunk_of_the_other_type_is_not_what_the_index_says():
    file = bytearray(by_hand(*ORDER))
    gop = opened(bytes(file)).gops[1]
    payload = bytes(file[gop.offset + 14 : gop.offset + gop.n_bytes - 4])
    file[gop.offset : gop.offset + gop.n_bytes] = frame_chunk(ChunkType.GOP, payload)
    reader = opened(bytes(file))
    with pytest.raises(BitstreamError, match=r"GoP 1, at byte .* the chunk that the index names is not here"):
        reader.read_gop(1)


def test_a_predicted_gop_that_is_not_what_the_index_says_is_refused():
    data = by_hand(*ORDER)
    end = opened(data).gops[-1]
    at = end.offset + end.n_bytes
    gops = [*opened(data).gops]
    gops[1] = dataclasses.replace(gops[1], timing=dataclasses.replace(gops[1].timing, pts_step=11))
    index = pack_end_chunk(opened(data).chunks, gops)
    reader = opened(data[:at] + frame_chunk(ChunkType.END, index))
    reader.read_gop(0)
    with pytest.raises(BitstreamError, match=r"GoP 1.*not what the index says"):
        reader.read_gop(1)


def test_every_flipped_byte_is_found():
    data = written(KEYS[0], PREDICTED[0])
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 0x10
        with pytest.raises(BitstreamError):
            opened(bytes(damaged)).verify()


DATA = by_hand(*ORDER)
GOPS = opened(DATA).gops
MISSING = "a GoP predicted from one that is missing was skipped"


def flipped(index):
    damaged = bytearray(DATA)
    damaged[GOPS[index].offset + 40] ^= 4
    return bytes(damaged)


def note(index):
    return f"byte {GOPS[index].offset}: {MISSING}"


def check(data, kept, *notes, order=ORDER):
    """Which GoPs are kept, that none lacks what it is predicted from, and every note, in order."""
    reader = opened(data, keep_going=True)
    assert [reader.read_gop(i) for i in range(len(reader.gops))] == [order[index] for index in kept]
    assert [reader.gops[reader.key_of(i)].is_key for i in range(len(reader.gops))] == [True] * len(kept)
    assert len(reader.damage) == len(notes), reader.damage
    for got, expected in zip(reader.damage, notes, strict=True):
        assert re.search(expected, got), (got, expected)
    return reader


def test_recovery_of_an_intact_file():
    check(DATA, [0, 1, 2, 3, 4])


def test_recovery_without_the_first_key_gop():
    check(flipped(0), [3, 4], "the payload of the GOP chunk is damaged", note(1), note(2), "frames 0 to 5 are missing")


def test_recovery_without_a_predicted_gop():
    check(
        flipped(1),
        [0, 3, 4],
        "the payload of the PREDICTED_GOP chunk is damaged",
        note(2),
        "frames 2 to 5 are missing",
    )


def test_recovery_without_the_last_gop_of_a_chain():
    check(flipped(2), [0, 1, 3, 4], "PREDICTED_GOP chunk is damaged", "frames 4 to 5 are missing")


def test_recovery_of_a_file_that_begins_with_a_predicted_gop():
    order = [PREDICTED[0], KEYS[0], PREDICTED[1]]
    check(by_hand(*order), [1, 2], MISSING, "frames 0 to 1 are missing", order=order)


def test_recovery_of_a_malformed_gop_before_a_predicted_one():
    broken = frame_chunk(ChunkType.PREDICTED_GOP, b"\xff\xff")
    at = GOPS[2].offset
    check(
        DATA[:at] + broken + DATA[at:],
        [0, 1, 3, 4],
        "^GoP, at byte",
        f"byte {at + len(broken)}: {MISSING}",
        "frames 4 to 5 are missing",
    )


def test_recovery_where_gaussians_differ():
    order = [KEYS[0], OTHER_PREDICTED, KEYS[1]]
    check(by_hand(*order), [0, 2], MISSING, "frames 2 to 3 are missing", order=order)


def test_recovery_where_frames_lie_between():
    order = [KEYS[0], PREDICTED[0]]
    check(by_hand(*order, firsts=[0, 2]), [0], MISSING, "frames 2 to 3 are missing", order=order)


OTHER = by_hand(KEYS[1], PREDICTED[1], PREDICTED[2])
BEHIND = {
    "whole": OTHER,
    "without what comes before": OTHER[: opened(OTHER).gops[0].offset] + OTHER[opened(OTHER).gops[2].offset :],
}


@pytest.mark.parametrize("behind", BEHIND.values(), ids=BEHIND)
def test_recovery_does_not_predict_from_another_file(behind):
    """Its third GoP would go on where this file ends."""
    order = [KEYS[0], PREDICTED[0]]
    first = by_hand(*order)
    reader = opened(first + behind, keep_going=True)
    assert [reader.read_gop(i) for i in range(len(reader.gops))] == order
    assert sum(MISSING in got for got in reader.damage) == 1
    assert any("second file header was skipped" in got for got in reader.damage)


def test_recovery_of_a_chain_that_is_too_long_and_of_an_early_version():
    order = [KEYS[0], *[PREDICTED[0]] * 257]
    check(
        by_hand(*order),
        range(256),
        "256 predicted GoPs follow one another, expected 255 at most, so it was skipped",
        MISSING,
        "frames 512 to 515 are missing",
        order=order,
    )
    order = [KEYS[0], PREDICTED[0]]
    check(
        by_hand(*order, header=SET_HEADER),
        [0],
        r"a predicted GoP in a file of version 1\.1, expected version 1\.2 or later, so it was skipped",
        "frames 2 to 3 are missing",
        order=order,
    )
