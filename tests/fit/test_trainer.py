from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from clips import moving_clip
from fits import COMPACT, FINE_RATES
from tolerances import F64, approx, assert_close

from stgvcodec.fit import quantizers as fit_quantizers
from stgvcodec.fit.phases import QUANTIZED_STREAMS, LearningRates, Phase, finetuning_phases
from stgvcodec.fit.quantizers import COMMITMENT_WEIGHT
from stgvcodec.fit.schedule import GROUPS
from stgvcodec.fit.trainer import STRETCH, mse_to_psnr_db
from stgvcodec.model.gop_model import frame_time, render, render_canonical
from stgvcodec.ops.threads import one_torch_thread


def snapshot(module: torch.nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def moved(module: torch.nn.Module, before: list[torch.Tensor]) -> list[bool]:
    return [not torch.equal(a, b) for a, b in zip(module.parameters(), before, strict=True)]


def test_key_phase_trains_the_gaussians_alone(make_trainer):
    trainer = make_trainer()
    gaussians, field = snapshot(trainer.model.gaussians), snapshot(trainer.model.field)

    trainer.run(Phase("key-frame", frames="key", n_steps=3))

    assert not any(moved(trainer.model.field, field))
    assert all(moved(trainer.model.gaussians, gaussians))


def test_key_phase_trains_on_the_key_frame(make_trainer):
    """With another key frame the canonical picture becomes another one."""
    frames = moving_clip(4)
    pictures = torch.from_numpy(frames).float() / 255
    for key_frame in (0, 3):
        trainer = make_trainer(key_frame=key_frame)
        trainer.run(Phase("key-frame", frames="key", n_steps=40))
        with torch.no_grad():
            canonical = render_canonical(trainer.model.gop_parameters(), trainer.spec)[0]
        errors = [float(((canonical - picture) ** 2).mean()) for picture in pictures]
        assert errors.index(min(errors)) == key_frame


def test_joint_phase_trains_everything(make_trainer):
    trainer = make_trainer()
    gaussians, field = snapshot(trainer.model.gaussians), snapshot(trainer.model.field)

    # With heads of zero the first step reaches nothing below them.
    trainer.run(Phase("joint", frames="all", n_steps=4))

    assert all(moved(trainer.model.gaussians, gaussians))
    assert all(moved(trainer.model.field, field))


def test_a_shape_that_changes_is_learned_by_the_head_for_shapes(make_trainer):
    """A spot that grows, drawn by one Gaussian: with the other heads alone, the same steps draw it worse."""
    y, x = np.mgrid[0:32, 0:48]
    sigmas_px = np.array([3.0, 4.5, 6.5, 9.0])[:, None, None]
    spots = np.exp(-((y - 15.5) ** 2 + (x - 23.5) ** 2) / (2.0 * sigmas_px**2))
    frames = np.repeat((200 * spots).astype(np.uint8)[..., None], 3, axis=3)
    psnrs = []
    for held in (False, True):
        trainer = make_trainer(n_gaussians=1, frames=frames, key_frame=1)
        head = trainer.model.field.weights[-2:]
        for tensor in head:
            tensor.register_hook(lambda gradient, held=held: gradient * 0.0 if held else gradient)
        trainer.run(Phase("joint", frames="all", n_steps=300, rates=LearningRates(shape_head=1e-3)))
        assert all(bool(tensor.any()) != held for tensor in head)
        psnrs.append(trainer.psnr_db())
    assert psnrs[0] > psnrs[1] + 3.0


def test_rates_of_zero_train_nothing(make_trainer):
    trainer = make_trainer()
    before = snapshot(trainer.model)
    nothing = LearningRates(means=0, cholesky=0, colors=0, hash_tables=0, mlp=0, shape_head=0, steps=0)

    trainer.run(Phase("joint", frames="all", n_steps=3, rates=nothing))

    assert not any(moved(trainer.model, before))


@pytest.mark.parametrize("stream", ["means", "cholesky", "colors", "hash_tables", "mlp", "shape_head"])
def test_each_rate_is_that_of_its_stream(make_trainer, stream):
    trainer = make_trainer()
    trainer.run(Phase("joint", frames="all", n_steps=2))
    model = trainer.model
    tensors = {
        "means": [model.gaussians.raw_means],
        "cholesky": [model.gaussians.cholesky],
        "colors": [model.gaussians.colors],
        "hash_tables": [model.field.static_table, model.field.dynamic_table],
        "mlp": model.field.network,
        "shape_head": model.field.shape_head,
    }
    before = {name: [tensor.detach().clone() for tensor in group] for name, group in tensors.items()}
    nothing = dict.fromkeys(before, 0.0)

    trainer.run(Phase("joint", frames="all", n_steps=1, rates=LearningRates(**{**nothing, stream: 1e-2})))

    for name, group in tensors.items():
        assert any(not torch.equal(a, b) for a, b in zip(group, before[name], strict=True)) == (name == stream), name


def test_rates_fall_exponentially_to_the_final_share(make_trainer):
    trainer = make_trainer()
    seen = []
    optimizer = trainer.optimizer
    phase = Phase("joint", frames="all", n_steps=5, final_rate=0.01)

    trainer.run(phase, lambda *_: seen.append(dict(zip(GROUPS, optimizer.rates.tolist(), strict=True))))

    for step, rates in enumerate(seen):
        assert rates["mlp"] == pytest.approx(phase.rates.mlp * 0.01 ** (step / 4))
        assert rates["means"] == pytest.approx(phase.rates.means * 0.01 ** (step / 4))


def test_loss_falls_phase_by_phase(make_trainer):
    trainer = make_trainer()
    losses = []
    start = trainer.psnr_db()
    trainer.run(Phase("key-frame", frames="key", n_steps=20), lambda _p, _s, loss: losses.append(float(loss)))
    after_key = trainer.psnr_db()
    trainer.run(Phase("joint", frames="all", n_steps=20))

    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])
    assert start < after_key < trainer.psnr_db()


