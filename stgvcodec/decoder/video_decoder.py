"""`VideoDecoder`: random access to the frames of a `.stgv` file, which it returns as tensors on the device."""

from __future__ import annotations

import io
import math
import os
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal, NamedTuple, TypeAlias, overload

import torch
from torch import Tensor

from stgvcodec.bitstream.container.file_header import StreamHeader
from stgvcodec.bitstream.container.reader import StgvReader
from stgvcodec.bitstream.container.tracks import TrackReader
from stgvcodec.bitstream.syntax.limits import LIMITS
from stgvcodec.decoder.gop_renderer import GopRenderer, RenderBudget
from stgvcodec.decoder.prefetch import LOOK_AHEAD, GopPrefetcher
from stgvcodec.decoder.stream_info import StreamInfo, last_frame_seconds, stream_info
from stgvcodec.device import resolve_device
from stgvcodec.errors import ConfigError
from stgvcodec.model.gaussians import Scale

Source: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | Tensor | BinaryIO"
"""What a decoder opens: a path, the bytes of a file, these as a tensor [n] uint8, or a binary file that can seek."""

# A range of time that is a whole number of frames long must not get one more by rounding.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Frame:
    """One decoded frame.

    Attributes:
        data: RGB picture. [3, H, W] uint8, or [H, W, 3] if the decoder has that order, on the decoder's device.
        pts_seconds: Time at which it begins to be shown, seconds.
        duration_seconds: Time for which it is shown, seconds.
    """

    data: Tensor
    pts_seconds: float
    duration_seconds: float

    def __iter__(self) -> Iterator[Tensor | float]:
        """Yield picture, time and duration, so that a frame can be unpacked."""
        return iter((self.data, self.pts_seconds, self.duration_seconds))

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
        data: RGB pictures. [n, 3, H, W] uint8, or [n, H, W, 3] if the decoder has that order, on the decoder's device.
        pts_seconds: Time at which each begins to be shown, seconds. [n] float64.
        duration_seconds: Time for which each is shown, seconds. [n] float64.
    """

    data: Tensor
    pts_seconds: Tensor
    duration_seconds: Tensor

    def __len__(self) -> int:
        """Number of frames."""
        return int(self.data.shape[0])

    def __iter__(self) -> Iterator[Frame]:
        """Yield each frame with its times."""
        return (self[i] for i in range(len(self)))

    @overload
    def __getitem__(self, key: int) -> Frame: ...
    @overload
    def __getitem__(self, key: slice) -> FrameBatch: ...
    def __getitem__(self, key: int | slice) -> Frame | FrameBatch:
        """Return one frame with its times, or a part of the batch."""
        if isinstance(key, slice):
            return FrameBatch(self.data[key], self.pts_seconds[key], self.duration_seconds[key])
        return Frame(self.data[key], float(self.pts_seconds[key]), float(self.duration_seconds[key]))

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
    the end. Methods have the names and meanings of torchcodec's `VideoDecoder`. They return `Frame` and `FrameBatch`,
    which carry times. The last GoP that was read stays decoded. While it is rendered, threads decode the symbols of
    GoPs that come next: those that the same call will need, or else the following GoP if GoPs are read one after the
    other. On a GPU no call waits for its frames. Threads, and processes that were forked from the one that opened it,
    may share a decoder; one that was opened from a path or from bytes can be pickled and copied.

    Attributes:
        header: Size, frame rate, time base and colour of the stream.
        damage: Damaged parts that `keep_going` skipped, each with the reason.
        device: Device on which frames are rendered.
        backend: Name of the back end that renders.
    """

    def __init__(
        self,
        source: Source,
        *,
        device: str | torch.device = "auto",
        backend: str = "auto",
        dimension_order: Literal["NCHW", "NHWC"] = "NCHW",
        keep_going: bool = False,
    ) -> None:
        """Open a file and read its index.

        Args:
            source: A `.stgv` file: its path, its bytes, its bytes as a tensor ([n] uint8), or a binary file that can
                seek, which the caller closes.
            device: "auto", "cpu" or "cuda", or the like as a `torch.device`.
            backend: "auto", "reference", "numba" or "triton".
            dimension_order: Order of what indexing and the `get_` methods return: "NCHW" or "NHWC".
            keep_going: Whether to read every intact GoP of a damaged file; frames are then counted over these alone.

        Raises:
            ConfigError: the order is another.
            BitstreamError: the file is not a `.stgv` file, or is damaged.
            InputVideoError: there is no such file.
            BackendUnavailableError: the device or the back end is not available here.
        """
        if dimension_order not in ("NCHW", "NHWC"):
            raise ConfigError(f"dimension_order is '{dimension_order}', expected 'NCHW' or 'NHWC'")
        self.device, self.backend = resolve_device(str(device), backend)
        self._arguments = (source, str(device), backend, dimension_order, keep_going)
        self._keep_going = keep_going
        self._channels_last = dimension_order == "NHWC"
        opened = _opened(source)
        self._path = Path(opened) if isinstance(opened, str | os.PathLike) else Path()
        self._reader = StgvReader(opened, keep_going=keep_going)
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
        return stream_info(self._reader, self._path, keep_going=self._keep_going)

    @cached_property
    def tracks(self) -> TrackReader:
        """Sound, subtitles and metadata that the file carries beside its pictures, which are not decoded."""
        return TrackReader(self._reader, keep_going=self._keep_going)

    def __reduce__(self) -> tuple[Callable[..., VideoDecoder], tuple[object, ...]]:
        """Pickle what the file was opened from; another process, or a copy, opens it anew."""
        source, *_ = self._arguments
        if not isinstance(source, str | os.PathLike | bytes | bytearray | Tensor):
            raise TypeError("a decoder that was opened from a file object cannot be pickled: open it from a path")
        return _reopened, self._arguments

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
        frame = next(self.iter_frames([self._checked(key)]))
        return frame if self._channels_last else frame.permute(2, 0, 1).contiguous()

    def get_frame_at(self, index: int) -> Frame:
        """Return frame `index` with its times."""
        index = self._checked(index)
        return Frame(self[index], self._seconds(index), self._duration(index))

    def get_frames_at(self, indices: Sequence[int] | Tensor) -> FrameBatch:
        """Return the frames at `indices`, a sequence or a tensor [n], in that order; indices may repeat."""
        checked = [self._checked(int(i)) for i in indices]
        return FrameBatch(
            self._stack(checked),
            torch.tensor([self._seconds(i) for i in checked], dtype=torch.float64),
            torch.tensor([self._duration(i) for i in checked], dtype=torch.float64),
        )

    def get_frames_in_range(self, start: int, stop: int, step: int = 1) -> FrameBatch:
        """Return every `step`-th frame of the half-open range from `start` to `stop`."""
        return self.get_frames_at(range(*slice(start, stop, step).indices(self._n_frames)))

    def get_all_frames(self) -> FrameBatch:
        """Return every frame of the video."""
        return self.get_frames_in_range(0, self._n_frames)

    def get_frame_played_at(self, seconds: float) -> Frame:
        """Return the frame that is on the screen at a time.

        Raises:
            IndexError: the time is before the first frame or after the end of the last.
        """
        return self.get_frame_at(self._played_at(seconds))

    def get_frames_played_at(self, seconds: Sequence[float] | Tensor) -> FrameBatch:
        """Return the frames that are on the screen at some times, a sequence or a tensor [n], in that order.

        Raises:
            IndexError: a time is before the first frame or after the end of the last.
        """
        return self.get_frames_at([self._played_at(float(time)) for time in seconds])

    def get_frames_played_in_range(
        self, start_seconds: float, stop_seconds: float, fps: float | None = None
    ) -> FrameBatch:
        """Return the frames that are on the screen from one time on and before another.

        Args:
            start_seconds: First time; the frame that is on the screen then comes first.
            stop_seconds: Time behind the last; a frame that begins then does not come any more. It may be the end of
                the video.
            fps: Frames a second: the frames on the screen at `start_seconds + i / fps`, each with that time, for 1 /
                fps. None returns each frame once, with its own times.

        Raises:
            ConfigError: the stop is before the start, or fps is not above 0.
            IndexError: the start is not within the video, or the stop is behind its end.
        """
        if stop_seconds < start_seconds:
            raise ConfigError(f"the range of time ends at {stop_seconds} s, before it begins at {start_seconds} s")
        if fps is not None and not fps > 0:
            raise ConfigError(f"fps is {fps}, expected more than 0")
        first, (_, end) = self._played_at(start_seconds), self._extent()
        if stop_seconds > end:
            raise IndexError(f"no frame is played until {stop_seconds} s; the video ends at {end} s")
        if fps is None:
            behind = bisect_left(range(self._n_frames), stop_seconds, key=self._seconds)
            return self.get_frames_at(range(first, max(behind, first + (stop_seconds > start_seconds))))
        n_frames = max(math.ceil((stop_seconds - start_seconds) * fps - _ROUNDING), 0)
        times = [start_seconds + i / fps for i in range(n_frames)]
        batch = self.get_frames_played_at(times)
        return FrameBatch(
            batch.data,
            torch.tensor(times, dtype=torch.float64),
            torch.full((n_frames,), 1.0 / fps, dtype=torch.float64),
        )

    def iter_frames(
        self,
        indices: Sequence[int] | None = None,
        *,
        scale: float = 1.0,
        size: tuple[int, int] | None = None,
    ) -> Iterator[Tensor]:
        """Render frames one after the other.

        Args:
            indices: Frames in the order wanted; negative indices count from the end. By default all frames in order.
            scale: Output size over encoded size; the Gaussians are rendered at that size, nothing is resampled.
            size: Width and height to render at in place of a scale, pixels; the ratio of the two may be another.

        Yields:
            [H, W, 3] uint8, on the device.

        Raises:
            ConfigError: scale is not a number above 0, the picture would pass the format's limits, or both scale and
                size are given.
            IndexError: there is no such frame.
        """
        chosen = self._scale(scale, size)
        indices = range(self._n_frames) if indices is None else [self._checked(i) for i in indices]
        for run, upcoming in _with_upcoming(self._runs(indices)):
            yield from self._open(run.gop, upcoming).frames(run.frames, scale=chosen)

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

    def _extent(self) -> tuple[float, float]:
        """Return when the first frame begins and when the last one ends, seconds."""
        last = self._n_frames - 1
        return (self._seconds(0), self._seconds(last) + self._duration(last)) if self._n_frames else (0.0, 0.0)

    def _played_at(self, seconds: float) -> int:
        start, end = self._extent()
        if not start <= seconds < end:
            raise IndexError(f"no frame is played at {seconds} s; the video runs from {start} s to {end} s")
        # The times compared are those of `Frame.pts_seconds`, so that a frame is played at its own time, however that
        # rounds.
        return bisect_right(range(self._n_frames), seconds, key=self._seconds) - 1

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
        height, width = self.header.height, self.header.width
        size = (height, width, 3) if self._channels_last else (3, height, width)
        frames = torch.empty((len(indices), *size), dtype=torch.uint8, device=self.device)
        n_done = 0
        for run, upcoming in _with_upcoming(self._runs(indices)):
            for pictures in self._open(run.gop, upcoming).batches(run.frames):
                frames[n_done : n_done + len(pictures)] = (
                    pictures if self._channels_last else pictures.permute(0, 3, 1, 2)
                )
                n_done += len(pictures)
        return frames

    def _seconds(self, index: int) -> float:
        return float(self._pts[index] * self.header.time_base)

    def _duration(self, index: int) -> float:
        if index + 1 < self._n_frames:
            return float((self._pts[index + 1] - self._pts[index]) * self.header.time_base)
        return last_frame_seconds(self.header)

    def _scale(self, scale: float, size: tuple[int, int] | None) -> Scale:
        limit = LIMITS["width"]
        if size is not None:
            if scale != 1.0:
                raise ConfigError("scale and size both choose a size; give one of them")
            if not all(1 <= side <= limit for side in size):
                raise ConfigError(f"size is {size[0]}x{size[1]}, expected a width and a height from 1 to {limit}")
            return size[0] / self.header.width, size[1] / self.header.height
        longest = max(self.header.width, self.header.height)
        if not (scale > 0 and longest * scale <= limit):
            raise ConfigError(
                f"scale is {scale}, expected more than 0 and at most {limit / longest:g} for this video "
                f"({self.header.width}x{self.header.height}; no side may pass {limit} pixels)"
            )
        return scale


def _opened(source: Source) -> str | os.PathLike[str] | BinaryIO:
    """Return what `StgvReader` opens: a path or a file."""
    if isinstance(source, Tensor):
        if source.dtype != torch.uint8 or source.dim() != 1:
            raise ConfigError(
                f"the source is a tensor of {source.dtype} {list(source.shape)}, expected a file's bytes: uint8 [n]"
            )
        return io.BytesIO(source.cpu().numpy().tobytes())
    if isinstance(source, bytes | bytearray):
        return io.BytesIO(source)
    return source


def _reopened(source: Source, device: str, backend: str, order: Any, keep_going: bool) -> VideoDecoder:
    return VideoDecoder(source, device=device, backend=backend, dimension_order=order, keep_going=keep_going)


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
