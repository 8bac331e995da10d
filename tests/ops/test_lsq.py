"""The kernels against the reference, whose gradients tests/quant holds against results by hand."""

from __future__ import annotations

import math

import pytest
import torch
from tensors import CPU, bits, no_waiting, normal
from tolerances import approx, assert_close
from torch import Tensor

from stgvcodec.ops.lsq import LsqSteps, Segments, lsq_round, lsq_round_rated, lsq_steps, lsq_symbols, segment_blocks
from stgvcodec.ops.lsq.segments import SEGMENT_BLOCK

# Under the interpreter numpy reports the infinities that are tried on purpose.
pytestmark = pytest.mark.filterwarnings(
    "ignore:overflow encountered:RuntimeWarning", "ignore:invalid value encountered:RuntimeWarning"
)

SEGMENTS = [(1,), (0,), (63,), (5, 0, 7, 1), (SEGMENT_BLOCK, SEGMENT_BLOCK + 1), (0, 1300, 1, 0, 600, 63, 0)]
COLUMNS = [(0, 3), (1, 3), (63, 3), (2 * SEGMENT_BLOCK + 5, 3), (40, 1), (7, 5)]
EVERY_BACKEND = pytest.mark.parametrize("backend", ["reference", "numba", "triton"])
ALPHABETS = [(0, 255), (0, 1), (-128, 127), (-2, 1)]


@pytest.fixture(params=["numba", "triton"])
def backend(request):
    return request.param


def make_x(shape: tuple[int, ...], max_symbol: int) -> Tensor:
    """Most lie inside the symbols; some lie beyond, some exactly between two, and some are no numbers."""
    x = 0.4 * max_symbol * normal(*shape)
    flat = x.view(-1)
    flat[::7] = (flat[::7] * 2).round() / 2
    for i, special in enumerate((math.nan, math.inf, -math.inf, -0.0, 1e-41, 3e38)):
        flat[i + 3 :: 97] = special
    return x


def make_steps(n_groups: int, *, with_offset: bool, device: torch.device) -> LsqSteps:
    generator = torch.Generator().manual_seed(1)
    gain, shift, anchor = (0.3 * torch.randn(3, n_groups, generator=generator)).to(device)
    unit = torch.exp(torch.randn(n_groups, generator=generator)).to(device)
    if not with_offset:
        return LsqSteps(gain.requires_grad_(), unit)
    return LsqSteps(gain.requires_grad_(), unit, shift.requires_grad_(), anchor)


def make_segments(sizes: tuple[int, ...], device: torch.device) -> Segments:
    return Segments(sizes, segment_blocks(sizes).to(device))


def anchored_at(steps: LsqSteps, scale: Tensor, offset: Tensor | None) -> LsqSteps:
    """Steps of this scale and offset on every back end, since the only exponential is that of zero."""
    gain, shift = (torch.zeros_like(scale).requires_grad_() for _ in range(2))
    return LsqSteps(gain, scale) if offset is None else LsqSteps(gain, scale, shift, offset)


def assert_agree(
    x: Tensor, steps: LsqSteps, segments: Segments | None, symbols: tuple[int, int], upstream: Tensor, backend: str
) -> None:
    """A kernel's values, bit for bit, and gradients are the reference's under the steps that its back end transmits."""
    min_symbol, max_symbol = symbols
    arguments = {"segments": segments, "min_symbol": min_symbol, "max_symbol": max_symbol}
    x = x.requires_grad_()
    values = lsq_round(x, steps, backend=backend, **arguments)
    values.backward(upstream)

    scale, offset = lsq_steps(steps, backend=backend)
    truth_x = x.detach().clone().requires_grad_()
    truth_steps = anchored_at(steps, scale, offset)
    truth = lsq_round(truth_x, truth_steps, backend="reference", **arguments)
    truth.backward(upstream)

    assert torch.equal(bits(values), bits(truth))
    assert torch.isfinite(values).all()
    decoded = lsq_symbols(x, scale, offset, **arguments)
    assert decoded.numel() == 0 or (decoded.min() >= min_symbol and decoded.max() <= max_symbol)
    assert torch.equal(x.grad, truth_x.grad)
    assert_close(steps.gain.grad, truth_steps.gain.grad, "lsq, gradient of steps")
    if offset is not None:
        # A shift counts in units found in the data, that of the truth in scales.
        assert_close(steps.shift.grad, truth_steps.shift.grad * steps.unit / scale, "lsq, gradient of steps")


