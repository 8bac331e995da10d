"""Run the commands of a README as written: the lines of its `sh` blocks but the installing ones, in a new folder."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

# CI has installed the package already, and runs the tests itself.
SKIPPED = re.compile(r"^(pip install|pytest)\b")


def commands(text: str) -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    parts = [part.strip() for line in lines for part in line.split("#")[0].split("&&")]
    return [part for part in parts if part and not SKIPPED.match(part)]


def main() -> None:
    readme, folder = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    folder.mkdir(parents=True)
    found = commands(readme.read_text(encoding="utf-8"))
    if not found:
        raise SystemExit(f"{readme} has no commands in sh blocks")
    for command in found:
        print(f"$ {command}", flush=True)
        started = time.monotonic()
        subprocess.run(["bash", "-euo", "pipefail", "-c", command], cwd=folder, check=True)
        print(f"  ({time.monotonic() - started:.1f} s)", flush=True)


if __name__ == "__main__":
    main()
