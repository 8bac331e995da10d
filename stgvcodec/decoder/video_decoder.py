"""`VideoDecoder`: random access to the frames of a `.stgv` file, which it returns as tensors on the device."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from itertools import groupby
from operator import itemgetter
from types import TracebackType
from typing import Any, Literal, NamedTuple, SupportsIndex

import torch
from torch import Tensor

from stgvcodec.bitstream.container.file_header import StreamHeader
from stgvcodec.bitstream.container.tracks import TrackReader
from stgvcodec.bitstream.payload.head import GopHeader
from stgvcodec.decoder.arguments import check_torchcodecs, chosen_scale
from stgvcodec.decoder.decode_budget import LOOK_AHEAD, DecodeBudget, n_unpacked
from stgvcodec.decoder.frame import Frame, FrameBatch
from stgvcodec.decoder.gop_renderer import GopRenderer, RenderBudget
from stgvcodec.decoder.growing_file import POLL_SECONDS, GrowingReader
from stgvcodec.decoder.indices import Index, Indices, frame_index, frame_indices, has_no_dimension
from stgvcodec.decoder.pair_bound import SplatExtents
from stgvcodec.decoder.prefetch import GopPrefetcher
from stgvcodec.decoder.source import Source, is_reopened, open_source
from stgvcodec.decoder.stream_info import StreamInfo, stream_info
from stgvcodec.decoder.timeline import Timeline
from stgvcodec.device import resolve_device
from stgvcodec.errors import ClosedDecoderError, ConfigError, naming_memory
from stgvcodec.model.gaussians import Scale
from stgvcodec.model.gop_model import scaled_size


class _Run(NamedTuple):
    """Frames that follow one another and lie in one GoP."""

    gop: int
    frames: list[int]  # Indices within the GoP.


class _Opened(NamedTuple):
    """A GoP that stays decoded."""

    gop: int
    header: GopHeader
    extents: SplatExtents
    renderer: GopRenderer
    checked: set[Scale]  # Scales at which it keeps to the decoder's budget.


class VideoDecoder:
    """Decodes any frames of a `.stgv` file in any order; the order changes no pixel.

    `d[i]` is a frame [3, H, W] uint8 and `d[a:b]` a batch [n, 3, H, W], both contiguous; negative indices count from
    the end. Methods have the names and meanings of torchcodec's `VideoDecoder`. They return `Frame` and `FrameBatch`,
    which carry times. The last GoP that was read stays decoded. While it is rendered, threads decode the symbols of
    GoPs that come next: those that the same call will need, or else the following GoP if GoPs are read one after the
    other. On a GPU no call waits for its frames. Threads, and processes that were forked from the one that opened it,
    may share a decoder; one that was opened from anything but a file object can be pickled and copied.

    Attributes:
        header: Size, frame rate, time base and colour of the stream.
        timestamps: Timestamp of each frame, in units of `header.time_base`; computed as they are asked for.
        damage: Damaged parts that `keep_going` skipped, each with the reason, and the frames that are missing.
        device: Device on which frames are rendered.
        backend: Name of the back end that renders.
        stream_index: 0, the only video stream of a file.

    Examples:
        >>> from stgvcodec import VideoDecoder
        >>> decoder = VideoDecoder("clip.stgv", device="cpu")
        >>> len(decoder), decoder[0].shape, decoder[1:4].shape
        (5, torch.Size([3, 32, 48]), torch.Size([3, 3, 32, 48]))
    """

    stream_index = 0

    def __init__(
        self,
        source: Source,
        *,
        device: str | torch.device | None = "auto",
        backend: str = "auto",
        dimension_order: Literal["NCHW", "NHWC"] = "NCHW",
        keep_going: bool = False,
        follow: bool = False,
        max_memory: int | None = None,
        max_work: float | None = None,
        stream_index: int | None = None,
        num_ffmpeg_threads: int = 1,
        seek_mode: str = "exact",
        transforms: Sequence[object] | None = None,
        custom_frame_mappings: object = None,
    ) -> None:
        """Open a file and read its index.

        Args:
            source: A `.stgv` file: its path; its address, such as "https://..." or "s3://...", or what `fsspec.open`
                returns, of which only what is needed is read; its bytes, also as a tensor ([n] uint8); or a binary file
                that can seek, which the caller closes.
            device: "auto" (as None), "cpu", "cuda", or "cuda:1" for one of several GPUs, or the like as a
                `torch.device`.
            backend: "auto", "reference", "numba" or "triton".
            dimension_order: Order of what indexing and the `get_` methods return: "NCHW" or "NHWC".
            keep_going: Whether to read every intact GoP of a damaged file. A frame that is missing between them is the
                nearest one that is there, at its own time; `damage` says which they are.
            follow: Whether the file, given by its path, is still being written, by an encode or by what copies it. The
                decoder has the frames that are there, and `wait_for_frames` takes those that come. The destination of
                an encode that has not finished may be given; the decoder waits for it to be begun.
            max_memory: Most memory that decoding frame by frame may need by the headers of the file, bytes; None is
                2 * 10^9. Batches that are returned are not counted.
            max_work: Most Gaussians that may cover a pixel of a frame, in the mean; None is 8192. No frame is refused
                that covers less than 2^30 pixels by them.
            stream_index: None or 0: a file has one video stream.
            num_ffmpeg_threads: Taken for torchcodec's sake and not used; STGV_THREADS sets the number of threads.
            seek_mode: "exact" or "approximate", which are the same: the index of a file is exact.
            transforms: None; torchcodec's transforms are refused.
            custom_frame_mappings: None; a file has its own index.

        Raises:
            ConfigError: an argument means nothing here, with the reason.
            BitstreamError: the file is not a `.stgv` file, or is damaged.
            MissingFileError: there is no such file; this is a `FileNotFoundError` too.
            InputVideoError: the file cannot be opened or read.
            StgvError: an address needs a package that is not installed.
            BackendUnavailableError: the device or the back end is not available here.
        """
        if dimension_order not in ("NCHW", "NHWC"):
            raise ConfigError(f"dimension_order is '{dimension_order}', expected 'NCHW' or 'NHWC'")
        check_torchcodecs(stream_index, seek_mode, transforms, custom_frame_mappings)
        requested = "auto" if device is None else str(device)
        self.device, self.backend = resolve_device(requested, backend)
        self._limits = DecodeBudget.of(max_memory, max_work)
        self._source = source
        self._options: dict[str, Any] = {
            "device": requested,
            "backend": backend,
            "dimension_order": dimension_order,
            "keep_going": keep_going,
            "follow": follow,
            "max_memory": max_memory,
            "max_work": max_work,
        }
        self._keep_going = keep_going
        self._channels_last = dimension_order == "NHWC"
        self._is_closed = False
        self._path, self._reader = open_source(source, keep_going=keep_going, follow=follow)
        self._limits = replace(self._limits, name=self._reader.name)
        self.header: StreamHeader = self._reader.header
        self._take_stock()
        if isinstance(self._reader, GrowingReader):
            self.wait_for_frames(timeout=0)
        self._prefetcher = GopPrefetcher(self._reader, self.device, self.backend, self._limits)
        self._budget = RenderBudget.of(self.device)
        self._opened: _Opened | None = None

    @cached_property
    def metadata(self) -> StreamInfo:
        """Description of the file. The first use reads the whole file.

        Examples:
            >>> decoder.metadata.width, decoder.metadata.num_frames
            (48, 5)
        """
        self._check_open()
        return stream_info(self._reader, self._path, keep_going=self._keep_going)

    @cached_property
    def tracks(self) -> TrackReader:
        """Sound, subtitles and metadata that the file carries beside its pictures, which are not decoded.

        Examples:
            >>> [track.codec for track in decoder.tracks.tracks.values()]
            []
        """
        self._check_open()
        return TrackReader(self._reader, keep_going=self._keep_going)

    def __reduce__(self) -> tuple[Callable[..., VideoDecoder], tuple[object, ...]]:
        """Pickle what the file was opened from; another process, or a copy, opens it anew."""
        if not is_reopened(self._source):
            raise TypeError("a decoder that was opened from a file object cannot be pickled: open a path or bytes")
        return partial(VideoDecoder, **self._options), (self._source,)

    def __enter__(self) -> VideoDecoder:
        """Return the decoder."""
        self._check_open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file; frames can no longer be read. To close it twice does no harm.

        Examples:
            >>> with VideoDecoder("clip.stgv") as decoder:  # which closes it
            ...     frame = decoder[0]
        """
        self._is_closed = True
        self._prefetcher.close()
        self._reader.close()
        self._opened = None

    @property
    def is_complete(self) -> bool:
        """Whether no more frames will come; False while a file that is followed is being written.

        Examples:
            >>> decoder.is_complete
            True
        """
        return self._reader.is_complete

    def wait_for_frames(self, timeout: float | None = None) -> bool:
        """Wait until a file that is followed has more frames, and take them.

        Args:
            timeout: Longest time to wait, seconds; None waits until there are frames or the file is complete.

        Returns:
            Whether there are more frames than before.

        Raises:
            BitstreamError: what was added is damaged.
            InputVideoError: the file was cut, or was replaced by another one.

        Examples:
            >>> decoder.wait_for_frames()  # the file is complete
            False
        """
        self._check_open()
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        n_before = len(self)
        while isinstance(self._reader, GrowingReader) and not self.is_complete:
            self._reader.grow()
            self._take_stock()
            left = deadline - time.monotonic()
            if len(self) > n_before or left <= 0:
                break
            time.sleep(min(POLL_SECONDS, left))
        return len(self) > n_before

    def _take_stock(self) -> None:
        self._gops = self._reader.gops
        self._timeline = Timeline(self._gops, self.header, self._reader.gaps)
        self.timestamps: Sequence[int] = self._timeline.pts
        self.damage: tuple[str, ...] = self._reader.damage
        self._n_frames = len(self.timestamps)
        self.__dict__.pop("metadata", None)  # It is that of the frames that were there.

    def __len__(self) -> int:
        """Number of frames; of a file that is followed, those that are there."""
        return self._n_frames

    def __getitem__(self, key: Index | Indices | slice) -> Tensor:
        """Return one frame or several.

        Args:
            key: A whole number for one frame; a slice, a sequence, an array or a tensor [n] for several, or a mask of
                truth values [n_frames]. Negative indices count from the end.

        Returns:
            Frame [3, H, W] or frames [n, 3, H, W], in the order of `key`; uint8, contiguous.

        Raises:
            IndexError: there is no such frame, or the mask is not as long as the video.
            TypeError: the key is something else, such as a float or a single truth value.
        """
        if isinstance(key, slice):
            return self._stack(range(*key.indices(self._n_frames)))
        if isinstance(key, tuple):
            raise TypeError(f"the index of a frame is {key}, expected one number; for several frames give a list")
        if not has_no_dimension(key):
            return self._stack(frame_indices(key, self._n_frames))  # type: ignore[arg-type]
        frame = next(self.iter_frames([frame_index(key, self._n_frames)]))
        return frame if self._channels_last else frame.permute(2, 0, 1).contiguous()

    def get_frame_at(self, index: SupportsIndex | Tensor) -> Frame:
        """Return frame `index` with its times.

        Raises:
            IndexError: there is no such frame.
            TypeError: the index is not a whole number.

        Examples:
            >>> decoder.get_frame_at(-1)
            Frame(data=torch.uint8 [3, 32, 48] on cpu, pts_seconds=0.2, duration_seconds=0.04)
        """
        checked = frame_index(index, self._n_frames)
        return Frame(self[checked], self._timeline.seconds(checked), self._timeline.duration(checked))

    def get_frames_at(self, indices: Indices) -> FrameBatch:
        """Return frames with their times.

        Args:
            indices: Frames in the order wanted, a sequence, an array or a tensor [n]; they may repeat. Or a mask of
                truth values [n_frames].

        Raises:
            IndexError: there is no such frame, or the mask is not as long as the video.
            TypeError: an index is not a whole number.

        Examples:
            >>> decoder.get_frames_at([4, 0, 0]).pts_seconds
            tensor([0.2000, 0.0000, 0.0000], dtype=torch.float64)
        """
        checked = frame_indices(indices, self._n_frames)
        return FrameBatch(
            self._stack(checked),
            torch.tensor([self._timeline.seconds(i) for i in checked], dtype=torch.float64),
            torch.tensor([self._timeline.duration(i) for i in checked], dtype=torch.float64),
        )

    def get_frames_in_range(self, start: int, stop: int, step: int = 1) -> FrameBatch:
        """Return every `step`-th frame of the half-open range from `start` to `stop`.

        Examples:
            >>> decoder.get_frames_in_range(0, 5, 2)
            FrameBatch(data=torch.uint8 [3, 3, 32, 48] on cpu, n_frames=3)
        """
        return self.get_frames_at(range(*slice(start, stop, step).indices(self._n_frames)))

    def get_all_frames(self, fps: float | None = None) -> FrameBatch:
        """Return every frame of the video; with `fps` those that are on the screen so many times a second.

        Raises:
            ConfigError: fps is not above 0.

        Examples:
            >>> len(decoder.get_all_frames()), len(decoder.get_all_frames(fps=50))
            (5, 12)
        """
        if fps is None:
            return self.get_frames_in_range(0, self._n_frames)
        return self.get_frames_played_in_range(self._timeline.begin, self._timeline.end, fps=fps)

    def get_frame_played_at(self, seconds: float) -> Frame:
        """Return the frame that is on the screen at a time.

        Raises:
            IndexError: the time is before the first frame or after the end of the last.

        Examples:
            >>> decoder.get_frame_played_at(0.11).pts_seconds
            0.1
        """
        return self.get_frame_at(self._timeline.index_at(seconds))

    def get_frames_played_at(self, seconds: Sequence[float] | Tensor) -> FrameBatch:
        """Return the frames that are on the screen at some times, a sequence or a tensor [n], in that order.

        Raises:
            IndexError: a time is before the first frame or after the end of the last.

        Examples:
            >>> decoder.get_frames_played_at([0.11, 0.0]).pts_seconds.tolist()
            [0.1, 0.0]
        """
        return self.get_frames_at([self._timeline.index_at(float(time)) for time in seconds])

    def get_frames_played_in_range(
        self, start_seconds: float, stop_seconds: float, fps: float | None = None
    ) -> FrameBatch:
        """Return the frames that are on the screen from one time on and before another.

        Args:
            start_seconds: First time; the frame that is on the screen then comes first.
            stop_seconds: Time behind the last; a frame that begins then does not come any more. It may be the end of
                the video.
            fps: Frames a second: the frames on the screen at `start_seconds + i / fps`, each with that time, for 1 /
                fps; as many as the range is long, rounded. None returns each frame once, with its own times.

        Raises:
            ConfigError: the stop is before the start, the start is not within the video, the stop is behind its end, or
                fps is not above 0.

        Examples:
            >>> decoder.get_frames_played_in_range(0.05, 0.12).pts_seconds.tolist()
            [0.04, 0.1]
        """
        indices = self._timeline.indices_within(start_seconds, stop_seconds)
        if fps is None:
            return self.get_frames_at(indices)
        if not fps > 0:
            raise ConfigError(f"fps is {fps}, expected more than 0")
        n_frames = math.floor((stop_seconds - start_seconds) * fps + 0.5)
        times = [start_seconds + i / fps for i in range(n_frames)]
        batch = self.get_frames_played_at(times)
        return FrameBatch(
            batch.data,
            torch.tensor(times, dtype=torch.float64),
            torch.full((n_frames,), 1.0 / fps, dtype=torch.float64),
        )

    def iter_frames(
        self, indices: Indices | None = None, *, scale: float = 1.0, size: tuple[int, int] | None = None
    ) -> Iterator[Tensor]:
        """Render frames one after the other.

        Args:
            indices: Frames in the order wanted; negative indices count from the end. By default all frames in order.
            scale: Output size over encoded size; the Gaussians are rendered at that size, nothing is resampled.
            size: (H, W) to render at in place of a scale, pixels; the ratio of the two may be another.

        Yields:
            [H, W, 3] uint8, on the device.

        Raises:
            ConfigError: scale is not a number above 0, the picture would pass the format's limits, or both scale and
                size are given.
            IndexError: there is no such frame.

        Examples:
            >>> [list(frame.shape) for frame in decoder.iter_frames([0, 1], scale=0.5)]
            [[16, 24, 3], [16, 24, 3]]
        """
        chosen = chosen_scale(scale, size, self.header)
        wanted = range(self._n_frames) if indices is None else frame_indices(indices, self._n_frames)
        for run, upcoming in _with_upcoming(self._runs(wanted)):
            yield from self._open(run.gop, upcoming, scale=chosen).frames(run.frames, scale=chosen)

    def render(self, seconds: float, *, size: tuple[int, int] | None = None) -> Tensor:
        """Render the picture at any time and of any size, from the Gaussians; nothing is resampled or blended.

        At the time of a frame it is that frame. Between two frames of a GoP each Gaussian is on the straight line
        between its places in both, with its colour and shape in between. (The deformation field is not evaluated there:
        it is fitted at frames alone, and swings in between.) GoPs know nothing of each other: from its last frame on a
        GoP stands still until the next one begins.

        Args:
            seconds: Time within the video.
            size: (H, W), pixels; by default that of the video. Another ratio of the sides stretches the picture.

        Returns:
            [3, H, W] uint8, or [H, W, 3] if the decoder has that order, on the device.

        Raises:
            IndexError: the time is before the first frame or after the end of the last.
            ConfigError: the size is below 1 or passes the format's limits.

        Examples:
            >>> decoder.render(0.07, size=(64, 48)).shape
            torch.Size([3, 64, 48])
        """
        picture = next(self.iter_pictures([seconds], size=size))
        return picture if self._channels_last else picture.permute(2, 0, 1).contiguous()

    def iter_pictures(
        self, seconds: Iterable[float], *, scale: float = 1.0, size: tuple[int, int] | None = None
    ) -> Iterator[Tensor]:
        """Render the pictures at any times one after the other, as `render` does.

        Args:
            seconds: Times within the video, best in order.
            scale: Output size over encoded size.
            size: (H, W) to render at in place of a scale, pixels.

        Yields:
            [H, W, 3] uint8, on the device.

        Raises:
            IndexError: a time is before the first frame or after the end of the last.
            ConfigError: scale or size are not to be had.

        Examples:
            >>> [list(picture.shape) for picture in decoder.iter_pictures([0.0, 0.01], scale=2)]
            [[64, 96, 3], [64, 96, 3]]
        """
        chosen = chosen_scale(scale, size, self.header)
        for moment in seconds:
            index = self._timeline.index_at(moment)
            gop, k = self._timeline.pts.place(index)
            share, renderer = self._timeline.share(index, moment), self._open(gop, scale=chosen)
            if share > 0 and k < self._gops[gop].n_frames - 1:
                yield renderer.picture_between(k, share, scale=chosen)
            else:
                yield next(renderer.frames([k], scale=chosen))

    def pts(self, index: int) -> int:
        """Return the timestamp of a frame, in units of `header.time_base`.

        Examples:
            >>> decoder.pts(2), decoder.header.time_base
            (100, Fraction(1, 1000))
        """
        return self.timestamps[frame_index(index, self._n_frames)]

    def gaussians_at(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the Gaussians from which a frame is rendered.

        Returns:
            Centres [N, 2] and Cholesky factors (l1, l2, l3) [N, 3] in pixels, weighted colours [N, 3].

        Examples:
            >>> means, cholesky, colors = decoder.gaussians_at(3)
            >>> means.shape, cholesky.shape, colors.shape
            (torch.Size([80, 2]), torch.Size([80, 3]), torch.Size([80, 3]))
        """
        gop, k = self._timeline.pts.place(frame_index(index, self._n_frames))
        return self._open(gop).gaussians(k)

    def _check_open(self) -> None:
        if self._is_closed:
            raise ClosedDecoderError("the decoder is closed, as after its `with` block: open the file anew")

    @naming_memory("a GoP is unpacked", "use a machine with more")
    def _open(self, gop: int, upcoming: Sequence[int] = (), *, scale: Scale = 1.0) -> GopRenderer:
        """Return the renderer of a GoP, which is kept until another GoP is opened.

        Args:
            gop: Index of the GoP.
            upcoming: GoPs that will be opened next, in that order; they are unpacked ahead of time. If there are none
                and GoPs are opened one after the other, the following GoP is unpacked ahead of time.
            scale: Output size over encoded size of what will be rendered.

        Raises:
            BitstreamError: the GoP is damaged.
            BudgetError: it asks for more memory or work than the decoder was allowed.
            ClosedDecoderError: the decoder is closed.
        """
        self._check_open()
        # Another thread may open another GoP meanwhile; what is read once stays what it was.
        opened = self._opened
        if opened is not None and opened.gop == gop:
            if scale not in opened.checked:
                self._check_gop(gop, opened.header, opened.extents, scale)
                opened.checked.add(scale)
            return opened.renderer
        if not upcoming and opened is not None and opened.gop == gop - 1:
            upcoming = range(gop + 1, min(gop + 2, len(self._gops)))
        width, height = scaled_size(self.header.width, self.header.height, scale)
        self._limits.check_picture(width, height, self._gops[gop].n_gaussians)
        unpacked = self._prefetcher.get(gop, upcoming)
        extents = unpacked.measured()
        self._check_gop(gop, unpacked.header, extents, scale)
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
        self._opened = _Opened(gop, unpacked.header, extents, renderer, {scale})
        return renderer

    def _check_gop(self, gop: int, header: GopHeader, extents: SplatExtents, scale: Scale) -> None:
        """Hold the pictures of a GoP to the decoder's budget.

        Raises:
            BudgetError: they ask for more memory or work.
        """
        width, height = scaled_size(self.header.width, self.header.height, scale)
        self._limits.check_gop(
            header,
            width=width,
            height=height,
            payload_bytes=self._gops[gop].n_bytes,
            n_gops=n_unpacked(len(self._gops)),
            backend=self.backend,
        )
        self._limits.check_work(header, extents, scale, width=width, height=height)

    def _runs(self, indices: Iterable[int]) -> Iterator[_Run]:
        for gop, group in groupby(map(self._timeline.pts.place, indices), key=itemgetter(0)):
            yield _Run(gop, [k for _, k in group])

    def _stack(self, indices: Sequence[int]) -> Tensor:
        height, width = self.header.height, self.header.width
        size = (height, width, 3) if self._channels_last else (3, height, width)
        self._check_open()
        with naming_memory(f"{len(indices)} frames of {width}x{height} are put together", "ask for fewer at once"):
            frames = torch.empty((len(indices), *size), dtype=torch.uint8, device=self.device)
        n_done = 0
        for run, upcoming in _with_upcoming(self._runs(indices)):
            for pictures in self._open(run.gop, upcoming).batches(run.frames):
                frames[n_done : n_done + len(pictures)] = (
                    pictures if self._channels_last else pictures.permute(0, 3, 1, 2)
                )
                n_done += len(pictures)
        return frames


def _with_upcoming(runs: Iterator[_Run]) -> Iterator[tuple[_Run, list[int]]]:
    """Yield each run together with the GoPs of the next few runs."""
    window: deque[_Run] = deque()
    for run in runs:
        window.append(run)
        if len(window) > LOOK_AHEAD:
            yield window.popleft(), [later.gop for later in window]
    while window:
        yield window.popleft(), [later.gop for later in window]
