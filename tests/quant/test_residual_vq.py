from __future__ import annotations

import numpy as np
import pytest
import torch
from tensors import normal
from tolerances import approx, assert_close

from stgvcodec.quant import ResidualVectorQuantizer


def _colors(n_colors: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n_colors, 3, generator=generator) * torch.rand(n_colors, 1, generator=generator)


def _with_codebooks(
    codebooks: list[list[list[float]]], *, decay: float = 0.99, usage: float = 10.0
) -> ResidualVectorQuantizer:
    tensor = torch.tensor(codebooks)
    quantizer = ResidualVectorQuantizer(n_stages=tensor.shape[0], codebook_size=tensor.shape[1], decay=decay)
    quantizer.codebooks.copy_(tensor)
    quantizer.usage.fill_(usage)
    return quantizer


def _error(quantizer: ResidualVectorQuantizer, x: torch.Tensor) -> float:
    return (quantizer(x)[0] - x).square().sum(dim=1).mean().item()


def _two_stages() -> ResidualVectorQuantizer:
    return _with_codebooks([[[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]], [[0.25, 0.0, 0.0], [0.0, -0.25, 0.0]]])


def test_indices_values_and_loss_by_hand():
    x = torch.tensor([[1.5, 1.0, 1.0], [0.0, -0.125, 0.0]], requires_grad=True)
    quantizer = _two_stages()
    x_hat, loss = quantizer(x)
    assert quantizer.symbols(x).tolist() == [[1, 0], [0, 1]]
    assert x_hat.tolist() == [[1.25, 1.0, 1.0], [0.0, -0.25, 0.0]]
    # Errors after stage 1: 0.5 and 0.125; after stage 2: 0.25 and 0.125. N = 2, B = 2.
    assert loss.item() == (0.5**2 + 0.125**2 + 0.25**2 + 0.125**2) / (2 * 2)


def test_commitment_gradient_by_hand_pulls_towards_the_codewords():
    x = torch.tensor([[1.5, 1.0, 1.0], [0.0, -0.125, 0.0]], requires_grad=True)
    quantizer = _two_stages()
    _, loss = quantizer(x)
    loss.backward()
    # 2 / (N B) times the sum of the errors after both stages.
    assert x.grad.tolist() == [[0.5 * 0.75, 0.0, 0.0], [0.0, 0.5 * (-0.125 + 0.125), 0.0]]
    with torch.no_grad():
        moved = x - 0.5 * x.grad
    assert quantizer(moved)[1] < loss


def test_commitment_gradient_against_autograd():
    x = _colors(100).requires_grad_()
    quantizer = ResidualVectorQuantizer(n_stages=3)
    quantizer.initialize(x)
    x_hat, loss = quantizer(x)
    upstream = normal(100, 3, seed=1)
    ((x_hat * upstream).sum() + 0.1 * loss).backward()

    y = x.detach().clone().requires_grad_()
    codebooks, indices = quantizer.transmitted_codebooks(), torch.from_numpy(quantizer.symbols(y)).long()
    partial, expected_loss = torch.zeros(100, 3), torch.zeros(())
    for stage in range(3):
        codeword = codebooks[stage][indices[:, stage]]
        expected_loss = expected_loss + ((y - partial) - codeword).square().sum() / (100 * 8)
        partial = partial + codeword
    ((y * upstream).sum() + 0.1 * expected_loss).backward()
    assert loss.item() == approx(expected_loss.item(), "sum")
    assert_close(x.grad, y.grad, "residual_vq, commitment gradient")
    assert (x.grad != upstream).any()


def test_gradient_of_the_values_is_the_identity():
    x = _colors(10).requires_grad_()
    upstream = normal(10, 3, seed=1)
    _two_stages()(x)[0].backward(upstream)
    assert torch.equal(x.grad, upstream)


def test_codebooks_are_no_parameters():
    assert list(ResidualVectorQuantizer().parameters()) == []


def test_kmeans_start_is_better_than_random_samples():
    x = _colors(4000)
    quantizer = ResidualVectorQuantizer()
    quantizer.initialize(x)
    for seed in range(5):
        random = ResidualVectorQuantizer()
        picked = x[torch.randperm(4000, generator=torch.Generator().manual_seed(seed))[:16]].reshape(2, 8, 3)
        random.codebooks.copy_(picked * torch.tensor([1.0, 0.3])[:, None, None])
        assert _error(quantizer, x) < 0.8 * _error(random, x)