def test_the_field_learns_what_changes(make_trainer):
    """A clip goes from bright to dark; a still picture gets no closer than half the way to either end."""
    frames = np.broadcast_to(np.array([200, 150, 100, 50], np.uint8)[:, None, None, None], (4, 16, 24, 3))
    trainer = make_trainer(frames=frames.copy(), n_gaussians=40)
    rates = LearningRates(means=0.0, hash_tables=0.05, mlp=0.02)

    trainer.run(Phase("joint", frames="all", n_steps=40, rates=rates))

    with torch.no_grad():
        means = [
            float(render(trainer.model.gop_parameters(), trainer.spec, [frame_time(k, 4)]).mean()) for k in range(4)
        ]
    assert means[0] - means[3] > 0.5 * (200 - 50) / 255
    assert means[0] > means[1] > max(means[2:])


def test_steps_are_reported_in_order(make_trainer):
    seen = []
    phase = Phase("joint", frames="all", n_steps=4)

    make_trainer().run(phase, lambda of, step, loss: seen.append((of, step, loss.shape, bool(loss.requires_grad))))

    assert seen == [(phase, step, torch.Size([]), False) for step in (1, 2, 3, 4)]


@pytest.mark.parametrize("frames_per_step", [1, 3, 6])
def test_every_frame_comes_once_before_any_comes_again(make_trainer, wrap_splat_loss, frames_per_step):
    seen = []

    def recording(splat_loss, means_px, cholesky, colors, frames, picked, **rest):
        seen.extend(picked.tolist())
        return splat_loss(means_px, cholesky, colors, frames, picked, **rest)

    trainer = make_trainer(n_frames=4)
    phase = Phase("joint", frames="all", n_steps=12 // frames_per_step, frames_per_step=frames_per_step)
    wrap_splat_loss(recording)
    trainer.run(phase)

    assert len(seen) == 12
    for round_ in range(3):
        assert sorted(seen[4 * round_ : 4 * round_ + 4]) == [0, 1, 2, 3]


def test_psnr_is_the_mean_over_clamped_frames(make_trainer):
    trainer = make_trainer()
    pictures = torch.from_numpy(moving_clip(4)).double() / 255
    with torch.no_grad():
        times = [frame_time(k, 4) for k in range(4)]
        images = render(trainer.model.gop_parameters(), trainer.spec, times).double().clamp(0, 1)
    mses = ((images - pictures) ** 2).mean(dim=(1, 2, 3))

    assert trainer.psnr_db() == approx(float((-10 * torch.log10(mses)).mean()), "psnr_db")


def test_quantisers_are_switched_on_one_by_one_and_their_cost_is_logged(make_trainer, caplog):
    caplog.set_level("INFO", logger="stgvcodec")
    trainer = make_trainer()
    trainer.run(Phase("joint", frames="all", n_steps=15))
    enabled = []
    for phase in finetuning_phases(6, FINE_RATES):
        trainer.run(phase)
        enabled.append(tuple(trainer.quantizer_cost_db))

    assert enabled == [QUANTIZED_STREAMS[:n] for n in (1, 2, 3, 4)]
    assert all(math.isfinite(cost) for cost in trainer.quantizer_cost_db.values())
    for stream in QUANTIZED_STREAMS:
        assert any(stream in message and "costs" in message and "dB" in message for message in caplog.messages)


def test_the_cost_is_what_the_switch_loses(make_trainer):
    """Two codewords for all colours cost much, and exactly the PSNR before less that after."""
    trainer = make_trainer(n_gaussians=150)
    trainer.run(Phase("joint", frames="all", n_steps=15))
    before = trainer.psnr_db()

    trainer.run(Phase("finetune", frames="all", n_steps=0, quantized=("colors",)))

    expected = before - trainer.psnr_db(("colors",))
    assert trainer.quantizer_cost_db["colors"] == approx(expected, "psnr_db", F64)
    assert trainer.quantizer_cost_db["colors"] > 0.01


def test_finetuning_wins_back_what_the_quantisers_cost(make_trainer):
    trainer = make_trainer(n_gaussians=150)
    trainer.run(Phase("joint", frames="all", n_steps=30))
    trainer.run(Phase("switch on", frames="all", n_steps=0, quantized=QUANTIZED_STREAMS))
    switched_on = trainer.psnr_db(QUANTIZED_STREAMS)

    trainer.run(Phase("finetune", frames="all", n_steps=30, rates=FINE_RATES, quantized=QUANTIZED_STREAMS))

    assert trainer.psnr_db(QUANTIZED_STREAMS) > switched_on + 0.1


def test_learned_steps_and_codebooks_move(make_trainer):
    trainer = make_trainer()
    trainer.run(Phase("joint", frames="all", n_steps=10))
    trainer.run(Phase("switch on", frames="all", n_steps=0, quantized=QUANTIZED_STREAMS))
    quantizers = trainer.quantizers
    steps = snapshot(quantizers)
    codebooks = quantizers.colors.side()["codebooks"].copy()

    trainer.run(Phase("finetune", frames="all", n_steps=8, quantized=QUANTIZED_STREAMS))

    assert len(steps) > 0
    assert any(moved(quantizers, steps))
    assert (codebooks != quantizers.colors.side()["codebooks"]).any()


def test_the_commitment_loss_pulls_colours_to_their_codewords(make_trainer, monkeypatch):
    """Its gradient is COMMITMENT_WEIGHT times that of the quantiser's own loss, beside that of the pictures."""
    gradients = {}
    for weight in (0.0, COMMITMENT_WEIGHT):
        monkeypatch.setattr(fit_quantizers, "COMMITMENT_WEIGHT", weight)
        trainer = make_trainer()
        trainer.run(Phase("finetune", frames="all", n_steps=1, quantized=("colors",), rates=LearningRates(colors=0.0)))
        gradients[weight] = trainer.model.gaussians.colors.grad.clone()
    trainer = make_trainer()
    trainer.quantizers.initialize("colors", trainer.model.gop_parameters())
    monkeypatch.setattr(fit_quantizers, "COMMITMENT_WEIGHT", 1.0)
    _, commitment = trainer.quantizers.quantize(trainer.model.gop_parameters(), ("colors",))
    commitment.backward()

    pull = gradients[COMMITMENT_WEIGHT] - gradients[0.0]
    assert COMMITMENT_WEIGHT == 0.1  # Eq. (13)
    assert_close(pull, 0.1 * trainer.model.gaussians.colors.grad, "fit, commitment pull")
    assert pull.abs().max() > 0


def test_the_rate_in_the_loss_lowers_the_bits_and_a_target_lowers_them_further(make_trainer):
    """Bits are estimated at the start and at the end, each time under tables of the symbols as they are."""
    rates = LearningRates(means=0.02, cholesky=0.02, colors=2e-3, hash_tables=2e-3, mlp=4e-4, steps=2e-2)
    phase = Phase("finetune", frames="all", n_steps=40, rates=rates, quantized=QUANTIZED_STREAMS)

    def bits(trainer) -> float:
        values = trainer.model.gop_parameters()
        trainer.quantizers.refresh_rate(values)
        return float(trainer.quantizers.estimated_bits(values).total)

    ends, starts = {}, []
    for target_share in (None, 0.5):
        trainer = make_trainer(n_gaussians=150, config=COMPACT)
        trainer.run(Phase("joint", frames="all", n_steps=20))
        trainer.run(Phase("switch on", frames="all", n_steps=0, quantized=QUANTIZED_STREAMS))
        starts.append(bits(trainer))
        trainer.target_bits = None if target_share is None else target_share * starts[-1]
        trainer.run(phase)
        ends[target_share] = bits(trainer)
        assert math.isfinite(trainer.psnr_db(QUANTIZED_STREAMS))
        assert trainer.psnr_db(QUANTIZED_STREAMS) > 15.0

    assert starts[0] == starts[1]
    assert ends[None] < 0.99 * starts[0]
    assert ends[0.5] < ends[None]


@pytest.mark.parametrize("quantized", [(), QUANTIZED_STREAMS], ids=["plain", "quantised"])
def test_a_gop_of_one_frame_trains(make_trainer, quantized):
    trainer = make_trainer(n_frames=1)
    before = trainer.psnr_db()

    trainer.run(Phase("joint", frames="all", n_steps=20, quantized=quantized))

    assert trainer.psnr_db(quantized) > before


@pytest.mark.parametrize("means_space", ["pixels", "tanh"])
@pytest.mark.parametrize("method", ["content", "random"])
def test_same_seed_same_parameters(make_trainer, means_space, method):
    models = []
    for _ in range(2):
        trainer = make_trainer(seed=3, method=method, means_space=means_space)
        trainer.run(Phase("joint", frames="all", n_steps=5))
        trainer.run(Phase("finetune", frames="all", n_steps=3, quantized=QUANTIZED_STREAMS))
        models.append(snapshot(trainer.model))
    assert all(torch.equal(a, b) for a, b in zip(*models, strict=True))


def _interrupted_with_one_thread() -> None:
    assert torch.get_num_threads() == 1
    raise KeyboardInterrupt


def test_one_torch_thread_gives_the_threads_back():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(KeyboardInterrupt), one_torch_thread():
            _interrupted_with_one_thread()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("mse", "db"), [(1.0, 0.0), (0.01, 20.0), (0.0, math.inf)])
