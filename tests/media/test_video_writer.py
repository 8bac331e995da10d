from __future__ import annotations

import errno
import logging
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from clips import files_under

from stgvcodec.errors import ConfigError, OutputError
from stgvcodec.media import CodecOptions, ColorTags, VideoWriter, open_video, open_writer, output_formats, writer
from stgvcodec.metrics import psnr_db

BT709 = ColorTags(primaries=1, transfer=1, matrix=1, full_range=False)


def smooth_frames(n_frames: int, height: int, width: int) -> list[np.ndarray]:
    y, x = np.mgrid[0:height, 0:width]
    return [
        np.stack([128 + 90 * np.sin((x + 3 * k) / 23 + c) * np.cos(y / 19 - c) for c in range(3)], -1)
        .round()
        .astype(np.uint8)
        for k in range(n_frames)
    ]


def writer_for(
    path: Path,
    frames: Sequence[np.ndarray],
    *,
    frame_rate: Fraction = Fraction(25),
    time_base: Fraction = Fraction(1, 1000),
    color: ColorTags = BT709,
    **options: object,
) -> VideoWriter:
    height, width = frames[0].shape[:2]
    return open_writer(
        path, width=width, height=height, frame_rate=frame_rate, time_base=time_base, color=color, **options
    )


def write_all(path: Path, frames: Sequence[np.ndarray], pts: Sequence[int] | None = None, **options: object) -> Path:
    """Frames 40 ticks apart, or at timestamps of their own; the file is there once the writer is closed."""
    with writer_for(path, frames, **options) as writer:
        for rgb, timestamp in zip(frames, range(0, 40 * len(frames), 40) if pts is None else pts, strict=True):
            writer.write(rgb, timestamp)
        assert not path.exists()
    return path


def write_and_fail(path: Path, frames: Sequence[np.ndarray], failure: type[BaseException]) -> None:
    with writer_for(path, frames) as writer:
        for index, rgb in enumerate(frames):
            writer.write(rgb, 40 * index)
        raise failure


@pytest.mark.parametrize(("height", "width"), [(48, 64), (63, 64), (63, 101)], ids=["even", "odd-height", "odd"])
@pytest.mark.parametrize(
    ("suffix", "least_db"),
    [(".mp4", 44), (".mov", 44), (".mkv", 44), (".avi", 44), (".webm", 44), (".gif", 34), (".y4m", 50), ("", 99)],
)
def test_round_trip(tmp_path, suffix, least_db, height, width):
    frames = smooth_frames(5, height, width)
    path = write_all(tmp_path / f"out{suffix}", frames)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    with open_video(path) as reader:
        back = [frame.rgb for frame in reader]
    worst = min(psnr_db(a, b) for a, b in zip(frames, back, strict=True))
    assert worst >= least_db


def test_pngs_are_numbered_from_zero(tmp_path):
    write_all(tmp_path / "frames", smooth_frames(3, 8, 8))
    assert files_under(tmp_path / "frames") == ["000000.png", "000001.png", "000002.png"]


@pytest.mark.parametrize(
    ("color", "expected"),
    [
        (BT709, (1, 1, 1)),
        (ColorTags(2, 2, 6, False), (2, 2, 6)),
        (ColorTags(9, 16, 9, True), (9, 16, 9)),
        (ColorTags(1, 13, 0, True), (1, 13, 1)),
    ],
    ids=["709", "untagged", "2020-pq-full", "rgb"],
)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".avi"])
def test_the_output_is_tagged_as_what_it_is(tmp_path, suffix, color, expected):
    frames = smooth_frames(1, 48, 64)
    path = write_all(tmp_path / f"out{suffix}", frames, color=color)
    with av.open(str(path)) as container:
        picture = next(container.decode(video=0))
        context = container.streams.video[0].codec_context
        assert (int(context.color_primaries), int(context.color_trc), int(picture.colorspace)) == expected
        assert int(picture.color_range) == 1
    # The tags are true: read by them, the colours come back.
    (frame,) = open_video(path)
    assert psnr_db(frames[0], frame.rgb) > 44


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
@pytest.mark.parametrize(
    ("time_base", "pts"),
    [
        (Fraction(1, 1000), [0, 40, 85, 120, 160, 300, 301, 333, 400]),
        (Fraction(1, 12800), [5001 + 512 * index for index in range(9)]),
        (Fraction(1001, 30000), [0, 1, 2, 5, 6, 7, 8, 9, 11]),
        (Fraction(1, 90000), [7 + 3003 * index for index in range(9)]),
        (Fraction(1, 24), [0, 1, 2, 3, 4, 5, 6, 7, 8]),
        (Fraction(2, 3), [4, 5, 9]),
    ],
    ids=["vfr", "late-start", "ntsc", "mpeg", "film", "slides"],
)
def test_timestamps_are_kept_exactly(tmp_path, suffix, time_base, pts):
    path = write_all(tmp_path / f"out{suffix}", smooth_frames(len(pts), 48, 64), pts, time_base=time_base)
    with open_video(path) as reader:
        assert [frame.pts * reader.time_base for frame in reader] == [value * time_base for value in pts]


