"""Triton kernel that adds up the bits of all streams in one launch."""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from stgvcodec.ops.code_length.triton_device import sum_in_order

_BLOCK = 256
_N_WARPS = 4


@triton.jit(do_not_specialize=["n_1", "n_2", "n_3"])
def _total_kernel(part_1_ptr, part_2_ptr, part_3_ptr, fixed_ptr, total_ptr, n_1, n_2, n_3, BLOCK: tl.constexpr):
    total = sum_in_order(part_1_ptr, n_1, BLOCK) + sum_in_order(part_2_ptr, n_2, BLOCK)
    tl.store(total_ptr, (total + sum_in_order(part_3_ptr, n_3, BLOCK)) + tl.load(fixed_ptr))


def total_bits(parts: Sequence[Tensor], fixed: Tensor) -> Tensor:
    """Sum of the bits of all streams, as `ops.code_length.total_bits` describes it."""
    result: Tensor = _Total.apply(fixed, *parts)
    return result


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, fixed: Tensor, *parts: Tensor) -> Tensor:
        ctx.sizes = [len(part) for part in parts]
        total = torch.empty_like(fixed)
        # A stream that does not exist gets any pointer and the size 0.
        three = [*(part.contiguous() for part in parts), fixed, fixed, fixed][:3]
        sizes = [*ctx.sizes, 0, 0, 0][:3]
        _total_kernel[(1,)](*three, fixed, total, *sizes, _BLOCK, num_warps=_N_WARPS)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return (None, *(grads[0].expand(size) for size in ctx.sizes))
