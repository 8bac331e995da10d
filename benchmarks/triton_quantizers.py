"""How long fine-tuning through the quantisers takes on a GPU, beside the same in torch.

    python benchmarks/triton_quantizers.py --csv benchmarks/data/triton_quantizers.csv

20 000 Gaussians and the paper's field. Every time is that of a call among twenty in one CUDA graph, but for the
initialisations, which run between graphs. Nothing is printed when a kernel and its reference disagree on the very
inputs that are timed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from harness import commit, device_name, print_rows, write_csv
from torch import Tensor
from triton_adam_dssim import graph_us

from stgvcodec.fit.phases import QUANTIZED_STREAMS
from stgvcodec.fit.quantizers import GopQuantizers, QuantizerConfig
from stgvcodec.model.deformation import FieldSpec
from stgvcodec.model.gop_model import FieldParameters, GopParameters, GopSpec
from stgvcodec.ops.field_mlp import FieldWeights
from stgvcodec.ops.hash_encode import HashGridSpec

LEVELS = (16, 24, 36, 54, 81, 121, 182, 273)
SPEC = GopSpec(
    width=1280,
    height=640,
    n_frames=10,
    n_gaussians=20_000,
    field=FieldSpec(
        static_grid=HashGridSpec(2, 10, tuple((n, n) for n in LEVELS)),
        dynamic_grid=HashGridSpec(4, 10, tuple((n, n, n) for n in LEVELS)),
        mlp_width=128,
        n_frequencies=6,
    ),
)
# Stages and codewords of the presets, and the most codewords there can be.
CODEBOOKS = ((2, 8), (3, 32), (2, 256))
BACKENDS = {"triton": "triton", "torch": "reference"}
GRADIENT_TOLERANCE = 1e-4

Row = tuple[str, str, str, tuple[float, float, float]]


def make_values(device: torch.device) -> GopParameters:
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int, scale: float) -> Tensor:
        return (scale * torch.randn(*shape, generator=generator)).to(device).requires_grad_()

    field, n = SPEC.field, SPEC.n_gaussians
    tables = (normal(g.n_entries, g.n_features_per_level, scale=0.02) for g in (field.static_grid, field.dynamic_grid))
    weights = FieldWeights(*(normal(*shape, scale=0.1) for shape in field.weight_shapes))
    return GopParameters(
        normal(n, 2, scale=0.5), normal(n, 3, scale=2.0), normal(n, 3, scale=0.3), FieldParameters(*tables, weights)
    )


def tensors_of(values: GopParameters, stream: str) -> list[Tensor]:
    if stream == "field":
        return [values.field.static_table, values.field.dynamic_table, *values.field.weights]
    return [getattr(values, stream)]


class Case:
    """Some streams through their quantisers, on one back end."""

    def __init__(
        self, values: GopParameters, streams: tuple[str, ...], codebooks: tuple[int, int], backend: str
    ) -> None:
        self._values, self._streams = values, streams
        config = QuantizerConfig(8, *codebooks, weight_bits=8, seed=0)
        self.quantizers = GopQuantizers(SPEC, config, device=values.means.device, backend=backend)
        self.leaves = [tensor for stream in streams for tensor in tensors_of(values, stream)]
        if "cholesky" in streams:
            self.leaves += self.quantizers.cholesky.parameters()
        if "field" in streams:
            self.leaves += self.quantizers.field.parameters()
        self._upstream = [torch.cos(tensor.detach() * 100) for s in streams for tensor in tensors_of(values, s)]

    def initialize(self) -> None:
        for stream in self._streams:
            self.quantizers.initialize(stream, self._values)

    def forward(self) -> list[Tensor]:
        quantized, commitment = self.quantizers.quantize(self._values, self._streams)
        outputs = [tensor for stream in self._streams for tensor in tensors_of(quantized, stream)]
        return outputs if commitment is None else [*outputs, commitment]

    def forward_backward(self) -> tuple[Tensor, ...]:
        outputs = self.forward()
        upstream = self._upstream
        if len(outputs) > len(upstream):
            upstream = [*upstream, torch.ones_like(outputs[-1])]
        return torch.autograd.grad(outputs, self.leaves, upstream)

    def update(self) -> None:
        self.quantizers.update(self._values, self._streams)


def disagreement(case: Case, truth: Case) -> str | None:
    """With equal side information, values must be equal and gradients close."""
    truth.quantizers.load_state_dict(case.quantizers.state_dict())
    for ours, theirs in zip(case.forward(), truth.forward(), strict=True):
        # The commitment loss is a sum, in another order; everything else is what a decoder computes.
        if not (torch.equal(ours, theirs) or (ours.ndim == 0 and torch.allclose(ours, theirs, rtol=1e-5, atol=0))):
            return "values"
    for i, (ours, theirs) in enumerate(zip(case.forward_backward(), truth.forward_backward(), strict=True)):
        if not (ours - theirs).abs().max() <= GRADIENT_TOLERANCE * theirs.abs().max():
            return f"gradient {i}"
    case.update()
    truth.update()
    ours, theirs = case.quantizers.colors, truth.quantizers.colors
    for name in ("codebooks", "usage"):
        if not torch.allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-4, atol=1e-6):
            return f"{name} after an update"
    return None


def measure(repeats: int) -> list[Row]:
    values = make_values(torch.device("cuda"))
    cases: list[tuple[tuple[str, ...], tuple[int, int]]] = [
        (("means",), CODEBOOKS[0]),
        (("cholesky",), CODEBOOKS[0]),
        (("field",), CODEBOOKS[0]),
        *((("colors",), codebooks) for codebooks in CODEBOOKS),
        *((QUANTIZED_STREAMS, codebooks) for codebooks in CODEBOOKS[:2]),
    ]
    rows: list[Row] = []
    for streams, codebooks in cases:
        label = "all" if len(streams) > 1 else streams[0]
        shape = "M={} K={}".format(*codebooks) if "colors" in streams else "-"
        made = {name: Case(values, streams, codebooks, backend) for name, backend in BACKENDS.items()}
        rows.append((f"{label} initialize", shape, "ms", initialize_ms(made["triton"])))
        problem = disagreement(made["triton"], made["torch"])
        if problem is not None:
            raise SystemExit(f"no speed is printed: {problem} of {label} ({shape}) differ from the reference's")
        for name, case in made.items():
            parts: dict[str, Callable[[], object]] = {
                "forward": case.forward,
                "forward+backward": case.forward_backward,
            }
            if "colors" in streams:
                parts["update"] = case.update
            for part, work in parts.items():
                rows.append((f"{label} {name} {part}", shape, "us", graph_us(work, repeats)))
    return rows


def initialize_ms(case: Case) -> tuple[float, float, float]:
    """Of three calls, after none: a fit makes one."""
    times = []
    for _ in range(3):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        case.initialize()
        torch.cuda.synchronize()
        times.append((time.perf_counter() - begin) * 1e3)
    first, second, third = sorted(times)
    return first, second, third


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--csv", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    rows = [
        (op, shape, unit, *(f"{value:.3g}" for value in times), device_name(torch.device("cuda")), commit())
        for op, shape, unit, times in measure(options.repeats)
    ]
    print_rows(rows)
    if options.csv:
        write_csv(options.csv, rows)


if __name__ == "__main__":
    main()
