from __future__ import annotations

import importlib
import io
import sys
from pathlib import Path

import numpy as np
import pytest

from stgvcodec import EncodeConfig, VideoDecoder, read_info

iio = pytest.importorskip("imageio.v3")

from stgvcodec.integrations.imageio_plugin import StgvPlugin, register  # noqa: E402

CLIP = Path(__file__).parent.parent / "golden" / "two_gops.stgv"
TINY = EncodeConfig(preset="draft", n_gaussians=20)


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    with VideoDecoder(CLIP, device="cpu", dimension_order="NHWC") as decoder:
        return decoder[:].numpy()


@pytest.mark.parametrize("kind", [str, Path, Path.read_bytes, lambda path: io.BytesIO(path.read_bytes())])
def test_frames_are_read(frames, kind):
    assert np.array_equal(iio.imread(kind(CLIP), plugin=StgvPlugin), frames)
    assert np.array_equal(iio.imread(kind(CLIP), plugin=StgvPlugin, index=-1), frames[-1])
    assert np.array_equal(np.stack(list(iio.imiter(kind(CLIP), plugin=StgvPlugin))), frames)


def test_properties_and_metadata():
    whole, one = (iio.improps(CLIP, plugin=StgvPlugin, index=index) for index in (..., 2))
    assert (whole.shape, whole.n_images, whole.is_batch, whole.dtype) == ((5, 32, 48, 3), 5, True, np.uint8)
    assert (one.shape, one.n_images, one.is_batch) == ((32, 48, 3), None, False)
    assert iio.immeta(CLIP, plugin=StgvPlugin) == {
        "fps": pytest.approx(5 / 0.24),
        "duration": pytest.approx(0.24),
        "codec": "stgv",
    }
    assert iio.immeta(CLIP, plugin=StgvPlugin, index=2) == {"pts_seconds": pytest.approx(0.1)}


def test_once_registered_the_extension_is_enough(frames, tmp_path):
    register()
    register()
    assert np.array_equal(iio.imread(CLIP), frames)
    iio.imwrite(tmp_path / "a.stgv", frames[:2], config=TINY)
    assert read_info(tmp_path / "a.stgv").n_frames == 2


def test_arrays_are_written(frames, tmp_path):
    path = tmp_path / "a.stgv"
    assert iio.imwrite(path, frames, plugin=StgvPlugin, fps=10, config=TINY) is None
    info = read_info(path)
    assert (info.n_frames, info.frame_rate) == (5, 10)
    data = iio.imwrite("<bytes>", list(frames), extension=".stgv", plugin=StgvPlugin, fps=10, config=TINY)
    assert data == path.read_bytes()
    iio.imwrite(path, frames[0], plugin=StgvPlugin, config=TINY)
    assert (read_info(path).n_frames, read_info(path).frame_rate) == (1, 24)


def test_without_imageio_it_is_named(hide_package, monkeypatch):
    monkeypatch.delitem(sys.modules, "stgvcodec.integrations.imageio_plugin")
    hide_package("imageio")
    with pytest.raises(ImportError, match=r"needs the package imageio .*: pip install 'stgvcodec\[imageio\]'$"):
        importlib.import_module("stgvcodec.integrations.imageio_plugin")


def test_what_is_none_is_refused(tmp_path):
    (tmp_path / "a.stgv").write_bytes(b"text")
    with pytest.raises(OSError, match="can not handle") as caught:
        iio.imread(tmp_path / "a.stgv", plugin=StgvPlugin)
    assert "not a .stgv file" in str(caught.value.__cause__) or "cut short" in str(caught.value.__cause__)
    with pytest.raises(OSError, match="can not handle"):
        iio.imwrite(tmp_path / "a.mp4", np.zeros((1, 8, 8, 3), np.uint8), plugin=StgvPlugin)
    with pytest.raises(IndexError, match="frame 5 of a video of 5 frames"):
        iio.imread(CLIP, plugin=StgvPlugin, index=5)
    with (
        iio.imopen(tmp_path / "b.stgv", "w", plugin=StgvPlugin) as file,
        pytest.raises(OSError, match="open for wri"),
    ):
        file.read()
