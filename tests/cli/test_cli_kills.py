"""Encodes that are killed at any moment; STGV_KILLS=100 kills more of them.

STGV_KILLS=100 pytest -m slow --log-cli-level=info tests/cli/test_cli_kills.py
"""

from __future__ import annotations

import io
import json
import logging
import os
import random
import resource
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from clips import files_under, moving_clip
from track_clips import write_with_tracks

from stgvcodec import VideoDecoder
from stgvcodec.bitstream.container.chunks import MAGIC, ChunkType
from stgvcodec.bitstream.container.source import ByteSource
from stgvcodec.encoder import part_file

logger = logging.getLogger(__name__)

N_KILLS = int(os.environ.get("STGV_KILLS", "2"))
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
N_FRAMES, GOP = 10, 3
JOBS = {
    "no target": ["--gaussians", "20"],
    "a target": ["--bpp-target", "3"],
    "two at once": ["--psnr-target", "22", "--jobs", "2"],
    "two processes": ["--bpp-target", "3", "--device", "cpu,cpu"],
}


@dataclass
class Whole:
    """An encode that nothing interrupts: its command, its file, and the time it takes."""

    command: list[str]
    data: bytes
    seconds: float


def popen(command: list[str], destination: Path, *options: str, file_bytes: int | None = None) -> subprocess.Popen:
    def prepare() -> None:
        if file_bytes is not None:
            # Python ignores SIGXFSZ, so that a write that is too much fails as on a full disk.
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))

    return subprocess.Popen(
        [*command, str(destination), *options], stderr=subprocess.PIPE, text=True, preexec_fn=prepare
    )


def finished(data: bytes) -> dict[int, object]:
    """The finished GoPs that a part file's bytes hold."""
    return dict(part_file._read(ByteSource(io.BytesIO(data))).gops)


def written(data: bytes) -> int:
    """The number of GoPs that stand in a part file's bytes as in a complete one."""
    source, offset, n_gops = ByteSource(io.BytesIO(data)), len(MAGIC), 0
    while (chunk := source.chunk_at(offset)) is not None:
        n_gops, offset = n_gops + (chunk.type == ChunkType.GOP), chunk.end
    return n_gops


@pytest.fixture(scope="module", params=JOBS)
def whole(request, tmp_path_factory) -> Whole:
    folder = tmp_path_factory.mktemp("whole")
    source = write_with_tracks(folder / "clip.mkv", [("flac", "eng")], [], frames=moving_clip(N_FRAMES, 32, 32))
    options = ["--preset", "draft", "--gop", str(GOP), "--device", "cpu", "-q", *JOBS[request.param]]
    command = [sys.executable, "-m", "stgvcodec", "encode", *options, str(source)]
    destination = folder / "a.stgv"
    # The kernels are compiled by the first.
    for _ in range(2):
        started = time.monotonic()
        process = popen(command, destination, "-y")
        assert process.wait() == 0
        process.stderr.close()
    return Whole(command, destination.read_bytes(), time.monotonic() - started)


def check_and_resume(whole: Whole, folder: Path, before: dict[int, object]) -> int:
    """Check what an interrupted encode has left, and continue it; return how many GoPs it had finished."""
    destination, part = folder / "a.stgv", folder / "a.stgv.part"
    assert set(files_under(folder)) <= {"a.stgv", "a.stgv.part", "a.stgv.part-end"}
    if destination.exists():
        assert destination.read_bytes() == whole.data
    kept = finished(part.read_bytes()) if part.exists() else {}
    assert destination.exists() or set(kept) >= set(before)
    n_written = written(part.read_bytes()) if part.exists() else 0
    if n_written and not destination.exists():
        with VideoDecoder(part, keep_going=True) as decoder, VideoDecoder(io.BytesIO(whole.data)) as complete:
            # A GoP whose record was cut short is played, too; one that waits for another is not.
            assert len(decoder) >= min(GOP * n_written, N_FRAMES)
            assert np.array_equal(decoder[:], complete[: len(decoder)])

    process = popen(whole.command, destination, "--resume", "-y", "--json", str(folder / "report.json"))
    with process.stderr:
        assert process.wait() == 0, process.stderr.read()
    assert destination.read_bytes() == whole.data
    report = json.loads((folder / "report.json").read_text())
    assert report["n_gops_from_before"] >= len(kept)
    assert files_under(folder) == ["a.stgv", "report.json"]
    return len(kept)


