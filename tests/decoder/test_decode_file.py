from __future__ import annotations

import dataclasses
import re
import threading
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from clips import files_under, read_frames
from gops import HEADER, random_gop, with_damaged_gop

from stgvcodec import Selection, VideoDecoder, decode
from stgvcodec.bitstream import StgvReader, StgvWriter, pack_gop
from stgvcodec.decoder.gop_renderer import GopRenderer
from stgvcodec.encoder.config import EncodeConfig
from stgvcodec.encoder.encode import encode
from stgvcodec.errors import (
    BackendUnavailableError,
    BitstreamError,
    CancelledError,
    ConfigError,
    InputVideoError,
    OutputError,
)
from stgvcodec.media import CodecOptions, Crop, open_video


@pytest.mark.parametrize("keep_going", [False, True])
def test_a_folder_holds_the_frames_exactly(encoded, decoded, tmp_path, keep_going):
    report = decode(encoded.path, tmp_path / "out", device="cpu", keep_going=keep_going)

    np.testing.assert_array_equal(read_frames(tmp_path / "out"), decoded)
    assert (report.path, report.width, report.height, report.n_frames) == (tmp_path / "out", 48, 32, 7)
    assert (report.damage, report.device, report.backend) == ((), "cpu", "numba")
    assert 0 < report.render_seconds <= report.seconds


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_a_video_has_the_timestamps_of_the_source(encoded, decoded, tmp_path, suffix):
    target = tmp_path / f"out{suffix}"

    decode(encoded.path, target, device="cpu")

    with open_video(target) as video, open_video(encoded.source) as source:
        frames = list(video)
        assert [frame.pts * video.time_base for frame in frames] == [frame.pts * source.time_base for frame in source]
    assert np.abs(np.stack([frame.rgb for frame in frames]).astype(int) - decoded).mean() < 6  # 4:2:0 costs that


@pytest.mark.parametrize(
    ("name", "codec", "said"),
    [
        ("out.xyz", None, "got the suffix '.xyz'"),
        ("out.mp4", CodecOptions("prores"), "does not hold it"),
        ("out.mp4", CodecOptions(crf=99), "expected 0 to 51"),
    ],
)
def test_an_output_that_cannot_be_is_refused_before_rendering(encoded, tmp_path, monkeypatch, name, codec, said):
    monkeypatch.setattr(GopRenderer, "batches", lambda *_, **__: pytest.fail("a frame was rendered"))

    with pytest.raises(ConfigError, match=re.escape(said)):
        decode(encoded.path, tmp_path / name, codec=codec, device="cpu")


def test_y4m(encoded, decoded, tmp_path):
    decode(encoded.path, tmp_path / "out.y4m", device="cpu")

    assert np.abs(read_frames(tmp_path / "out.y4m").astype(int) - decoded).max() <= 3  # 4:4:4, limited range


@pytest.mark.parametrize(("scale", "size"), [(2.0, (96, 64)), (0.5, (24, 16)), (1.3, (62, 42))])
@pytest.mark.parametrize("name", ["out", "out.mp4"])
def test_scale_sets_the_size(encoded, tmp_path, scale, size, name):
    report = decode(encoded.path, tmp_path / name, scale=scale, device="cpu", selection=Selection(frames=(0, 2)))

    assert (report.width, report.height) == size
    with open_video(tmp_path / name) as video:
        assert (video.width, video.height) == size
        assert len(list(video)) == 2


def test_scaled_frames_are_those_of_the_decoder(encoded, tmp_path):
    decode(encoded.path, tmp_path / "out", scale=2.0, device="cpu")

    with VideoDecoder(encoded.path, device="cpu") as decoder:
        expected = np.stack([frame.numpy() for frame in decoder.iter_frames(scale=2.0)])
    np.testing.assert_array_equal(read_frames(tmp_path / "out"), expected)


@pytest.mark.parametrize("frames", [(2, 6), (None, 3), (5, None), (6, 100)])
def test_a_part_of_the_frames(encoded, decoded, tmp_path, frames):
    report = decode(encoded.path, tmp_path / "out", device="cpu", selection=Selection(frames=frames))

    expected = decoded[slice(*frames)]
    np.testing.assert_array_equal(read_frames(tmp_path / "out"), expected)
    assert report.n_frames == len(expected)


