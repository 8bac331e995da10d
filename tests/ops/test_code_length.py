from __future__ import annotations

import math

import pytest
import torch
from tolerances import approx

from stgvcodec.ops.code_length import CodeLengths, code_length, total_bits


def random_tables(n_rows: int, n_symbols: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """Bits between 0 and 12, with no two neighbours alike."""
    generator = torch.Generator().manual_seed(7)
    return (12.0 * torch.rand(n_rows, n_symbols, generator=generator)).to(device)


def counted(positions, rows, tables, first, n_symbols):
    """Bits as a coder counts them: it rounds, keeps within the alphabet and looks up."""
    total = 0.0
    for position, row in zip(positions.flatten().tolist(), rows.flatten().tolist(), strict=True):
        position = 0.0 if math.isnan(position) else min(max(position, first), first + n_symbols - 1)
        total += float(tables[row, round(position) - first])
    return total


@pytest.mark.parametrize(("first", "n_symbols"), [(0, 16), (-8, 16), (-2, 4), (0, 2)], ids=str)
@pytest.mark.parametrize("shape", [(0,), (1,), (63,), (3, 21)], ids=str)
def test_bits_are_those_of_the_nearest_symbols(shape, first, n_symbols):
    generator = torch.Generator().manual_seed(0)
    positions = first + n_symbols * (1.4 * torch.rand(shape, generator=generator) - 0.2)
    flat = positions.view(-1)
    flat[::5] = flat[::5].floor() + 0.5  # half to even
    for i, special in enumerate((math.nan, math.inf, -math.inf)):
        flat[i + 7 :: 31] = special
    rows = torch.randint(0, 4, shape, generator=generator).int()
    tables = random_tables(4, 16)

    bits = code_length(positions, CodeLengths(tables, rows), first=first, n_symbols=n_symbols)

    assert float(bits) == approx(counted(positions, rows, tables, first, n_symbols), "bits, few")


def test_the_gradient_is_the_slope_between_neighbours_and_none_outside():
    tables = random_tables(2, 8)
    positions = torch.tensor([0.0, 2.4, 2.6, 6.9, 7.0, -0.1, 7.1, math.nan]).requires_grad_()
    rows = torch.tensor([0, 1, 1, 0, 1, 0, 0, 0], dtype=torch.int32)

    (3.0 * code_length(positions, CodeLengths(tables, rows))).backward()

    steps = tables[:, 1:] - tables[:, :-1]
    expected = [steps[0, 0], steps[1, 2], steps[1, 2], steps[0, 6], steps[1, 6], 0.0, 0.0, 0.0]
    torch.testing.assert_close(positions.grad, 3.0 * torch.tensor([float(x) for x in expected]))


def test_the_slope_is_what_a_step_of_one_symbol_changes():
    tables = random_tables(1, 32)
    positions = (1.0 + 29.0 * torch.rand(200, generator=torch.Generator().manual_seed(1))).requires_grad_()
    rows = torch.zeros(200, dtype=torch.int32)
    code_length(positions, CodeLengths(tables, rows)).backward()
    for i in range(0, 200, 20):
        lower = positions.detach()[i : i + 1].floor()
        each = [float(code_length(lower + k, CodeLengths(tables, rows[:1]))) for k in (0, 1)]
        assert float(positions.grad[i]) == approx(each[1] - each[0], "bits, slope")


@pytest.mark.parametrize("backend", ["reference", "triton"])
@pytest.mark.parametrize("sizes", [(), (1,), (157, 157, 160), (1000, 3)], ids=str)
def test_total_is_the_sum_and_its_gradient_reaches_every_part(triton_device, backend, sizes):
    generator = torch.Generator().manual_seed(2)
    parts = [torch.rand(n, generator=generator).to(triton_device).requires_grad_() for n in sizes]
    fixed = torch.tensor(12.5, device=triton_device)

    total = total_bits(parts, fixed, backend=backend)

    assert total.shape == ()
    expected = 12.5 + sum(float(part.detach().double().sum()) for part in parts)
    assert float(total.detach()) == approx(expected, "bits, total")
    if parts:
        (2.0 * total).backward()
        assert all(torch.equal(part.grad, torch.full_like(part, 2.0)) for part in parts)


def test_refuses_arguments():
    tables, rows = random_tables(2, 8), torch.zeros(3, dtype=torch.int32)
    for positions, lengths, n_symbols, message in (
        (torch.zeros(3, dtype=torch.float64), CodeLengths(tables, rows), None, "positions are torch.float64"),
        (torch.zeros(4), CodeLengths(tables, rows), None, r"rows are torch.int32 \[3\], expected torch.int32 \[4\]"),
        (torch.zeros(3), CodeLengths(tables, rows.long()), None, "rows are torch.int64"),
        (torch.zeros(3), CodeLengths(tables[:, :1], rows), None, r"tables are torch.float32 \[2, 1\]"),
        (torch.zeros(3), CodeLengths(tables, rows), 9, "n_symbols is 9, expected 2 to 8"),
    ):
        with pytest.raises(ValueError, match=message):
            code_length(positions, lengths, n_symbols=n_symbols)
    for parts, message in (
        ([torch.zeros(1)] * 4, "bits of 4 streams, expected 3 at most"),
        ([torch.zeros(1, 1)], r"part is torch.float32 \[1, 1\]"),
    ):
        with pytest.raises(ValueError, match=message):
            total_bits(parts, torch.zeros(()))
