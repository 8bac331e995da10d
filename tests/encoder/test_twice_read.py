from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from clips import moving_clip, write_video

from stgvcodec import EncodeConfig, encode
from stgvcodec.encoder.twice_read import TwiceRead
from stgvcodec.errors import InputVideoError
from stgvcodec.media.reader import VideoFrame


class ChangingVideo:
    """A source whose second reading gives other frames than the first."""

    name, width, height, file, time_base = "changing.mkv", 48, 32, None, Fraction(1, 1000)

    def __init__(self, *readings: list[VideoFrame]) -> None:
        self._readings = list(readings)

    def __iter__(self) -> Iterator[VideoFrame]:
        return iter(self._readings.pop(0))


def frames(n: int, change: Callable[[int, VideoFrame], VideoFrame] = lambda _, frame: frame) -> list[VideoFrame]:
    return [change(t, VideoFrame(rgb, 40 * t)) for t, rgb in enumerate(moving_clip(n))]


def one_sample_off(t: int, frame: VideoFrame) -> VideoFrame:
    rgb = frame.rgb.copy()
    rgb[31, 47, 2] ^= t == 3
    return VideoFrame(rgb, frame.pts)


def later(t: int, frame: VideoFrame) -> VideoFrame:
    return VideoFrame(frame.rgb, frame.pts + (t == 3))


@pytest.fixture
def _nothing_is_kept(monkeypatch):
    monkeypatch.setattr("stgvcodec.encoder.twice_read._KEPT_BYTES", 0)


@pytest.mark.parametrize("kept_bytes", [0, 3 * 48 * 32, 1 << 20])
def test_the_second_reading_is_the_first(monkeypatch, kept_bytes):
    monkeypatch.setattr("stgvcodec.encoder.twice_read._KEPT_BYTES", kept_bytes)
    video = ChangingVideo(frames(5), frames(5))
    read = TwiceRead(video)
    first = list(read)

    again = list(read.again())

    assert [frame.pts for frame in again] == [frame.pts for frame in first] == [0, 40, 80, 120, 160]
    assert all(np.array_equal(a.rgb, b.rgb) for a, b in zip(first, again, strict=True))
    assert len(video._readings) == (kept_bytes == 1 << 20)


@pytest.mark.usefixtures("_nothing_is_kept")
@pytest.mark.parametrize(
    ("second", "said"),
    [
        (frames(3), r"^changing\.mkv: got 3 frames, expected the 5 of a moment ago; it changed while it was read$"),
        (frames(5, one_sample_off), r"^changing\.mkv: got another frame 3 than a moment ago; it changed"),
        (frames(5, later), r"^changing\.mkv: got another frame 3 than a moment ago; it changed"),
    ],
    ids=["fewer frames", "one sample", "one time"],
)
def test_a_source_that_changes_in_between_is_noticed(second, said):
    read = TwiceRead(ChangingVideo(frames(5), second))
    list(read)

    with pytest.raises(InputVideoError, match=said):
        list(read.again())


def test_the_checksum_is_that_of_all_frames():
    crcs = []
    for reading in (frames(5), frames(5), frames(4), frames(5, one_sample_off), frames(5, later)):
        read = TwiceRead(ChangingVideo(reading))
        list(read)
        crcs.append(read.crc)
    assert crcs[0] == crcs[1]
    assert len(set(crcs)) == 4


def overwrite(path: Path) -> None:
    write_video(moving_clip(7, phase=1.0), path, tuple(range(0, 280, 40)))


def lengthen(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\0")


@pytest.mark.usefixtures("_nothing_is_kept")
@pytest.mark.parametrize("change", [overwrite, lengthen])
def test_a_file_that_changes_under_an_encode_is_named(tmp_path, monkeypatch, change):
    source = write_video(moving_clip(7), tmp_path / "clip.mkv", tuple(range(0, 280, 40)))
    config = EncodeConfig(preset="tiny", bpp_target=3.0, gop=4, scene_cut=False)
    again = TwiceRead.again

    def changed(frames: TwiceRead) -> Iterator[VideoFrame]:
        change(source)
        return again(frames)

    monkeypatch.setattr(TwiceRead, "again", changed)
    with pytest.raises(InputVideoError, match=r"clip\.mkv: got .* a moment ago; .*changed while it was read"):
        encode(source, tmp_path / "a.stgv", config=config, device="cpu")
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mkv"]
