"""`read_info`: describes what a `.stgv` file holds and what decoding it needs, without decoding it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, ItemsView, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

from stgvcodec.bitstream.container.file_header import ColorDescription
from stgvcodec.bitstream.container.overhead import video_bytes
from stgvcodec.bitstream.container.reader import StgvReader, stream_bytes
from stgvcodec.bitstream.container.tracks import TrackReader
from stgvcodec.bitstream.payload.head import head_of, head_stream_bytes, read_header
from stgvcodec.bitstream.syntax.limits import LIMITS
from stgvcodec.decoder.decode_budget import decode_memory_bytes, n_unpacked
from stgvcodec.decoder.source import Source, open_source
from stgvcodec.decoder.timeline import Timeline
from stgvcodec.tracks import TrackCounter, TrackInfo

# Streams whose length grows with the number of Gaussians.
_GAUSSIAN_STREAMS = ("points", "point_bits", "shapes", "colors")
# Names of the modes; the index is the mode's number in the header.
_MODES = {
    "point_mode": ("half", "grid"),
    "shape_mode": ("affine", "log-shear"),
    "color_mode": ("codebooks", "ycocg"),
}


_Value = TypeVar("_Value")


class _OfHead(Mapping[str, _Value]):
    """What the head of a GoP's payload says, by name. It is read when it is asked for: heads are small, dicts are not.

    Args:
        head: The head.
        read: Function that reads it.
    """

    __slots__ = ("_head", "_read")

    def __init__(self, head: bytes, read: Callable[[bytes], Mapping[str, _Value]]) -> None:
        self._head, self._read = head, read

    def __getitem__(self, name: str) -> _Value:
        """Return one of the values."""
        return self._read(self._head)[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._read(self._head))

    def __len__(self) -> int:
        """Count the values."""
        return len(self._read(self._head))

    def items(self) -> ItemsView[str, _Value]:
        """Return names and values, which are read once for all of them."""
        return self._read(self._head).items()

    def __repr__(self) -> str:
        """Show the values."""
        return repr(dict(self.items()))


@dataclass(frozen=True, slots=True)
class GopInfo:
    """One GoP of a file.

    Attributes:
        first_frame: Index of its first frame.
        n_frames: Number of its frames.
        n_gaussians: Number of its canonical Gaussians.
        bytes: Size of its chunk, bytes.
        streams: Name of each stream -> its bytes.
        header: Name of each syntax element of its header -> the value.
    """

    first_frame: int
    n_frames: int
    n_gaussians: int
    bytes: int
    streams: Mapping[str, int]
    header: Mapping[str, object]


@dataclass(frozen=True)
class StreamInfo:
    """Result of `read_info`; also `VideoDecoder.metadata`.

    Attributes:
        path: The file; empty where it was opened from something else than a path.
        file_bytes: Size of the file, bytes.
        width: Picture width, pixels.
        height: Picture height, pixels.
        n_frames: Number of frames.
        frame_rate: Nominal frames per second, exact.
        time_base: Unit of the timestamps, seconds, exact.
        sample_aspect_ratio: Width over height of a sample as displayed, exact.
        variable_frame_rate: Whether the timestamps are uneven; the frame rate is then only a name.
        begin_stream_seconds: Time at which the first frame begins.
        duration_seconds: Time between the start of the first frame and the end of the last.
        bpp: Bits per pixel of the pictures, 8 * (file_bytes - carried_bytes) / (width * height * n_frames).
        profile: Name of the profile, such as "paper".
        format_version: Version of the format, such as "2.0".
        tool: Version string of the encoder.
        color: H.273 code points of the source, and its range.
        streams: Name of each stream -> its bytes over the whole file. Their sum is exactly file_bytes ("carried" is
            carried_bytes, "container" is the other framing).
        bits_per_gaussian: Name of each stream that grows with the Gaussians -> 8 * its bytes / Gaussians of all GoPs.
        gops: The GoPs in order.
        decode_memory_bytes: Memory that decoding frame by frame needs at most, GoPs that are read ahead included,
            bytes; without what FFmpeg needs to write a video.
        limits: Name of each limit of the format -> the largest value.
        carried_bytes: Bytes of sound, subtitles and metadata, framing and index included.
        tracks: The tracks of sound and subtitles.
        tags: Title, creation time and the like, by name.
        damage: Damaged parts of the tracks and tags that keep_going skipped, each with the reason.

    Examples:
        >>> info = read_info("clip.stgv")
        >>> sum(info.streams.values()) == info.file_bytes
        True
    """

    path: Path
    file_bytes: int
    width: int
    height: int
    n_frames: int
    frame_rate: Fraction
    time_base: Fraction
    sample_aspect_ratio: Fraction
    variable_frame_rate: bool
    begin_stream_seconds: float
    duration_seconds: float
    bpp: float
    profile: str
    format_version: str
    tool: str
    color: ColorDescription
    streams: dict[str, int]
    bits_per_gaussian: dict[str, float]
    gops: tuple[GopInfo, ...]
    decode_memory_bytes: int
    limits: dict[str, int] = field(repr=False)
    carried_bytes: int = 0
    tracks: tuple[TrackInfo, ...] = ()
    tags: dict[str, str] = field(default_factory=dict)
    damage: tuple[str, ...] = ()

    @property
    def num_frames(self) -> int:
        """Number of frames, by torchcodec's name.

        Examples:
            >>> info.num_frames
            5
        """
        return self.n_frames

    @property
    def average_fps(self) -> float:
        """Frames over the time that they are shown, frames a second.

        Examples:
            >>> round(info.average_fps, 2)
            20.83
        """
        return self.n_frames / self.duration_seconds if self.duration_seconds > 0 else float(self.frame_rate)

    @property
    def bit_rate(self) -> float:
        """Bits a second of the whole file, over the time that the frames are shown.

        Examples:
            >>> round(info.bit_rate)
            108733
        """
        return 8.0 * self.file_bytes / self.duration_seconds if self.duration_seconds > 0 else 0.0

    @property
    def codec(self) -> str:
        """Name of the codec, "stgv".

        Examples:
            >>> info.codec
            'stgv'
        """
        return "stgv"

    @property
    def stream_index(self) -> int:
        """0, the only video stream.

        Examples:
            >>> info.stream_index
            0
        """
        return 0

    @property
    def end_stream_seconds(self) -> float:
        """Time at which the last frame ends.

        Examples:
            >>> round(info.end_stream_seconds, 3)
            0.24
        """
        return self.begin_stream_seconds + self.duration_seconds

    @property
    def pixel_aspect_ratio(self) -> Fraction:
        """`sample_aspect_ratio` by torchcodec's name.

        Examples:
            >>> info.pixel_aspect_ratio
            Fraction(1, 1)
        """
        return self.sample_aspect_ratio


def read_info(source: Source) -> StreamInfo:
    """Describe a `.stgv` file.

    Args:
        source: A `.stgv` file: what `VideoDecoder` opens.

    Returns:
        Everything that `stgvcodec info` prints.

    Raises:
        BitstreamError: the file is not a `.stgv` file, or is damaged.
        MissingFileError: there is no such file.
        InputVideoError: the file cannot be opened or read.

    Examples:
        >>> from stgvcodec import read_info
        >>> info = read_info("clip.stgv")
        >>> info.width, info.height, info.n_frames, f"{info.bpp:.2f}"
        (48, 32, 5, '3.40')
    """
    path, reader = open_source(source)
    with reader:
        return stream_info(reader, path)


def stream_info(reader: StgvReader, path: Path, *, keep_going: bool = False) -> StreamInfo:
    """Describe an open file; see `read_info`. With `keep_going` damaged tracks are left out."""
    header = reader.header
    gops: list[GopInfo] = []
    memory = 0
    for i, entry in enumerate(reader.gops):
        head = head_of(reader.read_gop(i))
        needed = decode_memory_bytes(
            read_header(head),
            width=header.width,
            height=header.height,
            payload_bytes=entry.n_bytes,
            n_gops=n_unpacked(len(reader.gops)),
        )
        memory = max(memory, needed)
        gops.append(
            GopInfo(
                first_frame=entry.first_frame,
                n_frames=entry.n_frames,
                n_gaussians=entry.n_gaussians,
                bytes=entry.n_bytes,
                streams=_OfHead(head, head_stream_bytes),
                header=_OfHead(head, _named),
            )
        )
    n_frames = sum(gop.n_frames for gop in gops)
    tracks = TrackReader(reader, keep_going=keep_going)
    counters = {number: TrackCounter(track) for number, track in tracks.tracks.items()}
    for number, packet in tracks.packets(counters):
        counters[number].add(packet)
    carried_bytes = reader.file_bytes - video_bytes(reader.chunks, reader.file_bytes)
    streams = stream_bytes((gop.streams for gop in gops), reader.file_bytes, carried_bytes)
    times = Timeline(reader.gops, header, reader.gaps)
    return StreamInfo(
        path=path,
        file_bytes=reader.file_bytes,
        width=header.width,
        height=header.height,
        n_frames=len(times.pts),
        frame_rate=header.frame_rate,
        time_base=header.time_base,
        sample_aspect_ratio=header.sample_aspect_ratio,
        variable_frame_rate=times.pts.is_uneven(),
        begin_stream_seconds=times.begin,
        duration_seconds=times.length,
        bpp=8.0 * (reader.file_bytes - carried_bytes) / max(header.width * header.height * n_frames, 1),
        profile=header.profile,
        format_version=".".join(str(number) for number in header.format_version),
        tool=header.tool,
        color=header.color,
        streams=streams,
        bits_per_gaussian={
            name: 8.0 * streams[name] / max(sum(gop.n_gaussians for gop in gops), 1)
            for name in _GAUSSIAN_STREAMS
            if name in streams
        },
        gops=tuple(gops),
        decode_memory_bytes=memory,
        limits=dict(LIMITS),
        carried_bytes=carried_bytes,
        tracks=tuple(counter.info() for counter in counters.values()),
        tags=tracks.tags,
        damage=tuple(tracks.damage),
    )


def _named(head: bytes) -> dict[str, object]:
    """Return the syntax elements of a GoP's header by name, with the names of the modes as their values."""
    header = read_header(head)
    values = {element.name: getattr(header, element.name) for element in dataclasses.fields(header)}
    return {name: _MODES[name][value] if name in _MODES else value for name, value in values.items()}
