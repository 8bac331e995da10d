"""The ratio of pixels that are not square: it is kept from source to file to output, or resampled away."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from stgvcodec.decoder.decode_file import decode
from stgvcodec.decoder.video_decoder import VideoDecoder
from stgvcodec.encoder.config import EncodeConfig
from stgvcodec.encoder.encode import encode
from stgvcodec.errors import ConfigError
from stgvcodec.evaluation.compare import compare
from stgvcodec.media import Selection, open_video

PAL = Fraction(16, 15)


@pytest.fixture
def anamorphic(tmp_path) -> Path:
    """Three frames of 60x48 that are shown as 64x48."""
    path = tmp_path / "pal.mkv"
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = 60, 48, "yuv444p"
        stream.codec_context.sample_aspect_ratio = PAL
        for _ in range(3):
            planes = rng.integers(0, 256, (3, 6, 6), dtype=np.uint8).repeat(8, axis=1).repeat(10, axis=2)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv444p")))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("selection", "size", "ratio"),
    [
        ({}, (60, 48), PAL),
        ({"square": True}, (64, 48), 1),
        ({"resize": "64x48"}, (64, 48), 1),
        ({"resize": "30x24"}, (30, 24), PAL),
        ({"resize": "60x24"}, (60, 24), PAL / 2),
        ({"crop": "30x24"}, (30, 24), PAL),
        ({"crop": "30x24", "square": True}, (32, 24), 1),
        ({"crop": "30x24", "resize": "60x48"}, (60, 48), PAL),
    ],
    ids=str,
)  # fmt: skip
def test_pictures_keep_the_shape_that_they_are_shown_in(anamorphic, selection, size, ratio, caplog):
    with open_video(anamorphic, selection=Selection.parse(**selection)) as video:
        shape = next(iter(video)).rgb.shape

    assert (video.width, video.height) == size == shape[1::-1]
    assert video.sample_aspect_ratio == ratio
    assert not caplog.records


def test_square_pixels_stay_square_at_any_size(write_video, noise):
    path = write_video([noise(48, 64)])

    with open_video(path, selection=Selection.parse(resize="64x20")) as video:
        assert video.sample_aspect_ratio == 1
    with open_video(path, selection=Selection.parse(square=True)) as video:
        assert (video.width, video.height) == (64, 48)


def test_two_options_for_a_size_are_refused():
    with pytest.raises(ConfigError, match="--square and --resize both choose a size"):
        Selection.parse(resize="64x48", square=True)


@pytest.mark.parametrize("name", ["out.mp4", "out.mov", "out.mkv", "out.avi", "out.y4m", "out.webm", "out"])
def test_the_ratio_goes_through_the_file_into_the_output(anamorphic, tmp_path, name, caplog):
    stgv = tmp_path / "a.stgv"
    encode(anamorphic, stgv, config=EncodeConfig(preset="tiny", n_gaussians=30), device="cpu")
    with VideoDecoder(stgv, device="cpu") as decoder:
        assert decoder.header.sample_aspect_ratio == PAL
        assert decoder.metadata.sample_aspect_ratio == PAL

    decode(stgv, tmp_path / name, device="cpu")

    with open_video(tmp_path / name) as video:
        assert video.sample_aspect_ratio == (1 if name in ("out", "out.webm") else PAL)
    assert ("images do not keep the ratio" in caplog.text) == (name == "out")
    assert ("libvpx-vp9 in this container does not keep the ratio" in caplog.text) == (name == "out.webm")


def test_a_squared_file_is_compared_with_its_source(anamorphic, tmp_path):
    stgv, selection = tmp_path / "a.stgv", Selection(square=True)
    encode(anamorphic, stgv, config=EncodeConfig(preset="tiny", n_gaussians=30), selection=selection, device="cpu")

    comparison = compare(anamorphic, stgv, selection=selection, device="cpu")

    assert comparison.n_frames == 3
    with VideoDecoder(stgv, device="cpu") as decoder:
        assert (decoder.header.width, decoder.header.sample_aspect_ratio) == (64, 1)
    with pytest.raises(ConfigError, match=r"is 60x48 and .* is 64x48, expected the same size"):
        compare(anamorphic, stgv, device="cpu")


@pytest.mark.parametrize(
    ("size", "ratio"), [((60, 24), PAL / 2), ((64, 48), Fraction(1)), ((120, 96), PAL)], ids=["flat", "square", "twice"]
)
def test_another_size_keeps_the_shape_in_which_pictures_are_displayed(anamorphic, tmp_path, size, ratio):
    stgv = tmp_path / "a.stgv"
    encode(anamorphic, stgv, config=EncodeConfig(preset="tiny", n_gaussians=30), device="cpu")

    decode(stgv, tmp_path / "out.mp4", size=size, device="cpu")

    with open_video(tmp_path / "out.mp4") as video:
        assert (video.width, video.height, video.sample_aspect_ratio) == (*size, ratio)
