"""`check_complete` tells whether a complete file is of the source that it is taken for."""

from __future__ import annotations

import dataclasses
from contextlib import closing, suppress
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from stgvcodec.decoder.video_decoder import VideoDecoder
from stgvcodec.encoder.config import EncodeConfig
from stgvcodec.encoder.encode import stream_header
from stgvcodec.errors import BudgetError, ConfigError, InputVideoError
from stgvcodec.media.reader import VideoFrame, VideoReader
from stgvcodec.media.selection import Selection
from stgvcodec.media.shared_source import shared_source

# Elements of the file header that say nothing of the source, or for which the whole source would have to be read.
_NOT_COMPARED = ("tool", "format_version", "last_frame_duration")
# A key frame may lie so much before the one that is looked for.
_LEADS_SECONDS = (0.0, 1.0, 10.0, 60.0)
# A picture of another source is farther off than a flat one of the mean colour by this ratio, and than 20 dB. What was
# fitted to the source is nearer, however few bytes it has.
_OTHER_PICTURE_RATIO, _OTHER_PICTURE_MSE = 1.2, 650.0


def check_complete(
    path: Path,
    source: Path | str,
    *,
    config: EncodeConfig,
    selection: Selection,
    mask: object = None,
    matrix: str | None = None,
    fps: float | Fraction | None = None,
) -> None:
    """Compare a complete file with a source, which is read up to the first frame and from the last key frame on.

    Size, rate, colours and profile are compared, the times of the first and of the last frame, the number of frames
    that `selection.frames` takes, and the last picture unless it has a mask. Where `selection.time` ends is not
    compared. What else an encode depends on is not in the file.

    Args:
        path: The file.
        source: A path or an address.
        config: Options by which the source would be encoded.
        selection: What would be taken of it.
        mask: Its masks; None: it has none.
        matrix: Colour matrix in place of the one that it is tagged with.
        fps: Frames a second, of a folder of images.

    Raises:
        ConfigError: the file is of another source, or of other options.
        BitstreamError: it is damaged, or no `.stgv` file.
        InputVideoError: the source cannot be read.
    """
    shared = shared_source(source, selection, matrix, fps)
    assert shared is not None
    with shared.opened() as video, VideoDecoder(path, device="cpu") as decoder:
        found, expected = _compared(decoder.header), _compared(stream_header(video, config))
        differing = [name for name in expected if found[name] != expected[name]]
        if differing:
            raise _other(
                path, ", ".join(f"{name} {found[name]} where {expected[name]} is expected" for name in differing)
            )
        first = next(iter(video)).pts
        if decoder.timestamps[0] != first:
            raise _other(path, f"its first frame has the timestamp {decoder.timestamps[0]}, expected {first}")
        n_frames = None if selection.end_frame is None else selection.end_frame - selection.first_frame
        if n_frames is not None and len(decoder) > n_frames:
            raise _other(path, f"it has {len(decoder)} frames, expected at most {n_frames}")
        frames = _frames_from(video, decoder.timestamps[-1])
        if frames is None:
            return
        if not frames:
            raise _other(path, f"the source has no frame of the timestamp {decoder.timestamps[-1]} of its last one")
        last, *after = frames
        is_cut = selection.is_cut_at_end if n_frames is None else len(decoder) == n_frames
        if after and not is_cut:
            raise _other(path, f"the source has frames behind its last one, of the timestamp {last.pts}")
        with suppress(BudgetError):
            if mask is None and _is_other_picture(decoder[-1].permute(1, 2, 0).numpy(), last.rgb):
                raise _other(path, "its last picture has nothing to do with that of the source")


def _compared(header: Any) -> dict[str, Any]:
    return {name: value for name, value in dataclasses.asdict(header).items() if name not in _NOT_COMPARED}


def _frames_from(video: VideoReader, pts: int) -> list[VideoFrame] | None:
    """Return the frame of a timestamp, and the next one if there is one; nothing without it, None if none can tell."""
    is_read = False
    for lead_seconds in _LEADS_SECONDS:
        # What looks like damage may be the lack of what comes before.
        with suppress(InputVideoError), closing(video.frames_from(pts, lead_seconds=lead_seconds)) as found:
            frames = list(islice(found, 2))
            is_read = True
            if frames and frames[0].pts == pts:
                return frames
    return [] if is_read else None


def _is_other_picture(decoded: Any, source: Any) -> bool:
    error = float(np.square(decoded.astype(np.float32) - source).mean())
    spread = float(source.var(axis=(0, 1), dtype=np.float64).mean())
    return error > max(_OTHER_PICTURE_MSE, _OTHER_PICTURE_RATIO * spread)


def _other(path: Path, how: str) -> ConfigError:
    return ConfigError(
        f"{path}: is there, of another source or with other options: {how}; move it, or write over it with -y in place "
        "of --resume"
    )
