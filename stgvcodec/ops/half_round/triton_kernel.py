"""Triton kernel that does the four steps of rounding to half in one launch."""

# The interpreter and the compiler both read types from annotations, and only constexpr means anything to them.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from stgvcodec.ops.half_round import reference

_BLOCK = 512
_N_WARPS = 4
_HALF_MAX = tl.constexpr(reference.HALF_MAX)


@triton.jit
def half_of(x):
    """Round to the nearest finite half, as float32; NaN counts as zero."""
    x = tl.where(x != x, 0.0, x)
    return tl.minimum(tl.maximum(x, -_HALF_MAX), _HALF_MAX).to(tl.float16).to(tl.float32)


@triton.jit(do_not_specialize=["n"])
def _half_kernel(x_ptr, values_ptr, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    tl.store(values_ptr + offsets, half_of(tl.load(x_ptr + offsets, mask=mask, other=0.0)), mask=mask)


def half_values(x: Tensor) -> Tensor:
    """Round to half precision, as `ops.half_round.half_round` describes it, without a gradient."""
    x = x.detach().contiguous()
    values = torch.empty_like(x)
    if x.numel() > 0:
        _half_kernel[(triton.cdiv(x.numel(), _BLOCK),)](x, values, x.numel(), _BLOCK, num_warps=_N_WARPS)
    return values
