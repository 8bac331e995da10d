"""Run the commands of documents as written: the lines of their `sh` blocks and their whole `python` blocks.

python .ci/readme_commands.py FOLDER DOCUMENT...

All documents share FOLDER and are run in the order given, so that a guide may use the files that README.md makes. A
block whose title begins with "needs", as in ```sh title="needs a GPU", is named and left out.
"""

from __future__ import annotations

import os
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
    language: str
    text: str

    @property
    def shown(self) -> str:
        first, *others = self.text.splitlines()
        return f"python: {first} ... ({len(others)} lines more)" if self.language == "python" else self.text

    def run(self) -> None:
        """Run it in the current folder; Python in this process, which imports torch once for all blocks."""
        if self.language == "python":
            exec(compile(self.text, self.shown, "exec"), {"__name__": "__main__"})
            sys.stdout.flush()
        else:
            # None takes a tenth of this on two idle cores.
            subprocess.run(["bash", "-euo", "pipefail", "-c", self.text], check=True, timeout=900)


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
            found.append(Command("python", block["body"]))
        else:
            lines = block["body"].replace("\\\n", " ").splitlines()
            parts = [part.strip() for line in lines for part in line.split("#")[0].split("&&")]
            found += [Command("sh", part) for part in parts if part and not SKIPPED.match(part)]
    return found


def main() -> None:
    folder, documents = Path(sys.argv[1]), [Path(name).resolve() for name in sys.argv[2:]]
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    begun = time.monotonic()
    for document in documents:
        print(f"== {document.name}", flush=True)
        for command in commands(document):
            print(f"$ {command.shown}", flush=True)
            started = time.monotonic()
            command.run()
            print(f"  ({time.monotonic() - started:.1f} s)", flush=True)
    print(f"all commands of {len(documents)} documents: {time.monotonic() - begun:.1f} s")


if __name__ == "__main__":
    main()
