"""Fake quantisation on CPU threads, one pass forward and one backward, the same bits for any number of threads."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from stgvcodec.ops.code_length.numba_device import clamped, code_length
from stgvcodec.ops.compiled import njit
from stgvcodec.ops.lsq import reference
from stgvcodec.ops.lsq.segments import SEGMENT_BLOCK, Segments
from stgvcodec.ops.lsq.steps import MAGNITUDE_MAX, SCALE_MIN, LsqSteps
from stgvcodec.ops.threads import run_chunks

# Blocks of `SEGMENT_BLOCK` values in a chunk, which take some 30 us; handing less to a thread would not pay.
_BLOCKS_PER_CHUNK = 16

_ZERO = np.float32(0.0)
_NO_TABLES = np.zeros((1, 2), np.float32)

# No multiply-add may fuse: the decoder rounds products and sums apart.
_kernel = njit(nogil=True, cache=True, error_model="numpy")
_inlined = njit(nogil=True, cache=True, error_model="numpy", forceinline=True)


def lsq_round(x: Tensor, steps: LsqSteps, segments: Segments | None, min_symbol: int, max_symbol: int) -> Tensor:
    """Numba twin of `reference.lsq_round`, on a CPU."""
    values: Tensor = _Round.apply(x, steps.gain, steps.shift, steps, None, segments, min_symbol, max_symbol)[0]
    return values


def lsq_round_rated(
    x: Tensor, steps: LsqSteps, tables: Tensor, segments: Segments, min_symbol: int, max_symbol: int
) -> tuple[Tensor, Tensor]:
    """Numba twin of `reference.lsq_round_rated`, on a CPU."""
    values, bits = _Round.apply(x, steps.gain, None, steps, tables, segments, min_symbol, max_symbol)
    return values, bits


class _Round(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        gain: Tensor,
        shift: Tensor | None,
        steps: LsqSteps,
        tables: Tensor | None,
        segments: Segments | None,
        min_symbol: int,
        max_symbol: int,
    ) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        x = x.contiguous()
        # The steps are made as those to transmit are; detached, since this function has their gradients.
        scale, offset = reference.transmitted_steps(steps)
        offset = torch.zeros_like(scale) if offset is None else offset
        values = torch.empty_like(x)
        n_groups = gain.numel()
        blocks = segments.blocks.numpy() if segments is not None else _column_blocks(x.shape[0], n_groups)
        stride = 1 if segments is not None else n_groups
        slopes = np.empty(0 if tables is None else x.numel(), np.float32)
        bits = np.zeros(len(blocks), np.float64)
        rows = _NO_TABLES if tables is None else tables.detach().contiguous().numpy()
        arrays = (*_flat(x, scale, offset, values), rows, slopes, bits)
        n_chunks = -(-len(blocks) // _BLOCKS_PER_CHUNK)
        run_chunks(
            lambda i: _round(*(blocks, stride, *arrays, tables is not None, min_symbol, max_symbol, *_span(i))),
            n_chunks,
        )
        ctx.save_for_backward(x, scale, offset, steps.unit)
        ctx.layout = blocks, stride, slopes, min_symbol, max_symbol
        return values, torch.tensor([bits.sum()], dtype=torch.float32)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_values: Tensor | None, grad_bits: Tensor | None) -> tuple[Tensor | None, ...]:
        x, scale, offset, unit = ctx.saved_tensors
        blocks, stride, slopes, min_symbol, max_symbol = ctx.layout
        grad_values = torch.zeros_like(x) if grad_values is None else grad_values.contiguous()
        grad_x = torch.empty_like(x)
        is_rated = slopes.size > 0 and grad_bits is not None
        per_bit = np.float32(float(grad_bits)) if is_rated and grad_bits is not None else _ZERO
        sums = np.empty((len(blocks), 2), np.float64)
        arrays = (*_flat(x, scale, offset, grad_values, grad_x), slopes, sums)
        n_chunks = -(-len(blocks) // _BLOCKS_PER_CHUNK)
        run_chunks(
            lambda i: _backward(*(blocks, stride, *arrays, is_rated, per_bit, min_symbol, max_symbol, *_span(i))),
            n_chunks,
        )
        grad_gain = grad_shift = None
        if ctx.needs_input_grad[1]:
            # The sums of a group's blocks are added in their order; every group has a block.
            is_first = blocks[:, 3] == np.arange(len(blocks))
            by_group = np.add.reduceat(sums, np.flatnonzero(is_first), axis=0)
            damped = torch.from_numpy(by_group / np.sqrt(np.maximum(blocks[is_first, 5:], 1) * max_symbol)).float()
            is_free = (scale > SCALE_MIN) & (scale < MAGNITUDE_MAX)
            grad_gain = torch.where(is_free, damped[:, 0] * scale, 0.0)
            if ctx.needs_input_grad[2]:
                grad_shift = torch.where(offset.abs() < MAGNITUDE_MAX, damped[:, 1] * unit, 0.0)
        return grad_x, grad_gain, grad_shift, None, None, None, None, None


def _flat(*tensors: Tensor) -> tuple[np.ndarray, ...]:
    return tuple(tensor.detach().view(-1).numpy() for tensor in tensors)


def _span(chunk: int) -> tuple[int, int]:
    return chunk * _BLOCKS_PER_CHUNK, (chunk + 1) * _BLOCKS_PER_CHUNK


@lru_cache(maxsize=8)
def _column_blocks(n_rows: int, n_columns: int) -> np.ndarray:
    """Return the blocks of columns in the form of `segment_blocks`; the values of a block are `n_columns` apart."""
    n_blocks = max(-(-n_rows // SEGMENT_BLOCK), 1)
    rows = []
    for column in range(n_columns):
        for block in range(n_blocks):
            done = block * SEGMENT_BLOCK
            count = min(SEGMENT_BLOCK, n_rows - done)
            rows.append((done * n_columns + column, count, column, column * n_blocks, n_blocks, n_rows))
    return np.array(rows, np.int32).reshape(-1, 6)


@_inlined
def _ratio(x, scale, offset):  # type: ignore[no-untyped-def]
    return ((x if x == x else _ZERO) - offset) / scale


@_kernel
def _round(  # type: ignore[no-untyped-def]
    blocks, stride, x, scales, offsets, values, tables, slopes, bits, is_rated, min_symbol, max_symbol, first, last
):
    """Write the values of the blocks [first, last), and with `is_rated` their bits and slopes."""
    n_symbols = max_symbol - min_symbol + 1
    for block in range(first, min(last, blocks.shape[0])):
        group = blocks[block, 2]
        scale, offset, row = scales[group], offsets[group], tables[group if is_rated else 0]
        start, count = np.uint64(blocks[block, 0]), np.uint64(blocks[block, 1])
        for k in range(count):
            i = start + np.uint64(k) * np.uint64(stride)
            ratio = _ratio(x[i], scale, offset)
            # The sum with 0 leaves no negative zero, of which the decoder knows nothing.
            values[i] = (np.rint(clamped(ratio, min_symbol, max_symbol)) + _ZERO) * scale + offset
        if is_rated:
            total = 0.0
            for k in range(count):
                i = start + np.uint64(k)
                length, slope = code_length(_ratio(x[i], scale, offset), row, min_symbol, n_symbols)
                slopes[i] = slope
                total += length
            bits[block] = total


@_kernel
def _backward(  # type: ignore[no-untyped-def]
    blocks, stride, x, scales, offsets, grad_values, grad_x, slopes, sums, is_rated, per_bit, min_symbol, max_symbol,
    first, last,
):  # fmt: skip
    """Write the gradient to x for the blocks [first, last), and each block's sums for scale and offset."""
    low, high = np.float32(min_symbol), np.float32(max_symbol)
    for block in range(first, min(last, blocks.shape[0])):
        group = blocks[block, 2]
        scale, offset = scales[group], offsets[group]
        start, count = np.uint64(blocks[block, 0]), np.uint64(blocks[block, 1])
        by_scale, by_offset = np.float64(0.0), np.float64(0.0)
        for k in range(count):
            i = start + np.uint64(k) * np.uint64(stride)
            ratio = _ratio(x[i], scale, offset)
            grad = grad_values[i]
            # Outside the symbols a ratio may be infinite, and is not used.
            inside = low <= ratio <= high
            symbol = np.rint(clamped(ratio, min_symbol, max_symbol))
            share = grad * (symbol - ratio) if inside else grad * symbol
            of_bits = per_bit * slopes[i] / scale if is_rated else _ZERO
            grad_x[i] = (grad if inside else _ZERO) + of_bits
            by_scale += share - (of_bits * ratio if inside else _ZERO)
            by_offset += _ZERO if inside else grad
        sums[block, 0], sums[block, 1] = by_scale, by_offset
