from __future__ import annotations

from collections.abc import Iterator

import pytest

from stgvcodec.ops.threads import one_torch_thread


@pytest.fixture(autouse=True)
def _one_torch_thread() -> Iterator[None]:
    """`encode_gop` quantises on one thread too."""
    with one_torch_thread():
        yield
