from __future__ import annotations

import dataclasses
from fractions import Fraction

import numpy as np
import pytest
from clips import moving_clip, psnr_db
from tolerances import F64, approx

from stgvcodec.errors import BackendUnavailableError
from stgvcodec.media.anchors import ANCHORS, Yuv420Clip, decode_anchor, encode_anchor

N_FRAMES, WIDTH, HEIGHT = 9, 97, 71


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    """Their sides are odd on purpose."""
    return moving_clip(N_FRAMES, WIDTH, HEIGHT)


@pytest.fixture(scope="module")
def yuv(frames: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Yuv420Clip:
    path = tmp_path_factory.mktemp("yuv") / "clip.yuv"
    return Yuv420Clip.write(iter(frames), path, size=(WIDTH, HEIGHT), frame_rate=Fraction(25))


def quality(frames: np.ndarray, decoded: list[np.ndarray]) -> float:
    assert [each.shape for each in decoded] == [(HEIGHT, WIDTH, 3)] * N_FRAMES
    return float(np.mean([psnr_db(a, b) for a, b in zip(frames, decoded, strict=True)]))


def test_colour_is_bt709_in_limited_range(tmp_path):
    red, green, blue = 200, 40, 60
    flat = np.full((1, 16, 18, 3), (red, green, blue), np.uint8)
    clip = Yuv420Clip.write(iter(flat), tmp_path / "flat", size=(18, 16), frame_rate=Fraction(25))

    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    expected = [
        16 + 219 * luma / 255,
        128 + 224 * (blue - luma) / 1.8556 / 255,
        128 + 224 * (red - luma) / 1.5748 / 255,
    ]
    samples = np.fromfile(clip.path, np.uint8)
    planes = np.split(samples, [16 * 18, 16 * 18 * 5 // 4])
    assert [plane.mean() for plane in planes] == approx(expected, "levels, mean of a plane", F64)
    assert np.abs(next(clip.frames()).astype(int) - flat[0]).max() <= 1


def test_odd_sides_are_rounded_up_and_come_back(frames, yuv):
    assert yuv.coded_size == (98, 72)
    assert yuv.path.stat().st_size == N_FRAMES * 98 * 72 * 3 // 2
    assert 25 < quality(frames, list(yuv.frames())) < 60


@pytest.mark.parametrize("anchor", ANCHORS.values(), ids=list(ANCHORS))
def test_a_stream_and_back(anchor, frames, yuv, tmp_path):
    ceiling = quality(frames, list(yuv.frames()))
    figures = []
    for crf in (8.5, 40):
        path = tmp_path / f"{crf}{anchor.suffix}"
        encoded = encode_anchor(anchor, yuv, crf, path)
        assert encoded.n_bytes == path.stat().st_size
        assert encoded.n_key_frames == 1
        figures.append((encoded.n_bytes, quality(frames, list(decode_anchor(anchor, yuv, path)))))

    (fine_bytes, fine_db), (coarse_bytes, coarse_db) = figures
    assert fine_bytes > 1.5 * coarse_bytes
    assert coarse_db + 1 < fine_db < ceiling + 0.1
    assert fine_db > ceiling - 6


@pytest.mark.parametrize("anchor", ANCHORS.values(), ids=list(ANCHORS))
def test_the_same_frames_give_the_same_bytes(anchor, yuv, tmp_path):
    for name in ("a", "b"):
        encode_anchor(anchor, yuv, 30, tmp_path / name)

    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("name", "crf"), [("x264", 28.125), ("x264-psnr", 28.125), ("x265", 28.125), ("svtav1", 28.25)]
)
def test_fractions_of_a_crf_count(name, crf, yuv, tmp_path):
    anchor = ANCHORS[name]
    assert crf == anchor.crf_range[0] + anchor.crf_step * round((crf - anchor.crf_range[0]) / anchor.crf_step)
    streams = []
    for value in (28, crf, 29):
        encode_anchor(anchor, yuv, value, tmp_path / "a")
        streams.append((tmp_path / "a").read_bytes())

    assert len(set(streams)) == 3


@pytest.mark.parametrize(
    ("name", "text"), [("x264", b"x264 - core"), ("x264-psnr", b"x264 - core"), ("x265", b"x265 (build")]
)
def test_the_text_about_the_encoder_is_not_counted_but_its_facts_are_kept(name, text, yuv, tmp_path):
    encoded = encode_anchor(ANCHORS[name], yuv, 30, tmp_path / "a")
    kept = encode_anchor(dataclasses.replace(ANCHORS[name], text_nal_type=None), yuv, 30, tmp_path / "b")

    assert text not in (tmp_path / "a").read_bytes()
    assert text in (tmp_path / "b").read_bytes()
    assert kept.n_bytes > encoded.n_bytes + 400
    assert encoded.key_frame_interval == 250
    assert encoded.version is not None
    assert encoded.version[0].isdigit()


def test_settings_name_encoder_preset_and_libraries():
    for name, preset in (("x264", "medium"), ("x264-psnr", "medium"), ("x265", "medium"), ("svtav1", "8")):
        settings = ANCHORS[name].settings()
        assert settings["preset"] == preset
        assert "PyAV" in str(settings["library"])


@pytest.mark.parametrize(
    ("name", "said"), [("x264", (b" psy=1 ", b" aq=1:1.00")), ("x264-psnr", (b" psy=0 ", b" aq=1:0.00"))]
)
def test_only_the_tuned_x264_leaves_out_what_psnr_does_not_see(name, said, yuv, tmp_path):
    anchor = dataclasses.replace(ANCHORS[name], text_nal_type=None)
    encode_anchor(anchor, yuv, 30, tmp_path / "a")

    stream = (tmp_path / "a").read_bytes()
    assert all(words in stream for words in said)
    assert ("tune=psnr" in str(anchor.settings()["options"])) == (name == "x264-psnr")


def test_an_encoder_that_is_not_there_is_named(yuv, tmp_path):
    missing = dataclasses.replace(ANCHORS["x265"], encoder="libx299")

    with pytest.raises(BackendUnavailableError, match=r"anchor x265: PyAV .* is built without libx299"):
        encode_anchor(missing, yuv, 30, tmp_path / "a")


def test_an_encoder_that_refuses_is_named(yuv, tmp_path):
    picky = dataclasses.replace(ANCHORS["x264"], preset="no-such-preset")

    with pytest.raises(BackendUnavailableError, match="anchor x264: libx264 cannot encode 98x72 at CRF 30"):
        encode_anchor(picky, yuv, 30, tmp_path / "a")


def test_a_stream_that_is_none(yuv, tmp_path):
    (tmp_path / "a.h264").write_bytes(b"not a stream at all")

    with pytest.raises(BackendUnavailableError, match=r"a\.h264 cannot be decoded"):
        list(decode_anchor(ANCHORS["x264"], yuv, tmp_path / "a.h264"))
