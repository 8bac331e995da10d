from __future__ import annotations

import numpy as np
import pytest
import torch
from clips import panning_clip

from stgvcodec.fit.densification import densified_gaussians, mean_residual
from stgvcodec.fit.paths import follow_paths
from stgvcodec.fit.phases import LearningRates, Phase
from stgvcodec.model.gop_model import Clock


def residual_of(trainer):
    return mean_residual(
        trainer.model.gop_parameters(), trainer.spec, trainer.frames, Clock(trainer.spec, torch.device("cpu")),
        backend="numba",
    )  # fmt: skip


def densified(trainer, n_new, residual, seed=0):
    rng = np.random.default_rng(seed)
    return densified_gaussians(trainer.model.gaussians, n_new, residual, trainer.spec, rng)


def centre_of(residual, columns=(0.0, 1.0), rows=(0.0, 1.0)):
    """Mean residual in a part of the picture, given in its widths and heights."""
    height, width, _ = residual.shape
    # The cells reach beyond the picture by a fifth of its size.
    at = [[round((0.2 + share) / 1.4 * n) for share in part] for part, n in ((rows, height), (columns, width))]
    return residual[slice(*at[0]), slice(*at[1])].mean(dim=(0, 1))


def test_the_residual_is_what_the_pictures_lack_in_the_mean_over_frames(make_trainer):
    """Without Gaussians a picture is black, and a new field moves nothing: the residual is the mean of the frames."""
    frames = np.zeros((4, 32, 48, 3), np.uint8)
    frames[:, :16, 24:] = (200, 100, 0)
    frames[2:, 16:, :24] = (0, 0, 80)
    trainer = make_trainer(frames=frames, n_gaussians=1)
    trainer.model.gaussians.colors.data.zero_()

    residual = residual_of(trainer)

    expected = torch.tensor([[200.0, 100.0, 0.0], [0.0, 0.0, 40.0]]) / 255.0
    right_top = centre_of(residual, columns=(0.6, 0.9), rows=(0.1, 0.4))
    left_bottom = centre_of(residual, columns=(0.1, 0.4), rows=(0.6, 0.9))
    torch.testing.assert_close(torch.stack((right_top, left_bottom)), expected, atol=0.01, rtol=0.0)
    assert residual[0].abs().max() == 0.0


def test_the_residual_follows_what_the_field_moves(make_trainer):
    """In a pan that the field follows, it is the key frame's picture, which a mean in place would blur."""
    frames = panning_clip(5, (3.0, -2.0))
    trainers = [make_trainer(frames=frames, key_frame=2, n_gaussians=1) for _ in range(2)]
    trainers[0].paths = follow_paths(torch.from_numpy(frames), 2)
    trainers[0].run(Phase("motion", "all", 200, LearningRates(mlp=6e-3), 0.03, frames_per_step=4, target="paths"))

    # Cells are two pixels wide, lie on the corners of pixels, and begin 12 above and 18 beside the picture.
    smooth = torch.from_numpy(frames[2]).permute(2, 0, 1)[None] / 255.0
    for size in (3, 3, 2):
        smooth = torch.nn.functional.avg_pool2d(smooth, size, stride=1)
    smooth = smooth[0, :, 1::2, 1::2].permute(1, 2, 0)
    errors = []
    for trainer in trainers:
        trainer.model.gaussians.colors.data.zero_()
        inside = residual_of(trainer)[8:34, 11:53]
        errors.append(float((inside - smooth[:26, :42]).square().mean()))

    assert errors[0] < 0.3 * errors[1]


def test_new_gaussians_go_where_the_residual_is(make_trainer):
    frames = np.zeros((2, 32, 48, 3), np.uint8)
    frames[:, 16:, 24:] = (30, 250, 30)
    trainer = make_trainer(frames=frames, n_gaussians=1)
    trainer.model.gaussians.colors.data.zero_()
    before = trainer.model.gaussians

    after = densified(trainer, 200, residual_of(trainer))

    assert len(after.colors) == 201
    assert torch.equal(after.cholesky[:1], before.cholesky)
    inside = (after.means[1:] > -0.1).all(dim=1)
    assert inside.float().mean() > 0.98
    assert torch.equal(after.colors[1:].argmax(dim=1), torch.ones(200, dtype=torch.int64))
    assert after.colors[1:].max() <= 250 / 255 / 3 + 1e-6


def test_a_residual_of_nothing_spreads_them_evenly(make_trainer):
    trainer = make_trainer(n_gaussians=10)

    after = densified(trainer, 400, torch.zeros_like(residual_of(trainer)))

    assert after.means[10:].mean(dim=0).abs().max() < 0.1
    assert after.means[10:].abs().max() > 1.0


def test_densifying_lowers_the_error_that_training_leaves(make_trainer):
    """Half of the Gaussians, the rest where the error stays: better than half, and repeatable."""
    frames = panning_clip(4, (2.0, 1.0))
    phase = Phase("joint", frames="all", n_steps=120)
    few = make_trainer(frames=frames, key_frame=2, n_gaussians=60)
    few.run(phase)
    before = few.psnr_db()
    more = [make_trainer(frames=frames, key_frame=2, n_gaussians=60) for _ in range(2)]
    for trainer in more:
        trainer.run(phase)
        trainer.densify(60)
        assert trainer.spec.n_gaussians == 120
        trainer.run(phase)
    few.run(phase)

    assert more[0].psnr_db() > few.psnr_db() + 0.3 > before
    assert torch.equal(more[0].model.gaussians.colors, more[1].model.gaussians.colors)


@pytest.mark.parametrize("size", [(8, 6), (1, 1)], ids="{0[0]}x{0[1]}".format)
def test_pictures_of_any_size_have_cells(make_trainer, size):
    width, height = size
    trainer = make_trainer(frames=np.full((2, height, width, 3), 90, np.uint8), n_gaussians=2)

    trainer.densify(3)

    assert trainer.spec.n_gaussians == 5
    assert all(bool(parameter.isfinite().all()) for parameter in trainer.model.gaussians.parameters())
