"""Decoding by the command line in a fresh interpreter, which knows nothing but the file."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from stgvcodec.errors import StgvError


@dataclass(frozen=True)
class FreshDecode:
    """Figures of a decode by another process.

    Attributes:
        process_seconds: Wall-clock time of the whole process, start of Python and imports included.
        render_seconds: Part of that time from bytes to 8-bit frames.
        device: Device that it ran on.
        backend: Back end of the operators.
    """

    process_seconds: float
    render_seconds: float
    device: str
    backend: str


def decode_in_new_process(path: Path, destination: Path, *, device: str, backend: str) -> FreshDecode:
    """Decode a `.stgv` file in a new process.

    Args:
        path: The file.
        destination: Video file or folder of PNGs to write.
        device: Device, as `decode` takes it.
        backend: Implementation of the operators, as `decode` takes it.

    Returns:
        Figures of the decode.

    Raises:
        StgvError: the process failed; its last line is quoted.
    """
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "decode.json"
        command = [sys.executable, "-m", "stgvcodec", "decode", "-y", "-q", "--device", device, "--backend", backend]
        started = time.perf_counter()
        run_decoder([*command, "--json", str(report), "--", str(path), str(destination)], path)
        seconds = time.perf_counter() - started
        values = json.loads(report.read_text(encoding="utf-8"))
    return FreshDecode(seconds, values["render_seconds"], values["device"], values["backend"])


def run_decoder(command: list[str], path: Path) -> None:
    """Run a command that decodes `path` to its end.

    Raises:
        StgvError: the command failed; its last line is quoted.
    """
    # The command gets a session of its own: Ctrl-C on the terminal reaches this process alone, which then ends the
    # other one by a single SIGTERM and waits, so that it has the time to remove what it has half written.
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True
    )
    with process:
        try:
            _, complaint = process.communicate()
        except BaseException:
            process.terminate()
            raise
    if process.returncode != 0:
        lines = complaint.strip().splitlines() or [f"exit code {process.returncode} and no message"]
        raise StgvError(f"{path}: the decoding process failed: {lines[-1].removeprefix('stgvcodec: error: ')}")
