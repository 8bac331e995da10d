"""Triton kernels, one launch forward and one backward, whose last block adds up the steps' gradients."""

# The interpreter and the compiler both read types from annotations, and only constexpr means anything to them.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from stgvcodec.ops.code_length import CodeLengths
from stgvcodec.ops.code_length.triton_device import code_length, rounded, sum_in_order
from stgvcodec.ops.log_shear import limits
from stgvcodec.ops.lsq.triton_kernel import free_scale

# Each thread has one item, since the chain of products is what a program waits for.
_BLOCK = 128
_N_WARPS = 4
_SUM_BLOCK = 256
# A contracted multiply-add would round once where the decoder rounds twice.
_OPTIONS = {"enable_fp_fusion": False}

_SCALE_MIN = tl.constexpr(limits.SCALE_LIMITS[0])
_SCALE_MAX = tl.constexpr(limits.SCALE_LIMITS[1])
_SHEAR_MIN = tl.constexpr(limits.SHEAR_LIMITS[0])
_SHEAR_MAX = tl.constexpr(limits.SHEAR_LIMITS[1])
_MIN_DIAGONAL = tl.constexpr(limits.MIN_DIAGONAL_PX)
_MAX_DIAGONAL = tl.constexpr(limits.MAX_DIAGONAL_PX)
_N_SYMBOLS = tl.constexpr(limits.N_SYMBOLS)
_TOP = tl.constexpr(limits.N_SYMBOLS - 1.0)
_ZERO = tl.constexpr(float(limits.SHEAR_ZERO))


@triton.jit
def _clamp(x, low, high):
    return tl.minimum(tl.maximum(x, low), high)


@triton.jit
def _log_ratio(scale):
    """Return log(1 + scale), of which float32 would lose half the digits."""
    return tl.log(1.0 + scale.to(tl.float64)).to(tl.float32)


@triton.jit
def _diagonal(x):
    """Clamp a diagonal entry to the reach of the symbols, and add its lower bound."""
    return _clamp(tl.where(x != x, 0.0, x), 0.0, _MAX_DIAGONAL) + _MIN_DIAGONAL


@triton.jit
def _powers(symbols_1, symbols_3, scale_1, scale_3):
    """Dequantise diagonal symbols by products that are taken one after the other, as in the decoder's table."""
    ratio_1 = 1.0 + scale_1.to(tl.float64)
    ratio_3 = 1.0 + scale_3.to(tl.float64)
    symbols_1, symbols_3 = symbols_1.to(tl.int32), symbols_3.to(tl.int32)
    power_1 = tl.full(symbols_1.shape, _MIN_DIAGONAL, tl.float64)
    power_3 = tl.full(symbols_3.shape, _MIN_DIAGONAL, tl.float64)
    highest = tl.max(tl.maximum(symbols_1, symbols_3))
    k = 0
    while k < highest:
        power_1 = tl.where(k < symbols_1, power_1 * ratio_1, power_1)
        power_3 = tl.where(k < symbols_3, power_3 * ratio_3, power_3)
        k += 1
    # The bound is applied once at the end, which comes to the same, since products only grow.
    raw_1 = (tl.minimum(power_1, _MAX_DIAGONAL) - _MIN_DIAGONAL).to(tl.float32)
    return raw_1, (tl.minimum(power_3, _MAX_DIAGONAL) - _MIN_DIAGONAL).to(tl.float32)


