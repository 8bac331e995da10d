"""Sources other than paths: frames in memory, frames as they come, and video files that are not on the disk."""

from __future__ import annotations

import io
import os
import threading
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from clips import files_under

from stgvcodec.errors import ConfigError, InputVideoError
from stgvcodec.media import Selection
from stgvcodec.media import frames as frames_module
from stgvcodec.media.opening import opened

EVERYTHING = Selection()


@dataclass
class Timed:
    """What torchcodec's `Frame` and `FrameBatch` have."""

    data: torch.Tensor
    pts_seconds: object
    duration_seconds: object


class Channel:
    """A stream that can be read once and has no name, such as a socket's file."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def read(self, n: int = -1) -> bytes:
        return self._file.read(n)


def read(source, selection=EVERYTHING, **options):
    """The frames of a source twice, as an encoder reads them, [T, H, W, 3], and when each is shown, seconds."""
    with opened(source, selection=selection, **options) as video:
        first, second = list(video), list(video)
        assert [frame.pts for frame in first] == [frame.pts for frame in second]
        pictures = np.stack([frame.rgb for frame in first])
        assert np.array_equal(pictures, np.stack([frame.rgb for frame in second]))
        return pictures, [float(frame.pts * video.time_base) for frame in first], video


def first_channels(clip: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(clip).permute(0, 3, 1, 2)


class Items:
    """What has a length and items alone, as datasets of torch do."""

    def __init__(self, frames: np.ndarray) -> None:
        self._frames = frames

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> np.ndarray:
        return self._frames[index]


FORMS = {
    "items": Items,
    "array, channels last": lambda clip: clip,
    "array, channels first": lambda clip: clip.transpose(0, 3, 1, 2),
    "array, every other row of another": lambda clip: clip.repeat(2, axis=1)[:, ::2],
    "tensor, channels first": first_channels,
    "tensor, channels last": torch.from_numpy,
    "list of arrays": list,
    "list of tensors": lambda clip: list(first_channels(clip)),
    "iterator of arrays": iter,
    "generator of tensors": lambda clip: (frame for frame in first_channels(clip)),
}


@pytest.mark.parametrize("spool_bytes", [0, 1 << 20], ids=["file", "memory"])
@pytest.mark.parametrize("form", FORMS)
def test_frames_come_back_as_they_were(clip, form, spool_bytes, monkeypatch):
    monkeypatch.setattr(frames_module, "_SPOOL_BYTES", spool_bytes)
    pictures, seconds, video = read(FORMS[form](clip), fps=25)

    assert np.array_equal(pictures, clip)
    assert seconds == pytest.approx([0.04 * k for k in range(7)])
    assert (video.frame_rate, video.time_base, video.file) == (25, Fraction(1, 25), None)
    assert video.n_frames == (None if form.startswith(("items", "iterator", "generator")) else 7)


def test_a_buffer_that_is_filled_anew_gives_each_frame(clip):
    def filled():
        buffer = np.empty_like(clip[0])
        for frame in clip:
            buffer[:] = frame
            yield buffer

    assert np.array_equal(read(filled(), fps=25)[0], clip)


def test_no_more_frames_are_taken_than_are_selected(clip):
    def endless():
        while True:
            yield clip[0]

    pictures, _, _ = read(endless(), Selection(frames=(2, 5), resize=(24, 16)), fps=25)
    assert pictures.shape == (3, 16, 24, 3)


EVEN = {25.0: Fraction(25), 30000 / 1001: Fraction(30000, 1001), 240.0: Fraction(240), 1 / 3: Fraction(1, 3)}


@pytest.mark.parametrize("rate", EVEN)
def test_even_times_give_their_rate_and_even_timestamps(clip, rate):
    times = np.array([5.0 + k / rate for k in range(7)])
    _, seconds, video = read(clip, timestamps=times)

    assert video.frame_rate == EVEN[rate]
    assert seconds == pytest.approx(times, abs=1e-6)
    with opened(clip, selection=EVERYTHING, timestamps=times) as again:
        assert len({later.pts - frame.pts for frame, later in zip(list(again), list(again)[1:], strict=False)}) == 1
    assert video.time_base.denominator < 2**32


def test_uneven_times_are_kept_to_a_microsecond(clip):
    times = [-0.5, 0.1, 0.13, 0.2, 0.7, 0.71, 3.0]
    for timestamps in (times, torch.tensor(times, dtype=torch.float64)):
        assert read(clip, timestamps=timestamps)[1] == pytest.approx(times, abs=1e-6)


def test_a_batch_has_times_of_its_own(clip):
    seconds, durations = torch.tensor([0.1, 0.2, 0.4], dtype=torch.float64), torch.tensor([0.1, 0.2, 0.5])
    batch = Timed(first_channels(clip[:3]), seconds, durations)
    pictures, times, video = read(batch)

    assert np.array_equal(pictures, clip[:3])
    assert times == pytest.approx([0.1, 0.2, 0.4], abs=1e-6)
    assert float(video.last_frame_duration() * video.time_base) == pytest.approx(0.5, abs=1e-6)
    assert read(batch, fps=10)[1] == pytest.approx([0.0, 0.1, 0.2])


def test_frames_have_times_of_their_own(clip):
    frames = [Timed(frame, 0.04 * k, 0.04) for k, frame in enumerate(first_channels(clip))]
    for source in (frames, iter(frames)):
        pictures, times, video = read(source)
        assert np.array_equal(pictures, clip)
        assert times == pytest.approx([0.04 * k for k in range(7)])
        assert video.frame_rate == 25
    pictures, times, video = read(frames[2])
    assert np.array_equal(pictures, clip[2:3])
    assert (times, video.frame_rate) == ([pytest.approx(0.08)], 25)


def test_three_rows_or_columns_need_the_order(clip):
    narrow = clip[:, :3]
    with pytest.raises(ConfigError, match=r"shape \[7, 3, 48, 3\] have two sides of 3; give dimension_order="):
        read(narrow, fps=25)
    assert np.array_equal(read(narrow, fps=25, dimension_order="NHWC")[0], narrow)
    assert read(narrow, fps=25, dimension_order="NCHW")[0].shape == (7, 48, 3, 3)


SHAPE = r"frames have the shape \[.*\], expected \[T, H, W, 3\] or \[T, 3, H, W\]"
REFUSED = {
    "no times": (lambda clip: clip, {}, ConfigError, "the frames have no times; give fps=, or timestamps= in seconds"),
    "both": (lambda clip: clip, {"fps": 1, "timestamps": [0.0]}, ConfigError, "fps and timestamps are both given"),
    "fps": (lambda clip: clip, {"fps": 0}, ConfigError, "fps is 0, expected more than 0 and at most 65535"),
    "fps nan": (lambda clip: clip, {"fps": float("nan")}, ConfigError, "fps is nan, expected more than 0"),
    "few times": (lambda clip: clip, {"timestamps": [0, 1]}, ConfigError, "timestamps are 2, expected one for each of"),
    "few times as they come": (iter, {"timestamps": [0, 1]}, ConfigError, "timestamps are 2, .* there are more"),
    "backwards": (lambda c: c[:3], {"timestamps": [0, 2, 1]}, ConfigError, "frame 2 is at 1 s, expected a time after"),
    "endless time": (lambda c: c[:2], {"timestamps": [0, np.inf]}, ConfigError, "not all finite numbers"),
    "order": (lambda clip: clip, {"fps": 1, "dimension_order": "CHW"}, ConfigError, "dimension_order is 'CHW', exp"),
    "other order": (lambda clip: clip, {"fps": 1, "dimension_order": "NCHW"}, InputVideoError, "in the order NCHW, ex"),
    "floats": (lambda clip: clip / 255, {"fps": 1}, InputVideoError, "values of float64, expected uint8, 0 to 255"),
    "one picture": (lambda clip: clip[0], {"fps": 1}, InputVideoError, SHAPE),
    "grey": (lambda clip: clip[..., 0], {"fps": 1}, InputVideoError, SHAPE),
    "four channels": (lambda c: np.zeros((2, 8, 8, 4), np.uint8), {"fps": 1}, InputVideoError, "expected three chann"),
    "no frames": (lambda clip: clip[:0], {"fps": 1}, InputVideoError, "the source has no frames, expected at least on"),
    "nothing comes": (lambda clip: iter(()), {"fps": 1}, InputVideoError, "the source has no frames"),
    "texts": (lambda clip: ["a"], {"fps": 1}, InputVideoError, "a frame is a str, expected an array or a tensor"),
    "a number": (lambda clip: 3, {"fps": 1}, ConfigError, "the source is a int, expected a path, a file, an array"),
    "sizes": (lambda clip: [clip[0], clip[0][1:]], {"fps": 1}, InputVideoError, "frame 1: got a picture of 48x31"),
    "matrix": (lambda clip: clip, {"fps": 1, "matrix": "bt709"}, ConfigError, "got --matrix for an RGB source"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_source_is_refused(clip, kind):
    make, options, error, message = REFUSED[kind]
    with pytest.raises(error, match=message):
        read(make(clip), **options)


FILES = {
    "bytes": lambda path: path.read_bytes(),
    "open file": lambda path: path.open("rb"),
    "memory": lambda path: io.BytesIO(path.read_bytes()),
    "what can be read once": lambda path: Channel(path.read_bytes()),
}


@pytest.mark.parametrize("kind", FILES)
def test_video_files_in_memory_and_behind_file_objects(clip_video, clip, kind, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    pictures, seconds, _ = read(FILES[kind](clip_video))

    assert np.array_equal(pictures, clip)
    assert seconds == pytest.approx([0.08, 0.12, 0.2, 0.21, 0.33, 0.35, 0.39])
    assert files_under(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "pipe"), reason="needs pipes")
def test_a_pipe(clip_video, clip):
    reading, writing = os.pipe()

    def write() -> None:
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(clip_video.read_bytes())

    thread = threading.Thread(target=write)
    thread.start()
    with os.fdopen(reading, "rb") as pipe:
        assert np.array_equal(read(pipe)[0], clip)
    thread.join()


def test_a_file_is_read_from_where_it_stands(clip_video, clip):
    file = io.BytesIO(b"a request's head" + clip_video.read_bytes())
    file.seek(len(b"a request's head"))
    assert np.array_equal(read(file)[0], clip)


def test_files_that_are_none_are_refused(clip_video):
    with pytest.raises(InputVideoError, match=r"video: is empty \(0 bytes\)"):
        read(b"")
    with pytest.raises(InputVideoError, match="video: gives text, expected bytes; open the file in binary mode"):
        read(io.StringIO("text"))
    for options in ({"timestamps": [0.0]}, {"dimension_order": "NCHW"}, {"fps": 25}):
        name = next(iter(options))
        for source in (clip_video, clip_video.read_bytes()):
            with pytest.raises(ConfigError, match=f"{name} is given for a video file, .*leave it out"):
                read(source, **options)


def test_a_folder_of_images_has_the_rate_that_is_given(clip_folder, clip):
    pictures, seconds, video = read(Path(clip_folder), fps=12.5)

    assert np.array_equal(pictures, clip)
    assert (video.frame_rate, seconds[1]) == (Fraction(25, 2), pytest.approx(0.08))
