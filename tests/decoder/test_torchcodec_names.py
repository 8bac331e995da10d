"""The decoder in the shape that users of torchcodec know: sources, orders, times, metadata."""

from __future__ import annotations

import copy
import io
import pickle
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from gops import random_gop, write_gops

import stgvcodec
from stgvcodec import VideoDecoder
from stgvcodec.bitstream import pack_gop
from stgvcodec.errors import ConfigError, InputVideoError


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    """Nine frames in three GoPs, 40 ms apart."""
    gops = [pack_gop(random_gop(seed, n_frames=3)) for seed in range(3)]
    path = tmp_path_factory.mktemp("torchcodec") / "nine.stgv"
    return write_gops(path, gops, frame_rate=Fraction(25), time_base=Fraction(1, 1000), last_frame_duration=0)


@pytest.fixture
def decoder(path):
    with VideoDecoder(path, device="cpu") as opened:
        yield opened


@pytest.fixture(scope="module")
def frames(path) -> torch.Tensor:
    with VideoDecoder(path, device="cpu") as opened:
        return opened[:]


SOURCES = {
    "path": lambda path: path,
    "text": str,
    "bytes": lambda path: path.read_bytes(),
    "tensor": lambda path: torch.from_numpy(np.fromfile(path, np.uint8)),
    "file": lambda path: path.open("rb"),
    "memory": lambda path: io.BytesIO(path.read_bytes()),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_a_file_is_opened_from_anything_that_holds_it(path, frames, kind):
    with VideoDecoder(SOURCES[kind](path), device="cpu") as decoder:
        assert torch.equal(decoder[4], frames[4])
        assert decoder.metadata.n_frames == 9


@pytest.mark.parametrize("kind", ["path", "text", "bytes", "tensor"])
def test_a_decoder_is_pickled_by_what_it_was_opened_from(path, frames, kind):
    with VideoDecoder(SOURCES[kind](path), device="cpu", dimension_order="NHWC") as decoder:
        for again in (pickle.loads(pickle.dumps(decoder)), copy.deepcopy(decoder)):
            assert torch.equal(again[4], frames[4].permute(1, 2, 0))
            again.close()


def test_a_decoder_of_a_file_object_says_why_it_cannot_be_pickled(path):
    with path.open("rb") as file, pytest.raises(TypeError, match="opened from a file object cannot be pickled"):
        pickle.dumps(VideoDecoder(file, device="cpu"))


def test_what_holds_no_file_is_refused(path):
    with pytest.raises(ConfigError, match="the source is a int, expected a path, an address"):
        VideoDecoder(5)  # type: ignore[arg-type]
    with path.open() as text, pytest.raises(InputVideoError, match=r"open as text, .* in binary mode"):
        VideoDecoder(text)  # type: ignore[arg-type]
    with pytest.raises(InputVideoError, match=r"is a folder, expected a .stgv file: name the file in it"):
        VideoDecoder(path.parent)


def test_a_tensor_of_something_else_is_refused():
    with pytest.raises(ConfigError, match=r"a tensor of torch.float32 \[3\], expected a file's bytes: uint8 \[n\]"):
        VideoDecoder(torch.zeros(3))


def test_channels_can_come_last(path, frames):
    with VideoDecoder(path, device=torch.device("cpu"), dimension_order="NHWC") as decoder:
        last = frames.permute(0, 2, 3, 1)
        assert torch.equal(decoder[3], last[3])
        assert torch.equal(decoder[2:8:2], last[2:8:2])
        assert torch.equal(decoder.get_frame_at(5).data, last[5])
        assert decoder.get_frames_at([0, 8]).data.is_contiguous()
    with pytest.raises(ConfigError, match="dimension_order is 'CHW', expected 'NCHW' or 'NHWC'"):
        VideoDecoder(path, dimension_order="CHW")  # type: ignore[arg-type]


def test_frames_and_batches_are_unpacked_and_iterated(decoder, frames):
    data, pts, duration = decoder.get_frame_at(2)
    assert torch.equal(data, frames[2])
    assert (pts, duration) == (pytest.approx(0.08), pytest.approx(0.04))

    batch = decoder.get_all_frames()
    assert isinstance(batch, stgvcodec.FrameBatch)
    assert len(batch) == 9
    for i, frame in enumerate(batch):
        assert isinstance(frame, stgvcodec.Frame)
        assert torch.equal(frame.data, frames[i])
        assert frame.pts_seconds == pytest.approx(0.04 * i)
    assert torch.equal(batch[2:5].data, frames[2:5])
    assert batch[-1].pts_seconds == pytest.approx(0.32)
    assert torch.equal(decoder.get_frames_at(torch.tensor([3, 3, 1])).data, frames[[3, 3, 1]])


@pytest.mark.parametrize("make", [list, torch.DoubleTensor, np.array], ids=["list", "tensor", "array"])
def test_frames_played_at_times(decoder, frames, make):
    batch = decoder.get_frames_played_at(make([0.0, 0.079, 0.08, 0.3599, 0.01]))

    assert torch.equal(batch.data, frames[[0, 1, 2, 8, 0]])
    with pytest.raises(IndexError, match=r"no frame is played at 0.36 s; the video runs from 0.0 s to 0.36"):
        decoder.get_frames_played_at([0.1, 0.36])


@pytest.mark.parametrize(
    ("start", "stop", "expected"),
    [(0.0, 0.36, range(9)), (0.05, 0.08, [1]), (0.05, 0.081, [1, 2]), (0.04, 0.04, []), (0.3, 0.36, [7, 8])],
)
def test_frames_played_in_a_range_of_time(decoder, frames, start, stop, expected):
    batch = decoder.get_frames_played_in_range(start, stop)

    assert torch.equal(batch.data, frames[list(expected)])
    assert batch.pts_seconds.tolist() == pytest.approx([0.04 * i for i in expected])


@pytest.mark.parametrize(
    ("fps", "expected"),
    [
        (25, range(9)),
        (50, [i // 2 for i in range(18)]),
        (12.5, [0, 2, 4, 6, 8]),
        (100 / 3, [0, 0, 1, 2, 3, 3, 4, 5, 6, 6, 7, 8]),
    ],
)
def test_frames_of_another_rate_in_a_range_of_time(decoder, frames, fps, expected):
    batch = decoder.get_frames_played_in_range(0.0, 0.36, fps=fps)

    assert torch.equal(batch.data, frames[list(expected)])
    assert batch.pts_seconds.tolist() == pytest.approx([i / fps for i in range(len(expected))])
    assert batch.duration_seconds.tolist() == pytest.approx([1 / fps] * len(expected))


def test_all_frames_of_another_rate(decoder, frames):
    assert torch.equal(decoder.get_all_frames(fps=12.5).data, frames[::2])


SEVERAL = {
    "list": [3, -1, 3],
    "range": range(2, 6),
    "int64 array": np.array([8, 0]),
    "uint8 array": np.array([8, 0], np.uint8),
    "int32 tensor": torch.tensor([8, 0], dtype=torch.int32),
    "nothing": [],
    "list of truths": [True, False, True] * 3,
    "array of truths": np.arange(9) > 5,
    "tensor of truths": torch.arange(9) > 5,
}


@pytest.mark.parametrize("kind", SEVERAL)
def test_several_frames_by_what_names_them(decoder, frames, kind):
    key = SEVERAL[kind]
    expected = torch.from_numpy(frames.numpy()[np.asarray(key, None if len(key) else int)])

    assert torch.equal(decoder[key], expected)
    assert torch.equal(decoder.get_frames_at(key).data, expected)
    assert torch.equal(torch.stack([*decoder.iter_frames(key), frames[0].permute(1, 2, 0)])[:-1], _last(expected))


def _last(frames: torch.Tensor) -> torch.Tensor:
    return frames.permute(0, 2, 3, 1)


@pytest.mark.parametrize("index", [4, -5, np.int64(4), np.array(4), torch.tensor(4), torch.tensor(-5)], ids=repr)
def test_one_frame_by_a_whole_number_of_any_kind(decoder, frames, index):
    assert torch.equal(decoder[index], frames[4])
    assert decoder.get_frame_at(index).pts_seconds == pytest.approx(0.16)


TRUTH = "is a truth value, expected the index of a frame; a mask is as long as the video"


@pytest.mark.parametrize(
    ("index", "error", "message"),
    [
        (9, IndexError, "frame 9 of a video of 9 frames"),
        (-10, IndexError, "frame -10 of a video of 9 frames"),
        (2.0, TypeError, "the index of a frame is 2.0, expected a whole number"),
        (np.float64(2), TypeError, "expected a whole number"),
        (torch.tensor(2.0), TypeError, "expected a whole number"),
        (True, TypeError, f"True {TRUTH}"),
        (np.bool_(False), TypeError, TRUTH),
        (torch.tensor(True), TypeError, TRUTH),
        (None, TypeError, "the index of a frame is None, expected a whole number"),
        (..., TypeError, "the index of a frame is Ellipsis, expected a whole number"),
    ],
)
def test_what_names_no_frame_is_refused(decoder, index, error, message):
    for read in (decoder.__getitem__, decoder.get_frame_at, lambda i: decoder.get_frames_at([0, i])):
        with pytest.raises(error, match=message):
            read(index)


@pytest.mark.parametrize(
    ("key", "error", "message"),
    [
        ((0, 1), TypeError, r"the index of a frame is \(0, 1\), expected one number; for several frames give a list"),
        ("a", TypeError, "indices of frames are 'a', expected whole numbers, a mask or a slice"),
        (np.zeros((2, 2), int), TypeError, r"indices of frames have the shape \[2, 2\], expected one dimension"),
        ([[1], [2]], TypeError, r"the index of a frame is \[1\], expected a whole number"),
        (torch.tensor([0.0, 1.0]), TypeError, "the index of a frame is 0.0, expected a whole number"),
        ([True] * 8, IndexError, "a mask of 8 frames for a video of 9 frames"),
        (torch.ones(10, dtype=torch.bool), IndexError, "a mask of 10 frames for a video of 9 frames"),
    ],
    ids=["tuple", "text", "matrix", "nested", "floats", "short mask", "long mask"],
)
def test_keys_that_are_no_frames_are_refused(decoder, key, error, message):
    with pytest.raises(error, match=message):
        decoder[key]


def test_arguments_of_torchcodec_that_change_nothing_are_taken(path, frames):
    arguments = {"stream_index": 0, "num_ffmpeg_threads": 0, "seek_mode": "approximate", "transforms": []}
    with VideoDecoder(path, device=None, backend="numba", custom_frame_mappings=None, **arguments) as decoder:
        assert decoder.stream_index == 0
        assert torch.equal(decoder[4], frames[4])


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("stream_index", 1, "stream_index is 1, expected 0: a .stgv file has one video stream"),
        ("seek_mode", "custom_frame_mappings", "seek_mode is 'custom_frame_mappings', expected 'exact'"),
        ("transforms", [torch.nn.Identity()], "transforms are not applied while decoding: leave them out, render at"),
        ("custom_frame_mappings", "{}", "custom_frame_mappings are those of another file: leave them out"),
        ("device", torch.device("meta"), "device is 'meta', expected one of auto, cpu, cuda, or cuda:N"),
    ],
)
def test_arguments_of_torchcodec_that_mean_nothing_here_are_refused(path, argument, value, message):
    with pytest.raises(ConfigError, match=message) as caught:
        VideoDecoder(path, **{argument: value})
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(("stop", "n_frames"), [(0.019, 0), (0.021, 1), (0.059, 1), (0.061, 2)])
def test_the_number_of_frames_of_another_rate_is_rounded(decoder, stop, n_frames):
    assert len(decoder.get_frames_played_in_range(0.0, stop, fps=25)) == n_frames


def test_ranges_of_time_that_are_none_are_refused(decoder):
    with pytest.raises(ConfigError, match=r"ends at 0.1 s, before it begins at 0.2 s"):
        decoder.get_frames_played_in_range(0.2, 0.1)
    with pytest.raises(ConfigError, match="fps is 0, expected more than 0"):
        decoder.get_frames_played_in_range(0.0, 0.1, fps=0)
    for start, stop in ((-0.1, 0.1), (0.1, 0.4), (0.36, 0.36)):
        message = rf"the range of time is {start} s to {stop} s, expected one within the video, which runs from 0.0 s"
        with pytest.raises(ConfigError, match=message):
            decoder.get_frames_played_in_range(start, stop)


def test_metadata_has_torchcodecs_names(decoder):
    metadata = decoder.metadata

    assert metadata.num_frames == len(decoder) == 9
    assert metadata.average_fps == pytest.approx(25.0)
    assert (metadata.begin_stream_seconds, metadata.end_stream_seconds) == (0.0, pytest.approx(0.36))
    assert metadata.duration_seconds == pytest.approx(0.36)
    assert (metadata.width, metadata.height) == (decoder.header.width, decoder.header.height)
    assert (metadata.codec, metadata.stream_index) == ("stgv", 0)
    assert metadata.bit_rate == pytest.approx(8 * metadata.file_bytes / 0.36)
    assert metadata.pixel_aspect_ratio == decoder.header.sample_aspect_ratio
