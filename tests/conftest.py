from __future__ import annotations

import os

import pytest
import torch

if not torch.cuda.is_available() and os.environ.get("STGV_REQUIRE_GPU") != "1":
    # Read when a kernel is defined: without a GPU, Triton's kernels run in Python, on tiny cases.
    os.environ["TRITON_INTERPRET"] = "1"


@pytest.fixture(scope="session")
def triton_device() -> torch.device:
    """Where Triton's kernels run: the GPU, or without one the CPU, under Triton's interpreter."""
    pytest.importorskip("triton", reason="triton is not installed")
    return torch.device("cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip `gpu` tests where there is no CUDA device; with STGV_REQUIRE_GPU=1 they run, and fail, all the same."""
    if torch.cuda.is_available() or os.environ.get("STGV_REQUIRE_GPU") == "1":
        return
    skip = pytest.mark.skip(reason="no CUDA device; STGV_REQUIRE_GPU=1 makes this a failure")
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(skip)
