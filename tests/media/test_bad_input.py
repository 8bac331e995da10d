"""Sources that are refused, each with a line that says what was got, what was expected and what to do."""

from __future__ import annotations

import re
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from stgvcodec.errors import InputVideoError
from stgvcodec.media import Selection, open_video

Y4M_HEADER = b"YUV4MPEG2 W64 H48 F25:1 Ip A1:1 C444\n"
Y4M_FRAME = b"FRAME\n" + bytes(3 * 48 * 64)


def read_all(path: Path) -> int:
    with open_video(path) as reader:
        return sum(1 for _ in reader)


def test_missing(tmp_path):
    with pytest.raises(InputVideoError, match=r"none\.mp4: does not exist; expected a video file or a folder"):
        open_video(tmp_path / "none.mp4")


def test_not_a_regular_file():
    with pytest.raises(InputVideoError, match="not a regular file"):
        open_video("/dev/null")


NO_VIDEO = {
    "nothing": (b"", ("a.mp4", "a.png", "a.y4m"), r"is empty \(0 bytes\)"),
    "text": (
        b"It was a dark and stormy night.\n" * 100,
        ("a.mp4", "a.txt", "a.mkv", "a"),
        r"(cannot be read as video|no video stream): got .*expected",
    ),
    "random": (np.random.default_rng(0).bytes(50_000), ("a.mp4", "a.stgv"), "cannot be read as video"),
    "no frames": (Y4M_HEADER, ("a.y4m",), "has no frames that can be decoded"),
    "interlaced": (Y4M_HEADER.replace(b"Ip", b"It") + Y4M_FRAME, ("a.y4m",), "interlaced"),
}


@pytest.mark.parametrize(("content", "name"), [(kind, name) for kind in NO_VIDEO for name in NO_VIDEO[kind][1]])
def test_files_without_progressive_video(tmp_path, content, name):
    data, _, message = NO_VIDEO[content]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputVideoError, match=message):
        open_video(tmp_path / name)


def test_audio_only(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=48000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 48000
        for packet in [*stream.encode(sound), *stream.encode(None)]:
            container.mux(packet)
    with pytest.raises(InputVideoError, match="has no video stream: got audio, expected"):
        open_video(tmp_path / "a.mp4")


@pytest.mark.parametrize(("n_whole", "n_bytes"), [(3, 4000), (2, 3), (0, 4000)])
def test_y4m_cut_short(tmp_path, n_whole, n_bytes):
    path = tmp_path / "a.y4m"
    path.write_bytes(Y4M_HEADER + Y4M_FRAME * n_whole + Y4M_FRAME[:n_bytes])
    with pytest.raises(InputVideoError, match=rf"cut short at frame {n_whole}: got {n_bytes} bytes of a frame"):
        read_all(path)
    path.write_bytes(Y4M_HEADER + Y4M_FRAME * 3)
    assert read_all(path) == 3


@pytest.mark.parametrize("chroma", ["420", "420jpeg", "420mpeg2", "422", "444", "mono", "420p10", "444p12"])
def test_y4m_of_every_chroma_is_whole(tmp_path, chroma):
    samples = {"420": 15 * 9 + 2 * 8 * 5, "422": 15 * 9 + 2 * 8 * 9, "444": 3 * 15 * 9, "mono": 15 * 9}
    depth = 2 if "p1" in chroma else 1
    frame = b"FRAME\n" + bytes(depth * samples["mono" if chroma == "mono" else chroma[:3]])
    path = tmp_path / "a.y4m"
    path.write_bytes(f"YUV4MPEG2 W15 H9 F25:1 Ip C{chroma}\n".encode() + frame * 2)
    assert read_all(path) == 2
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputVideoError, match="cut short at frame 1"):
        read_all(path)


@pytest.mark.parametrize("suffix", [".mkv", ".avi", ".mp4"])
def test_cut_short(write_video, noise, suffix):
    frames = [noise(32, 48, seed=index) for index in range(20)]
    codec = "libx264" if suffix == ".mp4" else "ffv1"
    path = write_video(
        frames,
        name=f"a{suffix}",
        codec=codec,
        time_base=Fraction(1, 25),
        pts=range(20),
        container_options={"movflags": "faststart"} if suffix == ".mp4" else {},
    )
    assert read_all(path) == 20
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(InputVideoError, match=r"cut short at frame \d+: got|cannot be read as video: got"):
        read_all(path)


def test_cut_short_says_what_can_be_kept(write_video, noise):
    frames = [noise(48, 64, seed=index) for index in range(40)]
    path = write_video(frames, name="a.mp4", codec="libx264", container_options={"movflags": "faststart"})
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with open_video(path) as reader, pytest.raises(InputVideoError, match="damaged or cut short at frame") as caught:
        list(reader)
    kept = re.search(r"--frames (0:\d+)", str(caught.value))
    assert kept is not None
    with open_video(path, selection=Selection.parse(frames=kept[1])) as reader:
        assert 1 < sum(1 for _ in reader) < 40


@pytest.mark.parametrize("order", ["tff=1", "bff=1"], ids=["top-first", "bottom-first"])
def test_interlaced(write_video, noise, order):
    path = write_video([noise(32, 48)] * 3, name="my a.mp4", codec="libx264", options={"x264-params": order})
    with pytest.raises(InputVideoError, match=r"got an interlaced frame, .* -i '\S*/my a.mp4' -vf yadif"):
        open_video(path)


def test_alpha(write_video, noise):
    def with_alpha(alpha: int) -> list[np.ndarray]:
        return [*noise(32, 48), np.full((32, 48), alpha, np.uint8)]

    assert read_all(write_video([with_alpha(255)] * 2, "yuva444p")) == 2
    path = write_video([with_alpha(255), with_alpha(254)], "yuva444p")
    with pytest.raises(InputVideoError, match=r"frame 1: got an alpha channel, expected opaque .* ffmpeg"):
        read_all(path)


def test_a_size_that_changes(tmp_path, write_video, noise):
    small = write_video([noise(32, 48)] * 2, name="small.h264", codec="libx264").read_bytes()
    large = write_video([noise(48, 64)] * 2, name="large.h264", codec="libx264").read_bytes()
    (tmp_path / "both.h264").write_bytes(small + large)
    with pytest.raises(InputVideoError, match="frame 2: got a picture of 64x48, expected 48x32 throughout"):
        read_all(tmp_path / "both.h264")


def test_timestamps_that_do_not_rise(write_video, noise):
    path = write_video([noise(16, 16, seed=index) for index in range(3)], pts=[0, 80, 80])
    with pytest.raises(InputVideoError, match="frame 2: got timestamp 80 after 80, expected them to rise"):
        read_all(path)


def test_a_turn_that_is_not_a_quarter(write_video, noise):
    path = write_video([noise(32, 48)], name="phone.mp4", codec="libx264")
    data, one = path.read_bytes(), 1 << 16
    identity = struct.pack(">9i", one, 0, 0, 0, one, 0, 0, 0, 1 << 30)
    slanted = struct.pack(">9i", 46341, 46341, 0, -46341, 46341, 0, 0, 0, 1 << 30)
    path.write_bytes(data.replace(identity, slanted))
    with pytest.raises(InputVideoError, match=r"display matrix .* expected a turn by a multiple of 90 degrees"):
        open_video(path)
