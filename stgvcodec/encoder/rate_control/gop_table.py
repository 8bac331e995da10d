"""The GoPs of a video as rate control sees them: their extent, what they hold, and what the file costs around them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate

from stgvcodec.bitstream.container.file_header import StreamHeader
from stgvcodec.bitstream.container.overhead import file_framing_bytes, gop_framing_bytes
from stgvcodec.encoder.lookahead.content import Content
from stgvcodec.encoder.rate_control.cost_model import GopCosts

# Frames with less detail than this, 8-bit levels, are flat: no bits help them.
_FLAT_LEVELS = 0.02


class GopTable:
    """The GoPs into which a video is cut, and what the file costs around them.

    Args:
        content: Measures of the video's frames.
        lengths: Frames of each GoP; they add up to those of the video.
        header: The file's header.
        costs: Costs of models in this video.
    """

    def __init__(self, content: Content, lengths: Sequence[int], header: StreamHeader, costs: GopCosts) -> None:
        assert sum(lengths) == content.n_frames
        self.lengths = tuple(lengths)
        self.n_frames = content.n_frames
        self.n_pixels = costs.n_pixels
        self.costs = costs
        self.starts = [stop - length for stop, length in zip(accumulate(lengths), lengths, strict=True)]
        spans = [(start, start + length) for start, length in zip(self.starts, lengths, strict=True)]
        self._pts = [content.pts[start:stop] for start, stop in spans]
        # The change of a GoP's first frame is against the GoP before.
        self.change = [sum(content.change[start + 1 : stop]) for start, stop in spans]
        self.texture = [sum(content.texture[start:stop]) / (stop - start) for start, stop in spans]
        self.is_flat = [max(content.detail[start:stop]) < _FLAT_LEVELS for start, stop in spans]
        self.minimum_bytes = [costs.minimum_bytes(length) for length in lengths]
        self.file_bytes = file_framing_bytes(header, n_frames=self.n_frames, n_gops=len(lengths))

    def __len__(self) -> int:
        return len(self.lengths)

    def framing_bytes(self, index: int, payload_bytes: int, n_gaussians: int) -> int:
        """Return the bytes that the file spends on a GoP besides its payload."""
        return gop_framing_bytes(
            self._pts[index],
            first_frame=self.starts[index],
            payload_bytes=payload_bytes,
            n_gaussians=max(n_gaussians, 1),
        )

    def framed_bytes(self, payloads: Sequence[float]) -> int:
        """Return the size of a file with payloads of these sizes."""
        n_gaussians = self.costs.most_gaussians
        framed = (
            self.framing_bytes(i, math.ceil(payload), n_gaussians) + math.ceil(payload)
            for i, payload in enumerate(payloads)
        )
        return self.file_bytes + sum(framed)

    @property
    def smallest_file_bytes(self) -> int:
        """Size of the smallest file that is certainly possible."""
        return self.framed_bytes(self.minimum_bytes)
