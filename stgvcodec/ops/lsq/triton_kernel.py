"""Triton kernels, one launch forward and one backward; the last block of a group adds up the group's sums."""

# The interpreter and the compiler both read types from annotations, and only constexpr means anything to them.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from stgvcodec.ops.code_length.triton_device import code_length, rounded, sum_in_order
from stgvcodec.ops.lsq import steps as limits
from stgvcodec.ops.lsq.segments import BLOCK_COLUMNS, SEGMENT_BLOCK, Segments
from stgvcodec.ops.lsq.steps import LsqSteps

_BLOCK = SEGMENT_BLOCK
_N_WARPS = 4
_STEPS_BLOCK = 128
_SUM_BLOCK = 64
# A contracted multiply-add would round once where the decoder rounds twice.
_OPTIONS = {"enable_fp_fusion": False}

_SCALE_MIN = tl.constexpr(limits.SCALE_MIN)
_MAGNITUDE_MAX = tl.constexpr(limits.MAGNITUDE_MAX)
_N_BLOCK_COLUMNS = tl.constexpr(len(BLOCK_COLUMNS))


@triton.jit
def free_scale(gain, unit):
    """Make a scale, without its limits; every kernel that makes a scale makes it by this line."""
    return unit * tl.exp(gain)


@triton.jit
def _free_offset(shift, anchor, unit):
    return anchor + unit * shift


@triton.jit
def _bounded_scale(scale):
    return tl.minimum(tl.maximum(scale, _SCALE_MIN), _MAGNITUDE_MAX)


@triton.jit
def _bounded_offset(offset):
    return tl.minimum(tl.maximum(offset, -_MAGNITUDE_MAX), _MAGNITUDE_MAX)


@triton.jit(do_not_specialize=["n"])
def _steps_kernel(gain_ptr, unit_ptr, shift_ptr, anchor_ptr, scale_ptr, offset_ptr, n, HAS_OFFSET: tl.constexpr,
                  BLOCK: tl.constexpr):  # fmt: skip
    groups = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = groups < n
    unit = tl.load(unit_ptr + groups, mask=mask, other=1.0)
    gain = tl.load(gain_ptr + groups, mask=mask, other=0.0)
    tl.store(scale_ptr + groups, _bounded_scale(free_scale(gain, unit)), mask=mask)
    if HAS_OFFSET:
        shift = tl.load(shift_ptr + groups, mask=mask, other=0.0)
        anchor = tl.load(anchor_ptr + groups, mask=mask, other=0.0)
        tl.store(offset_ptr + groups, _bounded_offset(_free_offset(shift, anchor, unit)), mask=mask)


@triton.jit
def _block(blocks_ptr, n_rows, n_columns, SEGMENTED: tl.constexpr, BLOCK: tl.constexpr):
    """Return what a program needs to know of its block.

    This is: offsets of its values, their mask, their group, the group's first slot, its number of slots and its size,
    and the program's own slot.
    """
    program = tl.program_id(0)
    lanes = tl.arange(0, BLOCK)
    if SEGMENTED:
        row = blocks_ptr + program * _N_BLOCK_COLUMNS
        start, count = tl.load(row), tl.load(row + 1)
        group, first, n_blocks, size = tl.load(row + 2), tl.load(row + 3), tl.load(row + 4), tl.load(row + 5)
        slot = program
        offsets = start + lanes
    else:
        # Neighbouring programs take the columns of the same rows, which share cache lines.
        n_blocks = tl.num_programs(0) // n_columns
        group = program % n_columns
        block = program // n_columns
        first, size = group * n_blocks, n_rows
        slot = first + block
        count = n_rows - block * BLOCK
        offsets = (block * BLOCK + lanes) * n_columns + group
    return offsets, lanes < count, group, first, n_blocks, size, slot


@triton.jit
def _clamped_symbols(x, scale, offset, MIN_SYMBOL: tl.constexpr, MAX_SYMBOL: tl.constexpr, HAS_OFFSET: tl.constexpr):
    """Return the symbols and the ratios from which they are rounded."""
    x = tl.where(x != x, 0.0, x)
    if HAS_OFFSET:
        x = x - offset
    ratio = tl.div_rn(x, tl.zeros_like(x) + scale)
    return rounded(ratio, MIN_SYMBOL, MAX_SYMBOL - MIN_SYMBOL + 1), ratio


