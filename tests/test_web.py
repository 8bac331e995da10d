"""The decoder in JavaScript, by its own tests, which Node runs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

TESTS = Path(__file__).with_name("web")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("node") is None, reason="there is no Node")
def test_the_decoder_in_javascript_agrees():
    command = ["node", "--test", f"{TESTS}/"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    counts = dict(line[2:].split(" ") for line in done.stdout.splitlines() if line.startswith(("# pass ", "# fail ")))
    assert (done.returncode, counts["fail"]) == (0, "0"), done.stdout[-4000:]
    assert int(counts["pass"]) > 70
