"""The gradients of both operators against differences, and their kernels against the reference."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from tensors import bits, normal
from tolerances import approx, assert_close
from torch import Tensor

from stgvcodec.ops import log_shear, ycocg
from stgvcodec.ops.code_length import CodeLengths
from stgvcodec.ops.log_shear.decoding import decoded, diagonal_tables
from stgvcodec.ops.ycocg import values_of

# Under the interpreter numpy reports the infinities that are tried on purpose.
pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")

SIZES = [0, 1, 63, 300]


@pytest.fixture(params=["reference", "numba", "triton"])
def backend(request):
    return request.param


def poisoned(x: Tensor) -> Tensor:
    flat = x.view(-1)
    for i, special in enumerate((math.nan, math.inf, -math.inf, -0.0, 1e-41, 3e38, -3e38)):
        flat[i + 3 :: 97] = special
    return x


def shapes(n: int) -> Tensor:
    """They reach from far below the bound to far above the last symbol, and shears beyond theirs."""
    x = torch.stack((normal(n).exp() * 3 - 1, 6 * normal(n, seed=1), normal(n, seed=2).exp() * 3 - 1), dim=1)
    x[5::11] *= 40.0
    return poisoned(x)


def colors(n: int) -> Tensor:
    """Most lie within the symbols; some are saturated, and some lie exactly between two symbols."""
    x = 0.4 * normal(n, 3)
    x[5::11] *= 20.0
    x[::7] = (64 * x[::7]).round() / 64
    return poisoned(x)


ROUND: dict[str, Callable[..., tuple[Tensor, Tensor | None]]] = {
    "log_shear": log_shear.log_shear_round,
    "ycocg": ycocg.ycocg_round,
}
INPUTS = {"log_shear": shapes, "ycocg": colors}
UNITS = {"log_shear": (0.06, 0.1, 0.2), "ycocg": (0.01, 0.0125, 0.02)}
FIRST = {"log_shear": 0, "ycocg": -128}
NAMES = tuple(ROUND)


def steps_of(name: str, device: torch.device | str, spread: float = 0.2) -> tuple[Tensor, Tensor]:
    gain = (spread * normal(3, seed=3)).to(device).requires_grad_()
    return gain, torch.tensor(UNITS[name], device=device)


def lengths_of(n: int, device: torch.device | str) -> CodeLengths:
    generator = torch.Generator().manual_seed(4)
    tables = (12 * torch.rand(5, 256, generator=generator)).to(device)
    return CodeLengths(tables, torch.randint(0, 5, (3, n), generator=generator).int().to(device))


def symbols_of(name: str, x: Tensor, gain: Tensor, unit: Tensor, backend: str) -> Tensor:
    if name == "log_shear":
        return log_shear.log_shear_symbols(x, gain, unit, backend=backend)
    return ycocg.ycocg_symbols(x, ycocg.ycocg_scale(gain, unit, backend=backend))


def scale_of(name: str, gain: Tensor, unit: Tensor, backend: str) -> Tensor:
    scale = log_shear.log_shear_scale if name == "log_shear" else ycocg.ycocg_scale
    return scale(gain, unit, backend=backend)


def decoder(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    return decoded if name == "log_shear" else values_of


def run(name: str, x: Tensor, gain: Tensor, unit: Tensor, lengths: CodeLengths | None, upstream: Tensor, backend: str):
    x = x.clone().requires_grad_()
    gain = gain.detach().clone().requires_grad_()
    values, parts = ROUND[name](x, gain, unit, lengths=lengths, backend=backend)
    loss = (values * upstream).sum()
    if parts is not None:
        loss = loss + 0.3 * parts.sum()
    grads = torch.autograd.grad(loss, (x, gain))
    return values.detach(), None if parts is None else parts.detach(), *grads


def assert_agree(name: str, n: int, device: torch.device, backend: str, *, rated: bool) -> None:
    """A kernel does what the reference does under the steps that it transmits, for items of the same symbols."""
    x = INPUTS[name](n).to(device)
    gain, unit = steps_of(name, device)
    scale = scale_of(name, gain, unit, backend)
    still = torch.zeros_like(gain)
    symbols = symbols_of(name, x, gain, unit, backend)
    # An item whose logarithm lies within a last place of the middle between symbols may round either way.
    same = (symbols == symbols_of(name, x, still, scale, "reference")).all(dim=1)
    assert n < 300 or same.float().mean() > 0.999
    x, symbols = x[same], symbols[same]
    lengths = lengths_of(len(x), device) if rated else None
    upstream = normal(len(x), 3, seed=5).to(device)

    values, parts, grad_x, grad_gain = run(name, x, gain, unit, lengths, upstream, backend)
    true_values, true_parts, true_grad_x, true_grad_gain = run(name, x, still, scale, lengths, upstream, "reference")

    assert torch.equal(bits(values), bits(true_values))
    assert torch.equal(bits(values), bits(decoder(name)(symbols.cpu(), scale.cpu())))
    assert torch.isfinite(values).all()
    assert (parts is None) == (not rated)
    if rated:
        first = FIRST[name]
        count = sum(
            float(lengths.tables[lengths.rows[i].long(), symbols[:, i] - first].double().sum()) for i in range(3)
        )
        assert float(parts.double().sum()) == approx(count, "bits")
        assert float(true_parts.double().sum()) == approx(count, "bits")
    assert_close(grad_x, true_grad_x, "log_shear, gradient")
    assert torch.isfinite(grad_gain).all()
    # The last place of a logarithm is the more of a rounding error the farther out a symbol lies.
    assert_close(grad_gain, true_grad_gain, "log_shear, gradient of steps")


@pytest.mark.parametrize("rated", [False, True], ids=["plain", "rated"])
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("backend", ["numba", "triton"])
def test_kernels_are_the_reference(device, backend, name, n, rated):
    assert_agree(name, n, device, backend, rated=rated)


@pytest.mark.parametrize("name", NAMES)
def test_numba_bits_do_not_depend_on_threads(name, monkeypatch):
    results = []
    for n_threads in ("1", "2", "3"):
        monkeypatch.setenv("STGV_THREADS", n_threads)
        gain, unit = steps_of(name, "cpu")
        results.append(
            run(name, INPUTS[name](20_000), gain, unit, lengths_of(20_000, "cpu"), normal(20_000, 3, seed=5), "numba")
        )
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.gpu
@pytest.mark.parametrize("rated", [False, True], ids=["plain", "rated"])
@pytest.mark.parametrize("name", NAMES)
def test_real_size(name, rated):
    assert_agree(name, 20_000, torch.device("cuda"), "triton", rated=rated)


@pytest.mark.parametrize("name", NAMES)
def test_bits_have_the_gradient_of_a_polyline(device, name, backend):
    """Under code lengths that grow by c a symbol, bits are c times what was rounded: differences say the rest."""
    x = (shapes(40) if name == "log_shear" else 0.2 * colors(40)).nan_to_num(0.0, 0.0, 0.0)
    # Within the symbols, outside of which there is no slope.
    x = (x.abs().clamp(0.01, 8.0) if name == "log_shear" else x.clamp(-0.4, 0.4)).to(device)
    gain, unit = steps_of(name, device)
    slopes = torch.tensor([0.5, -0.25, 2.0], device=device)
    tables = slopes[:, None] * torch.arange(256, device=device)
    lengths = CodeLengths(tables, torch.arange(3, device=device).int()[:, None].expand(3, 40))

    def unrounded(x: Tensor, gain: Tensor, held: Tensor) -> Tensor:
        """The sum in float64, in which the decoded diagonal scales the shear."""
        step = unit.double() * gain.exp()
        if name == "log_shear":
            along = torch.log1p((x[:, ::2]) * 2.0) / torch.log1p(step[:2])
            at = torch.cat((along, (x[:, 1] / (held * step[2]))[:, None]), dim=1)
        else:
            r, g, b = x.unbind(1)
            at = torch.stack(((r + 2 * g + b) / 4, (r - b) / 2, (2 * g - r - b) / 4), dim=1) / step
        return (at * slopes.double()).sum()

    leaf = x.clone().requires_grad_()
    values, parts = ROUND[name](leaf, gain, unit, lengths=lengths, backend=backend)
    grads = torch.autograd.grad(parts.sum(), (leaf, gain))
    wide, wide_gain = x.double().requires_grad_(), gain.detach().double().requires_grad_()
    held = values.detach()[:, 2].double() + 0.5
    expected = torch.autograd.grad(unrounded(wide, wide_gain, held), (wide, wide_gain))

    assert_close(grads[0], expected[0], "log_shear, gradient of bits")
    assert_close(grads[1], expected[1], "log_shear, gradient of steps")


@pytest.mark.parametrize("name", NAMES)
def test_steps_get_the_gradient_of_values_whose_symbols_stay(device, name, backend):
    """Where x lies on its symbols or beyond them, the step's gradient is that of the decoder: symbols are constants."""
    gain, unit = steps_of(name, device, spread=0.0)
    symbols = torch.randint(1, 40, (30, 3), generator=torch.Generator().manual_seed(6)).to(device)
    if name == "log_shear":
        symbols[:, 2] += 108
    else:
        symbols = symbols - 20
        symbols[:2] = torch.tensor([127, -128, 3], device=device)
    x = decoder(name)(symbols, unit)
    if name == "ycocg":
        x[:2] *= 50.0  # saturated: there the values move with the step
    upstream = normal(30, 3, seed=5).to(device)
    values, _ = ROUND[name](x, gain, unit, backend=backend)
    (grad,) = torch.autograd.grad((values * upstream).sum(), gain)

    shift = 1e-3
    saturated = symbols_of(name, x, gain, unit, backend).double()
    for i in range(3):
        sums = []
        for sign in (-1, 1):
            # Inside the symbols LSQ's gradient is zero for an x on its symbol; only saturated rows move.
            step = unit.double().clone()
            step[i] *= math.exp(sign * shift)
            rgb = saturated * step
            base = rgb[:, 0] - rgb[:, 2]
            moved = torch.stack((base + rgb[:, 1], rgb[:, 0] + rgb[:, 2], base - rgb[:, 1]), dim=1)
            rows = slice(0, 2)
            sums.append(float((moved[rows] * upstream[rows]).sum()))
        expected = (sums[1] - sums[0]) / (2 * shift) if name == "ycocg" else 0.0
        assert float(grad[i]) == approx(expected, "log_shear, gradient of a finite step")


