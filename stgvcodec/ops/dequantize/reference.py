"""Values of a GoP's symbols in plain torch operators."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from stgvcodec.ops.dequantize import GopCodes, GopNumbers


def dequantize(codes: GopCodes) -> GopNumbers:
    """See `stgvcodec.ops.dequantize.dequantize`."""
    from stgvcodec.ops.dequantize import GopNumbers

    # Separate operators, hence a rounding each.
    product = codes.cholesky.to(torch.float32) * codes.cholesky_scale
    colors = torch.zeros(codes.means.shape[0], 3, device=codes.means.device)
    indices = codes.color_indices.to(torch.int64)  # [N, M]
    for stage, codebook in enumerate(codes.codebooks.to(torch.float32)):
        colors = colors + codebook.index_select(0, indices[:, stage])
    position = torch.arange(codes.weights.numel(), device=codes.means.device, dtype=torch.int32)
    group = torch.bucketize(position, codes.weight_ends, right=True)  # [W]
    return GopNumbers(
        means=codes.means.to(torch.float32),
        cholesky=product + codes.cholesky_offset,
        colors=colors,
        weights=codes.weights.to(torch.float32) * codes.weight_scales[group],
    )
