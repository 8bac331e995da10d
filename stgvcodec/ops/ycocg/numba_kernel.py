"""Luma and chroma symbols on CPU threads, one pass forward and one backward, the same bits for any number of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from stgvcodec.ops.code_length import CodeLengths
from stgvcodec.ops.code_length.numba_device import clamped, code_length
from stgvcodec.ops.compiled import njit
from stgvcodec.ops.threads import run_chunks
from stgvcodec.ops.ycocg import reference
from stgvcodec.ops.ycocg.limits import MAGNITUDE_MAX, MAX_SYMBOL, MIN_SYMBOL, N_SYMBOLS, SCALE_MAX, SCALE_MIN

# Colours in a chunk, which take about 0.1 ms. The number is fixed, so that sums do not depend on the threads.
_CHUNK = 4096

_ZERO = np.float32(0.0)
_HALF = np.float32(0.5)
_QUARTER = np.float32(0.25)
_LOW = np.float32(MIN_SYMBOL)
_HIGH = np.float32(MAX_SYMBOL)
_NO_LENGTHS = np.zeros((1, N_SYMBOLS), np.float32), np.zeros((3, 0), np.int32)

# No multiply-add may fuse: the decoder rounds products and sums apart.
_kernel = njit(nogil=True, cache=True, error_model="numpy")
_inlined = njit(nogil=True, cache=True, error_model="numpy", forceinline=True)


def ycocg_round(x: Tensor, gain: Tensor, unit: Tensor, lengths: CodeLengths | None) -> tuple[Tensor, Tensor | None]:
    """Numba twin of `reference.ycocg_round`, on a CPU."""
    values, bits = _Round.apply(x, gain, unit, lengths)
    return values, None if lengths is None else bits


class _Round(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, unit: Tensor, lengths: CodeLengths | None) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        x = x.contiguous()
        scale = reference.transmitted_scale(gain, unit)
        values = torch.empty_like(x)
        is_rated = lengths is not None
        ratios = np.empty((x.shape[0], 3), np.float32)
        slopes = np.empty((x.shape[0] if is_rated else 0, 3), np.float32)
        n = x.shape[0]
        n_chunks = -(-n // _CHUNK)
        bits = np.zeros(n_chunks, np.float64)
        tables, rows = _NO_LENGTHS if lengths is None else (tensor.contiguous().numpy() for tensor in lengths)
        arrays = (x.detach().numpy(), scale.numpy(), tables, rows, values.numpy(), ratios, slopes)

        def run(i: int) -> None:
            bits[i] = _round(*(*arrays, is_rated, i * _CHUNK, min((i + 1) * _CHUNK, n)))

        run_chunks(run, n_chunks)
        ctx.save_for_backward(scale)
        ctx.kept, ctx.is_rated = (ratios, slopes), is_rated
        return values, torch.tensor([bits.sum()], dtype=torch.float32)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_values: Tensor | None, grad_bits: Tensor | None) -> tuple[Tensor | None, ...]:
        (scale,) = ctx.saved_tensors
        n = ctx.kept[0].shape[0]
        n_chunks = -(-n // _CHUNK)
        grad_values = torch.zeros((n, 3)) if grad_values is None else grad_values.contiguous()
        is_rated = ctx.is_rated and grad_bits is not None
        per_bit = np.float32(float(grad_bits)) if is_rated and grad_bits is not None else _ZERO
        grad_x = torch.empty((n, 3))
        sums = np.zeros((n_chunks, 3), np.float64)
        arrays = (*ctx.kept, scale.numpy(), grad_values.numpy(), grad_x.numpy())
        run_chunks(
            lambda i: _backward(*(*arrays, sums[i], is_rated, per_bit, i * _CHUNK, min((i + 1) * _CHUNK, n))), n_chunks
        )
        by_step = torch.from_numpy(np.add.reduce(sums, axis=0)).float()
        is_free = (scale > SCALE_MIN) & (scale < SCALE_MAX)
        return grad_x, torch.where(is_free, by_step * scale, 0.0), None, None


@_kernel
def _round(x, scale, tables, rows, values, ratios, slopes, is_rated, start, stop):  # type: ignore[no-untyped-def]
    """Write values, ratios and slopes of the colours [start, stop); return their bits."""
    for n in range(start, stop):
        # Clamping far beyond all symbols keeps sums from overflowing.
        r = clamped(x[n, 0], -MAGNITUDE_MAX, MAGNITUDE_MAX)
        g = clamped(x[n, 1], -MAGNITUDE_MAX, MAGNITUDE_MAX)
        b = clamped(x[n, 2], -MAGNITUDE_MAX, MAGNITUDE_MAX)
        ratios[n, 0] = (_QUARTER * (r + b) + _HALF * g) / scale[0]
        ratios[n, 1] = (_HALF * (r - b)) / scale[1]
        ratios[n, 2] = (_HALF * g - _QUARTER * (r + b)) / scale[2]
        # Without the sums with 0 a negative zero would survive, of which the decoder knows nothing.
        y = (np.rint(clamped(ratios[n, 0], MIN_SYMBOL, MAX_SYMBOL)) + _ZERO) * scale[0]
        co = (np.rint(clamped(ratios[n, 1], MIN_SYMBOL, MAX_SYMBOL)) + _ZERO) * scale[1]
        cg = (np.rint(clamped(ratios[n, 2], MIN_SYMBOL, MAX_SYMBOL)) + _ZERO) * scale[2]
        base = y - cg
        values[n, 0] = base + co
        values[n, 1] = y + cg
        values[n, 2] = base - co
    total = 0.0
    if is_rated:
        for n in range(start, stop):
            for j in range(3):
                length, slope = code_length(ratios[n, j], tables[rows[j, n]], MIN_SYMBOL, N_SYMBOLS)
                slopes[n, j] = slope
                total += length
    return total


@_inlined
def _component(grad, ratio, scale, of_bits):  # type: ignore[no-untyped-def]
    """Return the gradient to one component, and the share of its step's gradient."""
    inside = _LOW <= ratio <= _HIGH
    symbol = np.rint(clamped(ratio, MIN_SYMBOL, MAX_SYMBOL))
    rated = of_bits / scale
    # Outside the symbols bits have no slope, but a ratio may be huge.
    share = grad * (symbol - ratio) - rated * ratio if inside else grad * symbol
    return (grad if inside else _ZERO) + rated, share


