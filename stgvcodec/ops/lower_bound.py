"""A lower bound that does not stop gradients which would lift a value back over it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def lower_bound(x: Tensor, floor: Tensor) -> Tensor:
    """Return max(x, floor); NaN stays NaN.

    Args:
        x: Values. Any shape.
        floor: Lower bounds, of a shape that broadcasts to that of `x`; they get no gradient.

    Gradients: to x, where x is above the floor, and below it as well if the gradient would lift x.
    """
    bounded: Tensor = _LowerBound.apply(x, floor)
    return bounded


class _LowerBound(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, floor: Tensor) -> Tensor:
        ctx.save_for_backward(x, floor)
        return torch.maximum(x, floor)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        x, floor = ctx.saved_tensors
        (grad,) = grad_outputs
        return torch.where((x > floor) | (grad < 0), grad, 0.0), None
