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
from stgvcodec.ops.lsq.triton_kernel import free_scale
from stgvcodec.ops.ycocg import limits

_BLOCK = 128
_N_WARPS = 4
_SUM_BLOCK = 256
# A contracted multiply-add would round once where the decoder rounds twice.
_OPTIONS = {"enable_fp_fusion": False}

_SCALE_MIN = tl.constexpr(limits.SCALE_MIN)
_SCALE_MAX = tl.constexpr(limits.SCALE_MAX)
_MAGNITUDE_MAX = tl.constexpr(limits.MAGNITUDE_MAX)
_MIN_SYMBOL = tl.constexpr(limits.MIN_SYMBOL)
_MAX_SYMBOL = tl.constexpr(limits.MAX_SYMBOL)
_N_SYMBOLS = tl.constexpr(limits.N_SYMBOLS)


@triton.jit
def _scale(gain_ptr, unit_ptr):
    """Return a step before and after it is clamped to its limits."""
    free = free_scale(tl.load(gain_ptr), tl.load(unit_ptr))
    return free, tl.minimum(tl.maximum(free, _SCALE_MIN), _SCALE_MAX)


@triton.jit
def _channel(x_ptrs, mask):
    x = tl.load(x_ptrs, mask=mask, other=0.0)
    return tl.minimum(tl.maximum(tl.where(x != x, 0.0, x), -_MAGNITUDE_MAX), _MAGNITUDE_MAX)


@triton.jit
def _ratios(x_ptr, items, mask, scale_y, scale_co, scale_cg):
    r, g = _channel(x_ptr + 3 * items, mask), _channel(x_ptr + 3 * items + 1, mask)
    b = _channel(x_ptr + 3 * items + 2, mask)
    zero = tl.zeros_like(r)
    y = tl.div_rn(0.25 * (r + b) + 0.5 * g, zero + scale_y)
    co = tl.div_rn(0.5 * (r - b), zero + scale_co)
    return y, co, tl.div_rn(0.5 * g - 0.25 * (r + b), zero + scale_cg)


@triton.jit
def _rated(ratio, component_ptrs, rows_ptrs, tables_ptr, mask):
    """Return the bits of a component's symbols, and store their slopes."""
    row = tables_ptr + tl.load(rows_ptrs, mask=mask, other=0) * _N_SYMBOLS
    bits, slopes = code_length(ratio, row, mask, _MIN_SYMBOL, _N_SYMBOLS)
    tl.store(component_ptrs, slopes, mask=mask)
    return bits


