from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from clips import moving_clip

from stgvcodec.errors import StgvError
from stgvcodec.media.colour import ColorTags
from stgvcodec.media.writer import open_writer
from stgvcodec.metrics.vmaf import VmafProgram


def program(folder: Path, body: str) -> None:
    """A program `ffmpeg` in Python."""
    path = folder / "ffmpeg"
    path.write_text(f"#!{sys.executable}\nimport json, pathlib, sys\narguments = sys.argv[1:]\n{body}")
    path.chmod(0o755)


def write_y4m(frames: np.ndarray, path: Path) -> Path:
    rate = Fraction(25)
    height, width = frames.shape[1:3]
    with open_writer(
        path, width=width, height=height, frame_rate=rate, time_base=1 / rate, color=ColorTags()
    ) as writer:
        for index, rgb in enumerate(frames):
            writer.write(rgb, index)
    return path


HONEST = """
if "-filters" in arguments:
    print(" .. vmafmotion V->V Calculate\\n .. libvmaf VV->V Calculate the VMAF")
elif "-version" in arguments:
    print("ffmpeg version 9.1 Copyright")
else:
    distorted, reference = (pathlib.Path(arguments[i + 1]).read_text() for i, a in enumerate(arguments) if a == "-i")
    assert "libvmaf" in arguments[arguments.index("-lavfi") + 1]
    mean = 100 if distorted == reference else 62.5
    pathlib.Path("vmaf.json").write_text(json.dumps({"pooled_metrics": {"vmaf": {"mean": mean}}}))
"""


@pytest.fixture
def path_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder with programs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    return folder


def test_none_without_a_program_or_its_filter(path_folder):
    assert VmafProgram.find() is None
    program(path_folder, "print(' .. vmafmotion V->V Calculate the VMAF Motion score; not libvmaf')")
    assert VmafProgram.find() is None
    program(path_folder, "sys.exit(1)")
    assert VmafProgram.find() is None


def test_the_score_is_the_pooled_mean(path_folder, tmp_path):
    program(path_folder, HONEST)
    (tmp_path / "a.y4m").write_text("a")
    (tmp_path / "b.y4m").write_text("b")

    found = VmafProgram.find()

    assert found is not None
    assert found.version == "ffmpeg version 9.1"
    assert found.score(tmp_path / "a.y4m", tmp_path / "b.y4m", tmp_path) == 62.5
    assert found.score(tmp_path / "a.y4m", tmp_path / "a.y4m", tmp_path) == 100


def test_the_program_of_the_package_is_there_where_the_path_has_none(path_folder, tmp_path, monkeypatch):
    (tmp_path / "packaged").mkdir()
    program(tmp_path / "packaged", HONEST)
    package = ModuleType("imageio_ffmpeg")
    package.get_ffmpeg_exe = lambda: str(tmp_path / "packaged" / "ffmpeg")
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", package)

    for body in (None, "print(' .. vmafmotion V->V')"):
        if body is not None:
            program(path_folder, body)
        found = VmafProgram.find()
        assert found is not None
        assert found.path == str(tmp_path / "packaged" / "ffmpeg")
    program(path_folder, HONEST)
    assert VmafProgram.find() == VmafProgram(str(path_folder / "ffmpeg"), "ffmpeg version 9.1")


def test_a_package_without_its_program_is_none(path_folder, monkeypatch):
    def refuse() -> str:
        raise RuntimeError("No ffmpeg exe could be found.")

    package = ModuleType("imageio_ffmpeg")
    package.get_ffmpeg_exe = refuse
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", package)

    assert VmafProgram.find() is None


def test_a_real_program_scores_worse_pictures_lower(tmp_path):
    """The extra "vmaf", which the tests' extra has, brings the program."""
    found = VmafProgram.find()
    assert found is not None

    frames = moving_clip(4, 96, 64)
    noise = np.random.default_rng(0).normal(0, 24, frames.shape)
    noisy = np.clip(frames + noise, 0, 255).astype(np.uint8)
    paths = [write_y4m(each, tmp_path / f"{i}.y4m") for i, each in enumerate((frames, noisy))]
    same, worse = (found.score(paths[0], path, tmp_path) for path in paths)

    assert 95 < same <= 100
    assert 0 < worse < same - 5


def test_a_failing_program_is_quoted(path_folder, tmp_path):
    program(path_folder, "print('first', file=sys.stderr); sys.exit('no such model')")

    with pytest.raises(StgvError, match="could not measure VMAF: no such model"):
        VmafProgram(str(path_folder / "ffmpeg"), "any").score(tmp_path / "a", tmp_path / "b", tmp_path)
