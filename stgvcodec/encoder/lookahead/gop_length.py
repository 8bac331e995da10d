"""Choice of where GoPs end: scenes are cut into parts of about the length that their content asks for."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate, pairwise

from stgvcodec.encoder.lookahead.content import Content

# The frames of this many GoPs, up to four under way and the one being read, are in memory at a time; together they may
# take this many bytes.
_MAX_GOP_BYTES = 2 << 30
_GOPS_IN_MEMORY = 5
# What is left of a scene makes a part of its own from 1 less this share of a part on.
_ROUNDED_UP = 0.7


def frames_in_memory(n_pixels: int) -> int:
    """Return the most frames that a GoP may have for five of them to fit in 2 GiB, at least 1."""
    return max(1, _MAX_GOP_BYTES // (n_pixels * 3 * _GOPS_IN_MEMORY))


def fixed_lengths(content: Content, length: int, *, scene_cut: bool) -> tuple[int, ...]:
    """Return the frames of each GoP where the user chose a length: `length`, or what is left at the end of a scene.

    Args:
        content: Measures of the video's frames.
        length: Most frames of a GoP.
        scene_cut: Whether scenes end GoPs.
    """
    lengths = []
    for start, stop in _scenes(content, scene_cut):
        full, rest = divmod(stop - start, length)
        lengths += [length] * full + [rest] * (rest > 0)
    return tuple(lengths)


def adaptive_lengths(
    content: Content, wanted: Sequence[float], longest: int, *, scene_cut: bool, shortest: int = 1
) -> tuple[int, ...]:
    """Return the frames of each GoP as its content asks for.

    A scene is cut into the number of parts that comes nearest to the wanted lengths, and into more where a part would
    be longer than `longest`. The wanted lengths of the frames in a part decide where it ends; where they are at their
    limits, the parts have the same length.

    Args:
        content: Measures of the video's frames.
        wanted: Length that a GoP should have if all its frames were like this one, for each frame.
        longest: Most frames of a GoP.
        scene_cut: Whether scenes end GoPs.
        shortest: Fewest frames of a GoP that content leads to; only a shorter scene has a shorter GoP.
    """
    lengths: list[int] = []
    for start, stop in _scenes(content, scene_cut):
        least, most = 1.0 / longest, 1.0 / min(shortest, longest)
        shares = [min(max(1.0 / length, least), most) for length in wanted[start:stop]]
        # The first frame's change is against the scene before it.
        shares[0] = shares[1] if len(shares) > 1 else 1.0
        lengths += _even_parts(shares, longest)
    return tuple(lengths)


def _even_parts(shares: Sequence[float], longest: int) -> list[int]:
    sums = list(accumulate(shares))
    # Parts that are too short lose less than parts that are too long, and are faster to fit and to draw.
    n_parts = max(1, int(sums[-1] + _ROUNDED_UP))
    while True:
        bounds = _bounds(sums, min(n_parts, len(shares)))
        parts = [stop - start for start, stop in pairwise(bounds)]
        if max(parts) <= longest:
            return parts
        n_parts += 1


def _bounds(sums: Sequence[float], n_parts: int) -> list[int]:
    """Return the bounds of parts that have about the same sum and at least one frame each; the first bound is 0."""
    bounds = [0]
    for part in range(1, n_parts):
        wanted = sums[-1] * part / n_parts
        end = bisect_left(sums, wanted) + 1
        # sums[end - 1] is the first sum that is not below `wanted`; the sum before it may be nearer.
        if end > 1 and wanted - sums[end - 2] < sums[end - 1] - wanted:
            end -= 1
        bounds.append(min(max(end, bounds[-1] + 1), len(sums) - (n_parts - part)))
    return [*bounds, len(sums)]


def _scenes(content: Content, scene_cut: bool) -> list[tuple[int, int]]:
    starts = [0, *(k for k, is_cut in enumerate(content.is_cut) if is_cut and k > 0 and scene_cut)]
    return list(pairwise([*starts, content.n_frames]))
