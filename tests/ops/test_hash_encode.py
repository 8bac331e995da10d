"""The hash encoding against a naive one and finite differences, and its kernels against the reference."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from fields import PAPER_2D, PAPER_3D
from tolerances import approx, assert_close, tolerance

from stgvcodec.ops.hash_encode import HashGridSpec, hash_encode

SPECS = {
    "2d-mixed": HashGridSpec(2, 7, ((1, 1), (5, 5), (11, 9), (40, 23))),
    "2d-one-level-of-one-cell": HashGridSpec(1, 2, ((1, 1),)),
    "2d-exactly-full-dense": HashGridSpec(3, 6, ((7, 7), (8, 7))),
    "3d-mixed-few-times": HashGridSpec(4, 9, ((1, 1, 1), (6, 5, 2), (16, 24, 3), (182, 182, 9))),
    "3d-eight-features": HashGridSpec(8, 5, ((2, 3, 1), (273, 1, 8))),
    "3d-five-features-hash-only": HashGridSpec(5, 1, ((3, 3, 3), (1000, 999, 17))),
}
EDGES = (0.0, 1.0, -0.3, 1.7, 0.5, math.inf, -math.inf)


def make_inputs(spec: HashGridSpec, n_points: int, *, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Random positions, of which some lie on or past the borders, and a random table."""
    generator = torch.Generator().manual_seed(seed)
    positions = torch.rand(n_points, spec.n_dims, generator=generator)
    for i, (edge, axis) in enumerate(itertools.product(EDGES, range(spec.n_dims))):
        if 2 * i < n_points - 1:
            positions[2 * i, axis] = edge
    return positions, torch.randn(spec.n_entries, spec.n_features_per_level, generator=generator)


def naive_encoding(position: list[float], table: list[list[float]], spec: HashGridSpec) -> list[float]:
    """The definition, one sample at a time."""
    encoding = []
    offset = 0
    for cells_per_axis in spec.resolutions:
        n_vertices = math.prod(cells + 1 for cells in cells_per_axis)
        hashmap_size = 2**spec.log2_hashmap_size
        features = [0.0] * spec.n_features_per_level
        for sides in itertools.product((0, 1), repeat=spec.n_dims):
            weight, vertex = 1.0, []
            for x, cells, side in zip(position, cells_per_axis, sides, strict=True):
                scaled = min(max(x, 0.0), 1.0) * cells
                cell = min(math.floor(scaled), cells - 1)
                vertex.append(cell + side)
                weight *= scaled - cell if side else 1.0 - (scaled - cell)
            row, step = 0, 1
            if n_vertices <= hashmap_size:
                for coordinate, cells in zip(vertex, cells_per_axis, strict=True):
                    row += coordinate * step
                    step *= cells + 1
            else:
                for coordinate, prime in zip(vertex, (1, 2654435761, 805459861), strict=False):
                    row ^= coordinate * prime % 2**32
                row %= hashmap_size
            for f in range(spec.n_features_per_level):
                features[f] += weight * table[offset + row][f]
        encoding += features
        offset += min(n_vertices, hashmap_size)
    return encoding


