from __future__ import annotations

import errno
import io
import random
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from clips import assert_same_pixels, decoded_frames
from gops import random_gop, write_gops

import stgvcodec
from stgvcodec import VideoDecoder
from stgvcodec.bitstream import pack_gop
from stgvcodec.errors import BitstreamError, ClosedDecoderError, ConfigError, InputVideoError


@pytest.fixture
def decoder(encoded):
    with VideoDecoder(encoded.path, device="cpu") as opened:
        yield opened


@pytest.fixture(scope="module")
def frames(encoded) -> torch.Tensor:
    """Every frame in order. [7, 3, 32, 48] uint8."""
    with VideoDecoder(encoded.path, device="cpu") as opened:
        return opened[:]


def test_frames_are_the_source_as_far_as_a_short_fit_goes(frames, encoded):
    difference = frames.permute(0, 2, 3, 1).float() - torch.from_numpy(encoded.frames).float()

    assert frames.shape == (7, 3, 32, 48)
    assert frames.dtype == torch.uint8
    # A GoP in the wrong place or channels swapped cost more.
    assert difference.abs().mean() < 20


def test_indexing(decoder, frames):
    assert len(decoder) == 7
    assert torch.equal(torch.stack(list(decoder)), frames)
    for i in range(-7, 7):
        assert torch.equal(decoder[i], frames[i])
    assert decoder[0].shape == (3, 32, 48)
    assert decoder[0].is_contiguous()


@pytest.mark.parametrize("index", [7, -8, 1000])
def test_an_index_out_of_range(decoder, index):
    for read in (decoder.__getitem__, decoder.get_frame_at, decoder.pts, decoder.gaussians_at):
        with pytest.raises(IndexError, match=f"frame {index}.*7 frames"):
            read(index)
    with pytest.raises(IndexError):
        decoder.get_frames_at([0, index])
    with pytest.raises(IndexError):
        list(decoder.iter_frames([0, index]))


@pytest.mark.parametrize(
    "key",
    [
        *(slice(None), slice(2, 6), slice(-3, None), slice(None, None, 2), slice(None, None, -1), slice(5, 1, -2)),
        *(slice(3, 3), slice(100, 200), slice(5, 2)),
    ],
    ids=str,
)
def test_slices(decoder, frames, key):
    assert torch.equal(decoder[key], torch.from_numpy(frames.numpy()[key].copy()))
    assert decoder[key].is_contiguous()


def test_random_access_equals_sequential(encoded, frames):
    order = [i for i in range(7) for _ in range(3)]
    random.Random(0).shuffle(order)
    with VideoDecoder(encoded.path, device="cpu") as decoder:
        for i in order:
            assert torch.equal(decoder[i], frames[i])
    for i in range(7):
        with VideoDecoder(encoded.path, device="cpu") as fresh:
            assert torch.equal(fresh[i], frames[i])


def test_iter_frames_in_any_order(decoder, frames):
    order = [6, 0, 0, 5, -1, 3, 4, 2]

    seen = list(decoder.iter_frames(order))

    for i, frame in zip(order, seen, strict=True):
        assert torch.equal(frame.permute(2, 0, 1), frames[i])
    assert list(decoder.iter_frames([])) == []


def test_gradients_stay_on_for_the_caller(decoder):
    """The caller may train between two frames and after leaving early."""
    frames = decoder.iter_frames()

    next(frames)

    assert torch.is_grad_enabled()
    assert (torch.ones(1, requires_grad=True) * 2).requires_grad


@pytest.mark.parametrize("n_threads", ["1", "2", "3"])
def test_any_number_of_threads_decodes_the_same_frames(encoded, frames, monkeypatch, n_threads):
    monkeypatch.setenv("STGV_THREADS", n_threads)
    before = torch.get_num_threads()
    torch.set_num_threads(int(n_threads))
    try:
        with VideoDecoder(encoded.path, device="cpu") as decoder:
            assert torch.equal(decoder[:], frames)
    finally:
        torch.set_num_threads(before)