def assert_rated(
    x: Tensor, steps: LsqSteps, segments: Segments, symbols: tuple[int, int], upstream: Tensor, backend: str
) -> None:
    """Values are those without bits, bits are those of the back end's symbols, and gradients are the reference's."""
    min_symbol, max_symbol = symbols
    arguments = {"segments": segments, "min_symbol": min_symbol, "max_symbol": max_symbol}
    generator = torch.Generator().manual_seed(5)
    tables = (12 * torch.rand(len(segments.sizes), max_symbol - min_symbol + 1, generator=generator)).to(x.device)

    def run(steps: LsqSteps, backend: str) -> tuple[Tensor, ...]:
        leaf = x.clone().requires_grad_()
        values, parts = lsq_round_rated(leaf, steps, tables, backend=backend, **arguments)
        loss = (values * upstream).sum() + 0.3 * parts.sum()
        return values.detach(), parts.detach(), *torch.autograd.grad(loss, (leaf, steps.gain))

    values, parts, grad_x, grad_gain = run(steps, backend)
    scale, _ = lsq_steps(steps, backend=backend)
    true_values, true_parts, true_grad_x, true_grad_gain = run(anchored_at(steps, scale, None), "reference")

    plain = lsq_round(x, steps, backend=backend, **arguments)
    assert torch.equal(bits(values), bits(plain))
    assert torch.equal(bits(values), bits(true_values))
    group_of = torch.repeat_interleave(torch.arange(len(segments.sizes)), torch.tensor(segments.sizes)).to(x.device)
    symbols = lsq_symbols(x, scale, None, **arguments).long() - min_symbol
    count = float(tables[group_of, symbols].double().sum())
    assert float(parts.double().sum()) == approx(count, "bits")
    assert float(true_parts.double().sum()) == approx(count, "bits")
    assert_close(grad_x, true_grad_x, "lsq, gradient")
    assert torch.isfinite(grad_gain).all()
    assert_close(grad_gain, true_grad_gain, "lsq, gradient of steps")


@pytest.mark.parametrize(
    ("assertion", "symbols"),
    [*((assert_agree, symbols) for symbols in ALPHABETS), *((assert_rated, (-n, n - 1)) for n in (128, 8, 2))],
    ids=lambda value: value.__name__ if callable(value) else str(value),
)
@pytest.mark.parametrize("sizes", SEGMENTS, ids=str)
def test_segments(device, backend, sizes, assertion, symbols):
    x = make_x((sum(sizes),), symbols[1]).to(device)
    steps = make_steps(len(sizes), with_offset=False, device=device)
    assertion(x, steps, make_segments(sizes, device), symbols, normal(sum(sizes), seed=2).to(device), backend)


@EVERY_BACKEND
def test_bits_have_the_gradient_of_a_polyline(device, backend):
    """Under code lengths of c a symbol, bits are c x / scale, damped for the step as LSQ damps its own gradient."""
    sizes, slopes = (70, 3), torch.tensor([0.5, -2.0], device=device)
    x = (3.0 * normal(73)).clamp(-7.0, 6.0).to(device).requires_grad_()
    steps = LsqSteps(torch.zeros(2, device=device).requires_grad_(), torch.tensor([1.0, 1.25], device=device))
    tables = slopes[:, None] * torch.arange(16, device=device)
    _, parts = lsq_round_rated(
        x, steps, tables, segments=make_segments(sizes, device), min_symbol=-8, max_symbol=7, backend=backend
    )

    grad_x, grad_gain = torch.autograd.grad(parts.sum(), (x, steps.gain))

    groups = x.detach().split(sizes)
    torch.testing.assert_close(grad_x, torch.cat([slopes[i].expand(n) / steps.unit[i] for i, n in enumerate(sizes)]))
    for i, group in enumerate(groups):
        expected = -float(slopes[i] * (group / steps.unit[i]).sum()) / math.sqrt(sizes[i] * 7)
        assert float(grad_gain[i]) == approx(expected, "lsq, gradient of bits")


def test_refuses_tables_and_offsets():
    arguments = {"segments": make_segments((2, 2), CPU), "min_symbol": -8, "max_symbol": 7}
    steps = make_steps(2, with_offset=False, device=CPU)
    for tables in (torch.zeros(2, 15), torch.zeros(3, 16), torch.zeros(2, 16, dtype=torch.float64)):
        with pytest.raises(ValueError, match=r"tables are .*, expected torch.float32 \[2, 16 or more\]"):
            lsq_round_rated(torch.zeros(4), steps, tables, **arguments)
    with pytest.raises(ValueError, match="steps have a shift"):
        lsq_round_rated(torch.zeros(4), make_steps(2, with_offset=True, device=CPU), torch.zeros(2, 16), **arguments)


