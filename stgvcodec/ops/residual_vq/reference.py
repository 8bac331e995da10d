"""The reference of residual vector quantisation, in torch, with the stages of `encoding`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from stgvcodec.ops.residual_vq.clusters import cluster_sums
from stgvcodec.ops.residual_vq.encoding import Encoding, bounded, trace


def encode(x: Tensor, codebooks: Tensor) -> Encoding:
    """Code colours, as `ops.residual_vq.residual_vq_encode` describes it."""
    encoded = trace(x, codebooks)
    return Encoding(encoded.indices.to(torch.uint8), encoded.decoded)


def residual_vq(x: Tensor, codebooks: Tensor) -> tuple[Tensor, Tensor]:
    """Return values as decoded and the commitment loss, as `ops.residual_vq.residual_vq` describes them."""
    decoded, loss = _Quantize.apply(x, codebooks)
    return decoded, loss


def update(x: Tensor, codebooks: Tensor, usage: Tensor, decay: float) -> None:
    """Move codebooks and usage, in place, as `ops.residual_vq.residual_vq_update` describes it."""
    encoded = trace(x, codebooks)
    for stage, target in enumerate(encoded.targets):
        counts, sums = cluster_sums(target, encoded.indices[:, stage], codebooks.shape[1])
        average = decay * usage[stage].double() + (1.0 - decay) * counts
        pull = (1.0 - decay) * counts / average.clamp_min(torch.finfo(torch.float64).tiny)
        means = sums / counts.clamp_min(1.0)[:, None]
        codebook = codebooks[stage].double()
        codebooks[stage] = (codebook + pull[:, None] * (means - codebook)).float()
        usage[stage] = average.float()


class _Quantize(torch.autograd.Function):
    """The decoder's values and the commitment loss, both of which are differentiable in x only."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, codebooks: Tensor) -> tuple[Tensor, Tensor]:
        encoded = trace(x, codebooks)
        ctx.weight = 1.0 / (max(x.shape[0], 1) * codebooks.shape[1])
        # What stage m leaves is the target of stage m + 1; what the last stage leaves is computed from the sum.
        left = [*encoded.targets[1:], bounded(x) - encoded.decoded]
        ctx.save_for_backward(torch.stack(left).sum(dim=0))
        return encoded.decoded, encoded.errors.sum() * ctx.weight

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        grad_decoded, grad_loss = grad_outputs
        (left,) = ctx.saved_tensors
        return grad_decoded + (2.0 * ctx.weight * grad_loss) * left, None
