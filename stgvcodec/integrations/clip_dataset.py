"""`ClipDataset`: clips of `.stgv` files as a torch dataset."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import torch
from torch.utils.data import Dataset

from stgvcodec.decoder.frame import FrameBatch
from stgvcodec.decoder.source import Source
from stgvcodec.decoder.video_decoder import VideoDecoder
from stgvcodec.errors import ConfigError

_MOST_OPEN = 8


class ClipDataset(Dataset[Any]):
    """Clips of equal length of several files, in order.

    The files are opened once to count their frames. Each worker of a `DataLoader` opens those that it reads, and keeps
    the last eight open, whether it was forked or spawned. Clips of files that are shorter than a clip are left out.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        n_frames: int,
        frame_step: int = 1,
        clip_step: int | None = None,
        device: str | torch.device = "cpu",
        transform: Callable[[FrameBatch], Any] | None = None,
    ) -> None:
        """Count the clips.

        Args:
            sources: Files, as `VideoDecoder` opens them: paths, addresses, bytes.
            n_frames: Frames of a clip.
            frame_step: Frames from one of a clip to the next.
            clip_step: Frames from the start of one clip to that of the next; by default clips follow one another.
            device: Device on which frames are rendered. Workers that were forked cannot use a GPU.
            transform: What is made of a clip; by default its pictures are given, [n_frames, 3, H, W] uint8.

        Raises:
            ConfigError: a number of frames is below 1.
            MissingFileError, InputVideoError, BitstreamError: a file cannot be opened.
        """
        for name, value in (("n_frames", n_frames), ("frame_step", frame_step), ("clip_step", clip_step)):
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}, expected at least 1")
        self._sources = list(sources)
        self._n_frames, self._frame_step = n_frames, frame_step
        span = (n_frames - 1) * frame_step + 1
        self._clip_step = clip_step or span
        self._device, self._transform = device, transform
        counts = []
        for source in self._sources:
            with VideoDecoder(source, device=device) as decoder:
                counts.append(max(0, (len(decoder) - span) // self._clip_step + 1))
        self._ends = list(accumulate(counts))
        self._forget()

    def __len__(self) -> int:
        """Number of clips."""
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> Any:
        """Return a clip, or what `transform` makes of it; negative indices count from the end.

        Raises:
            IndexError: there is no such clip.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"clip {index} of {len(self)} clips")
        index %= len(self)
        file = bisect_right(self._ends, index)
        start = (index - (self._ends[file - 1] if file else 0)) * self._clip_step
        clip = self._decoder(file).get_frames_at(
            range(start, start + self._n_frames * self._frame_step, self._frame_step)
        )
        return clip.data if self._transform is None else self._transform(clip)

    def __getstate__(self) -> dict[str, object]:
        """Pickle everything but the decoders."""
        return {**vars(self), "_decoders": OrderedDict()}

    def _decoder(self, file: int) -> VideoDecoder:
        if self._process_id != os.getpid():
            self._forget()
        decoder = self._decoders.pop(file, None) or VideoDecoder(self._sources[file], device=self._device)
        self._decoders[file] = decoder
        if len(self._decoders) > _MOST_OPEN:
            _, oldest = self._decoders.popitem(last=False)
            oldest.close()
        return decoder

    def _forget(self) -> None:
        """Begin without decoders: those of a parent process are its own."""
        self._decoders: OrderedDict[int, VideoDecoder] = OrderedDict()
        self._process_id = os.getpid()
