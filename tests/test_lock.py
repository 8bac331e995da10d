"""CI's lock, held to pyproject.toml. That it holds everything that is installed is checked by .ci/run."""

from __future__ import annotations

import re
import runpy
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCK = runpy.run_path(str(ROOT / ".ci" / "lock.py"))
LOCKED = LOCK["locked"]()
# What CI installs of the optional dependencies.
INSTALLED_EXTRAS = ("rd", "vmaf", "remote", "webdataset", "imageio", "test", "dev", "docs")


def requirements() -> list[Requirement]:
    project = PROJECT["project"]
    texts = [*project["dependencies"], *PROJECT["build-system"]["requires"]]
    for extra in INSTALLED_EXTRAS:
        texts += project["optional-dependencies"][extra]
    found = [Requirement(text) for text in texts]
    return [one for one in found if one.name not in ("stgvcodec", "torch")]


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_the_lock_has_a_version_that_is_allowed(requirement):
    assert requirement.specifier.contains(LOCKED[LOCK["normal"](requirement.name)])


def test_the_lock_has_exact_versions_from_registries_alone():
    lines = [line for line in LOCK["LOCK"].read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    assert len(lines) > 50
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line) for line in lines)
    assert "torch" not in LOCKED


def test_what_the_lock_lacks_is_named():
    faults = LOCK["faults"]({"av": "17.0", "click": "8.2", "rich": "14.0"}, {"av": "17.0", "rich": "13.0"})
    assert faults == [
        "click 8.2 is installed, expected it to be in the file",
        "rich 14.0 is installed, expected 13.0",
    ]


def test_every_install_of_ci_is_held_to_the_lock():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "PIP_CONSTRAINT=" in script
    assert "lock.py --check" in script