def test_a_frame_carries_its_times(decoder, frames, encoded):
    for i, stamp in enumerate(encoded.pts):
        frame = decoder.get_frame_at(i)
        assert torch.equal(frame.data, frames[i])
        assert frame.pts_seconds == stamp / 1000
    assert [decoder.get_frame_at(i).duration_seconds for i in range(6)] == pytest.approx(
        np.diff(encoded.pts) / 1000, abs=1e-12
    )
    assert decoder.get_frame_at(-1).duration_seconds == float(1 / decoder.metadata.frame_rate)
    assert decoder.get_frame_at(-1).pts_seconds == 0.390


@pytest.mark.parametrize("order", [[5, 0, 5, -1, 2], []], ids=str)
def test_batches_carry_their_times(decoder, frames, encoded, order):
    batch = decoder.get_frames_at(order)

    assert len(batch) == len(order)
    assert torch.equal(batch.data, frames[torch.tensor(order, dtype=torch.int64)])
    assert batch.pts_seconds.dtype == batch.duration_seconds.dtype == torch.float64
    assert batch.pts_seconds.tolist() == [encoded.pts[i] / 1000 for i in order]
    assert batch.duration_seconds.tolist() == [decoder.get_frame_at(i).duration_seconds for i in order]


def test_frames_in_range(decoder, frames, encoded):
    assert torch.equal(decoder.get_frames_in_range(2, 6).data, frames[2:6])
    stepped = decoder.get_frames_in_range(1, 7, 3)
    assert torch.equal(stepped.data, frames[1:7:3])
    assert stepped.pts_seconds.tolist() == [encoded.pts[i] / 1000 for i in (1, 4)]


@pytest.mark.parametrize(
    ("milliseconds", "expected"),
    [(80, 0), (119, 0), (120, 1), (199.99, 1), (200, 2), (209, 2), (210, 3), (329, 3), (330, 4), (389, 5), (390, 6)],
)
def test_frame_played_at(decoder, frames, milliseconds, expected):
    frame = decoder.get_frame_played_at(milliseconds / 1000)

    assert torch.equal(frame.data, frames[expected])
    assert frame.pts_seconds == decoder.get_frame_at(expected).pts_seconds


def test_a_frame_is_played_at_its_own_time(tmp_path):
    """It is, whatever multiples of 1 / 24 are in floats."""
    payloads = [pack_gop(random_gop(n_gaussians=5))] * 2
    path = write_gops(tmp_path / "a.stgv", payloads, ticks=1, frame_rate=Fraction(24), time_base=Fraction(1, 24))
    with VideoDecoder(path, device="cpu") as decoder:
        for i in range(len(decoder)):
            own = decoder.get_frame_at(i).pts_seconds
            assert decoder.get_frame_played_at(own).pts_seconds == own


@pytest.mark.parametrize("seconds", [0.0799, -1.0, 0.0, 60.0, float("nan"), float("inf"), -float("inf")])
def test_no_frame_is_played_then(decoder, seconds):
    with pytest.raises(IndexError, match="no frame is played"):
        decoder.get_frame_played_at(seconds)


def test_the_last_frame_is_played_to_its_end(decoder):
    end = decoder.metadata.duration_seconds + 0.080

    assert decoder.get_frame_played_at(end - 1e-6).pts_seconds == 0.390
    with pytest.raises(IndexError):
        decoder.get_frame_played_at(end + 1e-6)


def test_attributes(decoder):
    assert decoder.damage == ()
    assert decoder.device == torch.device("cpu")
    assert decoder.backend == "numba"


def test_what_is_printed_are_shapes_not_pixels(decoder):
    assert "[3, 32, 48]" in repr(decoder.get_frame_at(1))
    assert "[2, 3, 32, 48]" in repr(decoder.get_frames_at([1, 2]))
    assert len(repr(decoder.get_frames_at([1, 2]))) < 200


