"""Fuzz the decoder in JavaScript with the cases of this folder: `python tests/fuzz/in_javascript.py --cases 20000`.

Case I of seed S is that of run.py. Node decodes them one after another. A case that ends in an error which is none of
the decoder's, takes too long or too much memory is written to the folder `--findings`, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import json
import select
import shutil
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import hostile

PROGRAM = Path(__file__).parents[1] / "web" / "fuzz.mjs"
MAX_MIB = 1500
"""Memory that the process may take; the budget of a GoP is 256 MiB."""


@contextmanager
def decoder() -> Iterator[subprocess.Popen[bytes]]:
    """A process of Node that decodes what it is given."""
    command = [shutil.which("node") or "node", "--max-old-space-size=1024", str(PROGRAM)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def answer(process: subprocess.Popen[bytes], data: bytes, max_seconds: float) -> tuple[str, float, int]:
    """Let a process decode a file; return how that ended, its milliseconds, and the memory of the process in MiB.

    Raises:
        RuntimeError: the process ended, or has taken too long.
    """
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        process.stdin.write(struct.pack("<I", len(data)) + data)
        process.stdin.flush()
    except BrokenPipeError:
        raise RuntimeError(process.stderr.read().decode()) from None
    if not select.select([process.stdout], [], [], max_seconds)[0]:
        raise RuntimeError(f"took more than {max_seconds:.0f} s")
    end, milliseconds, mib = process.stdout.readline().decode().strip().split("\t") or ["", "", ""]
    return end, float(milliseconds), int(mib)


def run(arguments: argparse.Namespace) -> int:
    ends: Counter[str] = Counter()
    slowest, most, found = 0.0, 0, []
    case = arguments.first
    while case < arguments.cases:
        with decoder() as process:
            while case < arguments.cases:
                data = hostile.cases(arguments.seed, case)
                case += 1
                try:
                    end, milliseconds, mib = answer(process, data, arguments.max_seconds)
                    if mib > MAX_MIB:
                        raise RuntimeError(f"the process takes {mib} MiB")
                except (RuntimeError, ValueError) as error:
                    process.kill()
                    assert process.stderr is not None
                    said = f"{error}\n{process.stderr.read().decode()}"
                    arguments.findings.mkdir(parents=True, exist_ok=True)
                    path = arguments.findings / f"js-{arguments.seed}-{case - 1}.stgv"
                    path.write_bytes(data)
                    found.append(f"{path}: {said}")
                    break
                ends[end] += 1
                slowest, most = max(slowest, milliseconds), max(most, mib)
    print(
        json.dumps({"cases": case - arguments.first, "found": len(found), "slowest_ms": slowest, "mib": most, **ends})
    )
    for text in found:
        print(f"found: {text}", file=sys.stderr)
    return 1 if found else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, required=True, help="number of the last case, and one")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-seconds", type=float, default=60.0, help="seconds that a case may take")
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"), help="folder for what is found")
    return run(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
