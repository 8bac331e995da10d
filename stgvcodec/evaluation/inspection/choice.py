"""Which frames a page shows, and which of them go first where there is no room for all."""

from __future__ import annotations

from collections.abc import Sequence


def spread(n: int, most: int) -> list[int]:
    """Choose at most `most` of n things, evenly, the first and the last among them; of one the middle.

    Examples:
        >>> spread(12, 3), spread(5, 1), spread(2, 8)
        ([0, 6, 11], [2], [0, 1])
    """
    if most >= n:
        return list(range(n))
    if most == 1:
        return [n // 2]
    return [round(i * (n - 1) / (most - 1)) for i in range(most)]


def chosen_frames(frames_of_gops: Sequence[int], most: int) -> dict[int, list[int]]:
    """Choose the frames to show: as many of each GoP, or one of some GoPs where there are more GoPs than that.

    Args:
        frames_of_gops: Number of frames of each GoP.
        most: Most frames in all.

    Returns:
        Frames by GoP, counted within the GoP. GoPs without any are left out.

    Examples:
        >>> chosen_frames([8, 8], 4), chosen_frames([8, 8, 8], 2)
        ({0: [0, 7], 1: [0, 7]}, {0: [4], 2: [4]})
    """
    gops = spread(len(frames_of_gops), most)
    each = max(1, most // max(len(gops), 1))
    return {gop: spread(frames_of_gops[gop], each) for gop in gops}


def by_halves(n: int) -> list[int]:
    """Order n things so that those that come first lie evenly among all: the first, the last, the middle, and on.

    Examples:
        >>> by_halves(5)
        [0, 4, 2, 1, 3]
    """
    order: list[int] = []
    for parts in (1 << power for power in range(n.bit_length() + 1)):
        for i in range(parts + 1):
            place = round(i * (n - 1) / parts)
            if 0 <= place < n and place not in order:
                order.append(place)
    return order