def test_every_stage_reduces_the_error():
    x = _colors(2000)
    errors = []
    for n_stages in (1, 2, 3):
        quantizer = ResidualVectorQuantizer(n_stages=n_stages)
        quantizer.initialize(x)
        errors.append(_error(quantizer, x))
    assert errors[1] < 0.5 * errors[0]
    assert errors[2] < 0.5 * errors[1]


def test_same_seed_same_codebooks():
    x = _colors(1000)
    patterns = []
    for seed in (3, 3, 4):
        quantizer = ResidualVectorQuantizer()
        quantizer.initialize(x, seed=seed)
        for _ in range(5):
            quantizer.update(x)
        patterns.append(quantizer.side()["codebooks"])
    assert np.array_equal(patterns[0], patterns[1])
    assert not np.array_equal(patterns[0], patterns[2])


def test_update_by_hand():
    quantizer = _with_codebooks([[[0.0, 0.0, 0.0], [8.0, 8.0, 8.0]]], decay=0.75, usage=4.0)
    x = torch.tensor([[1.0, 0.0, 0.0], [3.0, 0.0, 0.0]] + [[8.0, 8.0, 4.0]] * 4)
    quantizer.update(x)
    # usage: 0.75 * 4 + 0.25 * n; sums: 0.75 * 4 * codeword + 0.25 * n * mean.
    assert quantizer.usage.tolist() == [[3.5, 4.0]]
    assert quantizer.codebooks[0, 0].tolist() == pytest.approx([0.25 * 2 * 2.0 / 3.5, 0.0, 0.0])
    assert quantizer.codebooks[0, 1].tolist() == [8.0, 8.0, 7.0]


def test_updates_move_codewords_to_the_cluster_means():
    generator = torch.Generator().manual_seed(0)
    low, high = torch.randn(50, 3, generator=generator) * 0.1, torch.randn(200, 3, generator=generator) * 0.1 + 4.0
    quantizer = _with_codebooks([[[1.0, 0.0, 0.0], [3.0, 3.0, 3.0]]], decay=0.9)
    x = torch.cat([low, high])
    before = _error(quantizer, x)
    for _ in range(200):
        quantizer.update(x)
    means = torch.stack([low.mean(dim=0), high.mean(dim=0)])
    assert_close(quantizer.codebooks[0], means, "residual_vq, codewords")
    assert quantizer.usage[0].tolist() == approx([50.0, 200.0], "residual_vq, usage")
    assert _error(quantizer, x) < 0.1 * before


def test_updates_follow_moving_colours():
    x = _colors(2000)
    quantizer = ResidualVectorQuantizer(decay=0.9)
    quantizer.initialize(x)
    stale = ResidualVectorQuantizer()
    stale.load_state_dict(quantizer.state_dict())
    for _ in range(50):
        x = x * 1.02 + 0.01
        quantizer.update(x)
    assert _error(quantizer, x) < 0.7 * _error(stale, x)


def test_unused_codewords_restart_at_the_worst_samples():
    quantizer = _with_codebooks([[[0.0, 0.0, 0.0], [90.0, 0.0, 0.0], [0.0, 90.0, 0.0]]], usage=0.1)
    x = torch.tensor([[0.0, 0.0, 0.0], [5.0, 0.0, 0.0], [0.0, 0.0, 7.0], [1.0, 0.0, 0.0]] + [[0.0, 0.0, 0.0]] * 60)
    quantizer.usage[0, 0] = 64.0
    before = _error(quantizer, x)
    assert quantizer.restart_unused(x) == 2
    assert quantizer.codebooks[0, 1].tolist() == [0.0, 0.0, 7.0]
    assert quantizer.codebooks[0, 2].tolist() == [5.0, 0.0, 0.0]
    assert quantizer.usage[0, 1:].tolist() == [1.0, 1.0]
    assert _error(quantizer, x) < 0.1 * before
    assert set(quantizer.symbols(x)[:, 0].tolist()) == {0, 1, 2}


def test_a_restarted_codeword_that_wins_a_sample_stays():
    quantizer = _with_codebooks([[[0.0, 0.0, 0.0], [90.0, 0.0, 0.0]]], usage=0.1)
    x = torch.tensor([[0.0, 0.0, 0.0]] * 40 + [[5.0, 0.0, 0.0]])
    quantizer.usage[0, 0] = 40.0
    n_restarted = []
    for _ in range(300):
        quantizer.update(x)
        n_restarted.append(quantizer.restart_unused(x))
    assert n_restarted == [1] + [0] * 299


