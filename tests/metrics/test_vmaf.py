from __future__ import annotations

import sys
from pathlib import Path

import pytest

from stgvcodec.errors import StgvError
from stgvcodec.metrics.vmaf import VmafProgram


def program(folder: Path, body: str) -> None:
    """A program `ffmpeg` in Python."""
    path = folder / "ffmpeg"
    path.write_text(f"#!{sys.executable}\nimport json, pathlib, sys\narguments = sys.argv[1:]\n{body}")
    path.chmod(0o755)


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
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
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


def test_a_failing_program_is_quoted(path_folder, tmp_path):
    program(path_folder, "print('first', file=sys.stderr); sys.exit('no such model')")

    with pytest.raises(StgvError, match="could not measure VMAF: no such model"):
        VmafProgram(str(path_folder / "ffmpeg"), "any").score(tmp_path / "a", tmp_path / "b", tmp_path)