def test_mse_to_psnr(mse, db):
    assert mse_to_psnr_db(mse) == pytest.approx(db)


def diverging(*, first: int, n_steps: int) -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:
    """A loss that is NaN for `n_steps` steps, the `first` of which counts from 1, as in a fit that diverges."""
    steps = itertools.count(1)

    def loss(splat_loss, *arguments, **rest):
        factor = math.nan if first <= next(steps) < first + n_steps else 1.0
        return tuple(each * factor for each in splat_loss(*arguments, **rest))

    return loss


def test_a_fit_that_diverges_is_taken_back_and_goes_on_at_half_the_rate(make_trainer, wrap_splat_loss, caplog):
    trainer, undisturbed = make_trainer(), make_trainer()
    phase = Phase("joint", frames="all", n_steps=STRETCH + 20, final_rate=1.0)
    undisturbed.run(phase)
    wrap_splat_loss(diverging(first=STRETCH + 5, n_steps=1))
    seen = []

    trainer.run(phase, lambda _, step, __: seen.append((step, float(trainer.optimizer.rates[0]))))

    assert trainer.n_rollbacks == 1
    assert any("diverged" in message and str(STRETCH) in message for message in caplog.messages)
    # To the end of the first stretch, through the bad second one, and through it again.
    assert [step for step, _ in seen] == [*range(1, STRETCH + 21), *range(STRETCH + 1, STRETCH + 21)]
    assert [rate for _, rate in seen[-20:]] == pytest.approx([0.5 * phase.rates.means] * 20)
    assert trainer.psnr_db() == approx(undisturbed.psnr_db(), "fit, PSNR after a rollback in dB")


