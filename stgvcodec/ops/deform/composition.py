"""The field composed of `hash_encode` and `field_mlp`: the reference, and `triton` where no fused kernel fits."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from stgvcodec.ops.field_mlp import FieldWeights, field_mlp
from stgvcodec.ops.hash_encode import HashGridSpec, hash_encode


def to_pixels(means: Tensor, size_px: tuple[float, float]) -> Tensor:
    """Convert centres in [-1, 1]^2 to pixels of a picture of (width, height), x right, y down. [..., 2] -> [..., 2]."""
    # The axes are computed apart, so that the sizes are arguments of kernels: a CUDA graph could not copy them from the
    # host.
    x, y = (means + 1.0).unbind(-1)
    width, height = size_px
    return torch.stack((x * (0.5 * width), y * (0.5 * height)), dim=-1)


def _compose(
    means: Tensor,
    colors: Tensor,
    static_table: Tensor,
    dynamic_table: Tensor,
    weights: FieldWeights,
    times: Tensor,
    gamma: Tensor,
    *,
    static_grid: HashGridSpec,
    dynamic_grid: HashGridSpec,
    size_px: tuple[float, float],
    static_features: Tensor | None,
    encoder: str,
    network: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Twin of `stgvcodec.ops.deform.deform`; `encoder` and `network` name the back ends of the two operators."""
    n_frames, n = len(times), len(means)
    unit = (means + 1.0) * 0.5
    if static_features is None:
        static_features = hash_encode(unit, static_table, static_grid, backend=encoder)
    positions = torch.cat((unit.expand(n_frames, n, 2), times[:, None, None].expand(n_frames, n, 1)), dim=2)
    dynamic = hash_encode(positions.reshape(n_frames * n, 3), dynamic_table, dynamic_grid, backend=encoder)
    dynamic = dynamic.reshape(n_frames, n, dynamic_grid.n_features)
    delta_means, delta_colors, delta_shapes = field_mlp(static_features, dynamic, gamma, weights, backend=network)
    return to_pixels(means + delta_means, size_px), colors + delta_colors, delta_shapes


reference = partial(_compose, encoder="reference", network="reference")
# This composition is for networks that are too wide for the fused kernel; torch does matrix products of that size well.
triton = partial(_compose, encoder="triton", network="reference")
