from __future__ import annotations

import pytest
import torch
from tolerances import approx, assert_close

from stgvcodec.ops.adam import AdamState, adam_step


@pytest.fixture(params=["reference", "numba", "triton"])
def backend(request):
    return request.param


class Flat:
    """A flat vector of parameters with its state, and gradients and rates that change from step to step."""

    def __init__(self, group_ends: tuple[int, ...], device: torch.device | str, seed: int = 0) -> None:
        self.group_ends = group_ends
        self.device = device
        self.generator = torch.Generator().manual_seed(seed)
        self.params = self.random(group_ends[-1])
        self.state = AdamState.zeros(group_ends[-1], len(group_ends), torch.device(device))

    def random(self, n: int) -> torch.Tensor:
        return torch.randn(n, generator=self.generator).to(self.device)

    def step(self, backend: str, grads: torch.Tensor, rates: torch.Tensor, active: tuple[bool, ...] | None = None):
        active = active or (True,) * len(self.group_ends)
        adam_step(
            self.params, grads, self.state, group_ends=self.group_ends, active=active, rates=rates, backend=backend
        )


def torch_adam(flat: Flat):
    starts = (0, *flat.group_ends[:-1])
    parameters = [
        torch.nn.Parameter(flat.params[start:end].clone()) for start, end in zip(starts, flat.group_ends, strict=True)
    ]
    groups = [{"params": [parameter]} for parameter in parameters]
    return parameters, torch.optim.Adam(groups, lr=0.0, betas=(0.9, 0.99), eps=1e-15)


def run_with_torch(flat: Flat, backend: str, n_steps: int, resting_from: int) -> torch.Tensor:
    """The parameters of torch's Adam after the same steps; the second group rests from a step on."""
    parameters, adam = torch_adam(flat)
    n_groups = len(flat.group_ends)
    sizes = [parameter.numel() for parameter in parameters]
    for step in range(n_steps):
        grads = flat.random(flat.group_ends[-1]) * 10.0 ** (step % 7 - 3)
        rates = torch.linspace(0.1, 0.02, n_groups, device=flat.device) * 0.9**step
        active = tuple(g != 1 or step < resting_from for g in range(n_groups))
        flat.step(backend, grads, rates, active)
        for parameter, grad, is_active in zip(parameters, grads.split(sizes), active, strict=True):
            parameter.grad = grad if is_active else None
        for group, rate in zip(adam.param_groups, rates.tolist(), strict=True):
            group["lr"] = rate
        adam.step()
    return torch.cat([parameter.detach() for parameter in parameters])


@pytest.mark.parametrize(
    "group_ends",
    [(1,), (63, 64, 1200), (1024, 2048, 2049), (5, 5, 70)],
    ids=["one number", "unaligned", "whole blocks", "an empty group"],
)
def test_agrees_with_torch(device, backend, group_ends):
    flat = Flat(group_ends, device)
    before = flat.params.clone()

    expected = run_with_torch(flat, backend, n_steps=6, resting_from=3)

    assert_close(flat.params, expected, "adam")
    assert (flat.params - before).abs().mean() > 1e-2


def test_groups_count_their_own_steps(device, backend):
    flat = Flat((10, 1500, 1510), device)
    rates = torch.ones(3, device=device)
    for active in ((True, False, True), (True, True, False), (True, True, False)):
        flat.step(backend, flat.random(1510), rates, active)

    assert flat.state.n_steps.tolist() == [3, 2, 1]
    assert flat.state.n_arrived.tolist() == [0, 0, 0]


@pytest.mark.parametrize("n_active", [0, 1])
def test_inactive_groups_are_left_alone(device, backend, n_active):
    flat = Flat((10, 20), device)
    rates = torch.ones(2, device=device)
    flat.step(backend, flat.random(20), rates)
    before = [tensor.clone() for tensor in (flat.params, *flat.state[:2])]

    flat.step(backend, torch.full((20,), float("nan"), device=device), rates, (n_active == 1, False))

    for tensor, old in zip((flat.params, *flat.state[:2]), before, strict=True):
        assert torch.equal(tensor[10:], old[10:])
        assert torch.equal(tensor[:10], old[:10]) == (n_active == 0)
    assert flat.state.n_nonfinite.item() == 10 * n_active
    assert flat.state.n_steps.tolist() == [1 + n_active, 1]
    assert flat.state.n_arrived.tolist() == [0, 0]


