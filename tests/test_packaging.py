"""What is installed from a wheel, and what its page on a package index shows."""

from __future__ import annotations

import email
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
REPOSITORY = "https://example.org/stgvcodec"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    """A wheel as a release builds it."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(command, env={**os.environ, "STGV_REPOSITORY": REPOSITORY}, check=True)
    (path,) = folder.glob("stgvcodec-*-py3-none-any.whl")
    return zipfile.ZipFile(path)


def tracked(folder: str) -> list[str]:
    command = ["git", "-C", str(ROOT), "ls-files", folder]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def test_a_wheel_has_every_file_of_the_package(wheel):
    names = set(wheel.namelist())
    assert set(tracked("stgvcodec")) <= names
    assert "stgvcodec/py.typed" in names
    tops = {name.partition("/")[0] for name in names}
    assert [top for top in tops if not top.endswith(".dist-info")] == ["stgvcodec"]


def test_a_wheel_has_the_player(wheel):
    sizes = {
        info.filename: info.compress_size for info in wheel.infolist() if info.filename.startswith("stgvcodec/web/")
    }
    told = {"web/README.md", "web/package.json"}
    assert set(sizes) == {f"stgvcodec/{name}" for name in tracked("web") if name not in told}
    assert sum(sizes.values()) < 200_000


def test_links_and_pictures_of_the_readme_hold_elsewhere(wheel):
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = email.message_from_bytes(wheel.read(name))
    readme = metadata.get_payload()
    links = re.findall(r"(!?)\[[^\]]*\]\(([^)]+)\)", readme)
    assert sum(mark == "!" for mark, _ in links) >= 2
    files = set(tracked("."))
    for mark, link in links:
        assert link.startswith("https://")
        if link.startswith(REPOSITORY):
            kind, version, path = link.removeprefix(f"{REPOSITORY}/").split("/", 2)
            assert (kind, version) == ("raw" if mark else "blob", f"v{metadata['Version']}")
            assert path in files
