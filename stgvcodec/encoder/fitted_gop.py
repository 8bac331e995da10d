"""`FittedGop`: a finished GoP with the results of all its fits, and the record that a part file keeps of it."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from stgvcodec.encoder.encode_gop import GopPayload, GopStats
from stgvcodec.encoder.rate_control.controllers import GopResult


@dataclass(frozen=True)
class FittedGop:
    """A GoP that is finished.

    Attributes:
        index: Index of the GoP.
        payload: Payload that is kept, and its figures.
        results: Results of all fits of this GoP, in order: rate control learns from those that were not kept, too.
        frames_crc: `frames_crc` of the frames that it was fitted to.
        is_from_before: Whether it was taken from a part file.
    """

    index: int
    payload: GopPayload
    results: tuple[GopResult, ...]
    frames_crc: int
    is_from_before: bool = False

    def record(self) -> dict[str, Any]:
        """Return everything but the bytes of the payload, as JSON can hold it; numbers come back as they were."""
        return {
            "index": self.index,
            "frames_crc": self.frames_crc,
            "stats": dataclasses.asdict(self.payload.stats),
            "results": [dataclasses.asdict(result) for result in self.results],
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any], payload: bytes) -> FittedGop:
        """Put together what `record` returned and the bytes of the payload."""
        stats = GopStats(**{**record["stats"], "psnr_db": tuple(record["stats"]["psnr_db"])})
        results = tuple(GopResult(**{**each, "psnr_db": tuple(each["psnr_db"])}) for each in record["results"])
        return cls(record["index"], GopPayload(payload, stats), results, record["frames_crc"], is_from_before=True)


def frames_crc(frames: npt.NDArray[np.uint8], known: npt.NDArray[np.bool_] | None = None, before: int = 0) -> int:
    """Return the CRC-32 of pictures [..., H, W, 3] and their masks, continued from that of the pictures before."""
    pixels: Any = np.ascontiguousarray(frames)  # numpy does not say that arrays have buffers
    crc = zlib.crc32(pixels, before)
    return crc if known is None else zlib.crc32(np.packbits(known).tobytes(), crc)