def test_a_part_of_the_frames_keeps_its_timestamps(encoded, tmp_path):
    decode(encoded.path, tmp_path / "out.mp4", device="cpu", selection=Selection(frames=(2, 6)))

    with open_video(tmp_path / "out.mp4") as video:
        assert [frame.pts * video.time_base * 1000 for frame in video] == list(encoded.pts[2:6])


def test_a_range_of_time_is_a_range_of_frames(encoded, decoded, tmp_path):
    seconds = [Fraction(pts - encoded.pts[0], 1000) for pts in encoded.pts]
    selection = Selection(time=(seconds[2], seconds[5]))

    decode(encoded.path, tmp_path / "out", device="cpu", selection=selection)

    np.testing.assert_array_equal(read_frames(tmp_path / "out"), decoded[2:5])


def test_a_size_and_a_part_of_it_are_what_the_decoder_renders(encoded, tmp_path):
    report = decode(encoded.path, tmp_path / "out", device="cpu", size=(60, 90), roi=Crop(31, 17, 5, 60))

    with VideoDecoder(encoded.path, device="cpu") as decoder:
        expected = np.stack([frame.numpy() for frame in decoder.iter_frames(size=(90, 60))])
    np.testing.assert_array_equal(read_frames(tmp_path / "out"), expected[:, 60:77, 5:36])
    assert (report.width, report.height) == (31, 17)


@pytest.mark.parametrize("fps", [10, 50, Fraction(30000, 1001), 29.97])
@pytest.mark.parametrize("frames", [(None, None), (2, 5)], ids=str)
@pytest.mark.parametrize("repeat", [True, False], ids=["repeated", "between"])
def test_a_rate_shows_what_belongs_to_each_time(encoded, tmp_path, fps, frames, repeat):
    """Pictures and times are those of the decoder's own methods for that, and the rate is steady."""
    selection = Selection(frames=frames)
    options = {"fps": fps, "repeat": repeat, "selection": selection, "codec": CodecOptions("ffv1")}
    decode(encoded.path, tmp_path / "out.mkv", device="cpu", **options)

    with VideoDecoder(encoded.path, device="cpu", dimension_order="NHWC") as decoder:
        chosen = [decoder.get_frame_at(i) for i in range(7)[slice(*frames)]]
        end = chosen[-1].pts_seconds + chosen[-1].duration_seconds
        expected = decoder.get_frames_played_in_range(chosen[0].pts_seconds, end, fps=float(fps))
        pictures = expected.data.numpy()
        if not repeat:
            start, unit = Fraction(encoded.pts[frames[0] or 0], 1000), 1 / Fraction(fps).limit_denominator(100_000)
            between = [decoder.render(float(start + i * unit)) for i in range(len(expected))]
            # In a few frames the times may be those of frames, or lie behind the last one of a GoP.
            assert frames != (None, None) or not np.array_equal(np.stack(between), pictures)
            pictures = np.stack(between)
    with open_video(tmp_path / "out.mkv") as video:
        taken = list(video)
    np.testing.assert_array_equal(np.stack([frame.rgb for frame in taken]), pictures)
    seconds = [float(frame.pts * video.time_base) for frame in taken]
    assert seconds == pytest.approx(expected.pts_seconds.tolist(), abs=0.001)


def test_a_rate_keeps_exact_times_where_the_container_does(encoded, tmp_path):
    decode(
        encoded.path, tmp_path / "out.mp4", device="cpu", fps=Fraction(30000, 1001), selection=Selection(frames=(2, 6))
    )

    with open_video(tmp_path / "out.mp4") as video:
        times = [frame.pts * video.time_base for frame in video]
    assert times[0] * 1000 == encoded.pts[2]
    assert [later - time for time, later in pairwise(times)] == [Fraction(1001, 30000)] * (len(times) - 1)


def test_progress_counts_frames(encoded, tmp_path):
    seen = []

    decode(encoded.path, tmp_path / "out", device="cpu", progress=seen.append)

    assert [(progress.frames_done, progress.n_frames) for progress in seen] == [(n, 7) for n in range(1, 8)]
    assert seen[-1].fraction == 1.0


