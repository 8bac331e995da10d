"""How long the deformation field takes: both hash encodings and the network, beside the network's bare torch.mm.

    python benchmarks/field.py --csv benchmarks/data/field_cpu.csv
    python benchmarks/field.py --device cuda --csv benchmarks/data/field_cuda.csv

Nothing is printed when the kernels and the reference disagree on the very inputs that are timed. On CUDA the reference,
the only back end there so far, is held against itself in float64.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
from harness import cold_compile_seconds, commit, device_name, operator_main, percentiles_ms
from torch import Tensor

from stgvcodec.ops.field_mlp import FieldWeights, field_mlp
from stgvcodec.ops.hash_encode import HashGridSpec, hash_encode

# The paper's sizes.
RESOLUTIONS = (16, 24, 36, 54, 81, 121, 182, 273)
SPEC_2D = HashGridSpec(2, 10, tuple((cells,) * 2 for cells in RESOLUTIONS))
SPEC_3D = HashGridSpec(4, 10, tuple((cells,) * 3 for cells in RESOLUTIONS))
N_TIME = 12
# (points, frames, width): decoding a frame, then steps of small and large fits.
SIZES = ((20_000, 1, 128), (4_000, 2, 128), (1_000, 1, 32))
FORWARD_TOLERANCE = 2e-5
GRADIENT_TOLERANCE = 2e-5
KINK_MARGIN = 1e-5


class Inputs(NamedTuple):
    positions: Tensor  # [N, 2]
    positions_time: Tensor  # [B * N, 3]
    table_2d: Tensor
    table_3d: Tensor
    time: Tensor  # [B, n_time]
    weights: FieldWeights

    def to(self, device: torch.device, dtype: torch.dtype = torch.float32) -> Inputs:
        constants = (tensor.to(device, dtype) for tensor in (self.positions, self.positions_time))
        table_2d, table_3d, *weights = (
            tensor.detach().to(device, dtype).requires_grad_()
            for tensor in (self.table_2d, self.table_3d, *self.weights)
        )
        return Inputs(*constants, table_2d, table_3d, self.time.to(device, dtype), FieldWeights(*weights))

    @property
    def leaves(self) -> tuple[Tensor, ...]:
        return self.table_2d, self.table_3d, *self.weights


def make_inputs(n_points: int, n_frames: int, width: int, seed: int) -> Inputs:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator) / shape[-1] ** 0.5

    n_inputs = SPEC_2D.n_features + SPEC_3D.n_features + N_TIME
    inputs = Inputs(
        positions=torch.rand(n_points, 2, generator=generator),
        positions_time=torch.rand(n_frames * n_points, 3, generator=generator),
        table_2d=torch.randn(SPEC_2D.n_entries, 2, generator=generator),
        table_3d=torch.randn(SPEC_3D.n_entries, 4, generator=generator),
        time=normal(n_frames, N_TIME),
        weights=FieldWeights(
            w1=normal(width, n_inputs),
            b1=normal(width),
            w2=normal(width, width),
            b2=normal(width),
            w_means=normal(2, width),
            b_means=normal(2),
            w_colors=normal(3, width),
            b_colors=normal(3),
            w_shapes=normal(3, width),
            b_shapes=normal(3),
        ),
    )
    # Where a ReLU's input is zero up to rounding, its gradient may be either: such points become copies of another.
    near_kink = nearest_kink(inputs) < KINK_MARGIN  # [N]
    safe = int((~near_kink).nonzero()[0])
    inputs.positions[near_kink] = inputs.positions[safe].clone()
    by_frame = inputs.positions_time.view(n_frames, n_points, 3)
    by_frame[:, near_kink] = by_frame[:, safe : safe + 1].clone()
    return inputs


def nearest_kink(inputs: Inputs) -> Tensor:
    """Smallest magnitude of any ReLU's input at each point, over the frames. [N] float64."""
    double = inputs.to(inputs.time.device, torch.float64)
    with torch.no_grad():
        static, dynamic = encode(double, "reference")
        w_features, w_time = double.weights.w1.split([SPEC_2D.n_features + SPEC_3D.n_features, N_TIME], dim=1)
        features = torch.cat([static.expand(len(dynamic), -1, -1), dynamic], dim=2)  # [B, N, Fs + Fd]
        first = features @ w_features.T + (double.weights.b1 + double.time @ w_time.T)[:, None]
        second = first.relu() @ double.weights.w2.T + double.weights.b2
        return torch.cat([first, second], dim=2).abs().amin(dim=(0, 2))