@pytest.mark.parametrize("symbols", ALPHABETS, ids=str)
@pytest.mark.parametrize("shape", COLUMNS, ids=str)
def test_columns(device, backend, shape, symbols):
    x = make_x(shape, symbols[1]).to(device)
    steps = make_steps(shape[1], with_offset=True, device=device)
    assert_agree(x, steps, None, symbols, normal(*shape, seed=2).to(device), backend)


def test_segments_with_offsets_and_columns_without(device, backend):
    sizes = (70, 0, 600)
    steps = make_steps(3, with_offset=True, device=device)
    x = make_x((670,), 15).to(device)
    assert_agree(x, steps, make_segments(sizes, device), (-16, 15), normal(670, seed=2).to(device), backend)
    steps = make_steps(3, with_offset=False, device=device)
    x = make_x((70, 3), 15).to(device)
    assert_agree(x, steps, None, (-16, 15), normal(70, 3, seed=2).to(device), backend)


def test_steps_are_the_references(device, backend):
    steps = make_steps(300, with_offset=True, device=device)
    scale, offset = lsq_steps(steps, backend=backend)
    true_scale, true_offset = lsq_steps(steps, backend="reference")
    assert_close(scale, true_scale, "lsq, step")
    assert torch.equal(offset, true_offset)


@EVERY_BACKEND
def test_a_gain_of_zero_leaves_the_scale_that_was_found(device, backend):
    unit = torch.exp(normal(50)).to(device)
    scale, offset = lsq_steps(LsqSteps(torch.zeros_like(unit), unit), backend=backend)
    assert torch.equal(scale, unit)
    assert offset is None


@EVERY_BACKEND
def test_steps_have_limits(device, backend):
    gain, shift = torch.tensor([[-1e4, -90.0, 90.0, 1e4], [-1e38, 1e38, 0.0, 0.0]], device=device)
    scale, offset = lsq_steps(LsqSteps(gain, torch.ones_like(gain), shift, torch.zeros_like(gain)), backend=backend)
    assert scale.tolist() == [2.0**-40, 2.0**-40, 2.0**40, 2.0**40]
    assert offset.tolist() == [-(2.0**40), 2.0**40, 0.0, 0.0]


def test_steps_at_their_limits_get_no_gradient(device, backend):
    steps = LsqSteps(
        gain=torch.tensor([-1e4, 1e4, 0.0, 0.0], device=device).requires_grad_(),
        unit=torch.ones(4, device=device),
        shift=torch.tensor([0.0, 0.0, 1e30, 0.0], device=device).requires_grad_(),
        anchor=torch.zeros(4, device=device),
    )
    x = torch.full((9, 4), -3.3, device=device).requires_grad_()
    values = lsq_round(x, steps, min_symbol=-8, max_symbol=7, backend=backend)
    values.sum().backward()
    scale, offset = lsq_steps(steps, backend=backend)
    assert scale.tolist() == [2.0**-40, 2.0**40, 1.0, 1.0]
    assert offset.tolist() == [0.0, 0.0, 2.0**40, 0.0]
    assert torch.isfinite(values).all()
    assert [bool(grad) for grad in steps.gain.grad] == [False, False, True, True]
    # The last column lies inside its symbols, so its offset gets none either.
    assert steps.shift.grad.tolist() == [pytest.approx(9 / math.sqrt(9 * 7)), 0.0, 0.0, 0.0]


def test_layouts_of_memory_do_not_matter(device, backend):
    """The input is transposed, and the gradient is one number repeated."""
    steps = make_steps(3, with_offset=True, device=device)
    x = make_x((3, 50), 15).to(device).t()
    assert_agree(x, steps, None, (0, 15), torch.ones((), device=device).expand(50, 3), backend)


