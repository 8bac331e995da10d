"""Opens the GoPs of a file in any order, predicted ones by way of those that they add to."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from stgvcodec.bitstream.container.reader import StgvReader
from stgvcodec.decoder.gop_renderer import GopRenderer, RenderBudget, UnpackedGop
from stgvcodec.decoder.prefetch import LOOK_AHEAD, GopQueue
from stgvcodec.quant.residual import Gaussians


class GopEnd(NamedTuple):
    """What the next GoP may add to: `GopRenderer.last_frame` and `GopRenderer.shapes`."""

    last_frame: Gaussians
    shapes: NDArray[np.float32] | None


class GopChain:
    """The GoP that was opened last, and ends of those before it down to a key GoP.

    A chain is a key GoP and the predicted ones behind it, `LIMITS["predicted_gops"]` at most. To open one of them those
    before it have to be unpacked too, but not rendered. The Gaussians of their last frames are kept until a GoP of
    another chain is opened, so that inside a chain nothing is unpacked but the GoP that is asked for and those on the
    way to it that were never passed.
    """

    def __init__(self, reader: StgvReader, queue: GopQueue, device: torch.device, backend: str) -> None:
        """Open the GoPs of `reader`, which `queue` unpacks, to be rendered on `device` by `backend`."""
        self._gops, self._key_of = reader.gops, reader.key_of
        self._width, self._height = reader.header.width, reader.header.height
        self._queue = queue
        self._device, self._backend = device, backend
        self._budget = RenderBudget.of(device)
        self._opened: tuple[int, GopRenderer] | None = None
        self._key: int | None = None
        self._ends: dict[int, GopEnd] = {}

    def open(self, gop: int, upcoming: Sequence[int] = ()) -> GopRenderer:
        """A GoP's renderer, which stays open.

        Args:
            gop: Into the reader's GoPs.
            upcoming: GoPs that will be opened next, in that order: they, and what they need, are unpacked ahead of
                time. If there are none and GoPs are opened one after the other, the following one is.

        Raises:
            BitstreamError: the GoP, or one that it needs, is damaged.
        """
        if self._opened is not None and self._opened[0] == gop:
            return self._opened[1]
        if not upcoming and self._opened is not None and self._opened[0] == gop - 1:
            upcoming = range(gop + 1, min(gop + 2, len(self._gops)))
        self._leave(self._key_of(gop))
        path = self._path(gop, self._ends)
        ahead = self._ahead(gop, upcoming)
        for step in path:
            unpacked = self._queue.get(step, [*range(step + 1, gop + 1), *ahead])
            self._opened = None  # Before there is another.
            self._opened = (step, self._renderer(unpacked, self._ends.get(step - 1)))
            if step < gop:
                self._keep_end()
        assert self._opened is not None
        return self._opened[1]

    def close(self) -> None:
        """Forget all GoPs."""
        self._opened = self._key = None
        self._ends.clear()

    def _renderer(self, gop: UnpackedGop, before: GopEnd | None) -> GopRenderer:
        return GopRenderer(
            gop,
            width=self._width,
            height=self._height,
            device=self._device,
            backend=self._backend,
            before=None if before is None else before.last_frame,
            shapes_before=None if before is None else before.shapes,
            budget=self._budget,
        )

    def _leave(self, key: int) -> None:
        """Close the GoP that is open, for one of the chain that begins at `key`."""
        if key == self._key:
            self._keep_end()
        else:
            self._ends.clear()
        self._opened, self._key = None, key

    def _keep_end(self) -> None:
        """Of the GoP that is open, if the next one adds to it."""
        if self._opened is None:
            return
        gop, renderer = self._opened
        following = gop + 1
        if gop not in self._ends and following < len(self._gops) and not self._gops[following].is_key:
            self._ends[gop] = GopEnd(renderer.last_frame(), renderer.shapes)

    def _path(self, gop: int, known: Collection[int]) -> range:
        """GoPs to open one after the other to have `gop`, where the ends of some are known."""
        first = gop
        while not self._gops[first].is_key and first - 1 not in known:
            first -= 1
        return range(first, gop + 1)

    def _ahead(self, gop: int, upcoming: Sequence[int]) -> list[int]:
        """What has to be unpacked for `upcoming`, in that order, once `gop` is open."""
        ahead: list[int] = []
        at, key = gop, self._key
        known = {*self._ends, *self._path(gop, self._ends)}
        for following in upcoming:
            if len(ahead) >= LOOK_AHEAD:
                break
            if following == at:
                continue
            if self._key_of(following) != key:
                key, known = self._key_of(following), set()
            path = self._path(following, known)
            ahead += path
            known.update(path)
            at = following
        return ahead
