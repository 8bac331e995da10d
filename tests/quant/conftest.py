from __future__ import annotations

from collections.abc import Iterator

import pytest

from stgvcodec.ops.threads import one_torch_thread


@pytest.fixture(autouse=True)
def _one_torch_thread() -> Iterator[None]:
    """As `encode_gop` quantises."""
    with one_torch_thread():
        yield