@triton.jit(do_not_specialize=["n_rows", "n_columns"])
def _forward_kernel(x_ptr, values_ptr, gain_ptr, unit_ptr, shift_ptr, anchor_ptr, blocks_ptr, arrived_ptr, tables_ptr,
                    slopes_ptr, bits_ptr, n_rows, n_columns, MIN_SYMBOL: tl.constexpr, MAX_SYMBOL: tl.constexpr,
                    HAS_OFFSET: tl.constexpr, SEGMENTED: tl.constexpr, N_ENTRIES: tl.constexpr,
                    BLOCK: tl.constexpr):  # fmt: skip
    offsets, mask, group, first, _n_blocks, _size, slot = _block(blocks_ptr, n_rows, n_columns, SEGMENTED, BLOCK)
    unit = tl.load(unit_ptr + group)
    scale = _bounded_scale(free_scale(tl.load(gain_ptr + group), unit))
    offset = 0.0
    if HAS_OFFSET:
        offset = _bounded_offset(_free_offset(tl.load(shift_ptr + group), tl.load(anchor_ptr + group), unit))
    x = tl.load(x_ptr + offsets, mask=mask, other=0.0)
    symbols, ratio = _clamped_symbols(x, scale, offset, MIN_SYMBOL, MAX_SYMBOL, HAS_OFFSET)
    values = symbols * scale
    if HAS_OFFSET:
        values = values + offset
    tl.store(values_ptr + offsets, values, mask=mask)
    if N_ENTRIES:
        lengths, slopes = code_length(
            ratio, tables_ptr + group * N_ENTRIES, mask, MIN_SYMBOL, MAX_SYMBOL - MIN_SYMBOL + 1
        )
        tl.store(slopes_ptr + offsets, slopes, mask=mask)
        tl.store(bits_ptr + slot, tl.sum(lengths))
    if slot == first:
        tl.store(arrived_ptr + group, 0)


@triton.jit(do_not_specialize=["n_rows", "n_columns", "bits_stride"])
def _backward_kernel(grad_ptr, x_ptr, grad_x_ptr, gain_ptr, unit_ptr, shift_ptr, anchor_ptr, blocks_ptr, arrived_ptr,
                     partials_ptr, grad_gain_ptr, grad_shift_ptr, slopes_ptr, grad_bits_ptr, n_rows, n_columns,
                     bits_stride, MIN_SYMBOL: tl.constexpr, MAX_SYMBOL: tl.constexpr, HAS_OFFSET: tl.constexpr,
                     SEGMENTED: tl.constexpr, N_ENTRIES: tl.constexpr, BLOCK: tl.constexpr,
                     SUM_BLOCK: tl.constexpr):  # fmt: skip
    offsets, mask, group, first, n_blocks, size, slot = _block(blocks_ptr, n_rows, n_columns, SEGMENTED, BLOCK)
    unit = tl.load(unit_ptr + group)
    free = free_scale(tl.load(gain_ptr + group), unit)
    scale = _bounded_scale(free)
    free_offset = 0.0
    if HAS_OFFSET:
        free_offset = _free_offset(tl.load(shift_ptr + group), tl.load(anchor_ptr + group), unit)
    offset = _bounded_offset(free_offset)
    x = tl.load(x_ptr + offsets, mask=mask, other=0.0)
    grad = tl.load(grad_ptr + offsets, mask=mask, other=0.0)
    symbols, ratio = _clamped_symbols(x, scale, offset, MIN_SYMBOL, MAX_SYMBOL, HAS_OFFSET)
    inside = (ratio >= MIN_SYMBOL) & (ratio <= MAX_SYMBOL)
    grad_x = tl.where(inside, grad, 0.0)
    by_scale = grad * tl.where(inside, symbols - ratio, symbols)
    if N_ENTRIES:
        slopes = tl.load(slopes_ptr + offsets, mask=mask, other=0.0)
        rated = tl.div_rn(tl.load(grad_bits_ptr + slot * bits_stride) * slopes, tl.zeros_like(x) + scale)
        grad_x += rated
        # Outside the symbols a slope is zero, but a ratio may be infinite.
        by_scale -= tl.where(inside, rated * ratio, 0.0)
    tl.store(grad_x_ptr + offsets, grad_x, mask=mask)

    n_slots = tl.num_programs(0)
    tl.store(partials_ptr + slot, tl.sum(by_scale))
    if HAS_OFFSET:
        tl.store(partials_ptr + n_slots + slot, tl.sum(tl.where(inside, 0.0, grad)))
    tl.debug_barrier()
    n_before = tl.atomic_add(arrived_ptr + group, 1, sem="acq_rel", scope="gpu")
    if n_before == n_blocks - 1:
        tl.debug_barrier()
        tl.store(arrived_ptr + group, 0)
        damping = 1.0 / tl.sqrt_rn(tl.maximum(size, 1).to(tl.float32) * MAX_SYMBOL)
        grad_scale = sum_in_order(partials_ptr + first, n_blocks, SUM_BLOCK) * damping
        is_free = (free >= _SCALE_MIN) & (free <= _MAGNITUDE_MAX)
        tl.store(grad_gain_ptr + group, tl.where(is_free, grad_scale * scale, 0.0))
        if HAS_OFFSET:
            grad_offset = sum_in_order(partials_ptr + n_slots + first, n_blocks, SUM_BLOCK) * damping
            is_free = tl.abs(free_offset) <= _MAGNITUDE_MAX
            tl.store(grad_shift_ptr + group, tl.where(is_free, grad_offset * unit, 0.0))


