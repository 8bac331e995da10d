"""Bits of rounded values under tables of code lengths, with a gradient to the values (see README.md)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from stgvcodec.ops.backends import select
from stgvcodec.ops.code_length import reference

__all__ = ["MOST_PARTS", "CodeLengths", "check_lengths", "code_length", "total_bits"]

MOST_PARTS = 3
"""Number of streams that `total_bits` can add up."""


class CodeLengths(NamedTuple):
    """Code lengths of symbols, as tables and the table row of each symbol.

    Attributes:
        tables: Bits of symbols 0 to A - 1 in each class, finite. [R, A] float32.
        rows: Row of `tables` for each symbol, in the shape of the symbols. int32.
    """

    tables: Tensor
    rows: Tensor


def code_length(positions: Tensor, lengths: CodeLengths, *, first: int = 0, n_symbols: int | None = None) -> Tensor:
    """Bits that an entropy coder takes for the symbols nearest to the positions.

    Args:
        positions: Values in units of symbols, before rounding; values outside the alphabet count as its ends, NaN as 0.
            Any shape, float32.
        lengths: Tables, and the table row of each position in the shape of `positions`.
        first: Integer that the first symbol of a table stands for.
        n_symbols: Size of the alphabet, 2 to A; None stands for A.

    Returns:
        Sum of tables[row, clamp(round(position)) - first]. Scalar float32.

    Raises:
        ValueError: a shape or dtype differs from the above.

    Gradients: to positions, the slope of the code length between the two symbols around each position, zero outside
    the alphabet. Deterministic: yes. Nothing waits for the device.
    """
    if positions.dtype != torch.float32:
        raise ValueError(f"positions are {positions.dtype}, expected torch.float32")
    check_lengths(lengths, positions.shape)
    n_symbols = lengths.tables.shape[1] if n_symbols is None else n_symbols
    if not 2 <= n_symbols <= lengths.tables.shape[1]:
        raise ValueError(f"n_symbols is {n_symbols}, expected 2 to {lengths.tables.shape[1]}, the width of the tables")
    return reference.code_length(positions, lengths.tables, lengths.rows, first, n_symbols)


def total_bits(parts: Sequence[Tensor], fixed: Tensor, *, backend: str = "auto") -> Tensor:
    """Sum of the bits of all streams.

    Args:
        parts: Partial sums of each stream, `MOST_PARTS` streams at most. [n_i] float32.
        fixed: Bits without a gradient, which are added to the streams' bits. Scalar float32.
        backend: One of `stgvcodec.ops.backends.BACKENDS`.

    Returns:
        Bits. Scalar float32.

    Raises:
        ValueError: there are more streams than that, or a shape or dtype differs from the above.
        BackendUnavailableError: `backend` cannot run here.

    Gradients: to parts. Deterministic: yes, both passes.
    """
    if len(parts) > MOST_PARTS:
        raise ValueError(f"there are bits of {len(parts)} streams, expected {MOST_PARTS} at most")
    for name, tensor, n_dims in (*(("part", part, 1) for part in parts), ("fixed", fixed, 0)):
        if tensor.ndim != n_dims or tensor.dtype != torch.float32:
            raise ValueError(f"{name} is {tensor.dtype} {list(tensor.shape)}, expected torch.float32, {n_dims}-d")
    implementations = {
        "reference": reference.total_bits,
        "numba": reference.total_bits,
        "triton": _triton_total_bits,
    }
    return select(implementations, backend, fixed.device)(parts, fixed)


def check_lengths(lengths: CodeLengths, shape: Sequence[int]) -> None:
    """Check tables and rows against the shape of the positions that they are for.

    Raises:
        ValueError: a shape or dtype is not as `CodeLengths` says.
    """
    tables, rows = lengths
    if tables.ndim != 2 or tables.shape[1] < 2 or tables.dtype != torch.float32:
        raise ValueError(f"tables are {tables.dtype} {list(tables.shape)}, expected torch.float32 [R, A >= 2]")
    if rows.dtype != torch.int32 or rows.shape != tuple(shape):
        raise ValueError(f"rows are {rows.dtype} {list(rows.shape)}, expected torch.int32 {list(shape)}")


def _triton_total_bits(parts: Sequence[Tensor], fixed: Tensor) -> Tensor:
    from stgvcodec.ops.code_length import triton_kernel

    return triton_kernel.total_bits(parts, fixed)
