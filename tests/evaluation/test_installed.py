from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from stgvcodec.evaluation import installed

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
FOR_DEVELOPERS = {"test", "fuzz", "dev", "docs"}


def test_the_extras_are_those_of_the_project() -> None:
    extras = PROJECT["optional-dependencies"]
    assert set(installed.EXTRAS) == set(extras) - FOR_DEVELOPERS
    for name, (_, packages) in installed.EXTRAS.items():
        # fsspec[http] is fsspec with aiohttp.
        wanted = {requirement.partition("[")[0].partition(">")[0] for requirement in extras[name]}
        assert set(packages) == wanted | ({"aiohttp"} if name == "remote" else set())


def test_the_commands_that_mend_ask_for_what_the_project_asks_for(monkeypatch) -> None:
    monkeypatch.setattr(installed, "_version", lambda name: None)
    needed = {requirement.partition(";")[0] for requirement in PROJECT["dependencies"]}
    asked = {each.remedy.removeprefix("pip install ").strip("'") for each in installed.components() if each.remedy}
    assert asked <= needed
    assert {"torch>=2.8", "numba>=0.61,<1", "av>=16,<19"} <= asked


def test_a_package_that_does_not_load_is_named_with_the_reason(monkeypatch) -> None:
    def refuse(name: str) -> None:
        raise OSError("libcudart.so.12: cannot open shared object file\nand more")

    monkeypatch.setattr(installed.importlib, "import_module", refuse)
    found = installed._package("torch", "torch", remedy="pip install 'torch>=2.8'")
    assert found.problem == "cannot be imported: OSError: libcudart.so.12: cannot open shared object file"
    assert found.remedy == "pip install --force-reinstall 'torch>=2.8'"


@pytest.mark.parametrize(
    ("name", "said"), [("constriction", "stgvcodec's own entropy coder"), ("triton", "only GPUs need it")]
)
def test_packages_that_may_be_missing_are_no_fault(monkeypatch, name: str, said: str) -> None:
    real = installed._version
    monkeypatch.setattr(installed, "_version", lambda each: None if each == name else real(each))
    found = next(each for each in installed.components() if each.name == name)
    assert found.version is None
    assert found.problem is None
    assert said in found.detail