def transmitted_steps(steps: LsqSteps) -> tuple[Tensor, Tensor | None]:
    """Return scale and offset by the arithmetic of the kernels, as `ops.lsq.lsq_steps` describes them."""
    n_groups = steps.gain.numel()
    scale = torch.empty_like(steps.gain)
    offset = None if steps.shift is None else torch.empty_like(steps.gain)
    _steps_kernel[(triton.cdiv(n_groups, _STEPS_BLOCK),)](
        *_contiguous(steps), scale, scale if offset is None else offset, n_groups, steps.shift is not None,
        _STEPS_BLOCK, num_warps=_N_WARPS, **_OPTIONS,
    )  # fmt: skip
    return scale, offset


def lsq_round(x: Tensor, steps: LsqSteps, segments: Segments | None, min_symbol: int, max_symbol: int) -> Tensor:
    """Return values as decoded, as `ops.lsq.lsq_round` describes them."""
    values: Tensor = _Round.apply(x, *steps, None, segments, min_symbol, max_symbol)[0]
    return values


def lsq_round_rated(
    x: Tensor, steps: LsqSteps, tables: Tensor, segments: Segments, min_symbol: int, max_symbol: int
) -> tuple[Tensor, Tensor]:
    """Return values as decoded and the bits of their symbols, as `ops.lsq.lsq_round_rated` describes them."""
    values, bits = _Round.apply(x, *steps, tables, segments, min_symbol, max_symbol)
    return values, bits


class _Round(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        gain: Tensor,
        unit: Tensor,
        shift: Tensor | None,
        anchor: Tensor | None,
        tables: Tensor | None,
        segments: Segments | None,
        min_symbol: int,
        max_symbol: int,
    ) -> tuple[Tensor, Tensor | None]:
        x = x.contiguous()
        steps = _contiguous(LsqSteps(gain, unit, shift, anchor))
        # It counts the blocks of each group that have added up their gradients; the backward kernel leaves it at zero.
        arrived = torch.empty(gain.shape, dtype=torch.int32, device=x.device)
        blocks, n_rows, n_columns, n_programs = _grid(x, segments)
        values = torch.empty_like(x)
        bits = slopes = None
        if tables is not None:
            tables = tables.contiguous()
            bits, slopes = torch.empty(n_programs, device=x.device), torch.empty_like(x)
        n_entries = 0 if tables is None else tables.shape[1]
        constants = (min_symbol, max_symbol, shift is not None, segments is not None, n_entries, _BLOCK)
        _forward_kernel[(n_programs,)](
            x, values, *steps, blocks, arrived, *(x if one is None else one for one in (tables, slopes, bits)), n_rows,
            n_columns, *constants, num_warps=_N_WARPS, **_OPTIONS,
        )  # fmt: skip
        ctx.save_for_backward(x, *steps, blocks, arrived, slopes)
        ctx.sizes = (n_rows, n_columns, n_programs)
        ctx.constants = constants
        return values, bits

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        x, *steps, blocks, arrived, slopes = ctx.saved_tensors
        n_rows, n_columns, n_programs = ctx.sizes
        has_offset = ctx.constants[2]
        grad_x, grad_gain = torch.empty_like(x), torch.empty_like(steps[0])
        grad_shift = torch.empty_like(grad_gain) if has_offset else None
        partials = torch.empty(1 + has_offset, n_programs, device=x.device)
        grad_values, grad_bits = grad_outputs
        rate = (x, x) if slopes is None else (slopes, grad_bits)
        _backward_kernel[(n_programs,)](
            grad_values.contiguous(), x, grad_x, *steps, blocks, arrived, partials, grad_gain,
            grad_shift if has_offset else grad_gain, *rate, n_rows, n_columns,
            0 if slopes is None else grad_bits.stride(0), *ctx.constants, _SUM_BLOCK,
            num_warps=_N_WARPS, **_OPTIONS,
        )  # fmt: skip
        return grad_x, grad_gain, None, grad_shift, None, None, None, None, None


def _contiguous(steps: LsqSteps) -> tuple[Tensor, ...]:
    """Return the four tensors contiguous, with stand-ins that no kernel reads for those that are None."""
    gain = steps.gain.contiguous()
    return tuple(gain if step is None else step.contiguous() for step in steps)


def _grid(x: Tensor, segments: Segments | None) -> tuple[Tensor, int, int, int]:
    """Return the table of blocks (a stand-in for columns), and the numbers of rows, columns and programs."""
    if segments is not None:
        return segments.blocks, 1, 1, segments.blocks.shape[0]
    n_rows, n_columns = x.shape
    return x, n_rows, n_columns, max(triton.cdiv(n_rows, _BLOCK), 1) * n_columns