@triton.jit(do_not_specialize=["n"])
def _forward_kernel(x_ptr, values_ptr, positions_ptr, gain_ptr, unit_ptr, arrived_ptr, tables_ptr, rows_ptr,
                    slopes_ptr, bits_ptr, n, RATED: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    program = tl.program_id(0)
    items = program * BLOCK + tl.arange(0, BLOCK)
    mask = items < n
    scale_1 = _clamp(free_scale(tl.load(gain_ptr), tl.load(unit_ptr)), _SCALE_MIN, _SCALE_MAX)
    scale_3 = _clamp(free_scale(tl.load(gain_ptr + 1), tl.load(unit_ptr + 1)), _SCALE_MIN, _SCALE_MAX)
    shear_scale = _clamp(free_scale(tl.load(gain_ptr + 2), tl.load(unit_ptr + 2)), _SHEAR_MIN, _SHEAR_MAX)
    diagonal_1 = _diagonal(tl.load(x_ptr + 3 * items, mask=mask, other=0.0))
    x_2 = tl.load(x_ptr + 3 * items + 1, mask=mask, other=0.0)
    diagonal_3 = _diagonal(tl.load(x_ptr + 3 * items + 2, mask=mask, other=0.0))

    at_1 = tl.div_rn(tl.log(diagonal_1 * (1.0 / _MIN_DIAGONAL)), tl.zeros_like(x_2) + _log_ratio(scale_1))
    at_3 = tl.div_rn(tl.log(diagonal_3 * (1.0 / _MIN_DIAGONAL)), tl.zeros_like(x_2) + _log_ratio(scale_3))
    raw_1, raw_3 = _powers(rounded(at_1, 0, _N_SYMBOLS), rounded(at_3, 0, _N_SYMBOLS), scale_1, scale_3)
    shear = _clamp(tl.where(x_2 != x_2, 0.0, x_2), -_MAX_DIAGONAL, _MAX_DIAGONAL)
    at_2 = tl.div_rn(shear, (raw_3 + _MIN_DIAGONAL) * shear_scale) + _ZERO
    shear_symbols = rounded(at_2, 0, _N_SYMBOLS) - _ZERO
    tl.store(values_ptr + 3 * items, raw_1, mask=mask)
    tl.store(values_ptr + 3 * items + 1, (shear_symbols * shear_scale) * (raw_3 + _MIN_DIAGONAL), mask=mask)
    tl.store(values_ptr + 3 * items + 2, raw_3, mask=mask)
    tl.store(positions_ptr + items, at_1, mask=mask)
    tl.store(positions_ptr + n + items, at_3, mask=mask)
    tl.store(positions_ptr + 2 * n + items, at_2, mask=mask)
    if RATED:
        row_1 = tl.load(rows_ptr + items, mask=mask, other=0) * _N_SYMBOLS
        row_3 = tl.load(rows_ptr + n + items, mask=mask, other=0) * _N_SYMBOLS
        row_2 = tl.load(rows_ptr + 2 * n + items, mask=mask, other=0) * _N_SYMBOLS
        bits_1, slopes_1 = code_length(at_1, tables_ptr + row_1, mask, 0, _N_SYMBOLS)
        bits_3, slopes_3 = code_length(at_3, tables_ptr + row_3, mask, 0, _N_SYMBOLS)
        bits_2, slopes_2 = code_length(at_2, tables_ptr + row_2, mask, 0, _N_SYMBOLS)
        tl.store(slopes_ptr + items, slopes_1, mask=mask)
        tl.store(slopes_ptr + n + items, slopes_3, mask=mask)
        tl.store(slopes_ptr + 2 * n + items, slopes_2, mask=mask)
        tl.store(bits_ptr + program, tl.sum((bits_1 + bits_3) + bits_2))
    if program == 0:
        tl.store(arrived_ptr, 0)


@triton.jit
def _component(position, grad, grad_position, per_position, mask, ORIGIN: tl.constexpr):
    """Gradient to the factor, and the block's sum of that to the logarithm on which symbols are equal steps."""
    inside = (position >= 0.0) & (position <= _TOP)
    symbols = rounded(position, 0, _N_SYMBOLS)
    moved = tl.where(inside, symbols - position, symbols - ORIGIN)
    by_log = grad * per_position * moved - grad_position * (position - ORIGIN)
    return tl.where(inside, grad, 0.0) + tl.div_rn(grad_position, per_position), tl.sum(tl.where(mask, by_log, 0.0))


@triton.jit
def _store_grad_gain(grad_gain_ptr, partials_ptr, n_blocks, free, low, high, factor, BLOCK: tl.constexpr):
    total = sum_in_order(partials_ptr, n_blocks, BLOCK)
    tl.store(grad_gain_ptr, tl.where((free >= low) & (free <= high), total * factor, 0.0))


@triton.jit(do_not_specialize=["n", "bits_stride"])
def _backward_kernel(grad_ptr, x_ptr, values_ptr, positions_ptr, grad_x_ptr, gain_ptr, unit_ptr, arrived_ptr,
                     partials_ptr, grad_gain_ptr, slopes_ptr, grad_bits_ptr, n, bits_stride, RATED: tl.constexpr,
                     BLOCK: tl.constexpr, SUM_BLOCK: tl.constexpr):  # fmt: skip
    program = tl.program_id(0)
    n_blocks = tl.num_programs(0)
    items = program * BLOCK + tl.arange(0, BLOCK)
    mask = items < n
    free_1 = free_scale(tl.load(gain_ptr), tl.load(unit_ptr))
    free_3 = free_scale(tl.load(gain_ptr + 1), tl.load(unit_ptr + 1))
    free_shear = free_scale(tl.load(gain_ptr + 2), tl.load(unit_ptr + 2))
    scale_1, scale_3 = _clamp(free_1, _SCALE_MIN, _SCALE_MAX), _clamp(free_3, _SCALE_MIN, _SCALE_MAX)
    shear_scale = _clamp(free_shear, _SHEAR_MIN, _SHEAR_MAX)
    log_1, log_3 = _log_ratio(scale_1), _log_ratio(scale_3)
    x_1 = tl.load(x_ptr + 3 * items, mask=mask, other=0.0)
    x_3 = tl.load(x_ptr + 3 * items + 2, mask=mask, other=0.0)
    raw_3 = tl.load(values_ptr + 3 * items + 2, mask=mask, other=0.0)
    at_1 = tl.load(positions_ptr + items, mask=mask, other=0.0)
    at_3 = tl.load(positions_ptr + n + items, mask=mask, other=0.0)
    at_2 = tl.load(positions_ptr + 2 * n + items, mask=mask, other=0.0)
    grad_1 = tl.load(grad_ptr + 3 * items, mask=mask, other=0.0)
    grad_2 = tl.load(grad_ptr + 3 * items + 1, mask=mask, other=0.0)
    grad_3 = tl.load(grad_ptr + 3 * items + 2, mask=mask, other=0.0)
    rated_1, rated_2, rated_3 = tl.zeros_like(x_1), tl.zeros_like(x_1), tl.zeros_like(x_1)
    if RATED:
        grad_bits = tl.load(grad_bits_ptr + program * bits_stride)
        rated_1 = grad_bits * tl.load(slopes_ptr + items, mask=mask, other=0.0)
        rated_3 = grad_bits * tl.load(slopes_ptr + n + items, mask=mask, other=0.0)
        rated_2 = grad_bits * tl.load(slopes_ptr + 2 * n + items, mask=mask, other=0.0)
    to_1, sum_1 = _component(at_1, grad_1, rated_1, _diagonal(x_1) * log_1, mask, 0.0)
    to_3, sum_3 = _component(at_3, grad_3, rated_3, _diagonal(x_3) * log_3, mask, 0.0)
    to_2, sum_2 = _component(at_2, grad_2, rated_2, (raw_3 + _MIN_DIAGONAL) * shear_scale, mask, _ZERO)
    # A diagonal entry under its bound lies on symbol 0 whatever it is; only the error may lift it.
    tl.store(grad_x_ptr + 3 * items, tl.where(x_1 > 0.0, to_1, grad_1), mask=mask)
    tl.store(grad_x_ptr + 3 * items + 1, to_2, mask=mask)
    tl.store(grad_x_ptr + 3 * items + 2, tl.where(x_3 > 0.0, to_3, grad_3), mask=mask)

    tl.store(partials_ptr + program, sum_1)
    tl.store(partials_ptr + n_blocks + program, sum_3)
    tl.store(partials_ptr + 2 * n_blocks + program, sum_2)
    tl.debug_barrier()
    n_before = tl.atomic_add(arrived_ptr, 1, sem="acq_rel", scope="gpu")
    if n_before == n_blocks - 1:
        tl.debug_barrier()
        tl.store(arrived_ptr, 0)
        # The sums are derivatives by the logarithms of 1 + step and of the step.
        factor_1 = scale_1 / ((1.0 + scale_1) * log_1)
        factor_3 = scale_3 / ((1.0 + scale_3) * log_3)
        _store_grad_gain(grad_gain_ptr, partials_ptr, n_blocks, free_1, _SCALE_MIN, _SCALE_MAX, factor_1, SUM_BLOCK)
        _store_grad_gain(grad_gain_ptr + 1, partials_ptr + n_blocks, n_blocks, free_3, _SCALE_MIN, _SCALE_MAX,
                         factor_3, SUM_BLOCK)  # fmt: skip
        _store_grad_gain(grad_gain_ptr + 2, partials_ptr + 2 * n_blocks, n_blocks, free_shear, _SHEAR_MIN, _SHEAR_MAX,
                         1.0, SUM_BLOCK)  # fmt: skip


def log_shear_symbols(x: Tensor, gain: Tensor, unit: Tensor) -> Tensor:
    """Return the symbols by the forward kernel, as `ops.log_shear.log_shear_symbols` describes them."""
    positions = _forward(x.contiguous(), gain, unit, None)[1]
    return positions.t().round().clamp_(0, limits.N_SYMBOLS - 1).long()


def log_shear_round(x: Tensor, gain: Tensor, unit: Tensor, lengths: CodeLengths | None) -> tuple[Tensor, Tensor | None]:
    """Return values as decoded and the bits of their symbols, as `ops.log_shear.log_shear_round` describes them."""
    values, bits = _Round.apply(x, gain, unit, lengths)
    return values, bits


def _forward(
    x: Tensor, gain: Tensor, unit: Tensor, lengths: CodeLengths | None
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
    """Return values [N, 3], positions [3, N], the counter of blocks, slopes [3, N] and bits [n_programs]."""
    n = x.shape[0]
    n_programs = max(triton.cdiv(n, _BLOCK), 1)
    values, positions = torch.empty_like(x), torch.empty(3, n, device=x.device)
    arrived = torch.empty(1, dtype=torch.int32, device=x.device)
    rate: tuple[Tensor, ...] = (x, x, x, x)
    slopes = bits = None
    if lengths is not None:
        slopes, bits = torch.empty_like(positions), torch.empty(n_programs, device=x.device)
        rate = (lengths.tables.contiguous(), lengths.rows.contiguous(), slopes, bits)
    _forward_kernel[(n_programs,)](
        x, values, positions, gain.contiguous(), unit.contiguous(), arrived, *rate, n, lengths is not None, _BLOCK,
        num_warps=_N_WARPS, **_OPTIONS,
    )  # fmt: skip
    return values, positions, arrived, slopes, bits


class _Round(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, gain: Tensor, unit: Tensor, lengths: CodeLengths | None
    ) -> tuple[Tensor | None, Tensor | None]:
        x = x.contiguous()
        values, positions, arrived, slopes, bits = _forward(x, gain, unit, lengths)
        ctx.save_for_backward(x, values, positions, gain, unit, arrived, slopes)
        return values, bits

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad_values, grad_bits = grads
        x, values, positions, gain, unit, arrived, slopes = ctx.saved_tensors
        n_programs = max(triton.cdiv(x.shape[0], _BLOCK), 1)
        grad_x, grad_gain = torch.empty_like(x), torch.empty_like(gain)
        partials = torch.empty(3, n_programs, device=x.device)
        rate = (x, x) if slopes is None else (slopes, grad_bits)
        _backward_kernel[(n_programs,)](
            grad_values.contiguous(), x, values, positions, grad_x, gain.contiguous(), unit.contiguous(), arrived,
            partials, grad_gain, *rate, x.shape[0], 0 if slopes is None else grad_bits.stride(0), slopes is not None,
            _BLOCK, _SUM_BLOCK, num_warps=_N_WARPS, **_OPTIONS,
        )  # fmt: skip
        return grad_x, grad_gain, None, None