def run_with_gradients(
    spec: HashGridSpec, n_points: int, backend: str, device: torch.device | None = None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    positions, table = (tensor.to(device).requires_grad_() for tensor in make_inputs(spec, n_points))
    encoding = hash_encode(positions, table, spec, backend=backend)
    upstream = torch.randn(encoding.shape, generator=torch.Generator().manual_seed(1)).to(device)
    grad_positions, grad_table = torch.autograd.grad(encoding, (positions, table), upstream)
    return encoding.detach().cpu(), grad_positions.cpu(), grad_table.cpu()


def assert_agree(
    results: tuple[torch.Tensor, ...],
    expected: tuple[torch.Tensor, ...],
    *,
    gradient: str = "hash_encode, gradient",
    table: str | None = None,
) -> None:
    for quantity, one, other in zip(("hash_encode", gradient, table or gradient), results, expected, strict=True):
        assert_close(one, other, quantity)


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("backend", ["reference", "numba", "triton"])
def test_matches_the_definition(name, backend, device):
    spec = SPECS[name]
    positions, table = make_inputs(spec, 40)
    # Multiples of 2**-10 and these resolutions: scaled positions are exact in float32 too, so cells agree.
    positions = torch.where(positions.isfinite(), (positions * 1024).round() / 1024, positions)
    expected = [naive_encoding(position, table.tolist(), spec) for position in positions.tolist()]
    actual = hash_encode(positions.to(device), table.to(device), spec, backend=backend).cpu()
    assert_close(actual, torch.tensor(expected, dtype=torch.float64), "hash_encode")


@pytest.mark.parametrize("name", SPECS)
def test_gradcheck_of_the_reference(name):
    spec = SPECS[name]
    generator = torch.Generator().manual_seed(3)
    # Far enough from every cell's border that finite differences do not cross one.
    finest = max(max(level) for level in spec.resolutions)
    candidates = torch.rand(4000, spec.n_dims, generator=generator, dtype=torch.float64)
    levels = torch.tensor(spec.resolutions, dtype=torch.float64)
    to_border = ((candidates[:, None] * levels) - (candidates[:, None] * levels).round()).abs().amin(dim=(1, 2))
    positions = candidates[to_border > 0.01][:3].clone().requires_grad_()
    table = torch.randn(spec.n_entries, spec.n_features_per_level, generator=generator, dtype=torch.float64)
    assert len(positions) == 3
    step, atol = 1e-3 / finest, tolerance("hash_encode, gradcheck of positions", torch.float64).atol
    assert torch.autograd.gradcheck(lambda x: hash_encode(x, table, spec), (positions,), eps=step, atol=atol)
    table.requires_grad_()
    rows = slice(0, 12)

    def encode_with(part: torch.Tensor) -> torch.Tensor:
        return hash_encode(positions.detach(), torch.cat([part, table.detach()[rows.stop :]]), spec)

    part, atol = table.detach()[rows].clone(), tolerance("hash_encode, gradcheck of tables", torch.float64).atol
    assert torch.autograd.gradcheck(encode_with, (part.requires_grad_(),), atol=atol)


@pytest.mark.parametrize("n_points", [0, 1, 63, 100])
@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("backend", ["numba", "triton"])
def test_kernels_match_the_reference(name, n_points, backend, device):
    expected = run_with_gradients(SPECS[name], n_points, "reference")
    assert_agree(run_with_gradients(SPECS[name], n_points, backend, device), expected)


@pytest.mark.gpu
@pytest.mark.parametrize(
    "spec",
    [PAPER_2D, PAPER_3D, HashGridSpec(2, 20, ((1000, 1000), (4095, 4095)))],
    ids=["paper-2d", "paper-3d", "large-tables"],
)
def test_triton_matches_the_reference_at_real_size(spec):
    device = torch.device("cuda")
    expected = run_with_gradients(spec, 200_000, "reference", device)
    actual = run_with_gradients(spec, 200_000, "triton", device)
    many, at_real_size = "hash_encode, gradient of many", "hash_encode, table gradient at real size"
    assert_agree(actual, expected, gradient=many, table=at_real_size)


def test_numba_matches_the_reference_over_several_parts_of_the_points():
    spec = SPECS["3d-mixed-few-times"]
    expected = run_with_gradients(spec, 20_001, "reference")
    assert_agree(run_with_gradients(spec, 20_001, "numba"), expected, gradient="hash_encode, gradient of many")


@pytest.mark.parametrize("backend", ["reference", "numba", "triton"])
def test_positions_are_clamped_and_get_no_gradient_there(backend, device):
    spec = SPECS["3d-mixed-few-times"]
    table = make_inputs(spec, 0)[1].to(device)
    outside = torch.tensor([[-5.0, 0.25, 7.0], [math.nan, math.inf, 0.75]], device=device, requires_grad=True)
    inside = torch.tensor([[0.0, 0.25, 1.0], [0.0, 1.0, 0.75]], device=device)
    encoding = hash_encode(outside, table, spec, backend=backend)
    assert torch.equal(encoding, hash_encode(inside, table, spec, backend=backend))
    (gradient,) = torch.autograd.grad(encoding.square().sum(), outside)
    assert torch.equal(gradient.cpu() != 0, torch.tensor([[False, True, False], [False, False, True]]))


@pytest.mark.parametrize("name", ["2d-mixed", "3d-mixed-few-times"])
def test_numba_bits_do_not_depend_on_threads(name, monkeypatch):
    results = []
    for n_threads in ("1", "2", "3"):
        monkeypatch.setenv("STGV_THREADS", n_threads)
        results.append(run_with_gradients(SPECS[name], 9_001, "numba"))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("backend", ["reference", "numba", "triton"])
def test_an_encoding_does_not_depend_on_the_other_positions(backend, device):
    spec = SPECS["3d-mixed-few-times"]
    positions, table = (tensor.to(device) for tensor in make_inputs(spec, 603))
    whole = hash_encode(positions, table, spec, backend=backend)
    for part in (slice(0, 1), slice(7, 90), slice(90, 603)):
        assert torch.equal(whole[part], hash_encode(positions[part], table, spec, backend=backend))


@pytest.mark.parametrize("backend", ["numba", "triton"])
def test_every_element_is_written(backend, poison, device):
    expected = run_with_gradients(SPECS["2d-mixed"], 63, backend, device)
    poison()
    assert_agree(run_with_gradients(SPECS["2d-mixed"], 63, backend, device), expected)


def test_table_gradients_alone_and_non_contiguous_inputs():
    spec = SPECS["2d-mixed"]
    positions, table = make_inputs(spec, 100)
    _, _, expected = run_with_gradients(spec, 100, "numba")
    strided = table.T.contiguous().T.requires_grad_()
    encoding = hash_encode(positions.T.contiguous().T, strided, spec, backend="numba")
    upstream = torch.randn(encoding.shape, generator=torch.Generator().manual_seed(1))
    (actual,) = torch.autograd.grad(encoding, strided, upstream.T.contiguous().T)
    assert torch.equal(actual, expected)


def test_reference_can_be_trained_after_a_call_in_inference_mode():
    spec = HashGridSpec(2, 4, ((9, 9),))
    positions, table = make_inputs(spec, 5)
    with torch.inference_mode():
        hash_encode(positions, table, spec, backend="reference")
    positions.requires_grad_()
    table.requires_grad_()
    hash_encode(positions, table, spec, backend="reference").sum().backward()
    assert table.grad is not None
    assert table.grad.sum().item() == approx(10, "sum")


def test_spec_counts_rows_as_the_format_does():
    spec = HashGridSpec(2, 10, ((16, 16), (31, 31), (32, 31)))
    assert spec.level_entries == (17 * 17, 32 * 32, 1024)
    assert spec.level_is_dense == (True, True, False)
    assert spec.level_offsets == (0, 289, 1313)
    assert (spec.n_entries, spec.n_features, spec.n_levels, spec.n_dims) == (2337, 6, 3, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 10, ((4, 4),)), "n_features_per_level is 0, expected 1..8"),
        ((9, 10, ((4, 4),)), "n_features_per_level is 9, expected 1..8"),
        ((2, 0, ((4, 4),)), "log2_hashmap_size is 0, expected 1..30"),
        ((2, 31, ((4, 4),)), "log2_hashmap_size is 31, expected 1..30"),
        ((2, 10, ()), "resolutions is empty"),
        ((2, 10, ((4, 4), (4, 4, 4))), "must have 2 axes on every level, or 3"),
        ((2, 10, ((4,),)), "must have 2 axes on every level, or 3"),
        ((2, 10, ((4, 0),)), r"must all lie in 1\.\.1048576"),
    ],
)
def test_impossible_specs_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        HashGridSpec(*arguments)