@triton.jit(do_not_specialize=["n"])
def _forward_kernel(x_ptr, values_ptr, gain_ptr, unit_ptr, arrived_ptr, tables_ptr, rows_ptr, slopes_ptr, bits_ptr, n,
                    RATED: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    program = tl.program_id(0)
    items = program * BLOCK + tl.arange(0, BLOCK)
    mask = items < n
    _, scale_y = _scale(gain_ptr, unit_ptr)
    _, scale_co = _scale(gain_ptr + 1, unit_ptr + 1)
    _, scale_cg = _scale(gain_ptr + 2, unit_ptr + 2)
    ratio_y, ratio_co, ratio_cg = _ratios(x_ptr, items, mask, scale_y, scale_co, scale_cg)
    y = rounded(ratio_y, _MIN_SYMBOL, _N_SYMBOLS) * scale_y
    co = rounded(ratio_co, _MIN_SYMBOL, _N_SYMBOLS) * scale_co
    cg = rounded(ratio_cg, _MIN_SYMBOL, _N_SYMBOLS) * scale_cg
    base = y - cg
    tl.store(values_ptr + 3 * items, base + co, mask=mask)
    tl.store(values_ptr + 3 * items + 1, y + cg, mask=mask)
    tl.store(values_ptr + 3 * items + 2, base - co, mask=mask)
    if RATED:
        bits = _rated(ratio_y, slopes_ptr + items, rows_ptr + items, tables_ptr, mask)
        bits += _rated(ratio_co, slopes_ptr + n + items, rows_ptr + n + items, tables_ptr, mask)
        bits += _rated(ratio_cg, slopes_ptr + 2 * n + items, rows_ptr + 2 * n + items, tables_ptr, mask)
        tl.store(bits_ptr + program, tl.sum(bits))
    if program == 0:
        tl.store(arrived_ptr, 0)


@triton.jit
def _component(ratio, along, slopes_ptrs, grad_bits, scale, mask, RATED: tl.constexpr):
    """Gradient to the component, and the block's sum of the gradient to the component's step."""
    inside = (ratio >= _MIN_SYMBOL) & (ratio <= _MAX_SYMBOL)
    symbols = rounded(ratio, _MIN_SYMBOL, _N_SYMBOLS)
    grad = tl.where(inside, along, 0.0)
    by_scale = along * tl.where(inside, symbols - ratio, symbols)
    if RATED:
        slopes = tl.load(slopes_ptrs, mask=mask, other=0.0)
        rated = tl.div_rn(grad_bits * slopes, tl.zeros_like(ratio) + scale)
        grad += rated
        by_scale -= rated * ratio
    return grad, tl.sum(tl.where(mask, by_scale, 0.0))


@triton.jit
def _store_grad_gain(grad_gain_ptr, partials_ptr, n_blocks, free, scale, BLOCK: tl.constexpr):
    grad = sum_in_order(partials_ptr, n_blocks, BLOCK) * scale
    tl.store(grad_gain_ptr, tl.where((free >= _SCALE_MIN) & (free <= _SCALE_MAX), grad, 0.0))


@triton.jit(do_not_specialize=["n", "bits_stride"])
def _backward_kernel(grad_ptr, x_ptr, grad_x_ptr, gain_ptr, unit_ptr, arrived_ptr, partials_ptr, grad_gain_ptr,
                     slopes_ptr, grad_bits_ptr, n, bits_stride, RATED: tl.constexpr, BLOCK: tl.constexpr,
                     SUM_BLOCK: tl.constexpr):  # fmt: skip
    program = tl.program_id(0)
    n_blocks = tl.num_programs(0)
    items = program * BLOCK + tl.arange(0, BLOCK)
    mask = items < n
    free_y, scale_y = _scale(gain_ptr, unit_ptr)
    free_co, scale_co = _scale(gain_ptr + 1, unit_ptr + 1)
    free_cg, scale_cg = _scale(gain_ptr + 2, unit_ptr + 2)
    ratio_y, ratio_co, ratio_cg = _ratios(x_ptr, items, mask, scale_y, scale_co, scale_cg)
    r = tl.load(grad_ptr + 3 * items, mask=mask, other=0.0)
    g = tl.load(grad_ptr + 3 * items + 1, mask=mask, other=0.0)
    b = tl.load(grad_ptr + 3 * items + 2, mask=mask, other=0.0)
    grad_bits = 0.0
    if RATED:
        grad_bits = tl.load(grad_bits_ptr + program * bits_stride)
    y, sum_y = _component(ratio_y, r + g + b, slopes_ptr + items, grad_bits, scale_y, mask, RATED)
    co, sum_co = _component(ratio_co, r - b, slopes_ptr + n + items, grad_bits, scale_co, mask, RATED)
    cg, sum_cg = _component(ratio_cg, g - r - b, slopes_ptr + 2 * n + items, grad_bits, scale_cg, mask, RATED)
    tl.store(grad_x_ptr + 3 * items, 0.25 * (y - cg) + 0.5 * co, mask=mask)
    tl.store(grad_x_ptr + 3 * items + 1, 0.5 * (y + cg), mask=mask)
    tl.store(grad_x_ptr + 3 * items + 2, 0.25 * (y - cg) - 0.5 * co, mask=mask)

    tl.store(partials_ptr + program, sum_y)
    tl.store(partials_ptr + n_blocks + program, sum_co)
    tl.store(partials_ptr + 2 * n_blocks + program, sum_cg)
    tl.debug_barrier()
    n_before = tl.atomic_add(arrived_ptr, 1, sem="acq_rel", scope="gpu")
    if n_before == n_blocks - 1:
        tl.debug_barrier()
        tl.store(arrived_ptr, 0)
        _store_grad_gain(grad_gain_ptr, partials_ptr, n_blocks, free_y, scale_y, SUM_BLOCK)
        _store_grad_gain(grad_gain_ptr + 1, partials_ptr + n_blocks, n_blocks, free_co, scale_co, SUM_BLOCK)
        _store_grad_gain(grad_gain_ptr + 2, partials_ptr + 2 * n_blocks, n_blocks, free_cg, scale_cg, SUM_BLOCK)


def ycocg_round(x: Tensor, gain: Tensor, unit: Tensor, lengths: CodeLengths | None) -> tuple[Tensor, Tensor | None]:
    """Return values as decoded and the bits of their symbols, as `ops.ycocg.ycocg_round` describes them."""
    values, bits = _Round.apply(x, gain, unit, lengths)
    return values, bits


class _Round(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, gain: Tensor, unit: Tensor, lengths: CodeLengths | None
    ) -> tuple[Tensor, Tensor | None]:
        x = x.contiguous()
        n = x.shape[0]
        n_programs = max(triton.cdiv(n, _BLOCK), 1)
        values = torch.empty_like(x)
        arrived = torch.empty(1, dtype=torch.int32, device=x.device)
        rate: tuple[Tensor, ...] = (x, x, x, x)
        slopes = bits = None
        if lengths is not None:
            slopes, bits = torch.empty(3, n, device=x.device), torch.empty(n_programs, device=x.device)
            rate = (lengths.tables.contiguous(), lengths.rows.contiguous(), slopes, bits)
        _forward_kernel[(n_programs,)](
            x, values, gain.contiguous(), unit.contiguous(), arrived, *rate, n, lengths is not None, _BLOCK,
            num_warps=_N_WARPS, **_OPTIONS,
        )  # fmt: skip
        ctx.save_for_backward(x, gain, unit, arrived, slopes)
        return values, bits

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad_values, grad_bits = grads
        x, gain, unit, arrived, slopes = ctx.saved_tensors
        n_programs = max(triton.cdiv(x.shape[0], _BLOCK), 1)
        grad_x, grad_gain = torch.empty_like(x), torch.empty_like(gain)
        partials = torch.empty(3, n_programs, device=x.device)
        rate = (x, x) if slopes is None else (slopes, grad_bits)
        _backward_kernel[(n_programs,)](
            grad_values.contiguous(), x, grad_x, gain.contiguous(), unit.contiguous(), arrived, partials, grad_gain,
            *rate, x.shape[0], 0 if slopes is None else grad_bits.stride(0), slopes is not None, _BLOCK, _SUM_BLOCK,
            num_warps=_N_WARPS, **_OPTIONS,
        )  # fmt: skip
        return grad_x, grad_gain, None, None
