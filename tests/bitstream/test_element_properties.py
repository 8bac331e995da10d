"""Each syntax element of bitstream_spec.md: every value within its limits is read back, every other one is refused.

The rules that tie elements to one another are properties too: fractions in lowest terms, sums of lengths, an index that
says what the chunks say.
"""

from __future__ import annotations

import dataclasses
import io
import math
from fractions import Fraction
from itertools import accumulate
from pathlib import Path

import hostile
import independent_decoder
import pytest
from gops import gop_header
from hypothesis import given
from hypothesis import strategies as st
from strategies import any_value, can_be_outside, examples, is_within, outside_values, result, table_values

from stgvcodec.bitstream import StgvReader
from stgvcodec.bitstream.container.chunks import (
    FRAME_BYTES,
    MAGIC,
    SYNC,
    ChunkType,
    frame_chunk,
    parse_chunk_header,
    payload_crc_matches,
)
from stgvcodec.bitstream.container.file_header import StreamHeader
from stgvcodec.bitstream.container.index import GopTiming
from stgvcodec.bitstream.container.tracks import PacketGroup, unpack_metadata, unpack_track
from stgvcodec.bitstream.container.verification import verify
from stgvcodec.bitstream.payload.head import read_head, read_header
from stgvcodec.bitstream.syntax.elements import read_elements, write_elements
from stgvcodec.bitstream.syntax.limits import LIMITS
from stgvcodec.bitstream.syntax.primitives import PACKERS, ByteReader
from stgvcodec.bitstream.syntax.tables import (
    GOP_CHUNK,
    INDEX,
    INDEX_ENTRY,
    INDEX_GOP,
    INDEX_TAIL,
    STREAM_LENGTHS,
    TABLES,
)
from stgvcodec.errors import BitstreamError

ALL_MODES = (Path(__file__).parents[1] / "golden" / "all_modes.stgv").read_bytes()
ELEMENTS = [pytest.param(element, id=f"{name}.{element.name}") for name, table in TABLES.items() for element in table]


@pytest.mark.parametrize("element", ELEMENTS)
@examples(60)
@given(st.data(), st.binary(max_size=3))
def test_an_element_takes_every_value_within_its_limits_and_no_other(element, drawn, before):
    # One item: the shape of an array is the affair of other elements.
    alone = (dataclasses.replace(element, shape=()),)
    value = drawn.draw(any_value(element))
    packed = PACKERS[element.type](value)
    reader = ByteReader(before + packed, "test", start=len(before), base_offset=1000)
    if is_within(element, value):
        assert write_elements({element.name: value}, alone) == packed
        assert read_elements(reader, alone) == {element.name: value}
        reader.expect_end()
        return
    with pytest.raises(ValueError, match=f"{element.name} is "):
        write_elements({element.name: value}, alone)
    with pytest.raises(BitstreamError, match=f"{element.name} is ") as caught:
        read_elements(reader, alone)
    assert (caught.value.section, caught.value.offset) == ("test", 1000 + len(before))


def flat(value):
    return [item for part in value for item in flat(part)] if isinstance(value, tuple) else [value]


@pytest.mark.parametrize("name", [name for name, table in TABLES.items() if any(map(can_be_outside, table))])
@examples(40)
@given(st.data())
def test_a_table_with_a_value_beyond_its_limits_is_refused_there(name, drawn):
    table = TABLES[name]
    values, known = drawn.draw(table_values(table))
    items = [(element, PACKERS[element.type](value)) for element in table for value in flat(values[element.name])]
    at = drawn.draw(st.sampled_from([i for i, (element, _) in enumerate(items) if can_be_outside(element)]))
    element = items[at][0]
    before, behind = (b"".join(packed for _, packed in part) for part in (items[:at], items[at + 1 :]))
    data = before + PACKERS[element.type](drawn.draw(outside_values(element))) + behind
    with pytest.raises(BitstreamError, match=f"{element.name} is ") as caught:
        read_elements(ByteReader(data, "test"), table, known)
    assert caught.value.offset == len(before)


def test_only_tables_without_limits_are_left_out():
    assert [name for name, table in TABLES.items() if not any(map(can_be_outside, table))] == ["INDEX_TAIL"]


