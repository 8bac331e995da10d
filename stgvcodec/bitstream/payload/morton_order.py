"""Points as the gaps of their sorted Morton codes: buckets, which are entropy-coded, and low bits, which are not.

bitstream_spec.md section 4.4 is the definition.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stgvcodec.bitstream.entropy.models import Symbols
from stgvcodec.bitstream.syntax.primitives import ByteReader
from stgvcodec.errors import BitstreamError
from stgvcodec.ops.point_set import decode_points_to

N_BUCKETS = 132
"""Alphabet of the buckets: four for each exponent of a gap."""

_CODE_BITS = 32
_SPREAD = ((8, 0x00FF00FF), (4, 0x0F0F0F0F), (2, 0x33333333), (1, 0x55555555))


def morton_codes(points: npt.NDArray[np.uint16]) -> npt.NDArray[np.int64]:
    """Morton codes of points (x, y): x gives the even bits, y the odd ones. [N] int64, below 2^32."""
    spread = points.astype(np.int64)
    for shift, mask in _SPREAD:
        spread = (spread | spread << shift) & mask
    codes: npt.NDArray[np.int64] = spread[:, 0] | spread[:, 1] << 1
    return codes


def split_gaps(codes: npt.NDArray[np.int64]) -> tuple[Symbols, bytes]:
    """Split the gaps of Morton codes into buckets and low bits.

    Args:
        codes: Morton codes, ascending. [N] int64.

    Returns:
        buckets: Bucket of each gap. [N] uint8.
        low_bits: Low bits of all gaps, padded with 0 bits to whole bytes.
    """
    values = np.diff(codes, prepend=0) + 1
    exponents = np.frexp(values)[1].astype(np.int64) - 1  # exact: values are at most 2^32
    n_low = np.maximum(exponents - 2, 0)
    tops = np.where(exponents >= 2, values >> n_low, values << np.maximum(2 - exponents, 0)) & 3
    owners = np.repeat(np.arange(len(values)), n_low)
    places = np.repeat(np.cumsum(n_low), n_low) - np.arange(len(owners)) - 1
    bits = (values[owners] >> places & 1).astype(np.uint8)
    return (4 * exponents + tops).astype(np.uint8), np.packbits(bits).tobytes()


def join_gaps(out: npt.NDArray[np.uint16], buckets: Symbols, reader: ByteReader, buckets_at: int) -> None:
    """Compute points from the buckets and the low bits of their gaps.

    Args:
        out: Points to fill. [N, 2] uint16.
        buckets: Bucket of each gap, below `N_BUCKETS`. [N] uint8.
        reader: A reader of exactly the low bits.
        buckets_at: Offset of the stream of the buckets, for error messages.

    Raises:
        BitstreamError: a bucket does not exist, a code does not fit 32 bits, or there are more or fewer low bits than
            the buckets need.
    """
    data = np.frombuffer(reader.data, np.uint8)
    if not decode_points_to(out, buckets, data, reader.position, reader.end):
        out[:] = join_gaps_slowly(buckets, reader, buckets_at)
        raise AssertionError("the reference takes points that the kernel refuses")


def join_gaps_slowly(buckets: Symbols, reader: ByteReader, buckets_at: int) -> npt.NDArray[np.uint16]:
    """The reference of `join_gaps`, which knows what is wrong, and where. [N, 2] uint16."""
    exponents = buckets.astype(np.int64) >> 2
    tops = 4 | buckets.astype(np.int64) & 3
    undefined = (exponents < 2) & (tops << exponents & 3 != 0)
    if undefined.any():
        raise _points_error(reader, buckets_at, f"bucket {buckets[undefined][0]} does not exist")
    n_low = np.maximum(exponents - 2, 0)
    n_bits = int(n_low.sum())
    start = reader.position
    packed = reader.take((n_bits + 7) // 8)
    reader.expect_end()
    bits = np.unpackbits(np.frombuffer(packed, np.uint8))
    if bits[n_bits:].any():
        raise reader.error("low bits are padded with bits other than 0", at=start)
    values = np.where(exponents >= 2, tops, tops >> np.maximum(2 - exponents, 0))
    firsts = np.cumsum(n_low) - n_low
    for place in range(int(n_low.max(initial=0))):
        wide = n_low > place
        values[wide] = values[wide] << 1 | bits[firsts[wide] + place]
    codes = np.cumsum(values - 1)
    beyond = np.flatnonzero((values > 1 << _CODE_BITS) | (codes >= 1 << _CODE_BITS))
    if len(beyond):
        raise _points_error(reader, buckets_at, f"the Morton code of point {beyond[0]} does not fit {_CODE_BITS} bits")
    return join_codes(codes)


def join_codes(codes: npt.NDArray[np.int64]) -> npt.NDArray[np.uint16]:
    """Return the points (x, y) of Morton codes below 2^32: the inverse of `morton_codes`. [N, 2] uint16."""
    even = np.stack([codes, codes >> 1], axis=1) & _SPREAD[-1][1]
    for (shift, _), mask in zip(_SPREAD[::-1], (0x33333333, 0x0F0F0F0F, 0x00FF00FF, 0x0000FFFF), strict=True):
        even = (even | even >> shift) & mask
    return even.astype(np.uint16)


def _points_error(reader: ByteReader, at: int, message: str) -> BitstreamError:
    return ByteReader(reader.data, "GoP points", base_offset=reader.base_offset).error(
        f"{message}, so bytes are damaged", at=at
    )
