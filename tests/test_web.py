"""The decoder, the renderers and the player in JavaScript, by their own tests, which Node runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).with_name("web")
CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))

pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("node") is None, reason="there is no Node")]


def counts_of(*paths: Path) -> dict[str, int]:
    """Runs tests of Node, all of which must pass, and returns its counts of them."""
    done = subprocess.run(["node", "--test", *paths], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    lines = (line[2:].split() for line in done.stdout.splitlines() if line.startswith("# "))
    return {line[0]: int(line[1]) for line in lines if line[0] in ("pass", "fail", "skipped")}


def test_the_decoder_in_javascript_agrees():
    counts = counts_of(*sorted(TESTS.glob("*.test.mjs")))
    assert counts["pass"] > 70
    assert counts["fail"] == 0


def test_hostile_files_are_refused_or_decoded(tmp_path):
    command = [sys.executable, TESTS.with_name("fuzz") / "in_javascript.py", "--cases", "2000", "--findings", tmp_path]
    path = os.pathsep.join([str(TESTS.parents[1]), *(entry for entry in sys.path if entry)])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    counts = json.loads(done.stdout)
    assert (counts["cases"], counts["found"]) == (2000, 0)
    assert min(counts[end] for end in ("refused", "recovered", "drawn")) > 100


needs_tools = pytest.mark.skipif(
    not (TESTS / "node_modules").is_dir(), reason="its tools are missing: npm ci --prefix tests/web"
)


@needs_tools
@pytest.mark.parametrize(
    "command",
    [("tsc", "-p", "tests/web"), ("eslint", "-c", "tests/web/eslint.config.mjs", "web", "tests/web")],
    ids=["types", "lint"],
)
def test_the_modules_are_sound(command):
    program = TESTS / "node_modules" / ".bin" / command[0]
    done = subprocess.run([program, *command[1:]], cwd=TESTS.parents[1], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


@needs_tools
@pytest.mark.skipif(not CHROMIUM.exists(), reason=f"there is no {CHROMIUM}")
def test_the_renderers_and_the_player_in_a_browser():
    counts = counts_of(TESTS / "browser")
    assert counts["pass"] > 80
    assert counts["fail"] == 0
