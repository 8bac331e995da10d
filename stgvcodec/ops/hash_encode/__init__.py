"""Multiresolution hash encoding of positions, Eqs. (3)-(6) of Lin et al. 2026 (arXiv 2604.10910); see README.md."""

from __future__ import annotations

import torch
from torch import Tensor

from stgvcodec.ops.backends import select
from stgvcodec.ops.hash_encode import reference
from stgvcodec.ops.hash_encode.spec import HASH_PRIMES, HashGridSpec

__all__ = ["HASH_PRIMES", "HashGridSpec", "hash_encode"]


def hash_encode(positions: Tensor, table: Tensor, spec: HashGridSpec, *, backend: str = "auto") -> Tensor:
    """Encode positions: on every level, mix the features of the cell's vertices multilinearly.

    Positions are clamped to [0, 1]; NaN counts as 0.

    Args:
        positions: Points (x, y) or (x, y, t), nominally in [0, 1]. [M, n_dims] float32 or float64.
        table: Features of the vertices, level after level. [n_entries, F], dtype and device of `positions`.
        spec: Levels of the grid.
        backend: One of `stgvcodec.ops.backends.BACKENDS`; `auto` takes the reference for float64.

    Returns:
        encoding: Features, level-major. [M, n_levels * F], dtype of `table`.

    Raises:
        ValueError: a shape, dtype or device differs from the above, or the dtype is float64 with `numba` or `triton`.
        BackendUnavailableError: `backend` cannot run here.

    Gradients: to table, and to positions (zero where clamped). Deterministic: on a CPU both passes, for any number of
    threads; on `triton` the forward and the gradient to positions, not the gradient to the table (atomic adds). The
    encoding of a position does not depend on the others in the call.
    """
    _check(positions, table, spec)
    if backend == "auto" and table.dtype == torch.float64:
        backend = "reference"
    implementations = {
        "reference": reference.hash_encode,
        "numba": _numba_hash_encode,
        "triton": _triton_hash_encode,
    }
    return select(implementations, backend, table.device)(positions, table, spec)


def _numba_hash_encode(positions: Tensor, table: Tensor, spec: HashGridSpec) -> Tensor:
    # The import is here because numba takes half a second, which users of other back ends need not spend.
    from stgvcodec.ops.hash_encode import numba_kernel

    return numba_kernel.hash_encode(positions, table, spec)


def _triton_hash_encode(positions: Tensor, table: Tensor, spec: HashGridSpec) -> Tensor:
    # The import is here because triton exists only beside CUDA builds of torch, and defines its kernels on import.
    from stgvcodec.ops.hash_encode import triton_kernel

    return triton_kernel.hash_encode(positions, table, spec)


def _check(positions: Tensor, table: Tensor, spec: HashGridSpec) -> None:
    if positions.ndim != 2 or positions.shape[1] != spec.n_dims:
        raise ValueError(f"positions have shape {tuple(positions.shape)}, expected [M, {spec.n_dims}] for this grid")
    expected = (spec.n_entries, spec.n_features_per_level)
    if tuple(table.shape) != expected:
        raise ValueError(f"table has shape {tuple(table.shape)}, expected {expected} for this grid")
    if table.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"table is {table.dtype}, expected float32 or float64; convert it first")
    if (positions.dtype, positions.device) != (table.dtype, table.device):
        raise ValueError(
            f"positions are {positions.dtype} on {positions.device}, table {table.dtype} on {table.device}; "
            "expected the same of both"
        )
