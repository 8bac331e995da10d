from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tensors import captured, device_of
from tolerances import assert_close
from torch import nn

from stgvcodec.errors import BackendUnavailableError
from stgvcodec.fit.optimizer import FlatAdam, Optimizer, TorchAdam, make_optimizer

BACKENDS = ("reference", "numba", "triton")
NAMES = ("means", "mlp", "steps")
ALL = frozenset(NAMES)

# Odd on purpose: no multiple of the alignment, a scalar, a parameter with nothing in it.
SHAPES = {"means": [(7, 2)], "mlp": [(5, 13), (0,), (13,)], "steps": [(), (64,)]}

Make = Callable[[str], tuple[Optimizer, dict[str, list[nn.Parameter]]]]


@pytest.fixture(params=BACKENDS)
def backend(request):
    return request.param


@pytest.fixture
def make() -> Make:
    """An optimiser of parameters that are alike for every back end."""

    def make(backend: str):
        generator = torch.Generator().manual_seed(3)
        groups = {
            name: [nn.Parameter(torch.randn(shape, generator=generator).to(device_of(backend))) for shape in shapes]
            for name, shapes in SHAPES.items()
        }
        optimizer = make_optimizer(groups, backend=backend)
        return optimizer, groups

    return make


def everything(groups) -> list[nn.Parameter]:
    return [parameter for parameters in groups.values() for parameter in parameters]


def backward(groups, seed: int, names=NAMES) -> None:
    generator = torch.Generator().manual_seed(seed)
    loss = torch.zeros((), device=everything(groups)[0].device)
    for name, parameters in groups.items():
        for parameter in parameters:
            weight = torch.randn(parameter.shape, generator=generator).to(parameter.device)
            if name in names:
                loss = loss + (weight * parameter.sin()).sum()
    loss.backward()


def run(optimizer, groups, n_steps: int, first: int = 0, active=ALL) -> list[torch.Tensor]:
    for step in range(first, first + n_steps):
        optimizer.zero_grad()
        optimizer.rates.copy_(torch.tensor([0.1, 0.02, 0.3]) * 0.9**step)
        backward(groups, seed=step)
        optimizer.step(active)
    return [parameter.detach().clone() for parameter in everything(groups)]


def all_equal(a, b) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_backend_picks_the_class(make):
    assert isinstance(make("triton")[0], FlatAdam)
    assert isinstance(make("numba")[0], FlatAdam)
    assert isinstance(make("reference")[0], TorchAdam)


def test_unknown_backend_is_refused(make):
    with pytest.raises(BackendUnavailableError):
        make("opencl")


def test_names_and_rates(make, backend):
    optimizer, _ = make(backend)
    assert optimizer.names == NAMES
    assert optimizer.rates.dtype == torch.float32
    assert optimizer.rates.device.type == device_of(backend).type
    assert optimizer.rates.tolist() == [0, 0, 0]


def test_back_ends_agree(make):
    results = [run(*make(backend), n_steps=5) for backend in BACKENDS]

    assert not all_equal(results[0], [parameter.detach() for parameter in everything(make("reference")[1])])
    for torch_result, *flat_results in zip(*results, strict=True):
        for flat_result in flat_results:
            assert_close(flat_result, torch_result, "optimizer")


def test_reference_steps_are_those_of_torch_bit_by_bit():
    parameters = [nn.Parameter(torch.linspace(-1, 1, 1001)) for _ in range(2)]
    optimizer = make_optimizer({"means": [parameters[0]]}, backend="reference")
    adam = torch.optim.Adam([parameters[1]], lr=0.0, betas=(0.9, 0.99), eps=1e-15, fused=True)
    for step in range(30):
        rate = torch.tensor([0.1 * 0.9**step])
        optimizer.rates.copy_(rate)
        adam.param_groups[0]["lr"] = rate.item()
        for parameter in parameters:
            parameter.grad = torch.randn(1001, generator=torch.Generator().manual_seed(step))
        optimizer.step({"means"})
        adam.step()
    assert torch.equal(*parameters)


def test_resting_groups_stay_and_do_not_count(make, backend):
    """A group that rests in between is where it would be had those steps not been."""
    optimizer, groups = make(backend)
    run(optimizer, groups, 2)
    before = [parameter.detach().clone() for parameter in groups["mlp"]]
    run(optimizer, groups, 3, first=2, active={"means", "steps"})
    assert all_equal(groups["mlp"], before)
    run(optimizer, groups, 1, first=5)

    twin, twins = make(backend)
    run(twin, twins, 2)
    run(twin, twins, 1, first=5)

    assert all_equal(groups["mlp"], twins["mlp"])
    assert not torch.equal(groups["means"][0], twins["means"][0])


def test_missing_gradients_of_an_active_group_are_zeros_to_the_flat_adam(make):
    optimizer, groups = make("triton")
    optimizer.rates.fill_(0.1)
    before = [parameter.detach().clone() for parameter in everything(groups)]
    optimizer.zero_grad()
    backward(groups, seed=0, names={"means"})

    optimizer.step(ALL)

    assert groups["mlp"][0].grad is None
    assert all_equal(everything(groups)[1:], before[1:])
    assert not torch.equal(groups["means"][0], before[0])