@examples(200)
@given(st.binary(min_size=len(MAGIC), max_size=len(MAGIC)))
def test_every_other_magic_is_refused(magic):
    if magic != MAGIC:
        with pytest.raises(BitstreamError) as caught:
            StgvReader(io.BytesIO(magic + ALL_MODES[len(MAGIC) :]))
        assert caught.value.offset == 0


@examples(200)
@given(st.integers(0, 2**16 - 1), st.binary(max_size=40), st.integers(0, 2**40), st.binary(min_size=4, max_size=4))
def test_a_chunk_round_trips(kind, payload, offset, crc):
    data = frame_chunk(kind, payload)
    chunk = parse_chunk_header(data[:14], offset)
    assert (chunk.type, chunk.offset, chunk.payload_bytes) == (kind, offset, len(payload))
    assert chunk.end - offset == len(data) == len(payload) + FRAME_BYTES
    assert data[14:-4] == payload
    assert payload_crc_matches(payload, data[-4:])
    assert payload_crc_matches(payload, crc) == (crc == data[-4:])


MOSTLY = st.sampled_from([True, True, True, False])


@examples(300)
@given(
    st.data(),
    st.integers(0, 2**16 - 1),
    st.integers(0, 2**32 - 1) | st.integers(0, 2**28) | st.sampled_from([2**28, 2**28 + 1]),
)
def test_a_chunk_header_is_held_to_its_marker_its_limit_and_its_checksum(drawn, kind, length):
    four_bytes = st.binary(min_size=4, max_size=4)
    sync = SYNC if drawn.draw(MOSTLY) else drawn.draw(four_bytes)
    header = sync + PACKERS["u16"](kind) + PACKERS["u32"](length)
    right = PACKERS["u32"](independent_decoder.crc32(header))
    crc = right if drawn.draw(MOSTLY) else drawn.draw(four_bytes)
    is_right = sync == SYNC and crc == right and length <= LIMITS["chunk_payload_bytes"]
    assert (parse_chunk_header(header + crc, 0) is not None) == is_right


RATIOS = st.sampled_from([(1, 1), (30000, 1001), (2**31 - 1, 1), (2, 4), (6, 9)])


def with_ratios(values, names, drawn):
    """Values of a table with other fractions, in some of which both numbers have a factor in common."""
    for name in names:
        if drawn.draw(MOSTLY):
            values[f"{name}_num"], values[f"{name}_den"] = drawn.draw(RATIOS)
    return all(math.gcd(values[f"{name}_num"], values[f"{name}_den"]) == 1 for name in names)


@examples(300)
@given(st.data(), st.binary(max_size=2))
def test_a_file_header_is_read_where_the_spec_takes_it(drawn, behind):
    values, _ = drawn.draw(table_values(TABLES["FILE_HEADER"]))
    is_lowest = with_ratios(values, ("frame_rate", "time_base", "sample_aspect"), drawn)
    if drawn.draw(MOSTLY):
        values.update(
            version_major=2, version_minor=drawn.draw(st.integers(0, 1)), profile=drawn.draw(st.integers(1, 2))
        )
    is_right = (
        is_lowest
        and (values["version_major"], values["profile"] in (1, 2)) == (2, True)
        and values["width"] * values["height"] <= 2**27
        and (not behind or values["version_minor"] > 0)
    )
    header, error = result(StreamHeader.from_bytes, write_elements(values, TABLES["FILE_HEADER"]) + behind, 0)
    assert (header is not None, isinstance(error, BitstreamError)) == (is_right, not is_right)
    if header is None:
        return
    assert header.frame_rate == Fraction(values["frame_rate_num"], values["frame_rate_den"])
    assert header.time_base == Fraction(values["time_base_num"], values["time_base_den"])
    assert header.sample_aspect_ratio == Fraction(values["sample_aspect_num"], values["sample_aspect_den"])
    assert header.format_version == (2, values["version_minor"])
    same = ("width", "height", "last_frame_duration", "tool")
    assert all(getattr(header, name) == values[name] for name in same)
    for name in ("primaries", "transfer", "matrix", "full_range"):
        assert getattr(header.color, name) == values[f"color_{name}"]
    if header.format_version == (2, 0) and header.tool.isprintable():
        assert StreamHeader.from_bytes(header.to_bytes(), 0) == header


