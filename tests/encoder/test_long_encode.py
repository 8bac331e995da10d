"""Memory of a long encode: it does not grow with the video, but for some numbers of each frame."""

from __future__ import annotations

import gc
import tracemalloc
from fractions import Fraction

import pytest
from clips import moving_clip

from stgvcodec import encode
from stgvcodec.encoder import twice_read
from stgvcodec.encoder.config import EncodeConfig
from stgvcodec.encoder.part_file import PartFile
from stgvcodec.media import ColorTags, open_writer

WIDTH, HEIGHT, GOP = 64, 48, 20
FRAME_BYTES = 3 * WIDTH * HEIGHT
N_GOPS, FIRST = 10, 3


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A clip of the same frames over and over."""
    frames = moving_clip(GOP, WIDTH, HEIGHT)
    path = tmp_path_factory.mktemp("long") / "clip.y4m"
    rate = Fraction(25)
    with open_writer(
        path, width=WIDTH, height=HEIGHT, frame_rate=rate, time_base=1 / rate, color=ColorTags()
    ) as writer:
        for k in range(N_GOPS * GOP):
            writer.write(frames[k % GOP], k)
    return path


@pytest.fixture
def kept_bytes(monkeypatch):
    """Return a function that hooks a method; what is in memory after each of its calls is then listed."""
    kept: list[int] = []

    def hook(owner: type, name: str) -> list[int]:
        method = getattr(owner, name)

        def with_note(*args: object) -> object:
            result = method(*args)
            # A full collection also clears the free lists of the interpreter.
            gc.collect()
            kept.append(tracemalloc.get_traced_memory()[0])
            return result

        monkeypatch.setattr(owner, name, with_note)
        return kept

    yield hook
    tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.parametrize("target", [{}, {"bpp_target": 1.0}], ids=["free", "bpp"])
def test_an_encode_keeps_some_numbers_of_each_frame_and_no_frame(clip, tmp_path, monkeypatch, kept_bytes, target):
    # What is kept of a short video to spare the second reading is no part of this.
    monkeypatch.setattr(twice_read, "_KEPT_BYTES", 0)
    config = EncodeConfig(preset="tiny", gop=GOP, scene_cut=False, **(target or {"n_gaussians": 9}))
    kept = kept_bytes(PartFile, "add")
    tracemalloc.start()

    encode(clip, tmp_path / "clip.stgv", config=config, device="cpu")

    assert len(kept) == N_GOPS
    # The first GoPs have in them what is compiled and cached.
    assert (kept[-1] - kept[FIRST]) / (GOP * (N_GOPS - 1 - FIRST)) < FRAME_BYTES / 5