@pytest.mark.slow
def test_nothing_is_lost_at_any_moment(whole: Whole, tmp_path: Path) -> None:
    rng = random.Random(0)
    n_kept = []
    for number in range(-(-N_KILLS // len(JOBS))):
        folder = tmp_path / str(number)
        folder.mkdir()
        part, ending = folder / "a.stgv.part", SIGNALS[number % len(SIGNALS)]
        process = popen(whole.command, folder / "a.stgv")
        time.sleep(rng.uniform(0.0, 1.02 * whole.seconds))
        before = finished(part.read_bytes()) if part.exists() else {}
        process.send_signal(ending)
        with process.stderr:
            said = process.stderr.read()
        code = process.wait()
        # An interpreter that has just been started does not have the handlers yet.
        assert code in (0, 128 + ending, -ending), said
        if code == 128 + ending:
            left = f"kept in {part}: continue with --resume" if part.exists() else "unfinished output was removed"
            assert said.startswith(f"stgvcodec: error: interrupted by {ending.name}; ")
            assert said.endswith(f"{left}\n")
        n_kept.append(check_and_resume(whole, folder, before))
    logger.info("%d encodes were killed; they had finished %s GoPs", len(n_kept), sorted(n_kept))


def processes_of(session: int) -> list[str]:
    """The command lines of the processes of a session, but for those that have ended and are not reaped."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            state, _, _, number = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(number) == session and state != "Z":
                found.append((folder / "cmdline").read_text().replace("\0", " "))
        except (OSError, ValueError):
            continue
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are told by /proc")
@pytest.mark.parametrize("moment", ["a node starts", "a GoP is finished"])
def test_ctrl_c_leaves_nothing_of_ray(tmp_path: Path, moment: str) -> None:
    """The terminal sends the signal to all processes; once is enough."""
    pytest.importorskip("ray")
    source = write_with_tracks(tmp_path / "clip.mkv", [], [], frames=moving_clip(30, 32, 32))
    options = ["--preset", "draft", "--gop", "3", "--device", "cpu", "-q", "--gaussians", "20"]
    command = [sys.executable, "-m", "stgvcodec", "encode", *options, str(source)]
    destination, part = tmp_path / "a.stgv", tmp_path / "a.stgv.part"
    process = subprocess.Popen(
        [*command, str(destination), "--engine", "ray"],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Where the tests are started with the signal ignored, the command would ignore it too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    is_there = part.exists if moment == "a GoP is finished" else lambda: "raylet" in " ".join(processes_of(process.pid))
    while not is_there():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    with process.stderr:
        said = process.stderr.read()
    assert process.wait() == 128 + signal.SIGINT, said
    left = f"kept in {part}: continue with --resume" if part.exists() else "unfinished output was removed"
    assert said.splitlines()[-1].startswith("stgvcodec: error: interrupted by SIGINT; ")
    assert said.endswith(f"{left}\n")
    assert part.exists() == (moment == "a GoP is finished")
    deadline = time.monotonic() + 20
    while (found := processes_of(process.pid)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert found == []
    assert subprocess.run([*command, str(destination), "--resume"], check=False).returncode == 0
    whole = tmp_path / "whole.stgv"
    assert subprocess.run([*command, str(whole)], check=False).returncode == 0
    assert destination.read_bytes() == whole.read_bytes()


@pytest.mark.slow
def test_a_full_disk_loses_nothing(whole: Whole, tmp_path: Path) -> None:
    """Files may not become longer than a limit; whatever it is, what was finished is kept."""
    sizes = [len(whole.data) // 4, len(whole.data) - 50, 3 * len(whole.data)]
    for size in sizes:
        folder = tmp_path / str(size)
        folder.mkdir()
        process = popen(whole.command, folder / "a.stgv", file_bytes=size)
        with process.stderr:
            said = process.stderr.read()
        assert process.wait() == (5 if size < sizes[-1] else 0)
        assert ("cannot be written: File too large" in said) == (size < sizes[-1])
        check_and_resume(whole, folder, {})
