from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stgvcodec.errors import StgvError
from stgvcodec.evaluation.fresh_process import decode_in_new_process, run_decoder


def test_a_failing_decoding_process_is_quoted(tmp_path: Path) -> None:
    (tmp_path / "a.stgv").write_text("not one")
    with pytest.raises(StgvError, match=r"a\.stgv: the decoding process failed: .*a\.stgv"):
        decode_in_new_process(tmp_path / "a.stgv", tmp_path / "frames", device="cpu", backend="auto")


def test_what_the_decoding_process_complains_of_is_passed_on() -> None:
    program = "import sys; sys.stderr.write('chatter\\nstgvcodec: error: GoP 3: damaged\\n'); sys.exit(4)"
    with pytest.raises(StgvError, match=r"^a\.stgv: the decoding process failed: GoP 3: damaged$"):
        run_decoder([sys.executable, "-c", program], Path("a.stgv"))


def test_a_signal_ends_the_decoding_process_too_and_leaves_it_time_to_clean_up(tmp_path: Path) -> None:
    # The child stands for the decoder: it cleans up when asked to end, and says so.
    child = (
        "import pathlib, signal, sys, time\n"
        "def clean_up(*_): pathlib.Path(sys.argv[1], 'cleaned').touch(); sys.exit(1)\n"
        "signal.signal(signal.SIGTERM, clean_up)\n"
        "pathlib.Path(sys.argv[1], 'ready').touch()\n"
        "time.sleep(60)\n"
    )
    parent = (
        "import sys\n"
        "from pathlib import Path\n"
        "from stgvcodec.cli import exits\n"
        "from stgvcodec.evaluation.fresh_process import run_decoder\n"
        "try:\n"
        "    with exits.raised_signals():\n"
        f"        run_decoder([sys.executable, '-c', {child!r}, {str(tmp_path)!r}], Path('a.stgv'))\n"
        "except exits.Interrupted as interrupted:\n"
        "    sys.exit(interrupted.exit_code)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", parent])
    deadline = time.monotonic() + 30
    while not (tmp_path / "ready").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    assert (tmp_path / "cleaned").exists()