def test_two_calls_and_two_passes_do_not_disturb_each_other(device, backend):
    sizes = (SEGMENT_BLOCK + 9, 3 * SEGMENT_BLOCK)
    segments = make_segments(sizes, device)
    steps = make_steps(2, with_offset=False, device=device)
    inputs = [make_x((sum(sizes),), 127).to(device).mul_(i + 1).requires_grad_() for i in range(2)]
    upstream = normal(sum(sizes), seed=2).to(device)

    def grads(values: Tensor, x: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(values, (x, steps.gain), upstream, retain_graph=True)

    def run(x: Tensor) -> Tensor:
        return lsq_round(x, steps, segments=segments, min_symbol=-128, max_symbol=127, backend=backend)

    alone = [grads(run(x), x) for x in inputs]
    values = [run(x) for x in inputs]
    for i in (0, 1, 1, 0):
        for seen, expected in zip(grads(values[i], inputs[i]), alone[i], strict=True):
            assert torch.equal(seen, expected)


@pytest.mark.parametrize("sizes", SEGMENTS, ids=str)
def test_blocks_cover_each_value_of_a_group_once(sizes):
    starts = [sum(sizes[:g]) for g in range(len(sizes))]
    rows = segment_blocks(sizes).tolist()
    for group, size in enumerate(sizes):
        own = [(i, row) for i, row in enumerate(rows) if row[2] == group]
        values = [v for _, row in own for v in range(row[0], row[0] + row[1])]
        assert values == list(range(starts[group], starts[group] + size))
        assert all(row[3:] == [own[0][0], len(own), size] and row[1] <= SEGMENT_BLOCK for _, row in own)


@pytest.mark.parametrize("sizes", [(), (3, -1), (2**31,)], ids=str)
def test_refuses_sizes(sizes):
    with pytest.raises(ValueError, match="expected at least one group, none negative"):
        segment_blocks(sizes)


def test_refuses_arguments():
    steps = make_steps(3, with_offset=True, device=CPU)
    for x, segments, message in (
        (torch.zeros(4, 2), None, r"x is torch.float32 \[4, 2\], expected torch.float32 \[N, 3\]"),
        (torch.zeros(4, 3, dtype=torch.float64), None, "x is torch.float64"),
        (torch.zeros(4), make_segments((1, 1, 1), CPU), r"expected torch.float32 \[3\]"),
    ):
        with pytest.raises(ValueError, match=message):
            lsq_round(x, steps, segments=segments, min_symbol=0, max_symbol=255)
    with pytest.raises(ValueError, match=r"unit is torch.float32 \[2\] on cpu, expected torch.float32 \[3\]"):
        lsq_round(torch.zeros(4, 3), steps._replace(unit=torch.ones(2)), min_symbol=0, max_symbol=255)
    with pytest.raises(ValueError, match="one of shift and anchor is None"):
        lsq_round(torch.zeros(4, 3), steps._replace(anchor=None), min_symbol=0, max_symbol=255)
    with pytest.raises(ValueError, match="symbols run from 3 to 3"):
        lsq_round(torch.zeros(4, 3), steps, min_symbol=3, max_symbol=3)


def test_numba_bits_do_not_depend_on_threads(monkeypatch):
    sizes = (9_000, 1, 30_000)
    tables = 12 * torch.rand(3, 256, generator=torch.Generator().manual_seed(5))
    upstream = normal(sum(sizes), seed=2)
    results = []
    for n_threads in ("1", "2", "3"):
        monkeypatch.setenv("STGV_THREADS", n_threads)
        x = make_x((sum(sizes),), 127).requires_grad_()
        steps = make_steps(3, with_offset=False, device=CPU)
        arguments = {"segments": make_segments(sizes, CPU), "min_symbol": -128, "max_symbol": 127}
        values, parts = lsq_round_rated(x, steps, tables, backend="numba", **arguments)
        grads = torch.autograd.grad((values * upstream).sum() + parts.sum(), (x, steps.gain))
        results.append((values, parts, *grads))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.gpu
@pytest.mark.parametrize("layout", ["segments", "columns"])
def test_real_size(layout):
    device = torch.device("cuda")
    if layout == "columns":
        steps = make_steps(3, with_offset=True, device=device)
        x = make_x((20_000, 3), 255).to(device)
        assert_agree(x, steps, None, (0, 255), normal(20_000, 3, seed=2).to(device), "triton")
        return
    sizes = (7680, 128, 16384, 128, 256, 384, *(4 * 1024,) * 7, 4 * 289, 578, *(2 * 1024,) * 7, 2, 3)
    steps = make_steps(len(sizes), with_offset=False, device=device)
    x = make_x((sum(sizes),), 127).to(device)
    assert_agree(x, steps, make_segments(sizes, device), (-128, 127), normal(sum(sizes), seed=2).to(device), "triton")
    assert_rated(
        x.detach(), steps, make_segments(sizes, device), (-128, 127), normal(sum(sizes), seed=2).to(device), "triton"
    )


@pytest.mark.gpu
def test_nothing_waits_for_the_device():
    device = torch.device("cuda")
    segments = make_segments((700, 30), device)
    steps = make_steps(2, with_offset=True, device=device)
    x = make_x((730,), 127).to(device).requires_grad_()
    for backend in ("reference", "triton"):
        lsq_round(x, steps, segments=segments, min_symbol=-128, max_symbol=127, backend=backend).sum().backward()
        with no_waiting():
            lsq_round(x, steps, segments=segments, min_symbol=-128, max_symbol=127, backend=backend).sum().backward()
            lsq_steps(steps, backend=backend)
