"""Changes of shape on CPU threads: float32, forward and backward, the same bits for any number of threads."""

# Numbers here have a width, of which annotations say nothing.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from stgvcodec.ops.compiled import njit
from stgvcodec.ops.deform_shapes.limits import MAX_SHAPE_CHANGE, MIN_DIAGONAL_PX
from stgvcodec.ops.threads import run_chunks

# Gaussians of a chunk, which take some 40 us; handing fewer to a thread would not pay. The number is fixed, so that the
# split does not depend on the machine.
_CHUNK = 4096
_F32 = np.float32
_ZERO, _FLOOR, _MOST = _F32(0), _F32(MIN_DIAGONAL_PX), _F32(MAX_SHAPE_CHANGE)

# fastmath stays off: each product and each quotient is rounded, as in the other back ends.
_kernel = njit(nogil=True, cache=True, error_model="numpy")


def deform_shapes(cholesky: Tensor, delta: Tensor) -> Tensor:
    """Numba twin of `stgvcodec.ops.deform_shapes.reference.deform_shapes`, float32 on a CPU.

    Raises:
        ValueError: the tensors are not float32.
    """
    if cholesky.dtype != torch.float32:
        raise ValueError(f"backend 'numba' computes in float32, got {cholesky.dtype}; convert, or use 'reference'")
    shapes: Tensor = _DeformShapes.apply(cholesky, delta)
    return shapes


class _DeformShapes(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, cholesky: Tensor, delta: Tensor) -> Tensor:
        cholesky, delta = cholesky.contiguous(), delta.contiguous()
        shapes = torch.empty_like(delta)
        arrays = cholesky.numpy(), delta.numpy(), shapes.numpy()
        run_chunks(lambda i: _forward(*(*arrays, i * _CHUNK, (i + 1) * _CHUNK)), -(-len(cholesky) // _CHUNK))
        ctx.save_for_backward(cholesky, delta)
        return shapes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        cholesky, delta = ctx.saved_tensors
        grad_cholesky, grad_delta = torch.empty_like(cholesky), torch.empty_like(delta)
        tensors = (cholesky, delta, grad.contiguous(), grad_cholesky, grad_delta)
        arrays = tuple(tensor.detach().numpy() for tensor in tensors)
        run_chunks(lambda i: _backward(*(*arrays, i * _CHUNK, (i + 1) * _CHUNK)), -(-len(cholesky) // _CHUNK))
        return grad_cholesky, grad_delta


@_kernel
def _clamped(change):
    """Clamp a change; NaN stays NaN."""
    if change > _MOST:
        return _MOST
    return -_MOST if change < -_MOST else change


@_kernel
def _bounded(diagonal):
    """Apply the lower bound; NaN stays NaN."""
    return _FLOOR if diagonal < _FLOOR else diagonal


@_kernel
def _passed(grad, diagonal):
    """The gradient that passes the lower bound, for a diagonal before it."""
    return grad if diagonal > _FLOOR or grad < _ZERO else _ZERO


@_kernel
def _inside(grad, change):
    """The gradient that passes the clamp, for a change before it."""
    return grad if abs(change) <= _MOST else _ZERO


@_kernel
def _forward(cholesky, delta, shapes, first, last):
    """Write the shapes of the Gaussians [first, last) in all frames."""
    for b in range(delta.shape[0]):
        for n in range(first, min(last, len(cholesky))):
            l1, l2, l3 = cholesky[n, 0], cholesky[n, 1], cholesky[n, 2]
            new_l3 = _bounded(l3 * math.exp(_clamped(delta[b, n, 2])))
            shapes[b, n, 0] = _bounded(l1 * math.exp(_clamped(delta[b, n, 0])))
            shapes[b, n, 1] = (l2 / l3 + _clamped(delta[b, n, 1])) * new_l3
            shapes[b, n, 2] = new_l3


@_kernel
def _backward(cholesky, delta, grad, grad_cholesky, grad_delta, first, last):
    """Write the gradients of the Gaussians [first, last) from all frames, in the order of the frames."""
    for n in range(first, min(last, len(cholesky))):
        l1, l2, l3 = cholesky[n, 0], cholesky[n, 1], cholesky[n, 2]
        ratio = l2 / l3
        sum_1, sum_2, sum_3 = _ZERO, _ZERO, _ZERO
        for b in range(delta.shape[0]):
            factor_1, factor_3 = math.exp(_clamped(delta[b, n, 0])), math.exp(_clamped(delta[b, n, 2]))
            free_1, free_3 = l1 * factor_1, l3 * factor_3
            of_shear = grad[b, n, 1] * _bounded(free_3)
            of_1 = _passed(grad[b, n, 0], free_1)
            of_3 = _passed(grad[b, n, 2] + grad[b, n, 1] * (ratio + _clamped(delta[b, n, 1])), free_3)
            sum_1 += of_1 * factor_1
            sum_2 += of_shear / l3
            sum_3 += of_3 * factor_3 - of_shear * ratio / l3
            grad_delta[b, n, 0] = _inside(of_1 * free_1, delta[b, n, 0])
            grad_delta[b, n, 1] = _inside(of_shear, delta[b, n, 1])
            grad_delta[b, n, 2] = _inside(of_3 * free_3, delta[b, n, 2])
        grad_cholesky[n, 0], grad_cholesky[n, 1], grad_cholesky[n, 2] = sum_1, sum_2, sum_3
