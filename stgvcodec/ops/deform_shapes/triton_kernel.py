"""Changes of shape on CUDA: one launch forward and one backward, without atomics."""

# Triton's interpreter and compiler both read types from annotations, and constexpr is the only one that they know.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from stgvcodec.ops.deform_shapes import limits

_BLOCK = 128
# A contracted multiply-add would round once where the other back ends round twice.
_OPTIONS = {"num_warps": 4, "enable_fp_fusion": False}

_FLOOR = tl.constexpr(limits.MIN_DIAGONAL_PX)
_MOST = tl.constexpr(limits.MAX_SHAPE_CHANGE)


def deform_shapes(cholesky: Tensor, delta: Tensor) -> Tensor:
    """Triton twin of `stgvcodec.ops.deform_shapes.reference.deform_shapes`, float32 on CUDA.

    Raises:
        ValueError: the tensors are not float32.
    """
    if cholesky.dtype != torch.float32:
        raise ValueError(f"backend 'triton' computes in float32, got {cholesky.dtype}; convert, or use 'reference'")
    shapes: Tensor = _DeformShapes.apply(cholesky, delta)
    return shapes


class _DeformShapes(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, cholesky: Tensor, delta: Tensor) -> Tensor:
        cholesky, delta = cholesky.contiguous(), delta.contiguous()
        n_frames, n, _ = delta.shape
        shapes = torch.empty_like(delta)
        if delta.numel():
            with torch.cuda.device_of(delta):
                _forward_kernel[(triton.cdiv(n, _BLOCK), n_frames)](
                    cholesky, delta, shapes, n, BLOCK=_BLOCK, **_OPTIONS
                )
        ctx.save_for_backward(cholesky, delta)
        return shapes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        cholesky, delta = ctx.saved_tensors
        n_frames, n, _ = delta.shape
        grad_cholesky, grad_delta = torch.empty_like(cholesky), torch.empty_like(delta)
        if n:
            with torch.cuda.device_of(delta):
                _backward_kernel[(triton.cdiv(n, _BLOCK),)](
                    cholesky, delta, grad.contiguous(), grad_cholesky, grad_delta, n, n_frames, BLOCK=_BLOCK, **_OPTIONS
                )
        return grad_cholesky, grad_delta


@triton.jit
def _clamped(change):
    """Clamp a change; NaN stays NaN."""
    return tl.where(change > _MOST, _MOST, tl.where(change < -_MOST, -_MOST, change))


@triton.jit
def _bounded(diagonal):
    """Apply the lower bound; NaN stays NaN."""
    return tl.where(diagonal < _FLOOR, _FLOOR, diagonal)


@triton.jit
def _passed(grad, diagonal):
    """The gradient that passes the lower bound, for a diagonal before it."""
    return tl.where((diagonal > _FLOOR) | (grad < 0.0), grad, 0.0)


@triton.jit
def _inside(grad, change):
    """The gradient that passes the clamp, for a change before it."""
    return tl.where(tl.abs(change) <= _MOST, grad, 0.0)


@triton.jit
def _load(rows, mask):
    """Load the three numbers of each row. What lies behind the last row gets 1, by which can be divided."""
    first, second = tl.load(rows, mask=mask, other=1.0), tl.load(rows + 1, mask=mask, other=1.0)
    return first, second, tl.load(rows + 2, mask=mask, other=1.0)


@triton.jit
def _store(rows, first, second, third, mask):
    tl.store(rows, first, mask=mask)
    tl.store(rows + 1, second, mask=mask)
    tl.store(rows + 2, third, mask=mask)


@triton.jit(do_not_specialize=["n"])
def _forward_kernel(cholesky, delta, shapes, n, BLOCK: tl.constexpr):
    """Write the shapes of BLOCK Gaussians in one frame."""
    item = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = item < n
    frame = tl.program_id(1).to(tl.int64) * n * 3
    l1, l2, l3 = _load(cholesky + 3 * item, mask)
    d1, ds, d3 = _load(delta + frame + 3 * item, mask)
    new_l3 = _bounded(l3 * tl.exp(_clamped(d3)))
    new_l2 = (tl.div_rn(l2, l3) + _clamped(ds)) * new_l3
    _store(shapes + frame + 3 * item, _bounded(l1 * tl.exp(_clamped(d1))), new_l2, new_l3, mask)


@triton.jit(do_not_specialize=["n", "n_frames"])
def _backward_kernel(cholesky, delta, grad, grad_cholesky, grad_delta, n, n_frames, BLOCK: tl.constexpr):
    """Write the gradients of BLOCK Gaussians from all frames, in the order of the frames."""
    item = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = item < n
    l1, l2, l3 = _load(cholesky + 3 * item, mask)
    ratio = tl.div_rn(l2, l3)
    sum_1, sum_2, sum_3 = tl.zeros([BLOCK], tl.float32), tl.zeros([BLOCK], tl.float32), tl.zeros([BLOCK], tl.float32)
    b = n_frames * 0
    while b < n_frames:
        frame = tl.cast(b, tl.int64) * n * 3
        d1, ds, d3 = _load(delta + frame + 3 * item, mask)
        grad_1, grad_2, grad_3 = _load(grad + frame + 3 * item, mask)
        factor_1, factor_3 = tl.exp(_clamped(d1)), tl.exp(_clamped(d3))
        free_1, free_3 = l1 * factor_1, l3 * factor_3
        of_shear = grad_2 * _bounded(free_3)
        of_1 = _passed(grad_1, free_1)
        of_3 = _passed(grad_3 + grad_2 * (ratio + _clamped(ds)), free_3)
        sum_1 += of_1 * factor_1
        sum_2 += tl.div_rn(of_shear, l3)
        sum_3 += of_3 * factor_3 - tl.div_rn(of_shear * ratio, l3)
        _store(
            grad_delta + frame + 3 * item,
            _inside(of_1 * free_1, d1),
            _inside(of_shear, ds),
            _inside(of_3 * free_3, d3),
            mask,
        )
        b += 1
    _store(grad_cholesky + 3 * item, sum_1, sum_2, sum_3, mask)
