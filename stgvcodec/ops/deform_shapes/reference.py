"""Changes of shape in torch: the reference, on any device."""

from __future__ import annotations

import torch
from torch import Tensor

from stgvcodec.ops.deform_shapes.limits import MAX_SHAPE_CHANGE, MIN_DIAGONAL_PX
from stgvcodec.ops.lower_bound import lower_bound


def deform_shapes(cholesky: Tensor, delta: Tensor) -> Tensor:
    """Twin of `stgvcodec.ops.deform_shapes.deform_shapes`, for checked inputs."""
    l1, l2, l3 = cholesky.unbind(1)  # [N]
    d1, ds, d3 = delta.clamp(-MAX_SHAPE_CHANGE, MAX_SHAPE_CHANGE).unbind(2)  # [B, N]
    floor = cholesky.new_full((), MIN_DIAGONAL_PX)
    new_l1, new_l3 = lower_bound(l1 * d1.exp(), floor), lower_bound(l3 * d3.exp(), floor)
    return torch.stack((new_l1, (l2 / l3 + ds) * new_l3, new_l3), dim=2)