def test_gaussians_are_those_that_are_rendered(decoder, frames):
    from stgvcodec.ops.rasterize import rasterize, to_uint8

    for i in (0, 5):
        means, cholesky, colors = decoder.gaussians_at(i)
        image = rasterize(means[None], cholesky, colors[None], height=32, width=48, backend="numba")
        assert_same_pixels(to_uint8(image)[0].permute(2, 0, 1).numpy(), frames[i].numpy())


def test_closing(encoded):
    with VideoDecoder(encoded.path, device="cpu") as decoder:
        decoder[0]
    decoder.close()  # once more does no harm
    for read in (
        lambda: decoder[0],
        lambda: decoder[2:2],
        lambda: decoder.get_frames_at([6]),
        lambda: next(decoder.iter_frames()),
        lambda: decoder.gaussians_at(0),
        lambda: decoder.metadata,
        lambda: decoder.__enter__(),
    ):
        with pytest.raises(ClosedDecoderError, match="the decoder is closed, as after its `with` block: open the file"):
            read()
    assert encoded.path.resolve() not in {fd.resolve() for fd in Path("/proc/self/fd").glob("*")}


def test_a_file_that_its_caller_closed_is_said_to_be(encoded):
    for source in (encoded.path.open("rb"), io.BytesIO(encoded.path.read_bytes())):
        decoder = VideoDecoder(source, device="cpu")
        source.close()
        with pytest.raises(ClosedDecoderError, match="the file is closed, as after the decoder's `with` block: open"):
            decoder[0]


def test_two_decoders_side_by_side(encoded, frames):
    with VideoDecoder(encoded.path, device="cpu") as one, VideoDecoder(encoded.path, device="cpu") as two:
        for i in range(7):
            assert torch.equal(one[i], frames[i])
            assert torch.equal(two[6 - i], frames[6 - i])


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0, 1.37])
def test_scale_is_rendered(decoder, scale):
    frame = next(decoder.iter_frames([3], scale=scale))

    assert frame.shape == (round(32 * scale), round(48 * scale), 3)
    if scale == 2.0:
        full = next(decoder.iter_frames([3]))
        assert (frame[::2, ::2].float() - full.float()).abs().mean() < 8  # the same picture
        repeated = full.repeat_interleave(2, 0).repeat_interleave(2, 1)
        assert not torch.equal(frame, repeated)  # and no repeated pixels


@pytest.mark.parametrize("size", [(48, 32), (24, 16), (96, 32), (31, 77), (1, 1)])
def test_any_size_is_rendered_exactly(decoder, size):
    width, height = size
    frame = next(decoder.iter_frames([3], size=(height, width)))

    assert frame.shape == (height, width, 3)
    full = next(decoder.iter_frames([3]))
    if size == (24, 16):
        assert torch.equal(frame, next(decoder.iter_frames([3], scale=0.5)))
    if size == (96, 32):
        assert (frame[:, ::2].float() - full.float()).abs().mean() < 8  # the same picture, stretched
    if size != (1, 1):  # Its one pixel reaches far beyond the picture.
        assert abs(frame.float().mean() - full.float().mean()) < 8


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"size": (4, 0)}, "size is 0x4"),
        ({"size": (99999, 4)}, "size is 4x99999"),
        ({"size": (4, 4), "scale": 2}, "both"),
    ],
)
def test_an_impossible_size_is_refused(decoder, options, said):
    with pytest.raises(ConfigError, match=said):
        next(decoder.iter_frames(**options))


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf"), 1e6])
def test_an_impossible_scale_is_refused(decoder, scale):
    with pytest.raises(ConfigError, match="scale"):
        next(decoder.iter_frames(scale=scale))


def test_a_picture_at_the_time_of_a_frame_is_that_frame(decoder, frames):
    for i in (0, 2, 3, 4, 6):
        assert torch.equal(decoder.render(decoder.get_frame_at(i).pts_seconds), frames[i])


