from __future__ import annotations

import dataclasses
import io

import independent_decoder
import pytest
from files import CONSTANT_PTS, PAYLOADS, raw_file
from gops import HEADER
from random_sets import SET_HEADER, random_set

from stgvcodec.bitstream import (
    ChunkType,
    StgvReader,
    StgvWriter,
    pack_gop,
    payload_stream_bytes,
    payloads,
    stream_bytes,
)
from stgvcodec.errors import BitstreamError

SET_PAYLOADS = [pack_gop(random_set(0)), pack_gop(random_set(1, n_gaussians=40))]


def opened(data, **options):
    return StgvReader(io.BytesIO(data), **options)


def set_file(header_payload):
    """Two GoPs of a set payload behind any file header."""
    file = io.BytesIO()
    writer = StgvWriter(file, SET_HEADER)
    for payload, pts in zip(SET_PAYLOADS, CONSTANT_PTS, strict=False):
        writer.add_gop(payload, pts)
    writer.finish()
    rest = file.getvalue()[len(raw_file((ChunkType.FILE_HEADER, SET_HEADER.to_bytes()))) :]
    return raw_file((ChunkType.FILE_HEADER, header_payload)) + rest  # the index holds no offsets


@pytest.mark.parametrize("profile", ["paper", "compact"])
def test_files_of_set_payloads(profile):
    header = dataclasses.replace(SET_HEADER, profile=profile)
    data = set_file(header.to_bytes())
    reader = opened(data)
    assert reader.header == header
    assert (reader.header.format_version, reader.header.profile_id) == ((1, 1), {"paper": 2, "compact": 3}[profile])
    assert [reader.read_gop(i) for i in range(2)] == SET_PAYLOADS
    assert [gop.n_gaussians for gop in reader.gops] == [63, 40]
    reader.verify()
    sizes = stream_bytes([payloads.stream_bytes(reader.header.profile_id, gop) for gop in SET_PAYLOADS], len(data))
    assert sum(sizes.values()) == len(data)
    assert sizes["shapes"] == sum(payload_stream_bytes(gop)["shapes"] for gop in SET_PAYLOADS)

    recovered = StgvReader(io.BytesIO(data[:-9]), keep_going=True)
    assert [recovered.read_gop(i) for i in range(2)] == SET_PAYLOADS
    assert independent_decoder.parse_file(data)["header"]["profile"] == reader.header.profile_id


def test_a_writer_takes_the_payloads_of_its_profile_only():
    with pytest.raises(BitstreamError):
        StgvWriter(io.BytesIO(), HEADER).add_gop(SET_PAYLOADS[0], CONSTANT_PTS[0])
    with pytest.raises(BitstreamError):
        StgvWriter(io.BytesIO(), SET_HEADER).add_gop(PAYLOADS[0], CONSTANT_PTS[0])


def test_later_minor_version_with_more_fields_is_read():
    payload = bytearray(SET_HEADER.to_bytes() + b"new fields")
    payload[1] = 7
    reader = opened(set_file(bytes(payload)))
    assert reader.header.format_version == (1, 7)
    assert reader.read_gop(1) == SET_PAYLOADS[1]