def test_nonfinite_gradients_count_as_zero_and_are_counted(device, backend):
    flat, twin = (Flat((1100, 2000), device) for _ in range(2))
    rates = torch.full((2,), 0.1, device=device)
    grads = flat.random(2000)
    bad = torch.tensor([0, 1099, 1100, 1999], device=device)
    poisoned = grads.clone()
    poisoned[bad] = torch.tensor([float("nan"), float("inf"), -float("inf"), float("nan")], device=device)
    grads[bad] = 0

    for _ in range(2):
        flat.step(backend, poisoned, rates)
        twin.step(backend, grads, rates)

    assert torch.equal(flat.params, twin.params)
    assert flat.state.n_nonfinite.tolist() == [8]
    assert twin.state.n_nonfinite.tolist() == [0]


def test_extreme_gradients_keep_parameters_finite(device, backend):
    """They are zero, denormal, and as large as their squares allow."""
    flat = Flat((4,), device)
    before = flat.params.clone()

    flat.step(backend, torch.tensor([0.0, 1e-42, -1e19, 1e-10], device=device), torch.tensor([0.5]).to(before))

    moved = flat.params - before
    assert moved[0] == 0
    assert abs(moved[1]) < 1e-6
    assert moved[2:].tolist() == approx([0.5, -0.5], "adam, extreme gradients")


def test_all_thirty_two_groups_have_their_own_rate(device, backend):
    flat = Flat(tuple(range(1, 33)), device)
    before = flat.params.clone()
    rates = torch.linspace(0.1, 3.2, 32, device=device)
    active = tuple(g % 2 == 1 for g in range(32))

    flat.step(backend, torch.ones(32, device=device), rates, active)

    torch.testing.assert_close(before - flat.params, torch.where(torch.tensor(active, device=device), rates, 0.0))


def test_bias_correction_is_exact_after_many_steps(device, backend):
    flat, twin = (Flat((40,), device) for _ in range(2))
    rates = torch.ones(1, device=device)
    for each in (flat, twin):
        each.state.n_steps.fill_(150)
    grads = flat.random(40)

    flat.step(backend, grads, rates)
    twin.step("reference", grads, rates)

    assert_close(flat.params, twin.params, "adam")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"params": torch.zeros(5, 2)}, r"params has shape \[5, 2\]"),
        ({"grads": torch.zeros(9)}, r"grads is torch.float32 \[9\], expected torch.float32 \[10\]"),
        ({"grads": torch.zeros(10, dtype=torch.float64)}, "grads is torch.float64"),
        ({"grads": torch.zeros(20)[::2]}, "grads is not contiguous"),
        ({"rates": torch.zeros(3)}, "rates is"),
        ({"group_ends": (4, 9)}, "the last one 10"),
        ({"group_ends": (11, 10)}, "expected ascending"),
        ({"group_ends": tuple([0] * 32 + [10])}, "33 groups"),
        ({"active": (True,)}, "active has 1 entries, expected 2"),
        ({"betas": (0.9, 1.0)}, "expected betas in"),
        ({"eps": 0.0}, "positive eps"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_wrong_inputs_are_refused(change, message):
    inputs = {"params": torch.zeros(10), "grads": torch.zeros(10), "rates": torch.zeros(2)}
    inputs |= {"group_ends": (4, 10), "active": (True, True), "state": AdamState.zeros(10, 2, torch.device("cpu"))}
    inputs |= change
    with pytest.raises(ValueError, match=message):
        adam_step(inputs.pop("params"), inputs.pop("grads"), inputs.pop("state"), **inputs)


def test_numba_bits_do_not_depend_on_threads(monkeypatch):
    results = []
    for n_threads in ("1", "2", "3"):
        monkeypatch.setenv("STGV_THREADS", n_threads)
        flat = Flat((70_000, 200_001), "cpu")
        grads = flat.random(200_001)
        grads[[3, 65_536, 200_000]] = float("nan")
        for _ in range(2):
            flat.step("numba", grads, torch.tensor([0.1, 0.2]))
        results.append((flat.params, *flat.state))
        assert flat.state.n_nonfinite.tolist() == [6]
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.gpu
@pytest.mark.parametrize("backend", ["reference", "triton"])
def test_agrees_with_torch_at_real_sizes(backend):
    """The groups are those of 20 000 Gaussians and their field, and a few scalars."""
    flat = Flat((40_000, 100_000, 160_000, 215_000, 231_997, 232_000), "cuda")
    expected = run_with_torch(flat, backend, n_steps=20, resting_from=10)
    assert_close(flat.params, expected, "adam, 20 steps")
    assert flat.state.n_steps.tolist() == [20, 10, 20, 20, 20, 20]
