"""The balance of packets and pictures, by which a reader knows that a decoder lost none, and when each is shown."""

from __future__ import annotations

from collections import deque

import av
from av.packet import Packet
from av.video.stream import VideoStream

# A packet of MPEG-4 this small says that the picture before it is shown once more.
_REPEAT_CODECS, _MOST_REPEAT_BYTES = ("mpeg4", "msmpeg4v2", "msmpeg4v3"), 8


class PacketBalance:
    """Holds pictures out against packets in, so that no picture is lost in silence.

    A picture has the timestamp of its packet. Packets of pictures that would come before the first one, which a file
    that begins between key frames has, are counted apart. Where a container has timestamps of packets in the order of
    decoding only, as AVI has, the pictures get these one after the other.

    Args:
        codec: Name of the decoder.
        has_timestamps: Whether the container has timestamps for display.
    """

    def __init__(self, codec: str, *, has_timestamps: bool) -> None:
        self._codec = codec
        self._has_timestamps = has_timestamps
        # Where recordings follow each other in a file, timestamps begin anew: each recording has a number.
        self._recording_in = self._recording_out = 0
        self._last_dts: int | None = None
        self._pending: set[tuple[int, int]] = set()
        self._decoding_times: deque[int] = deque()
        # These count packets whose pictures have no timestamp to know them by.
        self._n_unknown = self._n_before_key = self._n_optional = self._n_pictures = self._n_first = 0
        self._first: tuple[int, int] | None = None
        self._has_key = False
        self._key_pts: int | None = None
        self._n_timed = 0

    def put(self, packet: Packet[VideoStream]) -> None:
        """Take a packet into account that is about to be decoded."""
        if packet.size == 0 or packet.is_discard:
            return
        if self._is_hidden(packet):
            return
        if packet.is_keyframe and not self._has_key:
            self._has_key, self._key_pts = True, packet.pts
        if packet.dts is not None:
            self._recording_in += self.restarts_with(packet)
            self._last_dts = packet.dts
        if self._has_timestamps and packet.pts is not None:
            self._n_timed += 1
            if not self._is_optional(packet):
                self._pending.add((self._recording_in, packet.pts))
            return
        self._n_unknown += 1
        # Matroska has no time for what would be shown before the first key frame.
        self._n_before_key += not self._has_key or self._n_timed == 1
        self._n_optional += self._is_optional(packet)
        if not self._has_timestamps and packet.dts is not None:
            self._decoding_times.append(packet.dts)

    def is_leading(self, packet: Packet[VideoStream]) -> bool:
        """Tell whether a packet's picture comes before the first key frame; it may refer to what is cut off."""
        if packet.pts is None or self._key_pts is None:
            return not self._has_key
        return packet.pts < self._key_pts

    def restarts_with(self, packet: Packet[VideoStream]) -> bool:
        """Tell whether a packet begins another recording."""
        return packet.dts is not None and self._last_dts is not None and packet.dts < self._last_dts

    def take(self, picture: av.VideoFrame) -> tuple[int | None, int]:
        """Return the timestamp of a picture, and the number of pictures that should have come before it."""
        if not self._has_timestamps:
            self._n_pictures += 1
            return (self._decoding_times.popleft() if self._decoding_times else None), 0
        if picture.pts is None:
            self._n_pictures += 1
            return None, 0
        if (self._recording_out, picture.pts) not in self._pending and self._recording_out < self._recording_in:
            self._recording_out += 1
        place = (self._recording_out, picture.pts)
        self._first = self._first or place
        missing = {each for each in self._pending if each < place}
        self._pending -= {place, *missing}
        n_first = sum(each < self._first for each in missing)
        self._n_first += n_first
        return picture.pts, len(missing) - n_first

    def left(self) -> tuple[int, int]:
        """Return, at the end, how many packets had no picture at the beginning, and how many others."""
        n_unknown = max(self._n_unknown - self._n_pictures - self._n_optional, 0)
        n_unknown_first = min(n_unknown, self._n_before_key)
        n_pending_first = sum(self._first is not None and each < self._first for each in self._pending)
        n_others = n_unknown - n_unknown_first + len(self._pending) - n_pending_first
        return self._n_first + n_unknown_first + n_pending_first, n_others

    def _is_hidden(self, packet: Packet[VideoStream]) -> bool:
        # VP8 codes pictures that are only referred to; a bit of the first byte says so (RFC 6386, section 9.1).
        return self._codec in ("vp8", "libvpx") and not bytes(packet)[0] >> 4 & 1

    def _is_optional(self, packet: Packet[VideoStream]) -> bool:
        return self._codec in _REPEAT_CODECS and packet.size <= _MOST_REPEAT_BYTES
