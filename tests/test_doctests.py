"""Every public name shows how it is used, and what is shown is true."""

from __future__ import annotations

import doctest
import inspect
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import stgvcodec

CLIP = Path(__file__).parent / "golden" / "two_gops.stgv"


def public_objects() -> dict[str, object]:
    """What `stgvcodec` exports, and the public methods and properties of its classes, by name."""
    objects: dict[str, object] = {}
    for name in stgvcodec.__all__:
        if name == "__version__":
            continue
        exported = objects[name] = getattr(stgvcodec, name)
        if inspect.isclass(exported):
            objects |= {
                f"{name}.{member}": value
                for member, value in vars(exported).items()
                if not member.startswith("_") and getattr(value, "__doc__", None) and hasattr(value, "__get__")
            }
    return objects


OBJECTS = public_objects()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("examples")
    shutil.copy(CLIP, folder / "clip.stgv")
    return folder


@pytest.mark.parametrize("name", OBJECTS)
def test_examples(name, folder, monkeypatch):
    """What examples of methods take for granted is what the example of their class makes."""
    monkeypatch.chdir(folder)
    names = {**{each: getattr(stgvcodec, each) for each in stgvcodec.__all__}, "np": np, "Fraction": Fraction}
    with stgvcodec.VideoDecoder("clip.stgv", device="cpu") as decoder:
        names |= {"decoder": decoder, "info": stgvcodec.read_info("clip.stgv")}
        docstring = inspect.getdoc(OBJECTS[name]) or ""
        test = doctest.DocTestParser().get_doctest(docstring, names, name, None, 0)
        assert 1 <= sum(1 for _ in test.examples) <= 4
        said: list[str] = []
        result = doctest.DocTestRunner().run(test, out=said.append)
    assert result.failed == 0, "".join(said)


def test_all_kinds_of_members_are_looked_at():
    assert {"encode", "VideoDecoder", "VideoDecoder.render", "VideoDecoder.metadata", "Selection.parse"} <= set(OBJECTS)
