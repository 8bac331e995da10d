"""Files as real tools write them: what is intact is read, what is damaged is named, and nothing is lost in silence."""

from __future__ import annotations

import re
import shlex
import subprocess
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stgvcodec.decoder.decode_file import decode
from stgvcodec.decoder.video_decoder import VideoDecoder
from stgvcodec.encoder.config import EncodeConfig
from stgvcodec.encoder.encode import encode
from stgvcodec.errors import ConfigError, InputVideoError
from stgvcodec.media import Selection, open_video
from stgvcodec.media.completeness import shortfall
from stgvcodec.media.matroska import cropping_of

CASES = Path(__file__).parent / "cases"


def times(name: str | Path, **selection) -> list[Fraction]:
    with open_video(CASES / name, selection=Selection(**selection)) as video:
        return [frame.pts * video.time_base for frame in video]


INTACT = {
    # Eleven of fifty chunks are empty: nothing was shown anew.
    "avi_dropped_frames_mpeg4.avi": (39, 0.0, 1.96),
    # AVI has no timestamps for display; the frames come in the order of decoding.
    "avi_h264_bframes.avi": (25, 0.0, 0.96),
    "avi_packed_bframes.avi": (25, 0.0, 0.96),
    # A message names a parameter set that is not there.
    "bad_sei.h264": (12, 0.0, 0.44),
    "opengop_cut.mp4": (26, 0.06, 1.06),
    # The nominal rate and the last timestamp promise more than there is.
    "vfr_last_frame_held.mkv": (8, 0.0, 0.28),
    "vfr_mkvmerge_timestamps.mkv": (12, 0.0, 0.44),
}


@pytest.mark.parametrize("name", INTACT)
def test_what_is_intact_is_read(name, caplog):
    seconds = [float(time) for time in times(name)]

    n_frames, first, last = INTACT[name]
    assert len(seconds) == n_frames
    assert (seconds[0], seconds[-1]) == (pytest.approx(first), pytest.approx(last))
    assert not caplog.records


def test_frames_of_an_avi_are_evenly_spaced():
    assert set(np.diff([float(time) for time in times("avi_h264_bframes.avi")]).round(6)) == {0.04}


def test_a_copy_that_begins_in_an_open_gop_has_the_pictures_of_the_whole():
    with open_video(CASES / "opengop_cut.mp4") as cut, open_video(CASES / "opengop_uncut.ts") as uncut:
        parts = [frame.rgb for frame in cut]
        whole = [frame.rgb for frame in uncut]

    assert len(parts) == 26
    np.testing.assert_array_equal(parts, whole[24:])