def test_a_fit_that_diverges_at_any_rate_keeps_its_last_good_state(make_trainer, wrap_splat_loss, caplog):
    trainer = make_trainer()
    before = snapshot(trainer.model)
    wrap_splat_loss(diverging(first=1, n_steps=10**6))

    trainer.run(Phase("joint", frames="all", n_steps=3))

    assert any("any rate" in message for message in caplog.messages)
    assert not any(moved(trainer.model, before))


def test_losses_that_grow_severalfold_count_as_diverging(make_trainer, caplog):
    trainer = make_trainer(n_gaussians=100)
    trainer.run(Phase("key-frame", frames="key", n_steps=60))
    good = trainer.psnr_db()

    trainer.run(Phase("joint", frames="all", n_steps=60, rates=LearningRates(colors=100.0), final_rate=1.0))

    assert trainer.n_rollbacks > 0
    assert any("diverged" in message for message in caplog.messages)
    assert trainer.psnr_db() > good - 6.0


def memory_for(n_frames: int, batches: list[list[int]]) -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:
    """A loss for which more than `n_frames` at once are too many; it remembers the frames of each step."""

    def loss(splat_loss, means_px, cholesky, colors, frames, picked, **rest):
        batches.append(picked.tolist())
        if len(picked) > n_frames:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return splat_loss(means_px, cholesky, colors, frames, picked, **rest)

    return loss


