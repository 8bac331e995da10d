"""k-means with k-means++ seeding, repeatable from a generator on any number of threads."""

from __future__ import annotations

import torch
from torch import Tensor

from stgvcodec.ops.residual_vq import cluster_sums, nearest


def kmeans(
    points: Tensor, n_clusters: int, generator: torch.Generator, *, n_iterations: int = 50
) -> tuple[Tensor, Tensor]:
    """Find cluster centres by Lloyd's iterations from k-means++ seeds.

    Clusters that run empty move to the points farthest from their centres. With fewer distinct points than clusters the
    surplus centres repeat the first one and own no points.

    Args:
        points: Points, finite; the work is done on their device in float64. [N, D] float.
        n_clusters: Number of clusters, K >= 1.
        generator: CPU generator that the seeds are drawn from.
        n_iterations: Upper bound; the iterations stop when no point changes its cluster.

    Returns:
        centroids: Cluster centres; zeros when N = 0. [K, D] float64.
        counts: Points of each cluster. [K] float64.
    """
    points = points.detach().double()
    if points.shape[0] == 0:
        return points.new_zeros(n_clusters, points.shape[1]), points.new_zeros(n_clusters)
    centroids = _plus_plus_seeds(points, n_clusters, generator)
    indices, distances = nearest(points, centroids)
    for _ in range(n_iterations):
        counts, sums = cluster_sums(points, indices, n_clusters)
        centroids = torch.where(counts[:, None] > 0, sums / counts.clamp_min(1.0)[:, None], centroids)
        _refill(centroids, counts, points, distances)
        previous = indices
        indices, distances = nearest(points, centroids)
        if torch.equal(indices, previous):
            break
    return centroids, cluster_sums(points, indices, n_clusters)[0]


def _refill(centroids: Tensor, counts: Tensor, points: Tensor, distances: Tensor) -> None:
    """Move the centres of empty clusters, in place, to the points farthest from their centres, if these are apart."""
    empty = torch.nonzero(counts == 0).flatten().tolist()
    if not empty:
        return
    order = distances.sort(descending=True, stable=True).indices.tolist()
    for cluster, point in zip(empty, order, strict=False):
        if distances[point] > 0:
            centroids[cluster] = points[point]


def _plus_plus_seeds(points: Tensor, n_clusters: int, generator: torch.Generator) -> Tensor:
    """Draw seeds in proportion to the squared distance from earlier ones (Arthur and Vassilvitskii 2007). [K, D]."""
    first = int(torch.randint(points.shape[0], (1,), generator=generator))
    centroids = points[first].repeat(n_clusters, 1)
    distances = (points - centroids[0]).square().sum(dim=1)
    for cluster in range(1, n_clusters):
        cumulative = distances.cumsum(dim=0)
        total = cumulative[-1]
        if total <= 0:
            break
        threshold = torch.rand((), generator=generator, dtype=torch.float64).to(points.device) * total
        # right=True skips points of zero weight; the minimum catches a threshold that rounds up to the total.
        drawn = min(int(torch.searchsorted(cumulative, threshold, right=True)), points.shape[0] - 1)
        centroids[cluster] = points[drawn]
        distances = torch.minimum(distances, (points - centroids[cluster]).square().sum(dim=1))
    return centroids
