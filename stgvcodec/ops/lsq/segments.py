"""Groups of a flat vector, and the blocks in which a kernel processes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

SEGMENT_BLOCK = 512
"""Number of values in a block. With 72 K values in 18 groups this makes about one block a multiprocessor."""
BLOCK_COLUMNS = ("start", "count", "group", "first block of the group", "blocks of the group", "values of the group")


@dataclass(frozen=True, eq=False)
class Segments:
    """Contiguous groups of a flat vector.

    Attributes:
        sizes: Number of values in each group, in order; a group may be empty.
        blocks: `segment_blocks(sizes)`, on the device of the values. [n_blocks, 6] int32.
    """

    sizes: tuple[int, ...]
    blocks: Tensor


def segment_blocks(sizes: Sequence[int]) -> Tensor:
    """Cut every group into blocks; an empty group gets one empty block.

    Args:
        sizes: Number of values in each group.

    Returns:
        Table with one row a block, in order, and the columns `BLOCK_COLUMNS`. [n_blocks, 6] int32.

    Raises:
        ValueError: there is no group, a size is negative, or there are 2^31 values or more.
    """
    if len(sizes) == 0 or min(sizes) < 0 or sum(sizes) >= 2**31:
        raise ValueError(f"sizes are {list(sizes)}, expected at least one group, none negative, below 2^31 in all")
    rows: list[tuple[int, ...]] = []
    start = 0
    for group, size in enumerate(sizes):
        first, n_blocks = len(rows), max(-(-size // SEGMENT_BLOCK), 1)
        for block in range(n_blocks):
            done = block * SEGMENT_BLOCK
            rows.append((start + done, min(SEGMENT_BLOCK, size - done), group, first, n_blocks, size))
        start += size
    return torch.tensor(rows, dtype=torch.int32)