def test_saturated_diagonals_pull_their_step_and_get_no_gradient(device, backend):
    gain, unit = torch.zeros(3, device=device).requires_grad_(), torch.full((3,), 0.01, device=device)
    x = torch.tensor([[1e3, 0.0, 2.0]], device=device).requires_grad_()
    values, _ = log_shear.log_shear_round(x, gain, unit, backend=backend)
    grad_x, grad_gain = torch.autograd.grad(values[0, 0], (x, gain))
    assert float(values[0, 0].detach()) == approx(0.5 * 1.01**255 - 0.5, "log_shear, power")
    assert grad_x[0, 0] == 0.0
    # The gradient is LSQ's, as if the present diagonal were the one that is decoded for the last symbol.
    assert grad_gain[0] > 0.0


def test_diagonals_below_the_bound_are_lifted_by_the_error_alone(device, backend):
    gain, unit = steps_of("log_shear", device)
    x = torch.tensor([[-3.0, 0.2, -1.0], [0.0, 0.0, math.nan]], device=device).requires_grad_()
    upstream = normal(2, 3, seed=5).to(device)
    values, parts = log_shear.log_shear_round(x, gain, unit, lengths=lengths_of(2, device), backend=backend)
    assert not values[:, ::2].any()
    (grad,) = torch.autograd.grad((values * upstream).sum() + parts.sum(), x)
    assert torch.equal(grad[:, ::2], upstream[:, ::2])