@_kernel
def _backward(ratios, slopes, scale, grad_values, grad_x, sums, is_rated, per_bit, start, stop):  # type: ignore[no-untyped-def]
    """Write the gradients to the colours [start, stop); add to the sums for the steps."""
    sum_y, sum_co, sum_cg = 0.0, 0.0, 0.0
    of_y, of_co, of_cg = _ZERO, _ZERO, _ZERO
    for n in range(start, stop):
        r, g, b = grad_values[n, 0], grad_values[n, 1], grad_values[n, 2]
        if is_rated:
            of_y, of_co, of_cg = per_bit * slopes[n, 0], per_bit * slopes[n, 1], per_bit * slopes[n, 2]
        y, share_y = _component(r + g + b, ratios[n, 0], scale[0], of_y)
        co, share_co = _component(r - b, ratios[n, 1], scale[1], of_co)
        cg, share_cg = _component(g - r - b, ratios[n, 2], scale[2], of_cg)
        grad_x[n, 0] = _QUARTER * (y - cg) + _HALF * co
        grad_x[n, 1] = _HALF * (y + cg)
        grad_x[n, 2] = _QUARTER * (y - cg) - _HALF * co
        sum_y += share_y
        sum_co += share_co
        sum_cg += share_cg
    sums[0] += sum_y
    sums[1] += sum_co
    sums[2] += sum_cg
