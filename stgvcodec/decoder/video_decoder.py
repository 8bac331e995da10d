"""`VideoDecoder`: random access to the frames of a `.stgv` file, which it returns as tensors on the device."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, overload

import torch
from torch import Tensor

from stgvcodec.bitstream.container.file_header import StreamHeader
from stgvcodec.bitstream.container.reader import StgvReader
from stgvcodec.bitstream.syntax.limits import LIMITS
from stgvcodec.decoder.gop_renderer import GopRenderer, RenderBudget
from stgvcodec.decoder.prefetch import LOOK_AHEAD, GopPrefetcher
from stgvcodec.decoder.stream_info import StreamInfo, last_frame_seconds, stream_info
from stgvcodec.device import resolve_device
from stgvcodec.errors import ConfigError


@dataclass(frozen=True)
class Frame:
    """One decoded frame.

    Attributes:
        data: RGB picture. [3, H, W] uint8, on the decoder's device.
        pts_seconds: Time at which it begins to be shown, seconds.
        duration_seconds: Time for which it is shown, seconds.
    """

    data: Tensor
    pts_seconds: float
    duration_seconds: float

    def __repr__(self) -> str:
        """Print shape and times, not pixels."""
        return (
            f"Frame(data={_describe(self.data)}, pts_seconds={self.pts_seconds}, "
            f"duration_seconds={self.duration_seconds})"
        )


@dataclass(frozen=True)
class FrameBatch:
    """Several decoded frames.

    Attributes:
        data: RGB pictures. [n, 3, H, W] uint8, on the decoder's device.
        pts_seconds: Time at which each begins to be shown, seconds. [n] float64.
        duration_seconds: Time for which each is shown, seconds. [n] float64.
    """

    data: Tensor
    pts_seconds: Tensor
    duration_seconds: Tensor

    def __len__(self) -> int:
        """Number of frames."""
        return int(self.data.shape[0])

    def __repr__(self) -> str:
        """Print shapes, not pixels."""
        return f"FrameBatch(data={_describe(self.data)}, n_frames={len(self)})"


class _Run(NamedTuple):
    """Frames that follow one another and lie in one GoP."""

    gop: int
    frames: list[int]  # Indices within the GoP.


class VideoDecoder:
    """Decodes any frames of a `.stgv` file in any order; the order changes no pixel.

    `d[i]` is a frame [3, H, W] uint8 and `d[a:b]` a batch [n, 3, H, W], both contiguous; negative indices count from
    the end. The methods return `Frame` and `FrameBatch`, which carry times. The last GoP that was read stays decoded.
    While it is rendered, threads decode the symbols of GoPs that come next: those that the same call will need, or
    else the following GoP if GoPs are read one after the other. On a GPU no call waits for its frames. Threads, and
    processes that were forked from the one that opened it, may share a decoder.

    Attributes:
        header: Size, frame rate, time base and colour of the stream.
        damage: Damaged parts that `keep_going` skipped, each with the reason.
        device: Device on which frames are rendered.
        backend: Name of the back end that renders.
    """

    def __init__(
        self, path: str | Path, *, device: str = "auto", backend: str = "auto", keep_going: bool = False
    ) -> None:
        """Open a file and read its index.

        Args:
            path: A `.stgv` file.
            device: "auto", "cpu" or "cuda".
            backend: "auto", "reference", "numba" or "triton".
            keep_going: Whether to read every intact GoP of a damaged file; frames are then counted over these alone.

        Raises:
            BitstreamError: the file is not a `.stgv` file, or is damaged.
            InputVideoError: there is no such file.
            BackendUnavailableError: the device or the back end is not available here.
        """
        self.device, self.backend = resolve_device(device, backend)
        self._path = Path(path)
        self._reader = StgvReader(path, keep_going=keep_going)
        self.damage: tuple[str, ...] = self._reader.damage
        self.header: StreamHeader = self._reader.header
        self._gops = self._reader.gops
        # Frames are counted over the GoPs that were read, which in a damaged file are not all.
        self._starts: list[int] = []
        n_frames = 0
        for gop in self._gops:
            self._starts.append(n_frames)
            n_frames += gop.n_frames
        self._n_frames = n_frames
        self._pts = [pts for gop in self._gops for pts in gop.pts]
        self._prefetcher = GopPrefetcher(self._reader, self.device, self.backend)
        self._budget = RenderBudget.of(self.device)
        self._opened: tuple[int, GopRenderer] | None = None

    @cached_property
    def metadata(self) -> StreamInfo:
        """Description of the file. The first use reads the whole file."""
        return stream_info(self._reader, self._path)

    def __enter__(self) -> VideoDecoder:
        """Return the decoder."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file; frames can no longer be read."""
        self._prefetcher.close()
        self._reader.close()
        self._opened = None

    def __len__(self) -> int:
        """Number of frames."""
        return self._n_frames

    @overload
    def __getitem__(self, key: int) -> Tensor: ...
    @overload
    def __getitem__(self, key: slice) -> Tensor: ...
    def __getitem__(self, key: int | slice) -> Tensor:
        """Return frame `d[i]` [3, H, W], or frames `d[a:b:step]` [n, 3, H, W]; uint8."""
        if isinstance(key, slice):
            return self._stack(range(*key.indices(self._n_frames)))
        return next(self.iter_frames([self._checked(key)])).permute(2, 0, 1).contiguous()

    def get_frame_at(self, index: int) -> Frame:
        """Return frame `index` with its times."""
        index = self._checked(index)
        return Frame(self[index], self._seconds(index), self._duration(index))

    def get_frames_at(self, indices: Sequence[int]) -> FrameBatch:
        """Return the frames at `indices` in that order; indices may repeat."""
        checked = [self._checked(i) for i in indices]
        return FrameBatch(
            self._stack(checked),
            torch.tensor([self._seconds(i) for i in checked], dtype=torch.float64),
            torch.tensor([self._duration(i) for i in checked], dtype=torch.float64),
        )

    def get_frames_in_range(self, start: int, stop: int, step: int = 1) -> FrameBatch:
        """Return every `step`-th frame of the half-open range from `start` to `stop`."""
        return self.get_frames_at(range(*slice(start, stop, step).indices(self._n_frames)))

    def get_frame_played_at(self, seconds: float) -> Frame:
        """Return the frame that is on the screen at a time.

        Raises:
            IndexError: the time is before the first frame or after the end of the last.
        """
        last = self._n_frames - 1
        start, end = (self._seconds(0), self._seconds(last) + self._duration(last)) if self._n_frames else (0.0, 0.0)
        if not start <= seconds < end:
            raise IndexError(f"no frame is played at {seconds} s; the video runs from {start} s to {end} s")
        # The times compared are those of `Frame.pts_seconds`, so that a frame is played at its own time, however that
        # rounds.
        return self.get_frame_at(bisect_right(range(self._n_frames), seconds, key=self._seconds) - 1)

    def iter_frames(self, indices: Sequence[int] | None = None, *, scale: float = 1.0) -> Iterator[Tensor]:
        """Render frames one after the other.

        Args:
            indices: Frames in the order wanted; negative indices count from the end. By default all frames in order.
            scale: Output size over encoded size; the Gaussians are rendered at that size, nothing is resampled.

        Yields:
            [H, W, 3] uint8, on the device.

        Raises:
            ConfigError: scale is not a number above 0, or the picture would pass the format's limits.
            IndexError: there is no such frame.
        """
        self._check_scale(scale)
        indices = range(self._n_frames) if indices is None else [self._checked(i) for i in indices]
        for run, upcoming in _with_upcoming(self._runs(indices)):
            yield from self._open(run.gop, upcoming).frames(run.frames, scale=scale)

    def pts(self, index: int) -> int:
        """Return the timestamp of a frame, in units of `header.time_base`."""
        return self._pts[self._checked(index)]

    def gaussians_at(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the Gaussians from which a frame is rendered.

        Returns:
            Centres [N, 2] and Cholesky factors (l1, l2, l3) [N, 3] in pixels, weighted colours [N, 3].
        """
        index = self._checked(index)
        gop = self._gop_of(index)
        return self._open(gop).gaussians(index - self._starts[gop])

    def _checked(self, index: int) -> int:
        wrapped = index + self._n_frames if index < 0 else index
        if not 0 <= wrapped < self._n_frames:
            raise IndexError(f"frame {index} of a video of {self._n_frames} frames")
        return wrapped

    def _open(self, gop: int, upcoming: Sequence[int] = ()) -> GopRenderer:
        """Return the renderer of a GoP, which is kept until another GoP is opened.

        Args:
            gop: Index of the GoP.
            upcoming: GoPs that will be opened next, in that order; they are unpacked ahead of time. If there are none
                and GoPs are opened one after the other, the following GoP is unpacked ahead of time.

        Raises:
            BitstreamError: the GoP is damaged.
        """
        # Another thread may open another GoP meanwhile; what is read once stays what it was.
        opened = self._opened
        if opened is not None and opened[0] == gop:
            return opened[1]
        if not upcoming and opened is not None and opened[0] == gop - 1:
            upcoming = range(gop + 1, min(gop + 2, len(self._gops)))
        unpacked = self._prefetcher.get(gop, upcoming)
        # It is freed before the next is made: two need not fit into the memory of the device.
        opened = self._opened = None
        renderer = GopRenderer(
            unpacked,
            width=self.header.width,
            height=self.header.height,
            device=self.device,
            backend=self.backend,
            budget=self._budget,
        )
        self._opened = (gop, renderer)
        return renderer

    def _gop_of(self, index: int) -> int:
        return bisect_right(self._starts, index) - 1

    def _runs(self, indices: Iterable[int]) -> Iterator[_Run]:
        for gop, group in groupby(indices, key=self._gop_of):
            yield _Run(gop, [i - self._starts[gop] for i in group])

    def _stack(self, indices: Sequence[int]) -> Tensor:
        size = (len(indices), 3, self.header.height, self.header.width)
        frames = torch.empty(size, dtype=torch.uint8, device=self.device)
        n_done = 0
        for run, upcoming in _with_upcoming(self._runs(indices)):
            for pictures in self._open(run.gop, upcoming).batches(run.frames):
                frames[n_done : n_done + len(pictures)] = pictures.permute(0, 3, 1, 2)
                n_done += len(pictures)
        return frames

    def _seconds(self, index: int) -> float:
        return float(self._pts[index] * self.header.time_base)

    def _duration(self, index: int) -> float:
        if index + 1 < self._n_frames:
            return float((self._pts[index + 1] - self._pts[index]) * self.header.time_base)
        return last_frame_seconds(self.header)

    def _check_scale(self, scale: float) -> None:
        limit = LIMITS["width"]
        longest = max(self.header.width, self.header.height)
        if not (scale > 0 and longest * scale <= limit):
            raise ConfigError(
                f"scale is {scale}, expected more than 0 and at most {limit / longest:g} for this video "
                f"({self.header.width}x{self.header.height}; no side may pass {limit} pixels)"
            )


def _with_upcoming(runs: Iterator[_Run]) -> Iterator[tuple[_Run, list[int]]]:
    """Yield each run together with the GoPs of the next few runs."""
    window: deque[_Run] = deque()
    for run in runs:
        window.append(run)
        if len(window) > LOOK_AHEAD:
            yield window.popleft(), [later.gop for later in window]
    while window:
        yield window.popleft(), [later.gop for later in window]


def _describe(data: Tensor) -> str:
    return f"{data.dtype} {list(data.shape)} on {data.device}"
