"""A stand-in for the fit: `encode` runs whole, on frames that nothing depends on, with payloads of made-up sizes."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from stgvcodec import EncodeConfig, encode
from stgvcodec.bitstream import ColorDescription
from stgvcodec.bitstream.container.chunks import ChunkType
from stgvcodec.bitstream.container.index import GopEntry, GopTiming
from stgvcodec.bitstream.container.writer import StgvWriter
from stgvcodec.encoder import encode as encoder
from stgvcodec.encoder.encode_gop import GopConfig, GopPayload, GopStats
from stgvcodec.encoder.engines import gop_job
from stgvcodec.encoder.lookahead.content import Content
from stgvcodec.encoder.reports import EncodePlan, EncodeReport
from stgvcodec.encoder.step_costs import StepCosts
from stgvcodec.media import VideoFrame
from stgvcodec.progress import ProgressCallback

WIDTH, HEIGHT = 640, 360
TAGS = ColorDescription(primaries=1, transfer=1, matrix=1, full_range=False)


@dataclass
class FakeVideo:
    """A reader of frames of one pixel that says they are larger."""

    n_frames: int
    width: int = WIDTH
    height: int = HEIGHT
    name: str = "fake"
    frame_rate: Fraction = Fraction(24)
    time_base: Fraction = Fraction(1, 12_288)
    sample_aspect_ratio: Fraction = Fraction(1)
    file: Path | None = None
    bits_per_sample: int = 8
    color: ColorDescription = TAGS

    def __enter__(self) -> FakeVideo:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def last_frame_duration(self) -> int:
        return 0

    def __iter__(self) -> Iterator[VideoFrame]:
        for t in range(self.n_frames):
            yield VideoFrame(np.full((1, 1, 3), t % 256, np.uint8), 512 * t)


class TrustingWriter(StgvWriter):
    """Takes any bytes for a payload; its first four are the number of Gaussians."""

    def add_gop(self, payload: bytes, pts: Sequence[int]) -> None:
        first_frame = sum(gop.n_frames for gop in self._gops)
        timing = GopTiming.from_pts(first_frame, pts)
        chunk = self._add(ChunkType.GOP, timing.to_bytes() + payload)
        n_gaussians = int.from_bytes(payload[:4], "little")
        self._gops.append(GopEntry(timing, n_gaussians, chunk.offset, chunk.n_bytes))


@dataclass
class FakeFit:
    """Costs and qualities of made-up fits.

    Attributes:
        size_ratio: Payload bytes over target, by GoP.
        most_bytes: What a GoP can use at most, by GoP.
        psnr_db: Of a GoP, by its index and its bits a pixel.
    """

    size_ratio: Callable[[int], float] = lambda index: 1.0
    most_bytes: Callable[[int], float] = lambda index: math.inf
    psnr_db: Callable[[int, float], float] = lambda index, bits_per_pixel: 30.0 + 2.0 * math.log2(bits_per_pixel)
    bits_per_gaussian: float = 55.0
    configs: list[tuple[int, GopConfig]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(
        self,
        frames: np.ndarray,
        config: GopConfig,
        seed: int,
        on_step: Callable[..., None] | None = None,
        known: np.ndarray | None = None,
        costs: StepCosts | None = None,
    ) -> GopPayload:
        assert known is None
        assert config.target_bytes is not None
        with self.lock:
            self.configs.append((seed, config))
        n_bytes = max(math.floor(min(config.target_bytes * self.size_ratio(seed), self.most_bytes(seed))), 4)
        n_gaussians = max(1, int(8 * n_bytes / self.bits_per_gaussian))
        psnr_db = self.psnr_db(seed, 8 * n_bytes / (WIDTH * HEIGHT))
        stats = GopStats(n_gaussians, (psnr_db,) * len(frames), {}, 0, 0.0)
        payload = n_gaussians.to_bytes(4, "little") + bytes(n_bytes - 4)
        return GopPayload(payload, stats)


def plain_content(n_frames: int, *, change: float = 0.1, cuts: Sequence[int] = (), flat: range = range(0)) -> Content:
    """Frames that all change by as much; those in `flat` are of one colour."""
    return Content(
        pts=tuple(512 * t for t in range(n_frames)),
        is_cut=tuple(t in cuts for t in range(n_frames)),
        change=tuple(0.0 if t == 0 else change for t in range(n_frames)),
        detail=tuple(0.0 if t in flat else 12.0 for t in range(n_frames)),
        texture=tuple(0.0 if t in flat else 6.5 for t in range(n_frames)),
    )


def simulated(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    content: Content,
    fit: FakeFit,
    *,
    jobs: int = 1,
    plans: list[EncodePlan] | None = None,
    progress: ProgressCallback | None = None,
    file: Path | None = None,
    **options: object,
) -> EncodeReport:
    """`encode` with that content and that fit."""
    monkeypatch.setattr(encoder, "opened", lambda *_, **__: FakeVideo(content.n_frames, file=file))
    monkeypatch.setattr(encoder, "measure_content", lambda frames, *_: content if list(frames) else None)
    monkeypatch.setattr(encoder, "StgvWriter", TrustingWriter)
    monkeypatch.setattr(gop_job, "encode_gop", fit)
    return encode(
        "fake",
        folder / "a.stgv",
        config=EncodeConfig(**options),
        device="cpu",
        jobs=jobs,
        plan=None if plans is None else plans.append,
        progress=progress,
    )