@pytest.mark.parametrize("name", NAMES)
def test_steps_at_their_limits_get_no_gradient(device, name, backend):
    limits = [log_shear.SCALE_LIMITS, log_shear.SCALE_LIMITS, log_shear.SHEAR_LIMITS]
    if name == "ycocg":
        limits = [(ycocg.SCALE_MIN, ycocg.SCALE_MAX)] * 3
    unit = torch.tensor(UNITS[name], device=device)
    for side, sign in ((0, -1.0), (1, 1.0)):
        gain = torch.full((3,), sign * 80.0, device=device).requires_grad_()
        scale = scale_of(name, gain, unit, backend)
        assert scale.tolist() == [limit[side] for limit in limits]
        x = INPUTS[name](30).to(device)
        values, parts = ROUND[name](x, gain, unit, lengths=lengths_of(30, device), backend=backend)
        (grad,) = torch.autograd.grad(values.sum() + parts.sum(), gain)
        assert not grad.any()


@pytest.mark.parametrize("scale", [2.0**-10, 0.06, 0.25, 0.5])
def test_diagonal_tables_are_products_one_after_the_other(scale):
    step = torch.tensor([scale])
    power, expected = 0.5, []
    for _ in range(256):
        expected.append(power - 0.5)
        power = min(power * (1.0 + float(step)), 2.0**20)
    assert torch.equal(diagonal_tables(step)[0], torch.tensor(expected, dtype=torch.float64).float())