@pytest.mark.parametrize(
    ("positions", "table", "message"),
    [
        (torch.zeros(3, 3), torch.zeros(25, 2), r"positions have shape \(3, 3\), expected \[M, 2\]"),
        (torch.zeros(3), torch.zeros(25, 2), r"positions have shape \(3,\)"),
        (torch.zeros(3, 2), torch.zeros(26, 2), r"table has shape \(26, 2\), expected \(25, 2\)"),
        (torch.zeros(3, 2).half(), torch.zeros(25, 2).half(), "table is torch.float16, expected float32 or float64"),
        (torch.zeros(3, 2).double(), torch.zeros(25, 2), "positions are torch.float64 on cpu, table torch.float32"),
    ],
)
def test_wrong_tensors_are_refused(positions, table, message):
    with pytest.raises(ValueError, match=message):
        hash_encode(positions, table, HashGridSpec(2, 10, ((4, 4),)))


def test_float64_needs_the_reference(triton_device):
    spec = HashGridSpec(2, 10, ((4, 4),))
    positions, table = torch.zeros(3, 2).double(), torch.zeros(25, 2).double()
    assert hash_encode(positions, table, spec).dtype == torch.float64
    with pytest.raises(ValueError, match=r"'numba' computes in float32, got torch.float64"):
        hash_encode(positions, table, spec, backend="numba")
    with pytest.raises(ValueError, match=r"'triton' computes in float32, got torch.float64"):
        hash_encode(positions.to(triton_device), table.to(triton_device), spec, backend="triton")


@pytest.mark.gpu
def test_matches_tiny_cuda_nn():
    """Its hash and its levels are ours, but its vertices lie at x * (N - 1) + 0.5, so that positions are mapped."""
    tinycudann = pytest.importorskip("tinycudann")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    n_cells, log2_hashmap_size = 64, 10
    theirs = tinycudann.Encoding(
        3,
        {
            "otype": "HashGrid",
            "n_levels": 1,
            "n_features_per_level": 2,
            "log2_hashmap_size": log2_hashmap_size,
            "base_resolution": n_cells,
            "per_level_scale": 1.0,
        },
        dtype=torch.float32,
    )
    spec = HashGridSpec(2, log2_hashmap_size, ((n_cells,) * 3,))
    positions = torch.rand(100, 3, generator=torch.Generator().manual_seed(0)).cuda()
    scaled = positions * (n_cells - 1) + 0.5
    ours = hash_encode(scaled / n_cells, theirs.params.detach().reshape(spec.n_entries, 2), spec)
    assert_close(ours, theirs(positions), "hash_encode, tiny-cuda-nn")


def test_truth_of_the_naive_hash():
    """One row is worked out with numpy's wrapping uint32, so that the naive encoding is not its own judge."""
    with np.errstate(over="ignore"):
        row = np.uint32(180) ^ np.uint32(7) * np.uint32(2654435761) ^ np.uint32(8) * np.uint32(805459861)
    spec = HashGridSpec(1, 9, ((182, 182, 9),))
    table = torch.arange(spec.n_entries, dtype=torch.float64)[:, None]
    position = torch.tensor([[180 / 182, 7 / 182, 8 / 9]], dtype=torch.float64)
    assert hash_encode(position, table, spec).item() == pytest.approx(int(row) % 512)
