"""What only the Triton rasteriser has: tiles, strips, orders and budgets; its pictures are in test_rasterize.py."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from scenes import Scene, assert_agree, random_scene, rounded_to_float32, run
from tensors import captured
from tolerances import F32, F64, assert_close
from torch import Tensor

from stgvcodec.ops.rasterize import PairBudget, rasterize, rasterize_uint8

triton_bins = pytest.importorskip("stgvcodec.ops.rasterize.triton_bins")
from stgvcodec.ops.rasterize import triton_backward, triton_binning  # noqa: E402


@pytest.fixture(autouse=True)
def _poisoned_memory(poison):
    poison()


def draw(scene: Scene, height: int, width: int, device: torch.device, budget: PairBudget | None = None) -> Tensor:
    inputs = [tensor.to(device, F32) for tensor in scene]
    return rasterize(*inputs, height=height, width=width, backend="triton", budget=budget).cpu()


def bins_of(scene: Scene, height: int, width: int, device: torch.device) -> triton_bins.Bins:
    inputs = [tensor.to(device, F32) for tensor in scene]
    return triton_bins.make_bins(*inputs, height, width, None, ordered=True, with_strips=True)


def test_tiles_list_exactly_the_gaussians_that_reach_them(triton_device):
    height, width, n = 63, 100, 30
    means, cholesky, colors = rounded_to_float32(random_scene(1, n, height, width, seed=8))
    cholesky[:, 1] *= 4  # Tilted, so that boxes have empty corners.
    bins = bins_of((means, cholesky, colors), height, width, triton_device)
    tile_height, tile_width = triton_bins.TILE_HEIGHT, triton_bins.TILE_WIDTH
    tiles_x = -(-width // tile_width)
    listed = {
        (tile, g)
        for tile, (first, end) in enumerate(zip(bins.starts.tolist(), bins.ends.tolist(), strict=True))
        for g in bins.pairs[first:end].tolist()
    }
    assert len(listed) == len(bins.pairs)

    fine = 8  # Points a pixel along each axis, the pixel centres among them.
    for tile in range(len(bins.starts)):
        top, left = tile // tiles_x * tile_height, tile % tiles_x * tile_width
        y = top + 0.5 + torch.arange((tile_height - 1) * fine + 1) / fine
        x = left + 0.5 + torch.arange((tile_width - 1) * fine + 1) / fine
        u = (x[None, None, :] - means[0, :, 0, None, None]) / cholesky[:, 0, None, None]
        v = ((y[None, :, None] - means[0, :, 1, None, None]) - cholesky[:, 1, None, None] * u) / cholesky[
            :, 2, None, None
        ]
        sigma = (u * u + v * v) / 2  # [N, rows, columns]
        inside = (y[:, None] < height) & (x[None, :] < width)
        at_centres = torch.where(inside, sigma, math.inf)[:, ::fine, ::fine].flatten(1).amin(1)
        anywhere = sigma.flatten(1).amin(1)
        for g in range(n):
            if at_centres[g] < 4.499:
                assert (tile, g) in listed
            if anywhere[g] > 4.7:  # The points are an eighth of a pixel apart.
                assert (tile, g) not in listed


@pytest.mark.slow
@pytest.mark.parametrize(
    "constants",
    [
        {"_MANY_TILES": 1},
        {"_MANY_BLOCKS": 1, "_STRIP_BLOCKS": 2},
        {"_MANY_BLOCKS": 1, "_STRIP_BLOCKS": 1, "_SPARE_STRIPS": 0},
        {"TILE_HEIGHT": 8, "TILE_WIDTH": 8},
        {"GRADIENT_ROWS": 4, "GRADIENT_COLUMNS": 8},
        {"_ORDER_BLOCK": 2},
    ],
    ids=["many-tiles", "strips", "no-room-for-strips", "small-tiles", "small-blocks", "small-order-blocks"],
)
def test_every_way_of_splitting_the_work_draws_the_same(constants, monkeypatch, triton_device):
    for name, value in constants.items():
        monkeypatch.setattr(triton_bins, name, value)
    scene = rounded_to_float32(random_scene(2, 4, 25, 35, seed=6))
    scene[1][:1] *= 9
    truth = run(scene, 25, 35, "reference", F64)
    assert_agree(run(scene, 25, 35, "triton"), truth)
    assert_close(draw(scene, 25, 35, triton_device), truth[0], "picture")


@pytest.mark.parametrize("step", ["STEP_BLOCKS", "STRIP_STEP_BLOCKS"])
@pytest.mark.parametrize("n_blocks", [1, 4])
def test_every_step_of_the_gradients_sums_the_same(step, n_blocks, monkeypatch):
    monkeypatch.setattr(triton_backward, step, n_blocks)
    monkeypatch.setattr(triton_bins, "_MANY_BLOCKS", 4)
    scene = rounded_to_float32(random_scene(1, 6, 21, 43, seed=6))
    assert_agree(run(scene, 21, 43, "triton"), run(scene, 21, 43, "reference", F64))


def test_pairs_beyond_the_budget_are_dropped_and_counted(triton_device):
    scene = random_scene(2, 5, 33, 50, seed=3)
    wanted = len(bins_of(scene, 33, 50, triton_device).pairs)
    short = PairBudget.of(7, triton_device)
    clamped = run(scene, 33, 50, "triton", budget=short)
    assert short.need.item() == wanted > 7
    assert all(torch.isfinite(result).all() for result in clamped)

    enough = PairBudget.of(int(short.need.item()), triton_device)
    measured = run(scene, 33, 50, "triton")
    assert not torch.equal(clamped[0], measured[0])
    for value, expected in zip(run(scene, 33, 50, "triton", budget=enough), measured, strict=True):
        assert_close(value, expected, "picture, within a budget")


def test_a_budget_remembers_the_largest_need(triton_device):
    large, small = random_scene(1, 9, 33, 50, seed=3), random_scene(1, 2, 33, 50, seed=3)
    budget = PairBudget.of(1000, triton_device)
    wanted = len(bins_of(large, 33, 50, triton_device).pairs)
    for scene in (small, large, small):
        draw(scene, 33, 50, triton_device, budget)
    assert budget.need.item() == wanted


def test_no_room_at_all_draws_nothing(triton_device):
    budget = PairBudget.of(0, triton_device)
    assert torch.count_nonzero(draw(random_scene(1, 4, 17, 20), 17, 20, triton_device, budget)) == 0
    assert budget.need.item() > 0


def test_the_pairs_of_a_tile_are_put_in_order(triton_device):
    sizes = [0, 1, 31, 33, 0, 70]
    bounds = [0, *torch.tensor(sizes).cumsum(0).tolist()]
    indices = torch.randperm(1000, generator=torch.Generator().manual_seed(0), dtype=torch.int64)[: bounds[-1]].int()
    starts, ends = (torch.tensor(part, dtype=torch.int32, device=triton_device) for part in (bounds[:-1], bounds[1:]))
    ordered = torch.full_like(indices, -1).to(triton_device)
    triton_binning.order_kernel[(len(sizes),)](
        indices.to(triton_device), ordered, starts, ends, len(indices), BLOCK=32, num_warps=1
    )
    expected = torch.cat([indices[first:end].sort().values for first, end in pairwise(bounds)])
    assert torch.equal(ordered.cpu(), expected)


def test_a_budget_elsewhere_is_refused():
    budget = PairBudget.of(5, torch.device("meta"))
    with pytest.raises(ValueError, match="budget is on meta, expected cpu as means"):
        rasterize(torch.ones(1, 2, 2), torch.ones(2, 3), torch.ones(1, 2, 3), height=8, width=8, budget=budget)


def test_more_pairs_than_fit_are_refused(monkeypatch, triton_device):
    monkeypatch.setattr(triton_bins, "MAX_PAIRS", 3)
    with pytest.raises(ValueError, match=r"pairs, at most 3; draw fewer frames a call"):
        draw(random_scene(1, 9, 33, 50), 33, 50, triton_device)


REAL = {"height": 640, "width": 1280}


def real_scene(device: torch.device, n_frames: int = 2, tail: float = 0.0) -> list[Tensor]:
    means, cholesky, colors = (tensor.to(device) for tensor in random_scene(n_frames, 20_000, 640, 1280, seed=1))
    cholesky = cholesky * torch.randn(20_000, 1, device=device, dtype=F64).mul(tail).exp()
    return [tensor.float().requires_grad_() for tensor in (means, cholesky, colors * 0.2)]


def with_gradients(leaves: list[Tensor], backend: str, budget: PairBudget | None = None) -> tuple[Tensor, ...]:
    image = rasterize(*leaves, **REAL, backend=backend, budget=budget)
    generator = torch.Generator(image.device).manual_seed(7)
    grad_image = torch.randn(image.shape, generator=generator, device=image.device)
    return image.detach(), *torch.autograd.grad(image, leaves, grad_image.to(image.dtype))


@pytest.mark.gpu
@pytest.mark.parametrize("tail", [0.0, 1.2], ids=["even", "heavy-tailed"])
def test_gpu_real_size_equals_the_reference(tail):
    leaves = real_scene(torch.device("cuda"), tail=tail)
    results = with_gradients(leaves, "triton")
    truth = with_gradients([leaf.detach().double().requires_grad_() for leaf in leaves], "reference")
    gradient = "picture, gradient of heavy tails" if tail else "picture, gradient at real size"
    for i, (value, expected) in enumerate(zip(results, truth, strict=True)):
        assert_close(value, expected, gradient if i else "picture, real size")


@pytest.mark.gpu
def test_gpu_decoding_and_gradients_are_repeatable():
    leaves = real_scene(torch.device("cuda"), tail=1.0)
    pictures = [rasterize_uint8(*leaves, **REAL) for _ in range(5)]
    assert all(torch.equal(picture, pictures[0]) for picture in pictures[1:])
    results = [with_gradients(leaves, "triton")[1:] for _ in range(3)]
    assert all(torch.equal(a, b) for other in results[1:] for a, b in zip(other, results[0], strict=True))


@pytest.mark.gpu
def test_gpu_a_call_with_a_budget_is_captured():
    leaves = real_scene(torch.device("cuda"))
    budget = PairBudget.of(600_000, leaves[0].device)
    expected = with_gradients(leaves, "triton", budget)
    assert 0 < budget.need.item() <= 600_000
    grad_image = torch.randn(expected[0].shape, generator=torch.Generator("cuda").manual_seed(7), device="cuda")

    def step() -> tuple[Tensor, ...]:
        image = rasterize(*leaves, **REAL, budget=budget)
        return image, *torch.autograd.grad(image, leaves, grad_image)

    graph, (image, *gradients) = captured(step)
    for _ in range(2):
        graph.replay()
    assert_close(image, expected[0], "picture, within a budget")
    for value, truth in zip(gradients, expected[1:], strict=True):
        assert torch.equal(value, truth)


@pytest.mark.gpu
@pytest.mark.parametrize("n_frames", [1, 10])
def test_gpu_memory(n_frames):
    leaves = real_scene(torch.device("cuda"), n_frames)
    with_gradients(leaves, "triton")
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    with_gradients(leaves, "triton")
    used = torch.cuda.max_memory_allocated() - before
    # Picture, its gradient, that gradient in blocks; 130 bytes a Gaussian; 8 MB of strips.
    allowed = n_frames * (4.5 * 640 * 1280 * 12 + 200 * 20_000) + 16e6
    assert used <= allowed, f"{used / 1e6:.1f} MB, expected {allowed / 1e6:.1f} MB at most"
