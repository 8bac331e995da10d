"""The frames of a source that is read twice, once by the lookahead and once for the fits."""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Iterable, Iterator

from stgvcodec.encoder.fitted_gop import frames_crc
from stgvcodec.errors import InputVideoError
from stgvcodec.media.reader import VideoFrame, VideoReader

# The frames of a video that takes no more memory than this are kept for the second reading, bytes.
_KEPT_BYTES = 512 << 20


class TwiceRead:
    """Frames of a video that is read twice; those of a short one are kept from the first time.

    Of the others a checksum is kept, so that a source that changes in between is noticed. It takes 3 ms for a frame of
    1920x1080, and the thread that decodes has less to do than the one that measures.

    Args:
        video: The video.
        frames: Its frames, as often as they are asked for, where they are not those of `video` itself.
    """

    def __init__(self, video: VideoReader, frames: Iterable[VideoFrame] | None = None) -> None:
        self._video = video
        self._frames: Iterable[VideoFrame] = video if frames is None else frames
        self._n_most = _KEPT_BYTES // (3 * video.width * video.height)
        self._kept: list[VideoFrame] | None = None
        self._crcs = array("L")
        self._n_bytes = _file_bytes(video)

    @property
    def crc(self) -> int:
        """CRC-32 of the checksums of all frames, once they have been read."""
        return zlib.crc32(self._crcs.tobytes())

    def __iter__(self) -> Iterator[VideoFrame]:
        """Read the frames for the first time, and keep them if there are few."""
        kept: list[VideoFrame] = []
        for frame in self._frames:
            self._crcs.append(_crc(frame))
            if len(kept) <= self._n_most:
                kept.append(frame)
            else:
                kept.clear()
                self._n_most = -1
            yield frame
        self._kept = kept if self._n_most >= 0 else None

    def again(self) -> Iterator[VideoFrame]:
        """Yield the frames for the last time.

        Raises:
            InputVideoError: they are not those of the first time.
        """
        n_bytes = _file_bytes(self._video)
        if n_bytes != self._n_bytes:
            raise InputVideoError(
                f"{self._video.name}: got {n_bytes} bytes, expected the {self._n_bytes} of a moment ago; it changed "
                "while it was read"
            )
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.reverse()
            while kept:
                # A frame that is given away is no longer kept here.
                yield kept.pop()
            return
        n_read = 0
        frames = iter(self._frames)
        # Not a step is taken beyond the last frame, where the reader would repeat its warnings.
        while n_read < len(self._crcs):
            frame = next(frames, None)
            if frame is None:
                raise InputVideoError(
                    f"{self._video.name}: got {n_read} frames, expected the {len(self._crcs)} of a moment ago; it "
                    "changed while it was read"
                )
            if _crc(frame) != self._crcs[n_read]:
                raise InputVideoError(
                    f"{self._video.name}: got another frame {n_read} than a moment ago; it changed while it was read"
                )
            n_read += 1
            yield frame


def _crc(frame: VideoFrame) -> int:
    return frames_crc(frame.rgb, frame.known, before=frame.pts & 0xFFFFFFFF)


def _file_bytes(video: VideoReader) -> int | None:
    """Return the size of a video file; None for images, and where it is gone."""
    try:
        return None if video.file is None else video.file.stat().st_size
    except OSError:
        return None
