from __future__ import annotations

import struct

import numpy as np
import pytest
from independent_decoder import SpecError, points_of
from spec_tables import cells_after

from stgvcodec.bitstream.payload.morton_order import join_gaps, join_gaps_slowly, morton_codes, split_gaps
from stgvcodec.bitstream.syntax.primitives import ByteReader
from stgvcodec.errors import BitstreamError
from stgvcodec.ops.point_set import decode_points_to


def joined(buckets, low_bits):
    out = np.full((len(buckets), 2), 7, np.uint16)
    join_gaps(out, np.asarray(buckets, np.uint8), ByteReader(low_bits, "GoP point_bits", base_offset=100), 40)
    return out


@pytest.mark.parametrize("row", cells_after("Gap test values:"), ids=lambda row: row[0])
def test_gaps_of_the_spec(row):
    buckets, low_bits = split_gaps(np.array([int(row[0])], np.int64))
    bits = "".join(f"{byte:08b}" for byte in low_bits)
    assert buckets.tolist() == [int(row[1])]
    assert bits[: len(row[2])] == row[2]
    assert set(bits[len(row[2]) :]) <= {"0"}
    assert len(bits) - len(row[2]) < 8
    assert morton_codes(joined(buckets, low_bits)).tolist() == [int(row[0])]


@pytest.mark.parametrize("row", cells_after("Point test values (in stored order):"))
def test_points_of_the_spec(row):
    points = [[int(u) for u in pair.split(",")] for pair in row[0].split()]
    buckets, low_bits = [int(b) for b in row[1].split()], bytes.fromhex(row[2])
    assert joined(buckets, low_bits).tolist() == points
    got, bits = split_gaps(morton_codes(np.array(points, np.uint16)))
    assert (got.tolist(), bits) == (buckets, low_bits)
    assert points_of(buckets, low_bits) == [tuple(point) for point in points]


@pytest.mark.parametrize("largest", [0, 1, 50, 2000, 65535])
@pytest.mark.parametrize("n", [1, 2, 777])
def test_round_trip(n, largest):
    points = np.random.default_rng(n).integers(0, largest + 1, (n, 2)).astype(np.uint16)
    points = points[np.argsort(morton_codes(points), kind="stable")]
    buckets, low_bits = split_gaps(morton_codes(points))
    assert joined(buckets, low_bits).tolist() == points.tolist()
    assert join_gaps_slowly(buckets, ByteReader(low_bits, "test"), 0).tolist() == points.tolist()


BAD = {
    "bucket 1": ([0, 1], b"", "GoP points, at byte 140: bucket 1 does not exist"),
    "bucket 7": ([4, 7], b"", "bucket 7 does not exist"),
    "a gap beyond": ([129], bytes(4), "code of point 0 does not fit 32 bits"),
    "a sum beyond": ([127, 127], b"\xff" * 7 + b"\xc0", "code of point 1 does not fit 32 bits"),
    "padding": ([12], b"\x01", "GoP point_bits, at byte 100: low bits are padded"),
    "cut": ([64, 64], bytes(3), "cut short"),
    "more": ([12], b"\x80\0", "1 bytes more"),
    "bits for none": ([0], b"\0", "1 bytes more"),
}


@pytest.mark.parametrize(("buckets", "low_bits", "message"), BAD.values(), ids=BAD)
def test_malformed_points_are_refused(buckets, low_bits, message):
    with pytest.raises(BitstreamError, match=message):
        joined(buckets, low_bits)
    with pytest.raises(SpecError):
        points_of(buckets, low_bits)


def test_any_bytes_are_read_or_refused_alike():
    rng = np.random.default_rng(8)
    results = {"points": 0, "error": 0}
    for trial in range(3000):
        buckets = rng.integers(0, 132 if trial % 2 else 20, rng.integers(1, 5)).astype(np.uint8)
        n_bits = int(np.maximum((buckets.astype(int) >> 2) - 2, 0).sum())
        low_bits = rng.bytes((n_bits + 7) // 8 + int(trial % 16 == 0))
        if low_bits and trial % 4:
            low_bits = low_bits[:-1] + bytes([low_bits[-1] & (0xFF << (-n_bits % 8) & 0xFF)])
        data = np.frombuffer(low_bits, np.uint8)
        out = np.zeros((len(buckets), 2), np.uint16)
        fine = decode_points_to(out, buckets, data, 0, len(data))
        try:
            slow = join_gaps_slowly(buckets, ByteReader(low_bits, "test"), 0).tolist()
        except BitstreamError:
            slow = None
        assert (out.tolist() if fine else None) == slow, (buckets, low_bits.hex())
        results["points" if fine else "error"] += 1
    assert min(results.values()) > 300, results


def test_the_operator_checks_its_arguments():
    with pytest.raises(ValueError, match=r"expected uint8 \[N\] and uint16 \[N, 2\]"):
        decode_points_to(np.zeros((3, 2), np.uint16), np.zeros(2, np.uint8), np.zeros(4, np.uint8), 0, 4)
    with pytest.raises(ValueError, match="low bits are bytes 2 to 5 of 4"):
        decode_points_to(np.zeros((2, 2), np.uint16), np.zeros(2, np.uint8), np.zeros(4, np.uint8), 2, 5)


MARKER = (
    "Scale table test values (binary32 patterns of shape_scale and of T[0], T[1], T[2], T[10], T[50], T[80], T[255]):"
)


@pytest.mark.parametrize("row", cells_after(MARKER), ids=lambda row: row[0])
def test_scale_tables_of_the_spec(row):
    growth = 1.0 + struct.unpack(">f", bytes.fromhex(row[0]))[0]
    sizes = [0.5]
    for _ in range(255):
        sizes.append(min(sizes[-1] * growth, 2.0**20))
    patterns = [struct.pack(">f", sizes[k] - 0.5).hex() for k in (0, 1, 2, 10, 50, 80, 255)]
    assert row[1].split() == patterns
