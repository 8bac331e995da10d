"""Where the memory of a CPU is used up in an encode, an error says so and what to do."""

from __future__ import annotations

import pytest

from stgvcodec import StgvError
from stgvcodec.encoder import encode as encode_module
from stgvcodec.encoder.config import EncodeConfig
from stgvcodec.encoder.encode import encode


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")]
)
@pytest.mark.parametrize("step", ["measure_content", "GopScheduler"])
def test_an_encode_that_has_no_memory(clip_video, tmp_path, monkeypatch, step, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(encode_module, step, fail)
    path = tmp_path / "a.stgv"
    with pytest.raises(
        StgvError, match=r"out of memory while a video is encoded: close .* fewer --gaussians"
    ) as caught:
        encode(clip_video, path, config=EncodeConfig(preset="tiny", size_target=20_000), device="cpu")
    assert caught.value.__cause__ is error
    assert not path.exists()
