from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from stgvcodec.cli import main

N_FRAMES, HEIGHT, WIDTH = 6, 32, 48


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Runs the command line in this process."""

    def run(*arguments: object) -> Outcome:
        capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


@pytest.fixture
def fresh_cli() -> Callable[..., Outcome]:
    """Runs the command line in a new process."""

    def run(*arguments: object, environment: dict[str, str] | None = None) -> Outcome:
        command = [sys.executable, "-m", "stgvcodec", *(str(argument) for argument in arguments)]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **(environment or {})})
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run


def moving_picture(t: int) -> np.ndarray:
    """Frame `t` of a small clip of moving waves. [H, W, 3] uint8."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    channels = [
        128 + 90 * np.sin((x + 2 * t) / 9),
        128 + 80 * np.cos((y - t) / 7),
        100 + 60 * np.sin((x + y + t) / 12),
    ]
    return np.stack(channels, axis=-1).astype(np.uint8)


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of six images of 48x32."""
    from stgvcodec.media import write_png

    folder = tmp_path_factory.mktemp("source") / "clip"
    folder.mkdir()
    for t in range(N_FRAMES):
        write_png(folder / f"{t}.png", moving_picture(t))
    return folder


@pytest.fixture(scope="session")
def encoded(tmp_path_factory: pytest.TempPathFactory, clip: Path) -> Path:
    """The clip as a .stgv file of two GoPs, of four frames and two."""
    path = tmp_path_factory.mktemp("encoded") / "clip.stgv"
    options = ["--preset", "draft", "--gaussians", "40", "--gop", "4", "--no-scene-cut", "--device", "cpu", "-q"]
    assert main(["encode", str(clip), str(path), *options]) == 0
    return path


@pytest.fixture(autouse=True)
def _tiny_preset() -> None:
    """The command line knows the presets of the package and no others."""
