"""Log-scale and shear symbols on CPU threads, one pass forward and one backward, the same bits for any of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from stgvcodec.ops.code_length import CodeLengths
from stgvcodec.ops.code_length.numba_device import clamped, code_length
from stgvcodec.ops.compiled import njit
from stgvcodec.ops.log_shear import reference
from stgvcodec.ops.log_shear.decoding import diagonal_tables
from stgvcodec.ops.log_shear.limits import (
    MAX_DIAGONAL_PX,
    MIN_DIAGONAL_PX,
    N_SYMBOLS,
    SCALE_LIMITS,
    SHEAR_LIMITS,
    SHEAR_ZERO,
)
from stgvcodec.ops.threads import run_chunks

# Gaussians in a chunk, which take about 0.1 ms. The number is fixed, so that sums do not depend on the threads.
_CHUNK = 4096

_ZERO = np.float32(0.0)
_TOP = np.float32(N_SYMBOLS - 1)
_MIN_DIAGONAL = np.float32(MIN_DIAGONAL_PX)
_MAX_DIAGONAL = np.float32(MAX_DIAGONAL_PX)
_SHEAR_ZERO = np.float32(SHEAR_ZERO)
_NO_LENGTHS = np.zeros((1, N_SYMBOLS), np.float32), np.zeros((3, 0), np.int32)

# No multiply-add may fuse: the decoder rounds products and sums apart.
_kernel = njit(nogil=True, cache=True, error_model="numpy")


def log_shear_round(x: Tensor, gain: Tensor, unit: Tensor, lengths: CodeLengths | None) -> tuple[Tensor, Tensor | None]:
    """Numba twin of `reference.log_shear_round`, on a CPU."""
    values, bits = _Round.apply(x, gain, unit, lengths)
    return values, None if lengths is None else bits


def log_shear_symbols(x: Tensor, gain: Tensor, unit: Tensor) -> Tensor:
    """Numba twin of `reference.log_shear_symbols`, on a CPU."""
    return _Passed(x.contiguous(), reference.transmitted_scale(gain, unit), None).symbols


class _Passed:
    """The results of one pass forward: values [N, 3], symbols [N, 3], bits, and what the backward pass reads."""

    def __init__(self, x: Tensor, scale: Tensor, lengths: CodeLengths | None) -> None:
        n = x.shape[0]
        n_chunks = -(-n // _CHUNK)
        is_rated = lengths is not None
        self.values = torch.empty_like(x)
        self.symbols = torch.empty((n, 3), dtype=torch.int64)
        # Positions of (l1, l3, shear), pixels of a symbol there, and slopes of the bits.
        self.kept = np.empty((3, n, 3), np.float32)
        bits = np.zeros(n_chunks, np.float64)
        tables, rows = _NO_LENGTHS if lengths is None else (tensor.contiguous().numpy() for tensor in lengths)
        arrays = (x.detach().numpy(), scale.numpy(), diagonal_tables(scale[:2]).numpy(), tables, rows)
        outputs = (self.values.numpy(), self.symbols.numpy(), self.kept)

        def run(i: int) -> None:
            bits[i] = _round(*(*arrays, *outputs, is_rated, i * _CHUNK, min((i + 1) * _CHUNK, n)))

        run_chunks(run, n_chunks)
        self.bits = torch.tensor([bits.sum()], dtype=torch.float32)


class _Round(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, unit: Tensor, lengths: CodeLengths | None) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        x = x.contiguous()
        scale = reference.transmitted_scale(gain, unit)
        passed = _Passed(x, scale, lengths)
        ctx.save_for_backward(x, scale, passed.symbols)
        ctx.kept, ctx.is_rated = passed.kept, lengths is not None
        return passed.values, passed.bits

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_values: Tensor | None, grad_bits: Tensor | None) -> tuple[Tensor | None, ...]:
        x, scale, symbols = ctx.saved_tensors
        n = x.shape[0]
        n_chunks = -(-n // _CHUNK)
        grad_values = torch.zeros_like(x) if grad_values is None else grad_values.contiguous()
        is_rated = ctx.is_rated and grad_bits is not None
        per_bit = np.float32(float(grad_bits)) if is_rated and grad_bits is not None else _ZERO
        grad_x = torch.empty_like(x)
        sums = np.zeros((n_chunks, 3), np.float64)
        arrays = (*(tensor.numpy() for tensor in (x.detach(), symbols, grad_values, grad_x)), ctx.kept)
        run_chunks(
            lambda i: _backward(*(*arrays, sums[i], is_rated, per_bit, i * _CHUNK, min((i + 1) * _CHUNK, n))), n_chunks
        )
        total = np.add.reduce(sums, axis=0)
        grad_gain = []
        # The sums are derivatives by the logarithms of 1 + step and of the step.
        for i, step in enumerate(scale.tolist()):
            low, high = SCALE_LIMITS if i < 2 else SHEAR_LIMITS
            by_step = total[i] / ((1.0 + step) * math.log1p(step) if i < 2 else step)
            grad_gain.append(by_step * step if low < step < high else 0.0)
        return grad_x, torch.tensor(grad_gain, dtype=torch.float32), None, None


@_kernel
def _round(x, scale, diagonals, tables, rows, values, symbols, kept, is_rated, start, stop):  # type: ignore[no-untyped-def]
    """Write values, symbols and what is kept of the Gaussians [start, stop); return their bits."""
    positions, per_position, slopes = kept[0], kept[1], kept[2]
    per_symbol = np.float32(np.log1p(np.float64(scale[0]))), np.float32(np.log1p(np.float64(scale[1])))
    total = 0.0
    for n in range(start, stop):
        for j in range(2):
            raw = x[n, 2 * j]
            raw = raw if raw == raw else _ZERO
            diagonal = min(max(raw, _ZERO), _MAX_DIAGONAL) + _MIN_DIAGONAL
            position = np.log(diagonal / _MIN_DIAGONAL) / per_symbol[j]
            symbol = np.int64(np.rint(clamped(position, 0, N_SYMBOLS - 1)))
            positions[n, j] = position
            per_position[n, j] = diagonal * per_symbol[j]
            symbols[n, j] = symbol
            values[n, 2 * j] = diagonals[j, symbol]
        per_shear = (values[n, 2] + _MIN_DIAGONAL) * scale[2]
        position = clamped(x[n, 1], -MAX_DIAGONAL_PX, MAX_DIAGONAL_PX) / per_shear + _SHEAR_ZERO
        shear = np.rint(clamped(position, 0, N_SYMBOLS - 1))
        positions[n, 2] = position
        per_position[n, 2] = per_shear
        symbols[n, 2] = np.int64(shear)
        values[n, 1] = ((shear - _SHEAR_ZERO) * scale[2]) * (values[n, 2] + _MIN_DIAGONAL)
        if is_rated:
            for j in range(3):
                length, slope = code_length(positions[n, j], tables[rows[j, n]], 0, N_SYMBOLS)
                slopes[n, j] = slope
                total += length
    return total


@_kernel
def _backward(x, symbols, grad_values, grad_x, kept, sums, is_rated, per_bit, start, stop):  # type: ignore[no-untyped-def]
    """Write the gradients to the Gaussians [start, stop); add to the sums for the steps."""
    positions, per_position, slopes = kept[0], kept[1], kept[2]
    for n in range(start, stop):
        for j in range(3):
            column = 2 * j if j < 2 else 1
            grad, position, size = grad_values[n, column], positions[n, j], per_position[n, j]
            symbol, origin = np.float32(symbols[n, j]), _ZERO if j < 2 else _SHEAR_ZERO
            inside = _ZERO <= position <= _TOP
            of_bits = per_bit * slopes[n, j] if is_rated else _ZERO
            through = (grad if inside else _ZERO) + of_bits / size
            # A diagonal entry under its bound lies on symbol 0 whatever it is; only the error may lift it.
            grad_x[n, column] = through if j == 2 or x[n, column] > _ZERO else grad
            moved = symbol - (position if inside else origin)
            sums[j] += grad * size * moved - of_bits * (position - origin)
