"""`StgvHandler`: what webdataset's `decode` calls for the `.stgv` files of a shard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from stgvcodec.decoder.frame import FrameBatch
from stgvcodec.decoder.video_decoder import VideoDecoder


def _all_frames(decoder: VideoDecoder) -> FrameBatch:
    return decoder.get_all_frames()


class StgvHandler:
    """Decodes fields whose name ends in `.stgv`, and leaves others to other handlers.

    It is given to webdataset: `WebDataset("shard.tar").decode(StgvHandler())`.
    """

    def __init__(
        self,
        take: Callable[[VideoDecoder], Any] = _all_frames,
        *,
        device: str | torch.device = "cpu",
    ) -> None:
        """Say what is taken of a file.

        Args:
            take: Function of a decoder, which is closed after it; by default all frames with their times are taken.
                What it returns takes the place of the file's bytes.
            device: Device on which frames are rendered. Workers that were forked cannot use a GPU.
        """
        self._take, self._device = take, device

    def __call__(self, key: str, data: bytes) -> Any:
        """Return what is taken of the file whose bytes are `data`; None if the key has another extension.

        Raises:
            BitstreamError: the file is damaged.
        """
        if key.rpartition(".")[2].lower() != "stgv":
            return None
        with VideoDecoder(data, device=self._device) as decoder:
            return self._take(decoder)
