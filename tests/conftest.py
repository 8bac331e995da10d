from __future__ import annotations

import builtins
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

if not torch.cuda.is_available() and os.environ.get("STGV_REQUIRE_GPU") != "1":
    # Triton reads this when a kernel is defined. Without a GPU, its kernels run in Python, on tiny cases.
    os.environ["TRITON_INTERPRET"] = "1"


from clips import decoded_frames, moving_clip, write_folder, write_video
from fits import TINY
from tensors import device_of

from stgvcodec.encoder.config import EncodeConfig
from stgvcodec.encoder.encode import encode
from stgvcodec.encoder.presets import PRESETS
from stgvcodec.encoder.reports import EncodeReport

# What is started in the background, such as these tests by CI or by nohup, often ignores signals, and what it starts
# inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# They are uneven on purpose, and do not begin at zero.
PTS = (80, 120, 200, 210, 330, 350, 390)


@dataclass(frozen=True)
class Encoded:
    """A file of two GoPs, of four frames and three, and where it comes from."""

    path: Path
    report: EncodeReport
    source: Path
    frames: np.ndarray  # [7, 32, 48, 3] uint8
    pts: tuple[int, ...]


@pytest.fixture(autouse=True)
def _tiny_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "tiny", TINY)


@pytest.fixture(scope="session")
def clip() -> np.ndarray:
    return moving_clip(len(PTS))


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory, clip: np.ndarray) -> Path:
    return write_folder(clip, tmp_path_factory.mktemp("folder") / "clip")


@pytest.fixture(scope="session")
def clip_video(tmp_path_factory: pytest.TempPathFactory, clip: np.ndarray) -> Path:
    """The clip with uneven timestamps in milliseconds."""
    return write_video(clip, tmp_path_factory.mktemp("video") / "clip.mkv", PTS)


@pytest.fixture(scope="session")
def encoded(tmp_path_factory: pytest.TempPathFactory, clip_video: Path, clip: np.ndarray) -> Encoded:
    path = tmp_path_factory.mktemp("encoded") / "clip.stgv"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "tiny", TINY)
        config = EncodeConfig(preset="tiny", n_gaussians=60, scene_cut=False)
        report = encode(clip_video, path, config=config, device="cpu")
    return Encoded(path, report, clip_video, clip, PTS)


@pytest.fixture(scope="session")
def decoded(encoded) -> np.ndarray:
    """The frames of `encoded`. [7, 32, 48, 3] uint8."""
    return decoded_frames(encoded.path)


@pytest.fixture(scope="session")
def triton_device() -> torch.device:
    return device_of("triton")


@pytest.fixture
def hide_package(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes imports of a package fail, as where it is not installed."""
    real = builtins.__import__

    def hide(package: str) -> None:
        def without(name: str, *arguments: object, **named: object) -> object:
            if name.startswith(package):
                raise ModuleNotFoundError(f"No module named '{name}'", name=name)
            return real(name, *arguments, **named)

        monkeypatch.setattr(builtins, "__import__", without)

    return hide


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip `gpu` tests where there is no CUDA device; with STGV_REQUIRE_GPU=1 they run, and fail, all the same."""
    if torch.cuda.is_available() or os.environ.get("STGV_REQUIRE_GPU") == "1":
        return
    skip = pytest.mark.skip(reason="no CUDA device; STGV_REQUIRE_GPU=1 makes this a failure")
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(skip)
