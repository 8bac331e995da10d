"""What every benchmark does alike: time, name the device and the commit, print rows and write them as CSV."""

from __future__ import annotations

import argparse
import csv
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

COLUMNS = ("op", "shape", "unit", "p20", "p50", "p80", "device", "commit")
# An OpenMP worker spins for a while after a torch operator, on a core that the next operator wants.
_SETTLE_SECONDS = 0.3


def percentiles_ms(work: Callable[[], object], device: torch.device, repeats: int) -> tuple[float, float, float]:
    """20th, 50th and 80th percentile of a call's time, after a few calls that do not count."""
    times = []
    time.sleep(_SETTLE_SECONDS)
    for i in range(-1 if repeats < 10 else -3, repeats):
        begin = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        if i >= 0:
            times.append((time.perf_counter() - begin) * 1e3)
    p20, p50, p80 = np.percentile(times, (20, 50, 80))
    return float(p20), float(p50), float(p80)


def device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{models[0] if models else platform.machine()}, {torch.get_num_threads()} threads"


def commit() -> str:
    """The commit measured; from STGV_COMMIT where there is no git, as on a lent machine."""
    if "STGV_COMMIT" in os.environ:
        return os.environ["STGV_COMMIT"]
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def print_rows(rows: Sequence[Sequence[object]], columns: Sequence[str] = COLUMNS) -> None:
    table = [columns, *rows]
    widths = [max(len(str(row[i])) for row in table) for i in range(len(columns))]
    for row in table:
        print("  ".join(str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def write_csv(path: Path, rows: Sequence[Sequence[object]], columns: Sequence[str] = COLUMNS) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])


def cold_compile_seconds(script: str, seed: int) -> float:
    """What `first_call_seconds` prints in a fresh process of an operator's benchmark, with an empty kernel cache."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = [sys.executable, script, "--first-call", "--seed", str(seed)]
        environment = {**os.environ, "NUMBA_CACHE_DIR": folder}
        done = subprocess.run(arguments, env=environment, check=True, capture_output=True, text=True)
    return float(done.stdout)


def first_call_seconds(work: Callable[[], object]) -> float:
    """The first call's time less the second's: what it compiles."""
    import numba  # noqa: F401  Its import is no compilation.

    seconds = []
    for _ in range(2):
        begin = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begin)
    return seconds[0] - seconds[1]


def operator_main(
    doc: str | None,
    measure: Callable[[torch.device, int, int], list[tuple[object, ...]]],
    first_call: Callable[[int], object],
    repeats: int,
) -> None:
    """Command line of an operator's benchmark.

    Args:
        doc: The script's docstring.
        measure: Rows for a device, a seed and a number of repeats.
        first_call: Runs every kernel once, on inputs of a seed, with the numba back end.
        repeats: Default number of timed calls.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch and of the kernels (default: 2)")
    parser.add_argument("--repeats", type=int, default=repeats)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--csv", type=Path, help="write the rows to this file")
    parser.add_argument("--first-call", action="store_true", help="only print the seconds that the first call compiles")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    os.environ["STGV_THREADS"] = str(options.threads)
    if options.first_call:
        print(first_call_seconds(lambda: first_call(options.seed)))
        return

    rows = measure(torch.device(options.device), options.seed, options.repeats)
    print_rows(rows)
    if options.csv:
        write_csv(options.csv, rows)
