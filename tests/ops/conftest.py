from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from tensors import device_of
from torch import Tensor


@pytest.fixture
def device(backend: str) -> torch.device:
    """Where the back end of the test's parameter runs."""
    return device_of(backend)


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Once called, what a kernel leaves unwritten, or reads before it is written, shows: it is NaN, or 77."""
    empty, empty_like = torch.empty, torch.empty_like

    def filled(tensor: Tensor) -> Tensor:
        tensor.detach().fill_(math.nan if tensor.is_floating_point() else 77)
        return tensor

    def poison() -> None:
        monkeypatch.setattr(torch, "empty", lambda *size, **options: filled(empty(*size, **options)))
        monkeypatch.setattr(torch, "empty_like", lambda like, **options: filled(empty_like(like, **options)))

    return poison
