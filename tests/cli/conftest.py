from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from clips import moving_clip, write_folder

from stgvcodec.cli import main


class Outcome(NamedTuple):
    code: int
    out: str
    err: str

    def assert_refused(self, code: int, said: str) -> None:
        """One line that matches `said`, an exit code, and nothing else."""
        assert (self.code, self.out) == (code, "")
        assert re.fullmatch(rf"stgvcodec: error: .*(?:{said}).*\n", self.err), self.err


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


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of six images of 48x32."""
    return write_folder(moving_clip(6), tmp_path_factory.mktemp("source") / "clip")


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
