"""Nearest centroids of points, and sums of clusters, which are the same for any number of threads."""

from __future__ import annotations

import torch
from torch import Tensor

# This bounds the [K, rows] block of distances to what stays in a cache. No result depends on it: rows are independent.
_BLOCK_ELEMENTS = {"cpu": 1 << 16, "cuda": 1 << 24}


def nearest(points: Tensor, centroids: Tensor) -> tuple[Tensor, Tensor]:
    """Find the nearest centroid of each point; among equals it is the first.

    Args:
        points: Points. [N, D] float.
        centroids: Centroids, K >= 1. [K, D], same dtype.

    Returns:
        indices: Index of the nearest centroid. [N] int64.
        squared_distances: Squared distance to the nearest centroid. [N], same dtype.
    """
    # Differences avoid the cancellation of the expanded square, and a matrix product that rounds by threads or TF32.
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
    """Count and add up the points of each cluster, without waiting for the device.

    Args:
        points: Points. [N, D] float.
        indices: Cluster of each point. [N] int64.
        n_clusters: Number of clusters, K.

    Returns:
        counts: Number of points in each cluster. [K] float64.
        sums: Sum of the points in each cluster. [K, D] float64.
    """
    # One-dimensional index_add_ is serial on a CPU, so it gives the same bits for any number of threads.
    n_dims = points.shape[1]
    flat = (indices[:, None] * n_dims + torch.arange(n_dims, device=points.device)).reshape(-1)
    sums = torch.zeros(n_clusters * n_dims, dtype=torch.float64, device=points.device)
    sums.index_add_(0, flat, points.double().reshape(-1))
    counts = torch.zeros(n_clusters, dtype=torch.float64, device=points.device)
    counts.index_add_(0, indices, torch.ones_like(indices, dtype=torch.float64))
    return counts, sums.reshape(n_clusters, n_dims)
