"""Sound, subtitles and metadata on their way from a `.stgv` file into a video file, beside the decoded frames."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from pathlib import Path

from stgvcodec.decoder.video_decoder import VideoDecoder
from stgvcodec.media.output_formats import CONTAINERS
from stgvcodec.media.selection import Selection
from stgvcodec.media.tracks import TrackMuxer, holds_tracks, refuse_unheld, track_name
from stgvcodec.tracks import TrackCounter, TrackInfo, TrackPacket, plays_within

_log = logging.getLogger(__name__)


class CarriedTracks:
    """What a file carries for the frames that are decoded, for an output that has a place for it.

    Where frames are left out at the start or at the end, the packets are written of which a part is played with the
    frames. All packets keep their times, as the frames do.

    Args:
        decoder: Decoder of the file.
        indices: Frames that are decoded, one after the other.
        selection: What is wanted beside the frames.
        destination: Output. Images and y4m have no place for sound; a warning says what is left out.

    Raises:
        BitstreamError: a track is damaged, unless the decoder keeps going.
        ConfigError: the output cannot hold a track.
    """

    def __init__(self, decoder: VideoDecoder, indices: range, selection: Selection, destination: str | Path) -> None:
        self._reader = decoder.tracks
        time_base, last = decoder.header.time_base, indices[-1] + 1
        self._start = decoder.pts(indices[0]) * time_base if indices[0] > 0 else None
        self._end = decoder.pts(last) * time_base if last < len(decoder) else None
        tracks = {number: track for number, track in self._reader.tracks.items() if track.kind in selection.kinds}
        muxers = {suffix: container.muxer for suffix, container in CONTAINERS.items()}
        muxer = muxers.get(Path(destination).suffix.lower())
        if muxer is not None and holds_tracks(muxer):
            refuse_unheld(str(destination), muxer, tracks, self._first_packets(tracks), muxers)
        elif tracks:
            names = ", ".join(track_name(track) for track in tracks.values())
            _log.warning("%s: has no place for sound or subtitles; left out: %s", destination, names)
            tracks = {}
        self._tracks = tracks
        self._tags = self._reader.tags if selection.metadata else {}
        self._counters = {number: TrackCounter(track) for number, track in tracks.items()}

    def _first_packets(self, tracks: Collection[int]) -> dict[int, TrackPacket]:
        firsts: dict[int, TrackPacket] = {}
        for number, packet in self._reader.packets(tracks):
            firsts.setdefault(number, packet)
            if len(firsts) == len(tracks):
                break
        return firsts

    @property
    def damage(self) -> tuple[str, ...]:
        """Damaged parts that were skipped, each with the reason."""
        return tuple(self._reader.damage)

    def muxer(self) -> TrackMuxer:
        """Return what puts all of it into the output."""
        return TrackMuxer(self._tracks, self._packets(), self._tags)

    def infos(self) -> tuple[TrackInfo, ...]:
        """Return the figures of each track, as far as it has been written."""
        return tuple(counter.info() for counter in self._counters.values())

    def _packets(self) -> Iterator[tuple[int, TrackPacket]]:
        for number, packet in self._reader.packets(self._tracks):
            if plays_within(packet, self._tracks[number].time_base, self._start, self._end):
                self._counters[number].add(packet)
                yield number, packet
