"""Tensors for tests of operators: seeded noise, their bits, and steps that a GPU replays or must not wait in."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import pytest
import torch
from torch import Tensor

CPU = torch.device("cpu")
Results = TypeVar("Results")


def device_of(backend: str) -> torch.device:
    """Where a back end runs: Triton's kernels on the GPU, or without one on the CPU, under Triton's interpreter."""
    if backend != "triton":
        return CPU
    pytest.importorskip("triton", reason="triton is not installed")
    return torch.device("cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda")


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def bits(x: Tensor) -> Tensor:
    """The patterns of float32 numbers, on the CPU. Of the shape of `x`, int32."""
    return x.detach().cpu().contiguous().view(torch.int32)


def captured(step: Callable[[], Results]) -> tuple[torch.cuda.CUDAGraph, Results]:
    """A CUDA graph of a step and the results that its replays fill, after one call that compiles the kernels."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = step()
    return graph, results


@contextmanager
def no_waiting() -> Iterator[None]:
    """Whatever waits for the GPU in the block is an error."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")
