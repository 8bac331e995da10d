"""Residual vector quantisation in torch: the truth, and the decoder's arithmetic."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from stgvcodec.ops.half_round import HALF_MAX, round_to_half
from stgvcodec.ops.residual_vq.encoding import Encoding

# Bounds the [K, rows] block of distances to what stays in a cache. No result depends on it: rows are independent.
_BLOCK_ELEMENTS = {"cpu": 1 << 16, "cuda": 1 << 24}


class Trace(NamedTuple):
    """An encoding with all that happened on the way.

    Attributes:
        indices: Codeword of each stage. [N, M] int64.
        decoded: Sum of the codewords, as the decoder adds them. [N, 3].
        targets: What each stage approximates: x less the sum of the earlier stages. M times [N, 3].
        errors: Squared error that each stage leaves. [M, N].
    """

    indices: Tensor
    decoded: Tensor
    targets: list[Tensor]
    errors: Tensor


def nearest(points: Tensor, centroids: Tensor) -> tuple[Tensor, Tensor]:
    """Index of and squared distance to the nearest centroid; the first among equals.

    Args:
        points: [N, D] float.
        centroids: [K, D], K >= 1, same dtype.

    Returns:
        indices: [N] int64.
        squared_distances: [N], same dtype.
    """
    # Differences, not the expanded square: no cancellation, and no matrix product that rounds by threads or TF32.
    rows = max(_BLOCK_ELEMENTS.get(points.device.type, 1 << 16) // centroids.shape[0], 1)
    blocks = [_block_distances(block, centroids).min(dim=0) for block in points.split(rows)]
    return torch.cat([block.indices for block in blocks]), torch.cat([block.values for block in blocks])


def _block_distances(points: Tensor, centroids: Tensor) -> Tensor:
    columns = points.t().contiguous()  # [D, N]
    distances = torch.zeros(centroids.shape[0], points.shape[0], dtype=points.dtype, device=points.device)
    for column, coordinate in zip(columns, centroids.t(), strict=True):
        distances += (column - coordinate[:, None]).square_()
    return distances  # [K, N]


def cluster_sums(points: Tensor, indices: Tensor, n_clusters: int) -> tuple[Tensor, Tensor]:
    """Number and sum of the points in each cluster, without waiting for the device.

    Args:
        points: [N, D] float.
        indices: Cluster of each point. [N] int64.
        n_clusters: K.

    Returns:
        counts: [K] float64.
        sums: [K, D] float64.
    """
    # One-dimensional index_add_ is serial on a CPU: the same bits for any number of threads.
    n_dims = points.shape[1]
    flat = (indices[:, None] * n_dims + torch.arange(n_dims, device=points.device)).reshape(-1)
    sums = torch.zeros(n_clusters * n_dims, dtype=torch.float64, device=points.device)
    sums.index_add_(0, flat, points.double().reshape(-1))
    counts = torch.zeros(n_clusters, dtype=torch.float64, device=points.device)
    counts.index_add_(0, indices, torch.ones_like(indices, dtype=torch.float64))
    return counts, sums.reshape(n_clusters, n_dims)


def bounded(x: Tensor) -> Tensor:
    """Colours within the range of codewords, so that no distance overflows; NaN counts as zero."""
    return torch.nan_to_num(x, nan=0.0).clamp(-HALF_MAX, HALF_MAX)


def trace(x: Tensor, codebooks: Tensor) -> Trace:
    """Code colours [N, 3] with codebooks [M, K, 3] rounded to half."""
    colors = bounded(x)
    decoded = torch.zeros_like(colors)
    indices, targets, errors = [], [], []
    for codebook in round_to_half(codebooks).float():
        target = colors - decoded
        stage_indices, stage_errors = nearest(target, codebook)
        decoded = decoded + codebook.index_select(0, stage_indices)
        indices.append(stage_indices)
        targets.append(target)
        errors.append(stage_errors)
    return Trace(torch.stack(indices, dim=1), decoded, targets, torch.stack(errors))


def sum_codewords(indices: Tensor, codebooks: Tensor) -> Tensor:
    """Decoded colours: zero, plus the codeword of each stage in order. [N, M] int64, [M, K, 3] float32 -> [N, 3]."""
    total = torch.zeros(indices.shape[0], codebooks.shape[2], device=codebooks.device)
    for stage, codebook in enumerate(codebooks):
        total = total + codebook.index_select(0, indices[:, stage])
    return total


def encode(x: Tensor, codebooks: Tensor) -> Encoding:
    """Code colours; see the contract."""
    encoded = trace(x, codebooks)
    return Encoding(encoded.indices.to(torch.uint8), encoded.decoded)


def residual_vq(x: Tensor, codebooks: Tensor) -> tuple[Tensor, Tensor]:
    """Values as decoded and the commitment loss; see the contract."""
    decoded, loss = _Quantize.apply(x, codebooks)
    return decoded, loss


def update(x: Tensor, codebooks: Tensor, usage: Tensor, decay: float) -> None:
    """Move codebooks and usage, in place; see the contract."""
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
    """The decoder's values and the commitment loss, both differentiable in x only."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, codebooks: Tensor) -> tuple[Tensor, Tensor]:
        encoded = trace(x, codebooks)
        ctx.weight = 1.0 / (max(x.shape[0], 1) * codebooks.shape[1])
        # What stage m leaves is what stage m + 1 aims at; the last stage's is taken from the sum.
        left = [*encoded.targets[1:], bounded(x) - encoded.decoded]
        ctx.save_for_backward(torch.stack(left).sum(dim=0))
        return encoded.decoded, encoded.errors.sum() * ctx.weight

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        grad_decoded, grad_loss = grad_outputs
        (left,) = ctx.saved_tensors
        return grad_decoded + (2.0 * ctx.weight * grad_loss) * left, None