@examples(200)
@given(st.data())
def test_the_times_of_a_gop_are_sums_of_its_differences(drawn):
    values, _ = drawn.draw(table_values(GOP_CHUNK))
    timing = GopTiming.read(ByteReader(write_elements(values, GOP_CHUNK), "test"))
    n, step = values["n_frames"], values["pts_step"]
    pts = list(accumulate([step] * (n - 1) if step else values["pts_deltas"], initial=values["pts_first"]))
    assert list(timing.pts) == pts == [timing.pts_of(k) for k in range(n)]
    assert timing.pts_last == pts[-1] < 2**63
    assert timing.to_bytes() == write_elements(values, GOP_CHUNK)
    again = GopTiming.from_pts(values["first_frame"], pts)
    assert (again.pts, again.first_frame) == (timing.pts, timing.first_frame)


@examples(300)
@given(st.data())
def test_a_gop_header_is_read_where_an_independent_decoder_reads_it(drawn):
    values, _ = drawn.draw(table_values(TABLES["GOP_HEADER"]))
    if drawn.draw(MOSTLY):
        values.update(cholesky_bits=8, color_stages=1, color_codebook_size=1)
    data = write_elements(values, TABLES["GOP_HEADER"])
    header, error = result(read_header, data)
    try:
        parsed = independent_decoder.parse_header(independent_decoder.Bytes(data))
    except independent_decoder.SpecError:
        assert isinstance(error, BitstreamError)
        return
    assert header.to_bytes() == data
    for name in set(values) - {"n_static_levels", "n_dynamic_levels"}:
        assert getattr(header, name) == values[name]
    assert header.n_gaussians == parsed["n_gaussians"]


@examples(200)
@given(st.lists(st.integers(0, 30), min_size=6, max_size=6), st.integers(0, 180), st.booleans())
def test_the_lengths_of_streams_add_up_to_the_payload(lengths, n_bytes, is_right):
    n_bytes = sum(lengths) if is_right else n_bytes
    packed = b"".join(map(PACKERS["uint"], lengths))
    head, error = result(read_head, ByteReader(gop_header().to_bytes() + packed + bytes(n_bytes), "GoP header"))
    assert (head is None) == (sum(lengths) != n_bytes) == isinstance(error, BitstreamError)
    if head is not None:
        assert [head[1][element.name.removesuffix("_bytes")] for element in STREAM_LENGTHS] == lengths


def read_all(data):
    with StgvReader(io.BytesIO(data)) as reader:
        verify(reader)


def is_refused(data):
    _, error = result(read_all, data)
    assert error is None or 0 <= error.offset <= len(data)
    return error is not None


@examples(300)
@given(st.data())
def test_an_index_that_says_anything_else_is_refused(drawn):
    parts = hostile.parts_of(ALL_MODES)
    index = hostile.index_of(parts)
    assert not is_refused(hostile.joined(parts, index))
    tables = [INDEX]
    for part in parts[1:]:
        tables += [INDEX_ENTRY, INDEX_GOP] if part.type == ChunkType.GOP else [INDEX_ENTRY]
    element, start, end, value = drawn.draw(st.sampled_from(list(hostile.items_of(index, [*tables, INDEX_TAIL]))))
    other = drawn.draw(any_value(element).filter(lambda other: other != value))
    index = index[:start] + PACKERS[element.type](other) + index[end:]
    if element.name != "end_chunk_bytes":
        index = index[:-4] + PACKERS["u32"](len(index) + FRAME_BYTES)
    assert is_refused(hostile.joined(parts, index))


@examples(150)
@given(st.data())
def test_a_gop_that_says_anything_else_than_the_index_is_refused(drawn):
    parts = hostile.parts_of(ALL_MODES)
    at = drawn.draw(st.sampled_from([i for i, part in enumerate(parts) if part.type == ChunkType.GOP]))
    payload = parts[at].payload
    items = hostile.items_of(payload, (GOP_CHUNK, TABLES["GOP_HEADER"][:2]))
    element, start, end, value = drawn.draw(st.sampled_from(list(items)))
    # As long as it was, so that only the comparison is left to find it.
    others = st.integers(1, 127) if end - start == 1 else any_value(element)
    packed = PACKERS[element.type](drawn.draw(others.filter(lambda other: other != value)))
    if len(packed) == end - start:
        changed = hostile.Part(ChunkType.GOP, payload[:start] + packed + payload[end:])
        assert is_refused(hostile.joined([*parts[:at], changed, *parts[at + 1 :]], hostile.index_of(parts)))


