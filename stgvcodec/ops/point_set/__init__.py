"""The decoder of points from the gaps of their Morton codes: bitstream_spec.md section 4.4. It needs no torch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def decode_points_to(
    out: npt.NDArray[np.uint16],
    buckets: npt.NDArray[np.uint8],
    data: npt.NDArray[np.uint8],
    start: int,
    end: int,
) -> bool:
    """Join buckets with the low bits of their gaps, sum the gaps up, and split each Morton code into x and y.

    The reference, which also says what is wrong with points, is `join_gaps_slowly` of
    `stgvcodec.bitstream.payload.morton_order`.

    Args:
        out: Points to fill. [N, 2] uint16, contiguous; where the points are refused, its content is not to be used.
        buckets: Bucket of each gap; any symbol may occur. [N] uint8, contiguous.
        data: Bytes in which the low bits lie. [B] uint8, read-only.
        start: Offset of the first byte of the low bits in `data`.
        end: Offset one past the last byte of the low bits.

    Returns:
        Whether every bucket exists, every code is below 2^32, and the bytes are exactly the low bits, padded with 0.

    Raises:
        ValueError: a shape or dtype differs from the above, or the bytes do not lie inside `data`.
    Deterministic: yes; integers only. The kernel releases the GIL.
    """
    from stgvcodec.ops.point_set import numba_kernel

    if buckets.dtype != np.uint8 or buckets.ndim != 1 or out.dtype != np.uint16 or out.shape != (len(buckets), 2):
        raise ValueError(
            f"buckets are {buckets.dtype} {list(buckets.shape)} and out is {out.dtype} {list(out.shape)}, "
            "expected uint8 [N] and uint16 [N, 2]"
        )
    if not 0 <= start <= end <= len(data):
        raise ValueError(f"the low bits are bytes {start} to {end} of {len(data)}, expected them inside")
    return bool(numba_kernel.decode_points(out, buckets, data, start, end))