def encode(inputs: Inputs, backend: str) -> tuple[Tensor, Tensor]:
    static = hash_encode(inputs.positions, inputs.table_2d, SPEC_2D, backend=backend)
    dynamic = hash_encode(inputs.positions_time, inputs.table_3d, SPEC_3D, backend=backend)
    return static, dynamic.reshape(inputs.time.shape[0], -1, SPEC_3D.n_features)


def whole_step(inputs: Inputs, backend: str) -> tuple[Tensor, ...]:
    """Field forward and backward: outputs, then gradients to both tables and all weights."""
    outputs = field_mlp(*encode(inputs, backend), inputs.time, inputs.weights, backend=backend)
    upstream = [torch.ones_like(output) / output.numel() for output in outputs]
    return *(output.detach() for output in outputs), *torch.autograd.grad(outputs, inputs.leaves, upstream)


def bare_products(static: Tensor, dynamic: Tensor, hidden: Tensor, weights: FieldWeights) -> None:
    """The matrix products of one forward and nothing else."""
    w_static, w_dynamic, _ = weights.w1.split([static.shape[1], dynamic.shape[2], N_TIME], dim=1)
    torch.mm(static, w_static.T)
    for frame in dynamic:
        torch.mm(frame, w_dynamic.T)
        torch.mm(hidden, weights.w2.T)
        torch.mm(hidden, weights.w_means.T)
        torch.mm(hidden, weights.w_colors.T)
        torch.mm(hidden, weights.w_shapes.T)


def disagreement(inputs: Inputs, backend: str, truth_inputs: Inputs) -> str | None:
    names = ("delta_means", "delta_colors", "delta_shapes", "grad table_2d", "grad table_3d", *FieldWeights._fields)
    truth = whole_step(truth_inputs, "reference")
    for i, (name, one, other) in enumerate(zip(names, whole_step(inputs, backend), truth, strict=True)):
        error = ((one - other).abs().max() / other.abs().max()).item()
        tolerance = FORWARD_TOLERANCE if i < 3 else GRADIENT_TOLERANCE
        if not error <= tolerance:
            return f"{name} of {backend} is off by {error:.2e} of its largest value, expected {tolerance:.0e} at most"
    return None


def first_call(seed: int) -> None:
    whole_step(make_inputs(500, 1, 16, seed).to(torch.device("cpu")), "numba")


def measure(device: torch.device, seed: int, repeats: int) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []

    def add(op: str, shape: str, unit: str, values: tuple[float, ...]) -> None:
        rows.append((op, shape, unit, *(f"{value:.3g}" for value in values), device_name(device), commit()))

    backends = {"numba": repeats, "reference": max(repeats // 4, 3)} if device.type == "cpu" else {"reference": repeats}
    fastest = next(iter(backends))
    for n_points, n_frames, width in SIZES:
        base = make_inputs(n_points, n_frames, width, seed)
        inputs = base.to(device)
        problem = disagreement(inputs, fastest, inputs if device.type == "cpu" else base.to(device, torch.float64))
        if problem is not None:
            raise SystemExit(f"no speed is printed: {problem}")

        shape = f"N={n_points} B={n_frames} width={width}"
        with torch.no_grad():
            features = encode(inputs, fastest)
            hidden = torch.ones(n_points, width, device=device)
            products_ms = percentiles_ms(partial(bare_products, *features, hidden, inputs.weights), device, repeats)
            add("torch.mm", shape, "ms", products_ms)
            for name, times in backends.items():
                add(f"{name} hash_encode", shape, "ms", percentiles_ms(partial(encode, inputs, name), device, times))
                network = partial(field_mlp, *features, inputs.time, inputs.weights, backend=name)
                network_ms = percentiles_ms(network, device, times)
                add(f"{name} field_mlp", shape, "ms", network_ms)
                ratios = tuple(ours / theirs for ours, theirs in zip(network_ms, products_ms, strict=True))
                add(f"{name} field_mlp / torch.mm", shape, "ratio", ratios)
        for name, times in backends.items():
            step_ms = percentiles_ms(partial(whole_step, inputs, name), device, times)
            add(f"{name} field forward+backward", shape, "ms", step_ms)
    if device.type == "cpu":
        add("numba cold compile", "both operators", "s", (cold_compile_seconds(__file__, seed),) * 3)
    return rows


if __name__ == "__main__":
    operator_main(__doc__, measure, first_call, repeats=20)
