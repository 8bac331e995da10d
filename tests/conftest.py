from __future__ import annotations

import os

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip `gpu` tests where there is no CUDA device; with STGV_REQUIRE_GPU=1 they run, and fail, all the same."""
    gpu_items = [item for item in items if item.get_closest_marker("gpu")]
    if not gpu_items or os.environ.get("STGV_REQUIRE_GPU") == "1":
        return
    import torch

    if not torch.cuda.is_available():
        skip = pytest.mark.skip(reason="no CUDA device; STGV_REQUIRE_GPU=1 makes this a failure")
        for item in gpu_items:
            item.add_marker(skip)
