"""The field's network in torch: the reference, on any device."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from stgvcodec.ops.field_mlp.weights import FieldWeights


def field_mlp(
    static_features: Tensor, dynamic_features: Tensor, time_encoding: Tensor, weights: FieldWeights
) -> tuple[Tensor, Tensor, Tensor]:
    """Reference of `stgvcodec.ops.field_mlp.field_mlp`, with the same arguments, results and gradients."""
    sizes = [static_features.shape[1], dynamic_features.shape[2], time_encoding.shape[1]]
    w_static, w_dynamic, w_time = weights.w1.split(sizes, dim=1)
    shared = F.linear(static_features, w_static)  # [N, width]
    delta_means, delta_colors, delta_shapes = [], [], []
    # Frames are computed one by one, each from a clone in memory of its own: the bits of a matrix product change with
    # its number of rows and with the alignment of its factors, and a frame's result must not change with the frames
    # beside it.
    for dynamic, time in zip(dynamic_features, time_encoding, strict=True):
        bias = weights.b1 + (w_time * time).sum(dim=1)  # [width]
        hidden = torch.relu(shared + F.linear(dynamic.clone(), w_dynamic) + bias)  # [N, width]
        hidden = torch.relu(F.linear(hidden, weights.w2, weights.b2))
        delta_means.append(F.linear(hidden, weights.w_means, weights.b_means))
        delta_colors.append(F.linear(hidden, weights.w_colors, weights.b_colors))
        delta_shapes.append(F.linear(hidden, weights.w_shapes, weights.b_shapes))
    return torch.stack(delta_means), torch.stack(delta_colors), torch.stack(delta_shapes)  # [B, N, 2], 3 and S
