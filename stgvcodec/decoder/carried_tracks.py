"""Sound, subtitles and metadata on their way from a `.stgv` file into a video file, beside the decoded frames."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from fractions import Fraction
from itertools import count
from pathlib import Path

from stgvcodec.decoder.growing_file import POLL_SECONDS
from stgvcodec.decoder.video_decoder import VideoDecoder
from stgvcodec.media.output_formats import CONTAINERS
from stgvcodec.media.selection import Selection
from stgvcodec.media.tracks import TrackMuxer, holds_tracks, refuse_unheld, track_name
from stgvcodec.progress import CancelToken, raise_if_set
from stgvcodec.tracks import TrackCounter, TrackInfo, TrackPacket, plays_within

# `encode` writes packets behind the GoPs with which they are played, gathered over a second.
_MOST_LAG_SECONDS = 2

_log = logging.getLogger(__name__)


class CarriedTracks:
    """What a file carries for the frames that are decoded, for an output that has a place for it.

    Where frames are left out at the start or at the end, the packets are written of which a part is played with the
    frames. All packets keep their times, as the frames do. Those of a file that is still being written come with the
    frames that are there.

    Args:
        decoder: Decoder of the file.
        first_frame: Index of the first frame that is decoded; others follow it one after the other.
        selection: Which these are, and what is wanted beside them.
        destination: Output. Images and y4m have no place for sound; a warning says what is left out.

    Raises:
        BitstreamError: a track is damaged, unless the decoder keeps going.
        ConfigError: the output cannot hold a track.
    """

    def __init__(self, decoder: VideoDecoder, first_frame: int, selection: Selection, destination: str | Path) -> None:
        self._decoder, self._selection = decoder, selection
        self._reader = decoder.tracks
        self._start = decoder.pts(first_frame) * decoder.header.time_base if first_frame > 0 else None
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

    def muxer(self, repeated_every: Fraction | None = None) -> TrackMuxer:
        """Return what puts all of it into the output.

        Args:
            repeated_every: Seconds after which the frames begin anew, without end, and the packets with them; None
                where they do not.
        """
        packets = self._packets() if repeated_every is None else self._repeated(repeated_every)
        return TrackMuxer(self._tracks, packets, self._tags)

    def wait(self, cancel: CancelToken | None) -> None:
        """Wait until a file that is being written has the packets for the frames.

        Raises:
            CancelledError: the token is set.
        """
        while self._tracks and not self._decoder.is_complete:
            end, header = self._end(), self._decoder.header
            if end is not None and self._decoder.timestamps[-1] * header.time_base >= end + _MOST_LAG_SECONDS:
                return
            self._decoder.wait_for_frames(POLL_SECONDS)
            raise_if_set(cancel)

    def infos(self) -> tuple[TrackInfo, ...]:
        """Return the figures of each track, as far as it has been written."""
        return tuple(counter.info() for counter in self._counters.values())

    def _packets(self) -> Iterator[tuple[int, TrackPacket] | None]:
        for found in self._reader.packets_as_they_come(self._tracks):
            if found is None:
                yield None
                continue
            number, packet = found
            if plays_within(packet, self._tracks[number].time_base, self._start, self._end()):
                self._counters[number].add(packet)
                yield number, packet

    def _repeated(self, seconds: Fraction) -> Iterator[tuple[int, TrackPacket]]:
        header = self._decoder.header
        start = self._decoder.pts(0) * header.time_base if self._start is None else self._start
        for n_before in count():
            n_packets = 0
            for number, packet in filter(None, self._packets()):
                begins = packet.pts * self._tracks[number].time_base
                # What is played across the end of a round would come after the first packets of the next one.
                if begins < start + seconds and (begins >= start or n_before == 0):
                    n_packets += 1
                    shift = round(n_before * seconds / self._tracks[number].time_base)
                    yield number, packet._replace(pts=packet.pts + shift)
            if not n_packets:
                return

    def _end(self) -> Fraction | None:
        """Return when the first frame that is left out at the end begins; None where none is, or none is there yet."""
        if not self._selection.is_cut_at_end:
            return None
        pts, time_base = self._decoder.timestamps, self._decoder.header.time_base
        stop = self._selection.indices(pts, time_base).stop
        return pts[stop] * time_base if stop < len(pts) else None