def test_updates_alone_restart_nothing():
    quantizer = _with_codebooks([[[0.0, 0.0, 0.0], [90.0, 0.0, 0.0]]], usage=1.0)
    x = torch.tensor([[0.0, 0.0, 0.0]] * 40 + [[5.0, 0.0, 0.0]])
    for _ in range(200):
        quantizer.update(x)
    assert quantizer.codebooks[0, 1].tolist() == [90.0, 0.0, 0.0]
    assert quantizer.usage[0, 1] < 0.5
    assert quantizer.restart_unused(x) == 1
    assert quantizer.codebooks[0, 1].tolist() == [5.0, 0.0, 0.0]


def test_unused_codewords_of_a_later_stage_restart_at_its_residuals():
    quantizer = _with_codebooks([[[4.0, 0.0, 0.0], [0.0, 0.0, 0.0]], [[0.0, 0.0, 0.0], [50.0, 0.0, 0.0]]], usage=30.0)
    quantizer.usage[1, 1] = 0.0
    x = torch.tensor([[4.0, 0.0, 0.0]] * 20 + [[0.0, 0.0, 0.0]] * 20 + [[5.0, 0.5, 0.0]])
    assert quantizer.restart_unused(x) == 1
    assert quantizer.codebooks[1, 1].tolist() == [1.0, 0.5, 0.0]


def test_nothing_restarts_where_every_sample_is_exact():
    quantizer = _with_codebooks([[[1.0, 1.0, 1.0], [90.0, 0.0, 0.0]]], usage=0.1)
    quantizer.usage[0, 0] = 3.0
    assert quantizer.restart_unused(torch.ones(3, 3)) == 0
    assert quantizer.codebooks[0].tolist() == [[1.0, 1.0, 1.0], [90.0, 0.0, 0.0]]


@pytest.mark.parametrize("n_colors", [0, 1, 3, 7])
def test_fewer_colours_than_codewords(n_colors):
    x = _colors(n_colors)
    quantizer = ResidualVectorQuantizer()
    quantizer.initialize(x)
    for _ in range(20):
        quantizer.update(x)
        quantizer.restart_unused(x)
    x_hat, loss = quantizer(x)
    assert loss.item() < 1e-5
    assert_close(x_hat, x, "residual_vq, half precision")
    assert torch.isfinite(quantizer.codebooks).all()


def test_codewords_beyond_half_range_saturate():
    x = torch.tensor([[1e6, -1e6, 0.0]] * 4, requires_grad=True)
    quantizer = ResidualVectorQuantizer()
    quantizer.initialize(x)
    quantizer.update(x)
    x_hat, loss = quantizer(x)
    assert x_hat[0].tolist() == [65504.0, -65504.0, 0.0]
    assert np.isfinite(quantizer.side()["codebooks"].view(np.float16)).all()
    (x_hat.sum() + loss).backward()
    assert torch.isfinite(x.grad).all()


def test_codewords_are_used_at_half_precision():
    quantizer = _with_codebooks([[[1.0 / 3.0, 0.1, 0.7]]])
    x_hat, _ = quantizer(torch.zeros(1, 3))
    assert x_hat[0].tolist() == np.array([1.0 / 3.0, 0.1, 0.7], np.float16).astype(np.float64).tolist()


@pytest.mark.parametrize("codebook_size", [1, 5, 256])
def test_symbols_are_below_the_codebook_size(codebook_size):
    x = _colors(600)
    quantizer = ResidualVectorQuantizer(codebook_size=codebook_size)
    quantizer.initialize(x)
    symbols = quantizer.symbols(x)
    assert symbols.dtype == np.uint8
    assert symbols.shape == (600, 2)
    assert np.array_equal(np.unique(symbols[:, 0]), np.arange(codebook_size))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_stages": 0}, "n_stages is 0, expected 1 to 8"),
        ({"n_stages": 9}, "n_stages is 9, expected 1 to 8"),
        ({"codebook_size": 0}, "codebook_size is 0, expected 1 to 256"),
        ({"codebook_size": 257}, "codebook_size is 257, expected 1 to 256"),
        ({"decay": 1.0}, "decay is 1.0"),
    ],
    ids=["no_stage", "too_many_stages", "no_codeword", "too_many_codewords", "decay"],
)
def test_refuses_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        ResidualVectorQuantizer(**arguments)


def test_refuses_inputs():
    quantizer = ResidualVectorQuantizer()
    for method in (
        quantizer.forward,
        quantizer.symbols,
        quantizer.initialize,
        quantizer.update,
        quantizer.restart_unused,
    ):
        with pytest.raises(ValueError, match=r"got torch.float32 \[5, 2\], expected torch.float32 \[N, 3\]"):
            method(torch.zeros(5, 2))
