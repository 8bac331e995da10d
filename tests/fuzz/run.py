"""Fuzz the reader, from framing to pictures: `python tests/fuzz/run.py --seconds 3600 --jobs 2`.

Cases are numbered: case I of seed S is the same on every machine, and `--case S:I` runs it alone. Every job is a
process of its own, so that a crash is noticed, as is a case that takes too long or too much memory. What is found is
printed, and written to the folder `--findings` as a file with the traceback beside it. The exit code is 1 then. Once a
minute, `counts.json` there says how many cases ended at each stage so far.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

MAX_BYTES = 8 << 30
"""Memory that a job may take for data, bytes."""
# The first cases compile kernels.
_MAX_START_SECONDS = 900.0
_POLL_SECONDS = 0.2
_COUNTS_SECONDS = 60.0


class Progress(NamedTuple):
    """What a job writes down as it goes, in memory that outlives it: [2 + number of stages] int64.

    Attributes:
        case: Number of the case that runs.
        began: When it began, seconds since 1970; 0 before the first one.
        counts: Number of cases that ended at each stage, found ones left out.
    """

    case: int
    began: int
    counts: list[int]


def open_progress(path: Path, n_stages: int) -> np.memmap:
    if not path.exists():
        path.write_bytes(bytes(8 * (2 + n_stages)))
    return np.memmap(path, np.int64, "r+")


@dataclass
class Job:
    """A process that runs the cases first, first + step, ... of a seed, and those that follow where one ends it."""

    number: int
    arguments: argparse.Namespace
    folder: Path
    n_crashes: int = 0
    started: float = field(default_factory=time.time)
    process: subprocess.Popen[bytes] | None = None

    @property
    def progress_path(self) -> Path:
        return self.folder / f"job{self.number}.progress"

    def progress(self) -> Progress:
        if not self.progress_path.exists():
            return Progress(0, 0, [])
        values = np.fromfile(self.progress_path, np.int64).tolist()
        return Progress(values[0], values[1], values[2:])

    def start(self, first: int) -> None:
        options = self.arguments
        command = [sys.executable, __file__, "--worker", str(self.progress_path), "--seed", str(options.seed)]
        command += ["--first", str(first), "--step", str(options.jobs), "--findings", str(self.folder)]
        command += ["--cases", str(options.cases)]
        self.started = time.time()
        self.process = subprocess.Popen(command, stderr=(self.folder / f"job{self.number}.stderr").open("wb"))

    def _limit_seconds(self, progress: Progress) -> float:
        return self.arguments.max_seconds if progress.began else _MAX_START_SECONDS

    def poll(self) -> bool:
        """Notice a crash or a hang, and go on behind it; return whether the job is still at work."""
        assert self.process is not None
        progress, code = self.progress(), self.process.poll()
        if code == 0:
            return False
        fault = None
        if code is not None:
            fault = f"the process ended with {code}"
        elif time.time() - max(progress.began, self.started) > self._limit_seconds(progress):
            self.process.kill()
            self.process.wait()
            fault = f"took more than {self._limit_seconds(progress):.0f} s"
        if fault is None:
            return True
        self.n_crashes += 1
        said = (self.folder / f"job{self.number}.stderr").read_text(errors="replace")
        write_finding(self.folder, self.arguments.seed, progress.case, f"{fault}\n{said}")
        if not progress.began or self.n_crashes > 20:
            return False
        self.start(progress.case + self.arguments.jobs)
        return True


def write_finding(folder: Path, seed: int, case: int, text: str) -> None:
    import hostile

    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{seed}-{case}.stgv").write_bytes(hostile.cases(seed, case))
    (folder / f"{seed}-{case}.txt").write_text(text, encoding="utf-8")


def work(arguments: argparse.Namespace) -> None:
    """Run cases until told to stop, or until the last one."""
    import hostile
    import torch
    from reach import STAGES, reach

    # Jobs run beside each other, and pictures are small.
    torch.set_num_threads(1)
    limit = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (MAX_BYTES, limit))
    # To write the memory of a process that has crashed takes long, and the case says it all.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for data in hostile.CORPUS:
        # Kernels are compiled here, which no case has to answer for.
        assert reach(data) == "rendered"
    state = open_progress(arguments.worker, len(STAGES))
    case = arguments.first
    while arguments.cases == 0 or case < arguments.cases:
        state[:2] = case, int(time.time())
        try:
            state[2 + STAGES.index(reach(hostile.cases(arguments.seed, case)))] += 1
        except Exception:
            write_finding(arguments.findings, arguments.seed, case, traceback.format_exc())
        case += arguments.step


def run_one(seed: int, case: int) -> None:
    """Run a case in this process, and let its error show."""
    import hostile
    from reach import reach

    data = hostile.cases(seed, case)
    print(f"case {seed}:{case}, {len(data)} bytes: {reach(data)}")


def counts_of(jobs: list[Job]) -> dict[str, int]:
    """Number of cases that ended at each stage so far, by its name; those of all as "cases"."""
    from reach import STAGES

    counts = dict.fromkeys(("cases", *STAGES), 0)
    for job in jobs:
        for stage, n in zip(STAGES, job.progress().counts, strict=False):
            counts[stage] += n
            counts["cases"] += n
    return counts


def supervise(arguments: argparse.Namespace) -> int:
    arguments.findings.mkdir(parents=True, exist_ok=True)
    # What an earlier run has found stays where it is, and is not counted.
    started_ns = time.time_ns()
    for old in arguments.findings.glob("*.progress"):
        old.unlink()
    jobs = [Job(number, arguments, arguments.findings) for number in range(arguments.jobs)]
    for job in jobs:
        job.start(arguments.first + job.number)
    begun, counted, running = 0.0, time.time(), list(jobs)
    while running and not (begun and arguments.seconds and time.time() - begun > arguments.seconds):
        time.sleep(_POLL_SECONDS)
        running = [job for job in running if job.poll()]
        # Time counts from where kernels are compiled.
        if not begun and any(job.progress().began for job in jobs):
            begun = time.time()
        if time.time() - counted > _COUNTS_SECONDS:
            counted = time.time()
            (arguments.findings / "counts.json").write_text(json.dumps(counts_of(jobs)) + "\n")
    for job in running:
        if job.process is not None:
            job.process.kill()
            job.process.wait()
    counts = counts_of(jobs)
    (arguments.findings / "counts.json").write_text(json.dumps(counts) + "\n")
    findings = sorted(path for path in arguments.findings.glob("*.txt") if path.stat().st_mtime_ns >= started_ns)
    print(json.dumps({"cases": counts.pop("cases"), "findings": len(findings), **counts}))
    for path in findings:
        lines = path.read_text(encoding="utf-8").strip().splitlines() or [""]
        print(f"found: case {path.stem.replace('-', ':')}: {lines[-1]}; {path}")
    return 1 if findings or not sum(counts.values()) else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.0, help="stop after so long; 0: go on for all --cases")
    parser.add_argument("--cases", type=int, default=0, help="number of the last case, and one; 0: no last case")
    parser.add_argument("--jobs", type=int, default=1, help="number of processes")
    parser.add_argument(
        "--max-seconds", type=float, default=60.0, help="seconds that a case may take, of which most take 5 ms"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"), help="folder for what is found")
    parser.add_argument("--case", metavar="SEED:CASE", help="run this case alone, in this process")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--step", type=int, default=1, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        seed, _, case = arguments.case.partition(":")
        run_one(int(seed), int(case))
        return 0
    if arguments.worker:
        work(arguments)
        return 0
    if not (arguments.seconds or arguments.cases):
        parser.error("--seconds or --cases: when to stop")
    return supervise(arguments)


if __name__ == "__main__":
    sys.exit(main())
