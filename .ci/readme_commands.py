"""Run the commands of documents as written: the lines of their `sh` blocks and their whole `python` blocks.

python .ci/readme_commands.py FOLDER DOCUMENT...

All documents share FOLDER and are run in the order given, so that a guide may use the files that README.md makes. A
block whose title begins with "needs", as in ```sh title="needs a GPU", is named and left out.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

# CI has installed the package already, and runs the tests itself.
SKIPPED = re.compile(r"^(pip install|pytest)\b")
FENCE = re.compile(r'^```(?P<language>sh|python)(?: title="(?P<title>[^"]*)")?\n(?P<body>.*?)^```$', re.M | re.S)
# Fences that look like commands to a reader but not to `FENCE`, and would be left out without a word.
OVERLOOKED = re.compile(r"^(?: +```(?:sh|python)|.*```(?:bash|shell|console|py|pycon)\b).*$", re.M)


class Command(NamedTuple):
    shown: str
    arguments: list[str]


def commands(document: Path) -> list[Command]:
    text = document.read_text(encoding="utf-8")
    if overlooked := OVERLOOKED.search(text):
        raise SystemExit(f"{document}: '{overlooked[0]}' would not be run; begin the line with ```sh or ```python")
    blocks = list(FENCE.finditer(text))
    if len(blocks) != len(re.findall(r"^```(?:sh|python)", text, flags=re.M)):
        raise SystemExit(f'{document}: a block begins with neither ```sh nor ```sh title="..." (python likewise)')
    found = []
    for block in blocks:
        if (block["title"] or "").startswith("needs"):
            print(f"{document}: a block that {block['title']} is left out")
        elif block["language"] == "python":
            lines = block["body"].strip().splitlines()
            found.append(Command(f"python: {lines[0]} ... ({len(lines)} lines)", [sys.executable, "-c", block["body"]]))
        else:
            lines = block["body"].replace("\\\n", " ").splitlines()
            parts = [part.strip() for line in lines for part in line.split("#")[0].split("&&")]
            bash = ["bash", "-euo", "pipefail", "-c"]
            found += [Command(part, [*bash, part]) for part in parts if part and not SKIPPED.match(part)]
    return found


def main() -> None:
    folder, documents = Path(sys.argv[1]), [Path(name).resolve() for name in sys.argv[2:]]
    folder.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    for document in documents:
        print(f"== {document.name}", flush=True)
        for command in commands(document):
            print(f"$ {command.shown}", flush=True)
            started = time.monotonic()
            subprocess.run(command.arguments, cwd=folder, check=True)
            print(f"  ({time.monotonic() - started:.1f} s)", flush=True)
    print(f"all commands of {len(documents)} documents: {time.monotonic() - begun:.1f} s")


if __name__ == "__main__":
    main()