@pytest.mark.parametrize(("time_base", "noted"), [(Fraction(1, 1000), False), (Fraction(1, 90000), True)])
def test_matroska_keeps_whole_milliseconds(tmp_path, time_base, noted, caplog):
    pts = [3001 * index + 7 for index in range(6)]
    with caplog.at_level(logging.WARNING):
        path = write_all(tmp_path / "out.mkv", smooth_frames(6, 48, 64), pts, time_base=time_base)
    assert ("whole milliseconds" in caplog.text) == noted
    with open_video(path) as reader:
        errors = [abs(frame.pts * reader.time_base - at * time_base) for frame, at in zip(reader, pts, strict=True)]
    assert max(errors) <= (Fraction(1, 2000) if noted else 0)


def test_a_negative_start_is_moved_to_zero(tmp_path):
    path = write_all(tmp_path / "out.mp4", smooth_frames(4, 48, 64), range(-80, 80, 40))
    with open_video(path) as reader:
        assert [frame.pts * reader.time_base * 1000 for frame in reader] == [0, 40, 80, 120]


def test_the_last_frame_lasts_as_long_as_the_others(tmp_path):
    assert open_video(write_all(tmp_path / "out.mp4", smooth_frames(10, 48, 64))).frame_rate == 25


def test_y4m_says_what_it_loses(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        path = write_all(tmp_path / "out.y4m", smooth_frames(3, 8, 8), (0, 40, 400))
    assert "y4m has no timestamps" in caplog.text
    header = path.read_bytes().partition(b"\n")[0]
    assert header == b"YUV4MPEG2 W8 H8 F25:1 Ip A1:1 C444 XYSCSS=444 XCOLORRANGE=LIMITED"


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".y4m", ""])
@pytest.mark.parametrize("failure", [KeyboardInterrupt, RuntimeError], ids=lambda kind: kind.__name__)
def test_a_failure_leaves_nothing(tmp_path, suffix, failure):
    with pytest.raises(failure):
        write_and_fail(tmp_path / f"out{suffix}", smooth_frames(3, 48, 64), failure)
    assert files_under(tmp_path) == []


def test_a_failure_keeps_the_existing_file(tmp_path):
    (tmp_path / "out.mp4").write_bytes(b"precious")
    with pytest.raises(KeyboardInterrupt):
        write_and_fail(tmp_path / "out.mp4", smooth_frames(1, 48, 64), KeyboardInterrupt)
    assert files_under(tmp_path) == ["out.mp4"]
    assert (tmp_path / "out.mp4").read_bytes() == b"precious"


@pytest.mark.parametrize("suffix", [".mp4", ".y4m", ""])
def test_no_frames_is_refused_and_leaves_nothing(tmp_path, suffix):
    with (
        pytest.raises(OutputError, match="no frame was written"),
        writer_for(tmp_path / f"out{suffix}", smooth_frames(1, 48, 64)),
    ):
        pass
    assert files_under(tmp_path) == []


@pytest.mark.parametrize("suffix", [".ogv", ".stgv", ".MP5"])
def test_an_unknown_suffix_is_refused(tmp_path, suffix):
    with pytest.raises(ConfigError, match=r"expected \.mp4, .*\.y4m, \.png, .*, or none for a folder of PNGs"):
        writer_for(tmp_path / f"out{suffix}", smooth_frames(1, 8, 8))


@pytest.mark.parametrize("name", ["missing/out.mp4", "missing/frames", "folder.mp4", "full"])
def test_destinations_are_refused_before_any_work(tmp_path, name):
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_bytes(b"")
    with pytest.raises(OutputError):
        writer_for(tmp_path / name, smooth_frames(1, 8, 8))
    assert files_under(tmp_path) == ["folder.mp4", "full", "full/x"]


def test_frames_are_checked(tmp_path):
    frames = smooth_frames(1, 48, 64)
    writer = writer_for(tmp_path / "out.y4m", frames)
    with pytest.raises(ValueError, match="not open"):
        writer.write(frames[0], 0)
    with writer:
        writer.write(frames[0], 5)
        with pytest.raises(ValueError, match="timestamp 5 after 5"):
            writer.write(frames[0], 5)
        with pytest.raises(ValueError, match=r"got uint8 \[47, 64, 3\], expected uint8 \[48, 64, 3\]"):
            writer.write(frames[0][1:], 6)
        with pytest.raises(ValueError, match="float32"):
            writer.write(frames[0].astype(np.float32), 6)


