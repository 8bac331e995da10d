from __future__ import annotations

import pytest
import torch
from tolerances import assert_close

from stgvcodec.ops.residual_vq import cluster_sums, nearest
from stgvcodec.quant.kmeans import _refill, kmeans


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _clusters() -> tuple[torch.Tensor, torch.Tensor]:
    """Eight well separated clusters of unequal size, and their means."""
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 10.0], dtype=torch.float64)] * 3)
    members = [
        corner + 0.1 * torch.randn(5 + 10 * i, 3, generator=_generator(i), dtype=torch.float64)
        for i, corner in enumerate(corners)
    ]
    return torch.cat(members), torch.stack([cluster.mean(dim=0) for cluster in members])


@pytest.mark.parametrize("n_points", [0, 1, 63, 20000])
@pytest.mark.parametrize("n_centroids", [1, 5, 256])
def test_nearest_against_all_distances(n_points, n_centroids):
    points = torch.randn(n_points, 3, generator=_generator(), dtype=torch.float64)
    centroids = torch.randn(n_centroids, 3, generator=_generator(1), dtype=torch.float64)
    indices, distances = nearest(points, centroids)
    expected = (points[:, None] - centroids).square().sum(dim=2).min(dim=1)
    assert torch.equal(indices, expected.indices)
    assert_close(distances, expected.values, "kmeans")


def test_nearest_takes_the_first_among_equals():
    assert nearest(torch.zeros(100, 3), torch.ones(8, 3))[0].tolist() == [0] * 100


def test_cluster_sums():
    counts, sums = cluster_sums(torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), torch.tensor([2, 0, 2]), 4)
    assert counts.tolist() == [1, 0, 2, 0]
    assert sums.tolist() == [[3, 4], [0, 0], [6, 8], [0, 0]]


@pytest.mark.parametrize("seed", range(8))
def test_finds_separated_clusters(seed):
    points, means = _clusters()
    centroids, counts = kmeans(points, 8, _generator(seed))
    order = nearest(means, centroids)[0]
    assert sorted(order.tolist()) == list(range(8))
    assert_close(centroids[order], means, "kmeans")
    assert counts[order].tolist() == [5 + 10 * i for i in range(8)]


def test_better_than_random_centres():
    points = torch.randn(3000, 3, generator=_generator())
    centroids, _ = kmeans(points, 8, _generator())
    error = nearest(points.double(), centroids)[1].mean()
    for seed in range(5):
        picked = points[torch.randperm(3000, generator=_generator(seed))[:8]]
        assert error < 0.9 * nearest(points, picked)[1].mean()


def test_same_seed_same_result_and_another_seed_another():
    points = torch.randn(500, 3, generator=_generator())
    first, again, other = (kmeans(points, 8, _generator(seed), n_iterations=1)[0] for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_fewer_points_than_clusters():
    points = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    centroids, counts = kmeans(points, 5, _generator())
    assert nearest(points.double(), centroids)[1].tolist() == [0.0, 0.0]
    assert counts.sum() == 2
    assert torch.isfinite(centroids).all()


def test_duplicates_leave_surplus_centres_empty():
    points = torch.tensor([[1.0, 1.0, 1.0]] * 50 + [[2.0, 2.0, 2.0]] * 3)
    centroids, counts = kmeans(points, 4, _generator())
    assert sorted(counts.tolist()) == [0, 0, 3, 50]
    assert {tuple(row) for row in centroids.tolist()} == {(1.0, 1.0, 1.0), (2.0, 2.0, 2.0)}


def test_no_points():
    centroids, counts = kmeans(torch.zeros(0, 3), 4, _generator())
    assert centroids.tolist() == [[0.0] * 3] * 4
    assert counts.tolist() == [0.0] * 4


def test_empty_clusters_move_to_the_farthest_points_that_are_not_exact():
    points = torch.tensor([[0.0], [5.0], [9.0]])
    centroids = torch.tensor([[0.0], [-1.0], [-2.0], [-3.0]])
    _refill(centroids, torch.tensor([3.0, 0.0, 0.0, 0.0]), points, torch.tensor([0.0, 25.0, 81.0]))
    assert centroids.tolist() == [[0.0], [9.0], [5.0], [-3.0]]