def test_out_of_memory_halves_the_frames_of_a_step(make_trainer, wrap_splat_loss, caplog):
    trainer = make_trainer(n_frames=4)
    batches = []
    wrap_splat_loss(memory_for(1, batches))
    steps = []
    trainer.run(Phase("joint", frames="all", n_steps=6, frames_per_step=4), lambda _, step, __: steps.append(step))

    assert [len(batch) for batch in batches] == [4, 2] + [1] * 24
    assert [frame for batch in batches[2:6] for frame in batch] == batches[0]
    assert sorted(batches[0]) == [0, 1, 2, 3]
    assert (steps[0], steps[-1]) == (1, 6)
    assert any("out of memory" in message for message in caplog.messages)


def test_the_rate_is_updated_to_the_end_of_a_phase_that_memory_made_longer(make_trainer, wrap_splat_loss, monkeypatch):
    trainer = make_trainer(n_gaussians=40, config=COMPACT)
    progresses = []
    update_rate = trainer._update_rate
    wrap_splat_loss(memory_for(1, []))
    monkeypatch.setattr(trainer, "_update_rate", lambda *args: (progresses.append(args[-1]), update_rate(*args)))
    trainer.run(Phase("finetune", frames="all", n_steps=10, frames_per_step=4, quantized=QUANTIZED_STREAMS))

    assert progresses[0] == 0.0
    assert progresses == sorted(progresses)
    assert 0.5 < progresses[-1] < 1.0


def test_out_of_memory_with_one_frame_is_not_hidden(make_trainer, wrap_splat_loss):
    wrap_splat_loss(memory_for(0, []))
    with pytest.raises(torch.OutOfMemoryError):
        make_trainer().run(Phase("joint", frames="all", n_steps=2))


def test_gradients_that_are_not_numbers_are_counted_as_zero_and_said(make_trainer, wrap_splat_loss, caplog):
    class Poison(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            grad = grad.clone()
            grad[:, :2] = math.nan
            return grad

    def poisoned_gradients(splat_loss, means_px, cholesky, colors, frames, picked, **rest):
        return splat_loss(means_px, cholesky, Poison.apply(colors), frames, picked, **rest)

    trainer = make_trainer()
    wrap_splat_loss(poisoned_gradients)
    trainer.run(Phase("key-frame", frames="key", n_steps=3))

    assert trainer.n_rollbacks == 0
    assert torch.isfinite(trainer.model.gaussians.colors).all()
    assert any("18 numbers of gradients were NaN" in message for message in caplog.messages)  # 3 steps, 2 Gaussians
