from __future__ import annotations

import pytest
import torch
from tolerances import assert_close

from stgvcodec.fit.phases import Phase
from stgvcodec.fit.resize import resized_gaussians
from stgvcodec.model.gaussians import CanonicalGaussians


@pytest.fixture
def trained(make_trainer):
    trainer = make_trainer(n_frames=2, n_gaussians=60)
    trainer.run(Phase("key-frame", frames="key", n_steps=25))
    trainer.run(Phase("joint", frames="all", n_steps=10))
    return trainer


@pytest.mark.parametrize("n_gaussians", [1, 30, 59, 60, 61, 90, 120])
def test_number_is_as_asked(trained, n_gaussians):
    trained.resize(n_gaussians)

    assert trained.spec.n_gaussians == n_gaussians
    values = trained.model.gop_parameters()
    assert values.means.shape == (n_gaussians, 2)
    assert values.cholesky.shape == values.colors.shape == (n_gaussians, 3)
    assert torch.isfinite(torch.cat((values.means, values.cholesky, values.colors), dim=1)).all()


@pytest.mark.parametrize(("n_gaussians", "most_lost_db"), [(54, 4.0), (66, 4.0), (120, 6.0)])
def test_picture_survives(trained, n_gaussians, most_lost_db):
    before = trained.psnr_db()

    trained.resize(n_gaussians)

    assert trained.psnr_db() > before - most_lost_db


def test_training_goes_on_after_a_resize(trained):
    for n_gaussians in (40, 70):
        trained.resize(n_gaussians)
        before = trained.psnr_db()
        trained.run(Phase("joint", frames="all", n_steps=25))
        assert trained.psnr_db() > before


def test_training_goes_on_after_a_resize_between_quantised_phases(trained):
    everything = ("means", "cholesky", "colors", "field")
    trained.run(Phase("finetune", frames="all", n_steps=4, quantized=everything))
    trained.resize(50)
    before = trained.psnr_db(everything)

    trained.run(Phase("finetune", frames="all", n_steps=50, quantized=everything))

    assert trained.psnr_db(everything) > before


def test_what_matters_least_is_dropped_and_the_order_kept(trained):
    spec = trained.spec
    means = torch.linspace(-0.9, 0.9, 60)[:, None].repeat(1, 2)
    colors = torch.ones(60, 3)
    colors[::3] = 0.01
    gaussians = CanonicalGaussians(means, torch.ones(60, 3), colors, width=spec.width, height=spec.height)

    smaller = resized_gaussians(gaussians, 40, spec)

    kept = [i for i in range(60) if i % 3]
    torch.testing.assert_close(smaller.means, means[kept])
    assert torch.equal(smaller.colors, colors[kept])


@pytest.mark.parametrize("means_space", ["pixels", "tanh"])
def test_a_split_conserves_centre_and_integral(trained, means_space):
    spec = trained.spec
    cholesky = torch.tensor([[3.0, 1.0, 0.5], [2.0, 0.0, 2.0]])
    colors = torch.tensor([[0.9, 0.5, 0.1], [0.01, 0.0, 0.0]])
    means = torch.tensor([[0.2, -0.3], [-0.5, 0.5]])
    gaussians = CanonicalGaussians(
        means, cholesky, colors, width=spec.width, height=spec.height, means_space=means_space
    )

    larger = resized_gaussians(gaussians, 3, spec)

    assert larger.means_space == means_space
    children = [0, 2]  # of the first, which has the most energy
    assert_close(larger.means[children].mean(0), means[0], "means, moved")
    assert_close(larger.means[1], means[1], "means, moved")

    def integral(set_: CanonicalGaussians, i: int) -> torch.Tensor:
        return set_.colors[i] * (0.5 + set_.cholesky[i, 0]) * (0.5 + set_.cholesky[i, 2])

    torch.testing.assert_close(integral(larger, 0) + integral(larger, 2), integral(gaussians, 0))
    assert not torch.equal(larger.means[0], larger.means[2])


def test_resizing_is_repeatable(make_trainer):
    results = []
    for _ in range(2):
        trainer = make_trainer()
        trainer.resize(45)
        trainer.resize(80)
        results.append(trainer.model.gop_parameters())
    assert torch.equal(results[0].means, results[1].means)
    assert torch.equal(results[0].colors, results[1].colors)
