from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import stgvcodec
from stgvcodec.evaluation import diagnosis, installed
from stgvcodec.evaluation.backend_trials import Trial
from stgvcodec.evaluation.installed import Component

_DROP_BOUNDING_CAPABILITY, _OVERRIDE_PERMISSIONS, _READ_AND_SEARCH = 24, 1, 2


def without_privileges() -> None:
    """Let root obey the permissions of files from the next program on, as any other user does."""
    if os.getuid() == 0:
        libc = ctypes.CDLL(None)
        for capability in (_OVERRIDE_PERMISSIONS, _READ_AND_SEARCH):
            libc.prctl(_DROP_BOUNDING_CAPABILITY, capability, 0, 0, 0)


@pytest.fixture
def read_only_install(tmp_path: Path):
    """Runs the command line from a copy of the package that cannot be written, with no home and an empty folder."""
    install, empty = tmp_path / "install", tmp_path / "empty"
    source = Path(stgvcodec.__file__).parent
    shutil.copytree(source, install / "stgvcodec", ignore=shutil.ignore_patterns("__pycache__"))
    empty.mkdir()
    folders = [tmp_path / "install", *(path for path in install.rglob("*") if path.is_dir()), empty]
    for folder in folders:
        folder.chmod(0o555)

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        kept = {name: os.environ[name] for name in ("PATH", "TMPDIR", "LD_LIBRARY_PATH") if name in os.environ}
        return subprocess.run(
            [sys.executable, "-m", "stgvcodec", "doctor", *arguments],
            cwd=empty,
            # There is no such user below the folder that cannot be written.
            env={**kept, "HOME": str(empty / "nobody"), "PYTHONPATH": str(install), **environment},
            preexec_fn=without_privileges,
            capture_output=True,
            text=True,
        )

    yield run
    for folder in folders:
        folder.chmod(0o755)


@pytest.mark.slow
def test_what_is_here_is_said_without_running_anything(cli) -> None:
    outcome = cli("doctor", "--quick")
    assert (outcome.code, outcome.err) == (0, "")
    titles = [line for line in outcome.out.splitlines() if line and not line.startswith(" ")]
    assert titles[:5] == ["installed", "GPUs", "folders", "around it", "optional"]
    assert titles[-1] == "nothing is known to be in the way"
    for text in (stgvcodec.__version__, str(Path(stgvcodec.__file__).parent), "FFmpeg libavcodec", "h264", "hevc"):
        assert text in outcome.out


def test_json_has_the_same(cli) -> None:
    found = json.loads(cli("doctor", "--quick", "--json").out, parse_constant=pytest.fail)
    assert found["works"] is True
    assert found["trials"] is None
    assert [each["name"] for each in found["components"]][:4] == ["stgvcodec", "Python", "torch", "numpy"]
    assert {"numba", "triton"} == {each["compiler"] for each in found["caches"]}
    assert found["encoders"]["h264"] is True


def test_a_package_that_is_broken_ends_with_exit_code_1_and_the_command_that_mends_it(cli, monkeypatch) -> None:
    broken = Component("av", "16.0", problem="cannot be imported: ImportError: libx", remedy="pip install 'av>=16'")
    whole = tuple(each for each in installed.components() if each.name != "av")
    monkeypatch.setattr(diagnosis, "components", lambda: (*whole, broken))

    outcome = cli("doctor")

    assert outcome.code == 1
    assert "  av cannot be imported: ImportError: libx:\n    pip install 'av>=16'\n" in outcome.out
    assert outcome.out.endswith("\nencode and decode do not work here\n")


def test_back_ends_that_do_not_run_are_named_with_the_reason(cli, monkeypatch) -> None:
    trials = (
        Trial("cpu", "numba", False, False, reason="numba says no"),
        Trial("cpu", "reference", True, True, seconds=4.25),
    )
    monkeypatch.setattr(diagnosis, "try_backends", lambda scratch, environment: iter(trials))

    outcome = cli("doctor")

    assert outcome.code == 0
    assert "  numba on cpu      does not run: numba says no\n" in outcome.out
    assert "  reference on cpu  encodes and decodes, 4.2 s\n" in outcome.out
    assert outcome.out.endswith("\nencode and decode work here, on cpu with reference\n")

    monkeypatch.setattr(diagnosis, "try_backends", lambda scratch, environment: iter(trials[:1]))
    assert cli("doctor").code == 1


def test_missing_extras_come_with_the_command_that_adds_them(cli, monkeypatch) -> None:
    real = installed._version
    monkeypatch.setattr(installed, "_version", lambda name: None if name == "fsspec" else real(name))
    outcome = cli("doctor", "--quick")
    assert "lacks fsspec; pip install 'stgvcodec[remote]'" in outcome.out


@pytest.mark.slow
def test_a_read_only_install_without_a_home_says_what_is_used_instead(read_only_install, tmp_path: Path) -> None:
    done = read_only_install("--quick")
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "install") in done.stdout
    assert "kernels of numba   cannot write any folder: they are compiled in every run" in done.stdout
    assert 'export NUMBA_CACHE_DIR="FOLDER"' in done.stdout
    assert list((tmp_path / "empty").iterdir()) == []

    named = tmp_path / "named"
    named.mkdir()
    done = read_only_install("--quick", NUMBA_CACHE_DIR=str(named))
    assert f"kernels of numba   {named} (NUMBA_CACHE_DIR)" in done.stdout
    assert "to mend" not in done.stdout


@pytest.mark.slow
def test_every_back_end_runs_in_a_read_only_install_without_a_home(read_only_install) -> None:
    done = read_only_install("--json")
    assert done.returncode == 0, done.stderr
    trials = {(each["device"], each["backend"]): each for each in json.loads(done.stdout)["trials"]}
    assert trials["cpu", "reference"]["decodes"]
    assert trials["cpu", "numba"]["decodes"]
    assert any(each["encodes"] and each["decodes"] for each in trials.values())