def moving(n_frames: int, height: int = 64, width: int = 96) -> list[list[np.ndarray]]:
    """Planes of 4:2:0 with a texture that moves, coarse enough to be coded from one frame to the next."""
    rng = np.random.default_rng(0)
    luma = rng.integers(0, 256, (height // 8, width // 8), dtype=np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    chroma = [rng.integers(0, 256, (height // 2, width // 2), dtype=np.uint8) for _ in range(2)]
    return [[np.roll(luma, (k, 2 * k), axis=(0, 1)), *chroma] for k in range(n_frames)]


DAMAGED = {"truncated.ts": 29, "last_packet_damaged_bframes.mp4": 24}


@pytest.mark.parametrize("n_cores", [1, 2, 16])
@pytest.mark.parametrize("name", DAMAGED)
def test_the_end_is_not_lost_in_silence(name, n_cores, monkeypatch):
    """Whatever the number of cores is: decoders that work on several frames at once lost what was wrong at the end."""
    monkeypatch.setattr("os.cpu_count", lambda: n_cores)
    with pytest.raises(InputVideoError, match=rf"damaged or cut short at frame {DAMAGED[name]}: got a frame that"):
        times(name)


@pytest.mark.parametrize("name", DAMAGED)
def test_the_advice_for_damage_holds(name, caplog):
    with pytest.raises(InputVideoError) as caught:
        times(name)
    kept = re.search(r"--frames 0:(\d+), or read on with --keep-going", str(caught.value))

    assert len(times(name, frames=(0, int(kept[1])))) == int(kept[1]) == DAMAGED[name]
    assert len(times(name, keep_going=True)) > DAMAGED[name]
    assert f"is damaged (a frame that does not decode cleanly at frame {DAMAGED[name]}" in caplog.text


def test_what_comes_before_the_first_key_frame_is_said_once(caplog):
    seconds = [float(time) for time in times("starts_mid_gop.ts")]

    assert len(seconds) == 25
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "the first 19 packets hold no picture that can be decoded" in caplog.text


@pytest.mark.parametrize("lost", [5, 20, -1], ids=["early", "middle", "last"])
@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg4", "mpeg2video", "mjpeg", "ffv1"])
def test_a_packet_that_is_cut_is_missed(write_video, tmp_path, codec, lost):
    """Some decoders make a picture of what there is, some give none, and not all of them say so.

    Those of VP8 and VP9 read zeros where a packet ends, and cannot tell.
    """
    pixel_format, rate = "yuvj420p" if codec == "mjpeg" else "yuv420p", Fraction(1, 25)
    path = write_video(moving(24), pixel_format, name="a.mkv", codec=codec, time_base=rate, pts=range(24))
    n_frames = len(times(path))
    with av.open(str(path)) as source, av.open(str(tmp_path / "b.mkv"), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        packets = [packet for packet in source.demux(video=0) if packet.size]
        for index, packet in enumerate(packets):
            is_cut = index == lost % len(packets)
            copy = av.Packet(bytes(packet)[: len(bytes(packet)) // 3]) if is_cut else packet
            copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
            copy.is_keyframe = packet.is_keyframe
            copy.stream = stream
            target.mux(copy)

    with pytest.raises(InputVideoError, match="damaged or cut short at frame"):
        times(tmp_path / "b.mkv")
    assert 0 < len(times(tmp_path / "b.mkv", keep_going=True)) <= n_frames


@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9", "libx264", "libx265", "mpeg4", "mjpeg", "libsvtav1"])
def test_hidden_pictures_are_not_missed(write_video, codec):
    """Codecs code pictures that are never shown, or several in a packet, or in another order."""
    options = {"libvpx": {"auto-alt-ref": "1", "lag-in-frames": "16", "arnr-maxframes": "7"}}.get(codec, {})
    pixel_format = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = write_video(moving(40), pixel_format, name="a.mkv", codec=codec, options=options)

    assert len(times(path)) == 40


@pytest.mark.parametrize("n_lost", [1, 100, 187])
def test_a_transport_stream_that_ends_within_a_packet_is_cut(tmp_path, n_lost):
    data = (CASES / "opengop_uncut.ts").read_bytes()
    (tmp_path / "a.ts").write_bytes(data[:-n_lost])
    assert shortfall(tmp_path / "a.ts") == f"{len(data) - n_lost} of {len(data)} bytes"
    with pytest.raises(InputVideoError, match="damaged or cut short at frame 49"):
        times(tmp_path / "a.ts")


def test_a_packet_that_a_transport_stream_lost_is_missed(tmp_path, caplog):
    data = (CASES / "opengop_uncut.ts").read_bytes()
    at = 188 * (len(data) // 376)
    (tmp_path / "a.ts").write_bytes(data[:at] + data[at + 188 :])
    with pytest.raises(InputVideoError, match="damaged or cut short at frame"):
        times(tmp_path / "a.ts")
    assert 40 <= len(times(tmp_path / "a.ts", keep_going=True)) <= 50
    assert "is damaged (" in caplog.text


@pytest.mark.parametrize("flags", ["faststart", ""], ids=["index first", "index last"])
def test_an_mp4_that_is_cut_anywhere_is_cut(write_video, tmp_path, flags):
    path = write_video(
        moving(12), "yuv420p", name="a.mp4", codec="libx264", container_options={"movflags": flags} if flags else {}
    )  # fmt: skip
    data = path.read_bytes()
    assert len(times(path)) == 12
    for n_lost in (1, 10, 40, 100, 300, len(data) // 2):
        path.write_bytes(data[:-n_lost])
        with pytest.raises(InputVideoError, match=r"damaged or cut short|cannot be read as video"):
            times(path)


@pytest.mark.parametrize("name", ["cut.mkv", "cut.mp4"])
@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_a_copy_that_begins_in_an_open_gop_is_whole(tmp_path, codec, name):
    """What would be shown before its first key frame refers to what was cut off, and has no time in Matroska."""
    ffmpeg = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    options = ["-bf", "4", "-g", "12", f"-{codec[3:]}-params", "open-gop=1:bframes=4:b-adapt=0:log-level=error"]
    if codec == "libx264":
        options[-1] = "open-gop=1:bframes=4:b-adapt=0"
    source = ["-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25:duration=2", "-pix_fmt", "yuv420p", "-c:v", codec]
    for command in (
        [*source, *options, "whole.mp4"],
        ["-ss", "0.7", "-i", "whole.mp4", "-c", "copy", name],
        ["-i", name, "-f", "framecrc", "-fps_mode", "passthrough", "frames.txt"],
    ):
        subprocess.run([ffmpeg, "-v", "fatal", *command], cwd=tmp_path, check=True)
    lines = [line for line in (tmp_path / "frames.txt").read_text().splitlines() if not line.startswith("#")]

    assert abs(len(times(tmp_path / name)) - len(lines)) <= (4 if name == "cut.mp4" else 0)


def test_a_cover_is_no_video(caplog):
    assert len(times("cover_is_stream_0.mp4")) == 10
    assert not caplog.records
    with pytest.raises(InputVideoError, match="has no video stream: got audio, expected"):
        times("song_with_cover.mp3")


def test_the_stream_that_ffmpeg_takes_is_read_and_others_are_named(caplog):
    def size(**selection) -> tuple[int, int]:
        with open_video(CASES / "two_videos_second_default.mkv", selection=Selection(**selection)) as video:
            assert sum(1 for _ in video) == 10
            return video.width, video.height

    assert size() == (160, 96)
    assert "video stream 1 (160x96) is read, and not 0 (64x48); --stream chooses" in caplog.text
    caplog.clear()
    assert size(stream=0) == (64, 48)
    assert size(stream=1) == (160, 96)
    assert not caplog.records
    with pytest.raises(ConfigError, match=r"--stream 2: .* has no such video stream; choose of 0 \(64x48\), 1 \(160x"):
        size(stream=2)


TIMES_THAT_DO_NOT_RISE = {
    "concatenated.ts": (100, "timestamps restart, as in files that were joined byte by byte"),
    "duplicate_timestamps_2000fps.mkv": (12, "two frames share a time in units of 1/1000 seconds"),
}


@pytest.mark.parametrize("name", TIMES_THAT_DO_NOT_RISE)
def test_the_advice_for_times_that_do_not_rise_keeps_every_frame(name, tmp_path):
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    n_frames, reason = TIMES_THAT_DO_NOT_RISE[name]
    with pytest.raises(InputVideoError, match=reason) as caught:
        times(name)

    command = shlex.split(re.search(r"ffmpeg (-r .*)$", str(caught.value))[1])
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *command], cwd=tmp_path, check=True)
    assert len(times(tmp_path / command[-1])) == n_frames


def test_the_first_of_joined_recordings_can_be_taken():
    with pytest.raises(InputVideoError, match=r"take the first with --frames 0:50"):
        times("concatenated.ts")
    assert len(times("concatenated.ts", frames=(0, 50))) == 50


@pytest.mark.parametrize("suffix", [".mkv", ".webm", ".avi"])
def test_any_byte_that_a_container_lacks_is_missed(write_video, suffix):
    codec = {".mkv": "ffv1", ".webm": "libvpx", ".avi": "mpeg4"}[suffix]
    path = write_video(
        moving(10), "yuv420p", name=f"a{suffix}", codec=codec, time_base=Fraction(1, 25), pts=range(10)
    )  # fmt: skip
    data = path.read_bytes()

    assert shortfall(path) is None
    for n_lost in (2, 100, len(data) // 2):
        path.write_bytes(data[:-n_lost])
        assert shortfall(path) == f"{len(data) - n_lost} of {len(data)} bytes"
        with pytest.raises(InputVideoError, match=r"damaged or cut short|cannot be read as video"):
            times(path)


def test_a_live_stream_promises_no_size(noise, tmp_path):
    """A Matroska file that was written to a pipe has a segment of unknown size."""
    path = tmp_path / "live.mkv"
    with path.open("wb") as file:
        pipe = _Pipe(file)
        with av.open(pipe, "w", format="matroska", options={"live": "1"}) as container:
            stream = container.add_stream("ffv1", rate=25)
            stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv444p"
            for _ in range(3):
                picture = av.VideoFrame.from_ndarray(np.zeros((3, 32, 48), np.uint8), format="yuv444p")
                container.mux(stream.encode(picture))
            container.mux(stream.encode(None))

    assert shortfall(path) is None
    assert len(times(path)) == 3


@pytest.mark.parametrize("name", ["a.mkv", "a.flv"])
def test_a_container_that_is_broken_in_its_middle_is_damaged(write_video, tmp_path, name, caplog):
    """FFmpeg goes on where it can, without a word of what it lost."""
    codec = {"a.mkv": "ffv1", "a.flv": "flv1"}[name]
    pixel_format = {"a.mkv": "yuv444p", "a.flv": "yuv420p"}[name]
    options = {"cluster_time_limit": "200"} if name == "a.mkv" else {}
    timing = {"time_base": Fraction(1, 25), "pts": range(20)}
    path = write_video(moving(20), pixel_format, name=name, codec=codec, container_options=options, **timing)
    with av.open(str(path)) as container:
        place = next(packet.pos for i, packet in enumerate(container.demux(video=0)) if i == 12)
    data = bytearray(path.read_bytes())
    assert shortfall(path) is None
    # Where FFmpeg looks for the next element or tag, it finds none.
    data[place - 4 : place + 12] = bytes(16)
    path.write_bytes(data)

    assert re.fullmatch(r"a container that is broken at byte \d+", shortfall(path))
    with pytest.raises(InputVideoError, match="damaged or cut short at frame"):
        times(path)
    assert 0 < len(times(path, keep_going=True)) < 20
    assert "is damaged (" in caplog.text


class _Pipe:
    """A file that can only be written to, from its beginning on."""

    def __init__(self, file) -> None:
        self._file = file

    def write(self, data: bytes) -> int:
        return self._file.write(data)


@pytest.mark.parametrize("source", ["vfr_last_frame_held.mkv", "vfr_last_frame_held.mp4"])
@pytest.mark.parametrize("name", ["out.mp4", "out.mkv", "out.mov"])
def test_a_last_frame_that_is_held_stays_held(tmp_path, source, name):
    """Eight frames, of which the last is shown for five of 5.28 seconds."""
    stgv = tmp_path / "a.stgv"
    encode(CASES / source, stgv, config=EncodeConfig(preset="tiny", n_gaussians=30), device="cpu")
    with VideoDecoder(stgv, device="cpu") as decoder:
        assert decoder.get_frame_at(7).duration_seconds == pytest.approx(5.0)
        assert decoder.metadata.duration_seconds == pytest.approx(5.28)

    decode(stgv, tmp_path / name, device="cpu")
    decode(stgv, tmp_path / f"part_{name}", selection=Selection(frames=(0, 4)), device="cpu")

    assert [float(time) for time in times(tmp_path / name)] == pytest.approx([0.04 * k for k in range(8)])
    with av.open(str(tmp_path / name)) as container:
        assert container.duration / av.time_base == pytest.approx(5.28, abs=0.002)
    with open_video(tmp_path / name) as video:
        assert video.last_frame_duration() * video.time_base == pytest.approx(5.0)
    with av.open(str(tmp_path / f"part_{name}")) as container:
        assert container.duration / av.time_base < 2.5


def test_an_even_rate_says_nothing_of_the_last_frame():
    for name in ("opengop_uncut.ts", "avi_h264_bframes.avi", "two_videos_second_default.mkv"):
        with open_video(CASES / name) as video:
            assert video.last_frame_duration() == 0


def test_matroska_says_what_is_not_shown(tmp_path):
    """160x96 are coded, of which 16 and 8 pixels on each side are not shown."""
    with open_video(CASES / "mkv_crop.mkv") as video, av.open(str(CASES / "mkv_crop.mkv")) as container:
        frames = [frame.rgb for frame in video]
        coded = next(container.decode(video=0)).to_ndarray(format="rgb24")

    assert (video.width, video.height) == (128, 80)
    assert len(frames) == 50
    # Converters of chroma differ; a picture that is cut out elsewhere differs by far more.
    error, elsewhere = (np.abs(frames[0].astype(int) - part).mean() for part in (coded[8:88, 16:144], coded[:80, :128]))
    assert error < 0.2 * elsewhere
    with open_video(CASES / "mkv_crop.mkv", selection=Selection.parse(crop="64x40", resize="32x20")) as video:
        assert next(iter(video)).rgb.shape == (20, 32, 3)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.data())
def test_damaged_elements_of_matroska_say_nothing_worse_than_a_wrong_number(data):
    damaged = bytearray((CASES / "mkv_crop.mkv").read_bytes()[:2000])
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with tempfile.NamedTemporaryFile() as file:
        file.write(damaged)
        file.flush()
        cropping = cropping_of(file, 0)
    assert all(side >= 0 for side in cropping)