@pytest.mark.parametrize(
    ("options", "error", "named"),
    [
        ({"scale": float("nan")}, ConfigError, "scale"),
        ({"selection": Selection(frames=(7, 9))}, ConfigError, "7 frames"),
        ({"selection": Selection(crop=Crop(8, 8))}, ConfigError, "--crop"),
        ({"selection": Selection(resize=(8, 8))}, ConfigError, "--resize"),
        ({"selection": Selection.parse(time="9:10")}, ConfigError, "time 9:10: no frame of .* begins in that range"),
        ({"size": (8, 8), "scale": 2.0}, ConfigError, "scale and size both choose a size"),
        ({"roi": Crop(40, 40, 0, 0)}, ConfigError, "crop 40x40.* does not fit"),
        ({"fps": 0}, ConfigError, "fps is 0"),
        ({"repeat": True}, ConfigError, "repeat chooses how --fps fills in"),
        ({"backend": "triton"}, BackendUnavailableError, "triton"),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["out", "out.mp4"])
def test_impossible_options_leave_no_file(encoded, tmp_path, name, options, error, named, monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(error, match=named):
        decode(encoded.path, tmp_path / name, **{"device": "cpu", **options})
    assert files_under(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "error"),
    [("out.ogv", ConfigError), ("nowhere/out.mp4", OutputError), ("nowhere/out", OutputError)],
)
def test_impossible_destinations(encoded, tmp_path, name, error):
    with pytest.raises(error):
        decode(encoded.path, tmp_path / name, device="cpu")
    assert files_under(tmp_path) == []


def test_a_folder_with_anything_in_it_stays_as_it_is(encoded, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")

    with pytest.raises(OutputError, match="not empty"):
        decode(encoded.path, tmp_path / "out", device="cpu")
    assert files_under(tmp_path) == ["out", "out/mine.txt"]


def test_the_source_cannot_be_the_destination(encoded):
    before = encoded.path.read_bytes()

    with pytest.raises(ConfigError, match="overwrite"):
        decode(encoded.path, encoded.path, device="cpu")
    assert encoded.path.read_bytes() == before


@pytest.mark.parametrize("name", ["out", "out.mp4", "out.y4m"])
@pytest.mark.parametrize("existing", [False, True], ids=["new name", "existing file"])
def test_an_interrupt_leaves_nothing_new(encoded, tmp_path, name, existing):
    if existing and "." in name:
        (tmp_path / name).write_bytes(b"precious")
    before = files_under(tmp_path)

    def interrupt(progress) -> None:
        if progress.frames_done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decode(encoded.path, tmp_path / name, device="cpu", progress=interrupt)
    assert files_under(tmp_path) == before
    assert not before or (tmp_path / name).read_bytes() == b"precious"


def without_end(encoded) -> bytes:
    """The file as an encoder leaves it that was killed before its end chunk."""
    with StgvReader(encoded.path) as reader:
        last = reader.gops[-1]
    return encoded.path.read_bytes()[: last.offset + last.n_bytes]


# What is shown of a damaged file: for a frame that is missing, the nearest one.
DAMAGE = [
    pytest.param(lambda encoded: with_damaged_gop(encoded.path, 0), [4, 4, 4, 4, 4, 5, 6], id="first GoP flipped"),
    pytest.param(lambda encoded: with_damaged_gop(encoded.path, 1), [0, 1, 2, 3, 3, 3, 3], id="last GoP flipped"),
    pytest.param(without_end, range(7), id="no end chunk"),
    pytest.param(lambda encoded: without_end(encoded)[:-20], range(4), id="cut in the last GoP"),
    pytest.param(lambda encoded: encoded.path.read_bytes() + b"more", range(7), id="bytes behind the end"),
]


@pytest.mark.parametrize(("damage", "shown"), DAMAGE)
def test_a_damaged_file_is_refused_unless_its_intact_gops_are_wanted(
    encoded, decoded, tmp_path, damage: Callable[..., bytes], shown
):
    path = tmp_path / "damaged.stgv"
    path.write_bytes(damage(encoded))

    with pytest.raises(BitstreamError) as refusal:
        decode(path, tmp_path / "out", device="cpu")
    assert refusal.value.section
    assert "--keep-going" in str(refusal.value)
    assert files_under(tmp_path) == ["damaged.stgv"]

    report = decode(path, tmp_path / "out", keep_going=True, device="cpu")

    assert report.damage
    assert report.n_frames == len(shown)
    np.testing.assert_array_equal(read_frames(tmp_path / "out"), decoded[list(shown)])
    with VideoDecoder(path, keep_going=True, device="cpu") as decoder:
        assert len(decoder) == decoder.metadata.num_frames == len(shown)
        assert list(decoder.timestamps) == list(encoded.pts[: len(shown)])
        assert decoder.damage == report.damage


def test_a_gap_in_the_middle_is_filled_from_both_sides(encoded, tmp_path):
    """Without an index too, where times are spread evenly; between frames of a gap nothing moves."""
    path = tmp_path / "damaged.stgv"
    config = EncodeConfig(preset="tiny", n_gaussians=60, gop=2, scene_cut=False)
    encode(encoded.source, path, config=config, device="cpu")
    whole = VideoDecoder(path.read_bytes(), device="cpu")
    data = with_damaged_gop(path, 1)
    for damaged, pts in (
        (data, encoded.pts),
        (data[:-30], (*encoded.pts[:2], 120 + 210 // 3, 120 + 420 // 3, *encoded.pts[4:])),
    ):
        with VideoDecoder(damaged, keep_going=True, device="cpu") as decoder:
            assert list(decoder.timestamps) == list(pts)
            np.testing.assert_array_equal(decoder[:], whole[[0, 1, 1, 4, 4, 5, 6]])
            assert decoder.get_frame_at(3).pts_seconds == pts[3] / 1000
            np.testing.assert_array_equal(decoder.render((pts[3] + pts[4]) / 2000), whole[4])
            np.testing.assert_array_equal(decoder.render((pts[1] + pts[2]) / 2000), whole[1])
            assert any("frames 2 to 3 are missing: the nearest frame" in line for line in decoder.damage)


def test_every_flipped_byte_is_noticed(encoded, tmp_path):
    """A sample of positions over the whole file shows that no byte is unprotected."""
    data = encoded.path.read_bytes()
    path = tmp_path / "flipped.stgv"
    for position in [*range(0, 40), *range(40, len(data), 37), *range(len(data) - 20, len(data))]:
        damaged = bytearray(data)
        damaged[position] ^= 0x01
        path.write_bytes(damaged)
        with pytest.raises(BitstreamError):  # noqa: PT012
            with VideoDecoder(path, device="cpu") as decoder:
                for _ in decoder.iter_frames():
                    pass
            raise AssertionError(f"byte {position} was changed, and nothing noticed")


@pytest.mark.parametrize("name", ["out.mp4", "out"])
def test_a_cancelled_decode_leaves_nothing(encoded, tmp_path, name):
    cancel, shown = threading.Event(), []

    def watch(progress) -> None:
        shown.append(progress.frames_done)
        if progress.frames_done == 3:
            cancel.set()

    with pytest.raises(CancelledError, match="cancelled by the caller"):
        decode(encoded.path, tmp_path / name, device="cpu", progress=watch, cancel=cancel)
    assert shown == [1, 2, 3]
    assert files_under(tmp_path) == []


def test_a_missing_source(tmp_path):
    with pytest.raises(InputVideoError, match="missing"):
        decode(tmp_path / "missing.stgv", tmp_path / "out.mp4", device="cpu")
    assert files_under(tmp_path) == []


@pytest.mark.parametrize(
    ("header", "pts"),
    [
        pytest.param({"sample_aspect_ratio": Fraction(2**32 - 1)}, (0, 1), id="sample aspect ratio"),
        pytest.param({"frame_rate": Fraction(2**32 - 1)}, (0, 1), id="frame rate"),
        pytest.param({}, (-(2**62), 2**62), id="timestamps"),
    ],
)
def test_numbers_that_a_container_cannot_hold_are_told(tmp_path, header, pts):
    """They are within the limits of the format, and y4m and images do without them."""
    path = tmp_path / "in.stgv"
    with path.open("wb") as file:
        writer = StgvWriter(file, dataclasses.replace(HEADER, **header))
        for seed, stamp in enumerate(pts):
            writer.add_gop(pack_gop(random_gop(seed, n_frames=1)), [stamp])
        writer.finish()
    with pytest.raises(OutputError, match=r"out\.mkv: cannot be written: a time or a ratio is larger"):
        decode(path, tmp_path / "out.mkv", device="cpu")
    assert files_under(tmp_path) == ["in.stgv"]
    assert decode(path, tmp_path / "frames", device="cpu").n_frames == 2