def test_pictures_between_frames(decoder, frames):
    """Frames 0 to 3 are a GoP, at 80, 120, 200 and 210 ms; 4 to 6 are another, at 330, 350 and 390."""
    between = [decoder.render(seconds) for seconds in (0.14, 0.16, 0.18)]
    for picture in between:
        assert all(not torch.equal(picture, frame) for frame in frames)
        # The disc moves by two pixels from frame to frame: what is in between differs little from both.
        assert (picture.float() - frames[1].float()).abs().mean() < 12
    assert not torch.equal(between[0], between[1])
    # The share of the way goes by the timestamps, which are uneven.
    assert torch.equal(between[1], decoder._open(0).picture_between(1, 0.5).permute(2, 0, 1))


@pytest.mark.parametrize(("seconds", "index"), [(0.2101, 3), (0.3, 3), (0.3299, 3), (0.3901, 6)])
def test_a_gop_stands_still_from_its_last_frame_on(decoder, frames, seconds, index):
    assert torch.equal(decoder.render(seconds), frames[index])


def test_a_picture_of_any_size(encoded, decoder, frames):
    twice = next(decoder.iter_frames([3], scale=2.0)).permute(2, 0, 1)
    assert torch.equal(decoder.render(0.21, size=(64, 96)), twice)
    assert torch.equal(decoder.render(0.21, size=(32, 48)), frames[3])
    for size in ((1, 1), (7, 200), (64, 48), (32, 24)):
        picture = decoder.render(0.21, size=size)
        assert picture.shape == (3, *size)
        assert picture.is_contiguous()
    # Stretched to three times the height, every third row lies where rows of the picture lie.
    stretched = decoder.render(0.21, size=(96, 48))
    assert (stretched[:, 1::3].float() - frames[3].float()).abs().mean() < 0.1
    with VideoDecoder(encoded.path, device="cpu", dimension_order="NHWC") as last:
        assert torch.equal(last.render(0.21, size=(64, 96)), twice.permute(1, 2, 0))


@pytest.mark.parametrize("size", [(0, 48), (32, -1), (16385, 32), (16384, 16384)], ids=str)
def test_a_picture_of_an_impossible_size_is_refused(decoder, size):
    height, width = size
    with pytest.raises(ConfigError, match=f"size is {width}x{height}, expected a width and a height from 1 to 16384"):
        decoder.render(0.21, size=size)


def test_a_time_outside_of_the_video_has_no_picture(decoder):
    for seconds in (0.0, 0.0799, 9.0, float("nan")):
        with pytest.raises(IndexError, match="no frame is played at"):
            decoder.render(seconds)


def test_back_ends_agree(encoded, frames):
    with VideoDecoder(encoded.path, device="cpu", backend="reference") as decoder:
        assert decoder.backend == "reference"
        reference = decoder[:]

    assert_same_pixels(frames.numpy(), reference.numpy())


def test_back_ends_agree_on_a_larger_picture(tmp_path):
    """It has enough samples for 99.99% to mean something."""
    path = write_gops(tmp_path / "a.stgv", [pack_gop(random_gop(n_gaussians=400))], width=160, height=120)

    assert_same_pixels(*(decoded_frames(path, backend=backend) for backend in ("numba", "reference")))


def test_a_missing_file():
    with pytest.raises(
        InputVideoError, match=r"^missing\.stgv: does not exist, expected a .stgv file: check"
    ) as caught:
        VideoDecoder("missing.stgv", device="cpu")
    assert isinstance(caught.value, FileNotFoundError)
    assert caught.value.errno == errno.ENOENT


def test_a_file_of_another_kind(tmp_path):
    (tmp_path / "a.stgv").write_text("plain text")

    with pytest.raises(BitstreamError, match="file"):
        VideoDecoder(tmp_path / "a.stgv", device="cpu")


def test_public_names():
    assert len(stgvcodec.__all__) <= 12
    assert all(hasattr(stgvcodec, name) for name in stgvcodec.__all__)
    assert sorted(stgvcodec.__all__) == dir(stgvcodec)
    with pytest.raises(AttributeError, match="nonsense"):
        stgvcodec.nonsense  # noqa: B018
