"""What documents say of the program, held to the program."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "stgvcodec"
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
TROUBLESHOOTING = ROOT / "docs" / "troubleshooting.md"


def quoted_messages() -> list[str]:
    """What the first column of the tables has in code style, where it is a message and not an option or a command."""
    cells = [line.split(" | ")[0] for line in TROUBLESHOOTING.read_text(encoding="utf-8").splitlines() if "|" in line]
    quoted = [text for cell in cells for text in re.findall(r"`([^`]+)`", cell)]
    return [text for text in quoted if " " in text and not text.startswith("-")]


def strings_of_the_package() -> list[str]:
    """Every string, what an f-string fills in taken as a NUL."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "\0" for part in node.values]
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


STRINGS = strings_of_the_package()


@pytest.mark.parametrize("message", quoted_messages())
def test_troubleshooting_quotes_messages_that_exist(message):
    for fragment in message.split("..."):
        words = fragment.strip(" ,;:()'")
        assert any(words in string for string in STRINGS), f"no message of the package has '{words}'"


def test_troubleshooting_quotes_messages_at_all():
    assert len(quoted_messages()) > 30


def test_exit_codes_in_troubleshooting_are_those_of_the_errors():
    from stgvcodec import errors

    rows = re.findall(r"^\| (\d+) \| `(\w+)` \|", TROUBLESHOOTING.read_text(encoding="utf-8"), flags=re.MULTILINE)
    classes = {
        name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)
    }
    assert {name: int(code) for code, name in rows} == {name: kind.exit_code for name, kind in classes.items()}


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`([\w/]+\.py|[a-z_]+/[\w/]*)`", ARCHITECTURE))))
def test_architecture_names_files_that_exist(name):
    places = [PACKAGE / name, ROOT / name, *PACKAGE.rglob(name.rstrip("/"))]
    assert any(place.exists() for place in places), f"there is no {name}"


def test_citation_has_the_version_of_the_package():
    import stgvcodec

    assert f"\nversion: {stgvcodec.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
