"""Sound, subtitles and metadata of a source on their way into a file, between its GoPs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from stgvcodec.bitstream.container.chunks import ChunkType
from stgvcodec.bitstream.container.overhead import carried_chunk_bytes
from stgvcodec.bitstream.container.tracks import PacketGroup, grouped, pack_metadata, pack_track
from stgvcodec.bitstream.container.writer import StgvWriter
from stgvcodec.media.reader import VideoReader
from stgvcodec.media.selection import Selection
from stgvcodec.media.tracks import SourceTracks
from stgvcodec.tracks import Track, TrackCounter, TrackInfo, plays_within


class TrackWriter:
    """Writes what a video's file holds beside its pictures: tracks and metadata first, packets behind GoPs.

    Where frames are cut off at the start or at the end, the packets are kept of which a part is played with the frames.
    All packets keep their times, as the frames do.

    Args:
        video: The video, whose frames may come from a file with tracks or from images.
        selection: Frames that are taken, and what is taken beside them.

    Attributes:
        left_out: Streams that were wanted but cannot be carried, each with the reason.
        n_bytes: Bytes of the file that they have taken so far, framing and index included.

    Raises:
        InputVideoError: the file cannot be read.
    """

    def __init__(self, video: VideoReader, selection: Selection) -> None:
        self._source: SourceTracks | None = None
        if video.file is not None and (selection.kinds or selection.metadata):
            self._source = SourceTracks(
                video.file,
                kinds=selection.kinds,
                metadata=selection.metadata,
                # What is damaged may lie behind the frames.
                keep_going=selection.keep_going or selection.is_cut_at_end,
            )
        self._tracks: tuple[Track, ...] = () if self._source is None else self._source.tracks
        self.left_out: tuple[str, ...] = () if self._source is None else self._source.left_out
        self.n_bytes = 0
        self._counters = [TrackCounter(track) for track in self._tracks]
        self._time_base = video.time_base
        self._frame_seconds = 1 / video.frame_rate
        self._is_cut_at_start, self._is_cut_at_end = selection.is_cut_at_start, selection.is_cut_at_end
        self._is_begun = False
        self._groups: Iterator[PacketGroup] = iter(())
        self._next: PacketGroup | None = None

    def count_bytes(self, first_pts: int, last_pts: int) -> int:
        """Return the bytes that all of it will take, framing and index included.

        Args:
            first_pts: Timestamp of the first frame, units of the video's time base.
            last_pts: Timestamp of the last frame.
        """
        n_bytes = sum(carried_chunk_bytes(kind, len(payload)) for kind, payload in self._head())
        for group in self._until(self._all_groups(first_pts), last_pts):
            n_bytes += carried_chunk_bytes(ChunkType.TRACK_PACKETS, len(group.to_bytes()))
        return n_bytes

    def check(self) -> None:
        """Read all packets, so that what is wrong with them is known before the first fit.

        Raises:
            InputVideoError: the file is damaged.
        """
        if self._source is not None and not self._is_cut_at_end:
            for _ in self._source.packets():
                pass

    def begin(self, writer: StgvWriter) -> None:
        """Write the metadata and describe the tracks, before the first GoP."""
        for kind, payload in self._head():
            self._add(writer, kind, payload)

    def before_gop(self, writer: StgvWriter, pts: int) -> None:
        """Write the packets that begin to be played before a GoP does.

        Args:
            writer: The writer of the file.
            pts: Timestamp of the GoP's first frame, units of the video's time base.
        """
        if not self._is_begun:
            # A player that reads front to back needs pictures first.
            self._is_begun, self._groups = True, self._all_groups(pts)
            return
        seconds = pts * self._time_base
        for group in self._groups_left():
            # All of a group must lie before the GoP: where the frames end is not known yet.
            if group.packets[-1].pts * self._tracks[group.number].time_base >= seconds:
                self._next = group
                return
            self._write(writer, group)

    def finish(self, writer: StgvWriter, last_pts: int) -> None:
        """Write what is left, behind the last GoP.

        Args:
            writer: The writer of the file.
            last_pts: Timestamp of the last frame, units of the video's time base.
        """
        for group in self._until(self._groups_left(), last_pts):
            self._write(writer, group)

    def infos(self) -> tuple[TrackInfo, ...]:
        """Return the figures of each track, as far as it has been written."""
        return tuple(counter.info() for counter in self._counters)

    def _head(self) -> Iterator[tuple[ChunkType, bytes]]:
        if self._source is None:
            return
        if self._source.tags:
            yield ChunkType.METADATA, pack_metadata(self._source.tags)
        for number, track in enumerate(self._tracks):
            yield ChunkType.TRACK, pack_track(number, track)

    def _all_groups(self, first_pts: int) -> Iterator[PacketGroup]:
        if self._source is None:
            return iter(())
        start = first_pts * self._time_base if self._is_cut_at_start else None
        packets = (
            (number, packet)
            for number, packet in self._source.packets()
            if plays_within(packet, self._tracks[number].time_base, start, None)
        )
        return grouped(packets, self._tracks)

    def _until(self, groups: Iterable[PacketGroup], last_pts: int) -> Iterator[PacketGroup]:
        """Yield groups without what begins to be played when the last frame has ended; stop where no track is left."""
        if not self._is_cut_at_end:
            yield from groups
            return
        end = last_pts * self._time_base + self._frame_seconds
        left = set(range(len(self._tracks)))
        for number, packets in groups:
            time_base = self._tracks[number].time_base
            kept = [packet for packet in packets if plays_within(packet, time_base, None, end)]
            if kept:
                yield PacketGroup(number, kept)
            if len(kept) < len(packets):
                left.discard(number)
            if not left:
                return

    def _groups_left(self) -> Iterator[PacketGroup]:
        kept, self._next = self._next, None
        # A generator in place of the chain would end the groups where a loop over it ends early.
        return self._groups if kept is None else chain((kept,), self._groups)

    def _write(self, writer: StgvWriter, group: PacketGroup) -> None:
        self._add(writer, ChunkType.TRACK_PACKETS, group.to_bytes())
        for packet in group.packets:
            self._counters[group.number].add(packet)

    def _add(self, writer: StgvWriter, kind: ChunkType, payload: bytes) -> None:
        writer.add_chunk(kind, payload)
        self.n_bytes += carried_chunk_bytes(kind, len(payload))