def merged(values):
    """The entries of metadata, those of a key joined as lines."""
    lines = {}
    for key, line in zip(values["keys"], values["values"], strict=True):
        lines.setdefault(key, []).append(line)
    return {key: "\n".join(own) for key, own in lines.items()}


@examples(200)
@given(st.data(), st.binary(max_size=9) | st.sampled_from([2**20, 2**20 + 1]).map(bytes))
def test_a_track_is_read_where_the_spec_takes_it(drawn, setup):
    values, _ = drawn.draw(table_values(TABLES["TRACK"]))
    is_right = with_ratios(values, ("time_base",), drawn) and 1 <= len(setup) <= 2**20
    read, error = result(unpack_track, write_elements(values, TABLES["TRACK"]) + setup, 0)
    assert (read is not None, isinstance(error, BitstreamError)) == (is_right, not is_right)
    if read is not None:
        number, track = read
        same = ("codec", "sample_rate", "n_channels", "channel_layout")
        assert all(getattr(track, name) == values[name] for name in same)
        assert (number, track.setup, track.tags) == (values["track"], setup, merged(values))
        assert track.time_base == Fraction(values["time_base_num"], values["time_base_den"])
        assert (track.kind, track.setup_format) == (
            ("audio", "subtitle")[values["kind"]],
            ("matroska", "mp4")[values["setup_format"]],
        )
        assert len(track.dispositions) == (values["dispositions"] & 0x1FF).bit_count()


@examples(200)
@given(st.data(), st.sampled_from([0, 0, 0, -1, 1]))
def test_packets_are_read_where_the_spec_takes_them(drawn, n_more):
    values, _ = drawn.draw(table_values(TABLES["TRACK_PACKETS"]))
    sizes = tuple(drawn.draw(st.lists(st.integers(0, 9), min_size=values["n_packets"], max_size=values["n_packets"])))
    if drawn.draw(st.booleans()):
        # Times about the largest, where a duration decides.
        values["pts_first"] = drawn.draw(st.sampled_from([2**62 - 1, 2**62, -(2**62)]))
        small = st.tuples(*[st.integers(0, 2)] * values["n_packets"])
        values.update(packet_durations=drawn.draw(small), packet_gaps=drawn.draw(small)[1:])
    data = bytes(range(sum(sizes)))
    payload = write_elements({**values, "packet_bytes": sizes}, TABLES["TRACK_PACKETS"]) + data
    pts, is_right = values["pts_first"], n_more == 0 or (n_more < 0 and not sizes)
    times = []
    for gap, duration in zip((0, *values["packet_gaps"]), values["packet_durations"], strict=True):
        times.append(pts + gap)
        pts = times[-1] + duration
        is_right = is_right and max(abs(times[-1]), abs(pts)) <= 2**62
    group, error = result(PacketGroup.from_bytes, payload + b"x" if n_more > 0 else payload[: len(payload) + n_more], 0)
    assert (group is not None, isinstance(error, BitstreamError)) == (is_right, not is_right)
    if group is not None:
        assert group.number == values["track"]
        assert [packet.pts for packet in group.packets] == times
        assert [packet.duration for packet in group.packets] == list(values["packet_durations"])
        assert [packet.is_key for packet in group.packets] == list(values["packet_is_key"])
        assert b"".join(packet.data for packet in group.packets) == data
        assert group.to_bytes() == payload


@examples(200)
@given(st.data(), st.binary(max_size=1))
def test_metadata_are_read_and_nothing_follows_them(drawn, behind):
    values, _ = drawn.draw(table_values(TABLES["METADATA"]))
    tags, error = result(unpack_metadata, write_elements(values, TABLES["METADATA"]) + behind, 0)
    assert (tags is None) == bool(behind) == isinstance(error, BitstreamError)
    if not behind:
        assert tags == merged(values)