def test_zero_grad_forgets(make, backend):
    optimizer, groups = make(backend)
    backward(groups, seed=0)
    optimizer.zero_grad()
    assert all(parameter.grad is None for parameter in everything(groups))


def test_nonfinite_gradients_are_counted_and_move_nothing(make, backend):
    optimizer, groups = make(backend)
    optimizer.rates.fill_(0.1)
    before = groups["means"][0].detach().clone()
    for _ in range(2):
        optimizer.zero_grad()
        backward(groups, seed=0)
        groups["means"][0].grad[3, 1] = float("nan")
        groups["mlp"][0].grad[0, 0] = float("inf")
        optimizer.step(ALL)

    assert optimizer.n_nonfinite.tolist() == [4]
    moved = groups["means"][0] != before
    assert not moved[3, 1]
    assert int(moved.sum()) == 13
    assert all(torch.isfinite(parameter).all() for parameter in everything(groups))


@pytest.mark.parametrize("first", [0, 3], ids=["before the first step", "after some"])
def test_restored_runs_repeat(make, backend, first):
    optimizer, groups = make(backend)
    run(optimizer, groups, first)
    state = optimizer.snapshot()
    expected = run(optimizer, groups, 3, first=first)
    addresses = [parameter.data_ptr() for parameter in everything(groups)]
    optimizer.zero_grad()
    groups["means"][0].grad = torch.full((7, 2), float("nan"), device=groups["means"][0].device)
    optimizer.step({"means"})

    optimizer.restore(state)

    assert optimizer.n_nonfinite.tolist() == [0]
    assert all_equal(run(optimizer, groups, 3, first=first), expected)
    assert [parameter.data_ptr() for parameter in everything(groups)] == addresses


def test_snapshot_of_other_groups_is_refused(make, backend):
    optimizer, groups = make(backend)
    other = make_optimizer({"means": [nn.Parameter(groups["means"][0].detach().clone())]}, backend=backend)
    with pytest.raises(ValueError, match="the snapshot is of groups"):
        optimizer.restore(other.snapshot())


def test_unknown_active_group_is_refused(make, backend):
    with pytest.raises(ValueError, match=r"active names \['hash'\]"):
        make(backend)[0].step({"means", "hash"})


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({}, "no parameters"),
        ({"a": [nn.Parameter(torch.zeros(2).double())]}, "group 'a' is torch.float64"),
        ({"a": [parameter := nn.Parameter(torch.zeros(2))], "b": [parameter]}, "twice"),
    ],
    ids=["none", "dtype", "twice"],
)
def test_wrong_groups_are_refused(groups, message, backend):
    with pytest.raises(ValueError, match=message):
        make_optimizer(groups, backend=backend)


def test_flat_parameters_keep_values_identity_and_alignment(make):
    _, flat = make("triton")
    _, plain = make("reference")

    assert all_equal(everything(flat), everything(plain))
    bases = {parameter.untyped_storage().data_ptr() for parameter in everything(flat)}
    assert len(bases) == 1
    offsets = [parameter.data_ptr() - min(bases) for parameter in everything(flat) if parameter.numel()]
    assert all(offset % 128 == 0 for offset in offsets)
    assert len(set(offsets)) == len(offsets)


def test_replaced_data_are_noticed(make):
    optimizer, groups = make("triton")
    groups["means"][0].data = groups["means"][0].data.clone()
    with pytest.raises(RuntimeError, match="make a new optimiser"):
        optimizer.step(ALL)


def test_a_second_optimiser_takes_the_parameters_over(make):
    """A change of the number of Gaussians needs it."""
    optimizer, groups = make("triton")
    values = run(optimizer, groups, 2)
    second = make_optimizer(groups, backend="triton")

    assert all_equal(everything(groups), values)
    assert not all_equal(run(second, groups, 1), values)


@pytest.mark.gpu
@pytest.mark.parametrize("backend", ["reference", "triton"])
def test_captured_steps_follow_the_rates(backend):
    """A graph of one step, replayed with other rates and rolled back, does what eager steps do."""
    results = []
    for is_captured in (False, True):
        generator = torch.Generator().manual_seed(0)
        groups = {
            name: [nn.Parameter(torch.randn(n, generator=generator).cuda())]
            for name, n in zip(NAMES, (160_000, 72_001, 3), strict=True)
        }
        targets = [torch.randn(p.shape, generator=generator).cuda() for p in everything(groups)]
        optimizer = make_optimizer(groups, backend=backend)

        def step(groups=groups, targets=targets, optimizer=optimizer):
            optimizer.zero_grad()
            pairs = zip(everything(groups), targets, strict=True)
            sum(((p - target) ** 2).sum() for p, target in pairs).backward()
            optimizer.step(ALL)

        state = optimizer.snapshot()
        if is_captured:
            graph, _ = captured(step)
            step = graph.replay
        for _ in range(2):
            optimizer.restore(state)
            for i in range(20):
                optimizer.rates.copy_(torch.tensor([0.1, 0.02, 0.3]) * 0.9**i)
                step()
        results.append([parameter.detach().clone() for parameter in everything(groups)])
    for eager, replayed in zip(*results, strict=True):
        assert_close(replayed, eager, "optimizer")
