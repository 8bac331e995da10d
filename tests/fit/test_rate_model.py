"""The estimate against empirical entropies, and against the bytes that are really written."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from fits import COMPACT
from tolerances import approx

from stgvcodec.bitstream.entropy.models import coded_model
from stgvcodec.bitstream.payload.head import payload_stream_bytes
from stgvcodec.bitstream.payload.pack import pack_gop
from stgvcodec.bitstream.payload.symbols import GopSymbols
from stgvcodec.encoder.gop_symbols import header_of
from stgvcodec.fit.phases import QUANTIZED_STREAMS
from stgvcodec.fit.quantizers import GopQuantizers, QuantizerConfig
from stgvcodec.fit.rate_model import Attribute, RateModel, Segmented, point_set_bits
from stgvcodec.model.deformation import FieldSpec
from stgvcodec.model.gop_model import FieldParameters, GopParameters, GopSpec
from stgvcodec.ops.field_mlp import FieldWeights
from stgvcodec.ops.hash_encode import HashGridSpec
from stgvcodec.quant import GridQuantizer

FIELD = FieldSpec(
    static_grid=HashGridSpec(2, 9, ((8, 8), (16, 16), (30, 30))),
    dynamic_grid=HashGridSpec(4, 9, ((4, 4, 2), (8, 8, 4))),
    mlp_width=32,
    n_frequencies=4,
)


def plausible_values(n: int, seed: int = 0) -> GopParameters:
    """As in fits, sizes vary together, small Gaussians are more colourful, and weights have heavy tails."""
    rng = np.random.default_rng(seed)

    def tensor(x: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(x, np.float32))

    centres = rng.uniform(-0.9, 0.9, (12, 2))
    means = centres[rng.integers(0, 12, n)] + rng.normal(0, 0.15, (n, 2))
    size = rng.gamma(2.0, 1.5, n)
    diagonal = size[:, None] * np.exp(0.4 * rng.laplace(size=(n, 2)))
    shear = 0.4 * rng.laplace(size=n) * diagonal[:, 1]
    luma = rng.normal(0, 1.0, n) * 0.25 / (0.5 + size) + 0.05
    tint = rng.normal(0, 0.03, n)
    colors = np.stack((luma + tint, luma, luma - tint), axis=1) + rng.normal(0, 0.01, (n, 3))

    def weights(*shape: int) -> torch.Tensor:
        return tensor(0.02 * rng.laplace(size=shape))

    grids = (FIELD.static_grid, FIELD.dynamic_grid)
    tables = (weights(grid.n_entries, grid.n_features_per_level) for grid in grids)
    mlp = FieldWeights(*(weights(*shape) for shape in FIELD.weight_shapes))
    factors = np.stack((diagonal[:, 0], shear, diagonal[:, 1]), axis=1)
    return GopParameters(tensor(means), tensor(factors), tensor(colors), FieldParameters(*tables, mlp))


def spec_of(n: int) -> GopSpec:
    return GopSpec(width=640, height=360, n_frames=10, n_gaussians=n, field=FIELD)


def fitted(values: GopParameters, config: QuantizerConfig, backend: str = "auto") -> GopQuantizers:
    quantizers = GopQuantizers(spec_of(len(values.means)), config, device=values.means.device, backend=backend)
    for stream in QUANTIZED_STREAMS:
        quantizers.initialize(stream, values)
    quantizers.refresh_rate(values)
    return quantizers


def payload_of(values: GopParameters, q: GopQuantizers) -> bytes:
    static_table, dynamic_table, *mlp = q.field.symbols(values.field)
    points, shapes, colors = q.means.side(), q.cholesky.side(), q.colors.side()
    return pack_gop(
        GopSymbols(
            header=header_of(spec_of(len(values.means)), q.config),
            points=q.means.symbols(values.means),
            shapes=q.cholesky.symbols(values.cholesky),
            colors=q.colors.symbols(values.colors),
            codebooks=np.zeros((0, 0, 3), np.uint16),
            static_table=static_table.symbols,
            dynamic_table=dynamic_table.symbols,
            mlp=tuple(tensor.symbols for tensor in mlp),
            point_scale=points["scale"],
            point_offset=points["offset"],
            shape_scale=shapes["scale"],
            shape_offset=np.zeros(0, np.float32),
            color_scale=colors["scale"],
            static_scales=static_table.scales,
            dynamic_scales=dynamic_table.scales,
            mlp_scales=np.concatenate([tensor.scales for tensor in mlp]),
        )
    )


@pytest.mark.parametrize("coarser", [1.0, 4.0], ids=["fine", "coarse"])
@pytest.mark.parametrize("n", [5_000, 1_500])
def test_the_estimate_is_within_one_per_cent_of_the_payload(n, coarser):
    values = plausible_values(n, seed=n)
    config = dataclasses.replace(COMPACT, shape_step=0.06 * coarser, color_step=0.01 * coarser)
    q = fitted(values, config)
    payload = payload_of(values, q)
    assert float(q.estimated_bits(values).total) / 8.0 == approx(len(payload), "rate, payload")


def test_bits_of_points_are_those_of_their_streams():
    values = plausible_values(5_000)
    q = fitted(values, COMPACT)
    streams = payload_stream_bytes(payload_of(values, q))
    estimate = float(point_set_bits(q.means.cells(values.means))) / 8.0
    assert estimate == approx(streams["points"] + streams["point_bits"], "rate, payload")


@pytest.mark.parametrize("n", [0, 1, 63])
def test_few_gaussians_have_finite_bits(n):
    values = plausible_values(n)
    q = GopQuantizers(spec_of(n), COMPACT)
    for stream in QUANTIZED_STREAMS[1:]:
        q.initialize(stream, values)
    q.refresh_rate(values)
    assert torch.isfinite(q.estimated_bits(values).total)
    assert q.rate.rows.shape == (6, n)


def entropy_bits(symbols: torch.Tensor) -> float:
    counts = torch.bincount(symbols).double()
    counts = counts[counts > 0]
    return float((counts * (counts.sum().log2() - counts.log2())).sum())


def model_of(attribute: Attribute) -> RateModel:
    model = RateModel()
    nothing = torch.zeros(0, dtype=torch.int64)
    model.refresh([attribute], Segmented(nothing, nothing, 1), torch.zeros(()))
    return model


def bits_of(model: RateModel, symbols: torch.Tensor) -> float:
    """Bits of one attribute, without those that have no gradient."""
    tables, rows = model.of_attributes(0, 1)
    return float(tables[rows[0].long(), symbols].double().sum())


def test_code_lengths_are_the_empirical_entropy_of_each_class():
    """The context tells two kinds apart, and in each kind symbols cost what its own counts say."""
    rng = np.random.default_rng(0)
    kind = np.arange(4_000) % 2
    symbols = torch.from_numpy(np.clip(np.rint(rng.normal(60 + 100 * kind, 3 + 10 * kind)), 0, 255).astype(np.int64))
    context = torch.from_numpy(np.where(kind == 1, rng.integers(200, 400, 4_000), rng.integers(0, 100, 4_000)))

    alone, told = (model_of(Attribute(symbols, which)) for which in (None, context))

    assert bits_of(alone, symbols) == approx(entropy_bits(symbols), "bits")
    classes = told.rows[0]
    assert not set(classes[kind == 0].tolist()) & set(classes[kind == 1].tolist())
    per_class = sum(entropy_bits(symbols[classes == c]) for c in classes.unique())
    assert bits_of(told, symbols) == approx(per_class, "bits")
    assert bits_of(told, symbols) < bits_of(alone, symbols) - 3_500


def counts_of(kind: str, n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    symbols = {
        "geometric": lambda: 100 + np.rint(rng.laplace(0, 4, n)),
        "normal": lambda: 100 + np.rint(rng.normal(0, 9, n)),
        "lopsided": lambda: 20 + np.rint(rng.gamma(2.0, 8.0, n)),
        "two humps": lambda: 60 + 80 * rng.integers(0, 2, n) + np.rint(rng.normal(0, 3, n)),
        "hardly anything": lambda: 128 + (rng.random(n) < 0.02) * rng.integers(-2, 3, n),
        "one value": lambda: np.full(n, 7.0),
    }[kind]()
    return np.bincount(np.clip(symbols, 0, 255).astype(np.int64), minlength=256)


@pytest.mark.parametrize("n", [60, 500, 20_000])
@pytest.mark.parametrize("kind", ["geometric", "normal", "lopsided", "two humps", "hardly anything", "one value"])
def test_what_a_class_costs_is_what_the_coder_makes_of_it(kind, n):
    counts = counts_of(kind, n, seed=n)
    symbols = torch.from_numpy(np.repeat(np.arange(256), counts))
    model = model_of(Attribute(symbols, None))

    bits = float(model.fixed_bits) + bits_of(model, symbols)
    assert bits == approx(coded_model(counts).bits, "rate, one class")


def test_a_variable_that_says_nothing_makes_one_class():
    rng = np.random.default_rng(1)
    symbols = torch.from_numpy(rng.integers(100, 140, 3_000))
    model = model_of(Attribute(symbols, torch.from_numpy(rng.integers(0, 256, 3_000))))
    assert len(model.rows[0].unique()) == 1


def test_unused_symbols_are_dear_but_finite_and_nearer_ones_cheaper():
    symbols = torch.from_numpy(np.repeat(np.arange(120, 130), 100))
    model = model_of(Attribute(symbols, None))
    table = model.tables[model.rows[0, 0]]
    assert torch.isfinite(table).all()
    assert table[120:130].max() < table[130] < table[131]
    assert table[119] == pytest.approx(float(table[130]))


def test_estimates_fall_with_coarser_steps():
    values = plausible_values(1_500)
    estimates = [
        float(fitted(values, dataclasses.replace(COMPACT, shape_step=step)).estimated_bits(values).total)
        for step in (0.03, 0.06, 0.2)
    ]
    assert estimates == sorted(estimates, reverse=True)


@pytest.mark.gpu
def test_the_estimate_on_a_gpu_is_that_on_the_cpu():
    """Another back end may round a few values to other symbols."""
    values = plausible_values(20_000)
    on_gpu = GopParameters(
        *(tensor.cuda() for tensor in values[:3]),
        FieldParameters(
            values.field.static_table.cuda(),
            values.field.dynamic_table.cuda(),
            FieldWeights(*(weight.cuda() for weight in values.field.weights)),
        ),
    )
    ours, expected = fitted(on_gpu, COMPACT, "triton"), fitted(values, COMPACT)
    assert float(ours.estimated_bits(on_gpu).total) == approx(
        float(expected.estimated_bits(values).total), "rate, other back end"
    )


def test_the_grid_of_points_counts_duplicates():
    """Points of one cell follow each other at a gap of zero."""
    grid = GridQuantizer()
    cells = grid.cells(torch.zeros(500, 2))
    assert float(point_set_bits(cells)) < 200.0
