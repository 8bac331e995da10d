"""The same script runs on torchcodec's decoder and on this one, and is told the same."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from stgvcodec import decode

pytestmark = pytest.mark.slow

CALLS = Path(__file__).with_name("torchcodec_calls.py")


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> dict[str, str]:
    """Variables with which torchcodec finds FFmpeg: where the system has none, in PyAV's wheel, under plain names."""
    if importlib.util.find_spec("torchcodec") is None:
        pytest.skip("torchcodec is not installed")
    bundled, plain = Path(av.__file__).parent.parent / "av.libs", tmp_path_factory.mktemp("ffmpeg")
    for library in bundled.glob("lib*.so.*"):
        name = re.fullmatch(r"(lib\w+)-[0-9a-f]+\.so\.(\d+)[.\d]*", library.name)
        if name is not None:
            (plain / f"{name[1]}.so.{name[2]}").symlink_to(library)
    folders = [os.environ.get("LD_LIBRARY_PATH", ""), str(plain), str(bundled)]
    variables = {**os.environ, "LD_LIBRARY_PATH": ":".join(filter(None, folders))}
    command = [sys.executable, "-c", "import torchcodec.decoders"]
    loading = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=120, check=False)
    if loading.returncode != 0:
        causes = [line for line in loading.stderr.splitlines() if "Error: " in line]
        pytest.skip(f"torchcodec cannot be loaded here: {(causes or ['no reason given'])[0]}")
    return variables


@pytest.fixture(scope="module")
def told(environment, encoded, tmp_path_factory) -> dict[str, dict[str, object]]:
    """What each package tells: of the file, and of the mp4 that `decode` makes of it."""
    folder = tmp_path_factory.mktemp("told")
    decode(encoded.path, folder / "clip.mp4", device="cpu")
    told = {}
    for package, path in (("torchcodec", folder / "clip.mp4"), ("stgvcodec", encoded.path)):
        results = folder / f"{package}.json"
        command = [sys.executable, str(CALLS), package, str(path), str(results)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == 0, done.stderr
        told[package] = {**json.loads(results.read_text()), "frames": np.load(results.with_suffix(".npz"))["frames"]}
    return told


def test_both_tell_the_same(told):
    theirs, ours = told["torchcodec"], told["stgvcodec"]

    assert len(theirs) > 60
    different = {name: (theirs[name], ours[name]) for name in theirs if name != "frames" and theirs[name] != ours[name]}
    assert different == {}


def test_torchcodec_reads_every_frame_that_decode_wrote(told, encoded):
    theirs, ours = told["torchcodec"]["frames"], told["stgvcodec"]["frames"]

    assert theirs.shape == ours.shape == (7, 3, 32, 48)
    assert np.abs(theirs.astype(int) - ours).mean() < 6  # 4:2:0 costs that