@pytest.mark.parametrize("backend", ["numba", "triton"])
def test_every_diagonal_symbol_of_a_kernel_is_the_tables(device, backend):
    for scale in (2.0**-10, 0.03, 0.3):
        unit = torch.tensor([scale, scale, 1.0])
        table = diagonal_tables(unit[:1])[0]
        reached = table < 2.0**20 - 1.0
        x = torch.stack((table, torch.zeros(256), table), dim=1)[reached].to(device)
        values, _ = log_shear.log_shear_round(x, torch.zeros(3, device=device), unit.to(device), backend=backend)
        assert torch.equal(bits(values), bits(x))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("backend", ["numba", "triton"])
def test_two_passes_do_not_disturb_each_other(device, backend, name):
    x = INPUTS[name](300).to(device).requires_grad_()
    gain, unit = steps_of(name, device)
    values, parts = ROUND[name](x, gain, unit, lengths=lengths_of(300, device), backend=backend)
    loss = values.sum() + parts.sum()
    first = torch.autograd.grad(loss, (x, gain), retain_graph=True)
    second = torch.autograd.grad(loss, (x, gain))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_refuses_arguments(name):
    gain, unit = steps_of(name, "cpu")
    for x in (torch.zeros(4, 2), torch.zeros(4, 3, dtype=torch.float64), torch.zeros(3)):
        with pytest.raises(ValueError, match=r"expected torch.float32 \[N, 3\]"):
            ROUND[name](x, gain, unit)
    with pytest.raises(ValueError, match=r"unit is torch.float32 \[2\] on cpu, expected torch.float32 \[3\]"):
        ROUND[name](torch.zeros(4, 3), gain, unit[:2])
    with pytest.raises(ValueError, match=r"rows are torch.int32 \[3, 5\], expected torch.int32 \[3, 4\]"):
        ROUND[name](torch.zeros(4, 3), gain, unit, lengths=lengths_of(5, "cpu"))
    narrow = CodeLengths(torch.zeros(5, 16), torch.zeros(3, 4, dtype=torch.int32))
    with pytest.raises(ValueError, match="tables have 16 symbols, expected 256"):
        ROUND[name](torch.zeros(4, 3), gain, unit, lengths=narrow)