@pytest.mark.parametrize(
    "wrong",
    [{"width": 0}, {"frame_rate": Fraction(0)}, {"time_base": Fraction(-1)}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_impossible_parameters_are_refused(tmp_path, wrong):
    good = {"width": 8, "height": 8, "frame_rate": Fraction(25), "time_base": Fraction(1, 25), "color": BT709}
    with pytest.raises(ConfigError, match="expected more than 0"):
        open_writer(tmp_path / "out.mp4", **{**good, **wrong})


@pytest.mark.parametrize("suffix", [".mp4", ".y4m", ""])
@pytest.mark.parametrize("moment", ["write", "finish"])
def test_a_full_disk_is_an_output_error_and_leaves_nothing(tmp_path, suffix, moment, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def fill_the_disk() -> None:
        with writer_for(tmp_path / f"out{suffix}", frames) as writer:
            monkeypatch.setattr(writer._sink, moment, refuse)
            writer.write(frames[0], 0)

    frames = smooth_frames(2, 48, 64)
    with pytest.raises(OutputError, match="cannot be written: No space left on device"):
        fill_the_disk()
    assert files_under(tmp_path) == []


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.y4m"])
def test_an_output_that_cannot_be_set_up_leaves_what_was_there(tmp_path, monkeypatch, name):
    """Whatever fails after the temporary file is there, an empty one must not take the place of a good one."""
    path = tmp_path / name
    path.write_bytes(b"good")

    def fail(part, *_):
        if isinstance(part, Path):
            part.write_bytes(b"")
        raise RuntimeError("no encoder")

    for sink in ("VideoFile", "Y4mStream"):
        monkeypatch.setattr(writer, sink, fail)
    opened = writer_for(path, smooth_frames(1, 32, 48))
    with pytest.raises(RuntimeError, match="no encoder"), opened:
        pass

    assert path.read_bytes() == b"good"
    assert files_under(tmp_path) == [name]


LOSSLESS = [
    (".mkv", CodecOptions("ffv1")),
    (".avi", CodecOptions("ffv1")),
    (".avi", CodecOptions("utvideo")),
    (".mov", CodecOptions("png")),
    (".mkv", CodecOptions(crf=0, pixel_format="rgb24")),
    (".mp4", CodecOptions("hevc", crf=0, pixel_format="gbrp")),
    (".webm", CodecOptions(crf=0, pixel_format="gbrp")),
]


@pytest.mark.parametrize(("suffix", "codec"), LOSSLESS, ids=lambda value: str(value))
def test_lossless_codecs_keep_every_bit(tmp_path, suffix, codec):
    frames = smooth_frames(3, 33, 64)
    frames[1] = np.random.default_rng(1).integers(0, 256, frames[1].shape, dtype=np.uint8)
    path = write_all(tmp_path / f"out{suffix}", frames, codec=codec)
    with open_video(path) as reader:
        assert all(np.array_equal(a, frame.rgb) for a, frame in zip(frames, reader, strict=True))
        assert reader.n_frames == 3


@pytest.mark.parametrize(
    ("suffix", "codec", "name", "least_db"),
    [
        (".mp4", "hevc", "hevc", 44),
        (".mkv", "av1", "av1", 44),
        (".webm", "av1", "av1", 44),
        (".webm", "vp8", "vp8", 43),
        (".mov", "prores", "prores", 50),
        (".mov", "mjpeg", "mjpeg", 43),
        (".avi", "mpeg4", "mpeg4", 42),
        (".mp4", "libx264rgb", "h264", 46),
    ],
)
def test_other_codecs_keep_colours_and_times(tmp_path, suffix, codec, name, least_db):
    """The colours come back by what the file says of them, where it is BT.709 and where it can only be BT.601."""
    frames, pts = smooth_frames(5, 48, 64), [0, 40, 80, 200, 240]
    path = write_all(tmp_path / f"out{suffix}", frames, pts, codec=CodecOptions(codec))
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.codec.canonical_name == name
    with open_video(path) as reader:
        back = list(reader)
    assert [frame.pts * reader.time_base * 1000 for frame in back] == pts
    assert min(psnr_db(a, frame.rgb) for a, frame in zip(frames, back, strict=True)) > least_db


def test_a_rate_factor_trades_size_for_quality(tmp_path):
    frames = smooth_frames(3, 48, 64)
    sizes = [
        write_all(tmp_path / f"{crf}.mp4", frames, codec=CodecOptions("hevc", crf)).stat().st_size
        for crf in (1, 25, 50)
    ]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize(
    ("suffix", "codec", "said"),
    [
        (".webm", CodecOptions("h264"), r"--codec h264: the container does not hold it; choose one of av1, vp9, vp8"),
        (".mp4", CodecOptions("h2645"), r"--codec h2645: there is no such encoder here; choose one of h264, hevc, av1"),
        (".mp4", CodecOptions(crf=52), r"--crf 52, expected 0 to 51 for h264"),
        (
            ".mkv",
            CodecOptions("ffv1", crf=5),
            r"--crf, but ffv1 has no rate factor; .* that do: h264, hevc, av1, vp9, vp8",
        ),
        (
            ".mp4",
            CodecOptions("hevc", pixel_format="rgb24"),
            r"--pix-fmt rgb24, expected one that hevc takes: yuv420p, ",
        ),
        (".gif", CodecOptions(crf=5), r"got --crf 5: a GIF has one codec and 256 colours"),
        ("", CodecOptions("png"), r"got --codec png: images have no codec of a video"),
        (".y4m", CodecOptions("h264", 3), r"got --codec h264 --crf 3: y4m is not compressed"),
        (
            ".y4m",
            CodecOptions(pixel_format="rgb24"),
            r"--pix-fmt rgb24, expected one of yuv444p, yuv422p, yuv420p for y4m",
        ),
        (".mov", CodecOptions("prores"), r"got 65x48, expected even sides for prores"),
    ],
    ids=lambda value: str(value).split(":")[0],
)
def test_options_that_do_not_fit_are_refused(tmp_path, suffix, codec, said):
    with pytest.raises(ConfigError, match=said):
        writer_for(tmp_path / f"out{suffix}", smooth_frames(1, 48, 65), codec=codec)
    assert files_under(tmp_path) == []


def test_what_an_encoder_refuses_is_said_and_leaves_nothing(tmp_path):
    opened = writer_for(tmp_path / "out.mkv", smooth_frames(1, 47, 65), codec=CodecOptions(pixel_format="yuvj420p"))
    with pytest.raises(ConfigError, match="libx264 does not take frames of 65x47, yuvj420p"), opened:
        pass
    assert files_under(tmp_path) == []


def test_every_encoder_that_is_offered_is_there():
    for container in output_formats.CONTAINERS.values():
        names = output_formats.encoder_names(container)
        assert container.codec in names
        assert len(set(names)) == len(names)
        assert not [name for name in names if name.endswith(("_nvenc", "_qsv", "_v4l2m2m", "_amf"))]


@pytest.mark.parametrize(
    ("suffix", "pts", "expected", "noted"),
    [
        (".avi", [0, 40, 80, 200, 240], [0, 40, 80, 200, 240], False),
        (".avi", [7, 47, 87, 88, 300], [0, 40, 80, 120, 280], True),
        (".gif", [7, 47, 87, 207, 300], [0, 40, 80, 200, 290], False),
        (".gif", [0, 10, 20, 300, 340], [0, 20, 40, 300, 340], True),
    ],
    ids=["avi-dropped", "avi-uneven", "gif", "gif-too-fast"],
)
def test_coarse_times_are_the_nearest_and_say_what_they_lose(tmp_path, suffix, pts, expected, noted, caplog):
    with caplog.at_level(logging.WARNING):
        path = write_all(tmp_path / f"out{suffix}", smooth_frames(5, 48, 64), pts)
    assert ("uneven times are lost" in caplog.text or "hundredths of a second" in caplog.text) == noted
    with open_video(path) as reader:
        assert [frame.pts * reader.time_base * 1000 for frame in reader] == expected


@pytest.mark.parametrize("suffix", [".webm", ".gif"])
def test_a_last_frame_that_is_held_is_held(tmp_path, suffix):
    path = write_all(tmp_path / f"out{suffix}", smooth_frames(3, 48, 64), last_frame_duration=730)
    with open_video(path) as reader:
        assert reader.last_frame_duration() * reader.time_base == Fraction(73, 100)


@pytest.mark.parametrize("samples", ["yuv420p", "yuv422p", "yuv444p"])
def test_y4m_takes_subsampled_chroma(tmp_path, samples):
    frames = smooth_frames(2, 47, 65)
    path = write_all(tmp_path / "out.y4m", frames, codec=CodecOptions(pixel_format=samples))
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.pix_fmt == samples
    with open_video(path) as reader:
        assert min(psnr_db(a, frame.rgb) for a, frame in zip(frames, reader, strict=True)) > 50
