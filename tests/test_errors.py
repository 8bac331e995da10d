from __future__ import annotations

import pickle

import pytest

from stgvcodec import errors
from stgvcodec.errors import BitstreamError, StgvError

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, StgvError)]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not BitstreamError])
def test_errors_survive_the_way_from_one_process_to_another(kind):
    error = kind("in.mp4: is empty")
    error.add_note("continue with --resume")

    again = pickle.loads(pickle.dumps(error))

    assert type(again) is kind
    assert str(again) == "in.mp4: is empty"
    assert again.__notes__ == error.__notes__


@pytest.mark.parametrize("offset", [None, 17])
@pytest.mark.parametrize("path", [None, "a.stgv"])
def test_an_error_of_a_file_keeps_what_it_knows(offset, path):
    error = BitstreamError("is damaged", section="GoP 3", offset=offset, path=path)
    error.add_note("continue with --resume")

    again = pickle.loads(pickle.dumps(error))

    assert type(again) is BitstreamError
    assert str(again) == str(error)
    assert (again.section, again.offset, again.path) == ("GoP 3", offset, path)
    assert again.__notes__ == error.__notes__
    assert str(again.in_file("b.stgv")) == str(error.in_file("b.stgv"))
