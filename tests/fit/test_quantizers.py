from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from dequantized import dequantized
from fields import PAPER_FIELD, SMALL_FIELD
from fits import COMPACT
from tensors import no_waiting
from tolerances import approx, assert_close

from stgvcodec.fit.phases import QUANTIZED_STREAMS
from stgvcodec.fit.quantizers import GopQuantizers, QuantizerConfig
from stgvcodec.model.gop_model import FieldParameters, GopParameters, GopSpec
from stgvcodec.ops.dequantize import reference
from stgvcodec.ops.field_mlp import FieldWeights
from stgvcodec.quant import SymmetricQuantizer

CONFIG = QuantizerConfig(cholesky_bits=8, color_stages=2, color_codebook_size=8, weight_bits=8, seed=0)
# The flat vector of this field has another order than the bitstream.
SPEC = GopSpec(width=48, height=32, n_frames=4, n_gaussians=60, field=SMALL_FIELD)
PAPER = GopSpec(width=1280, height=640, n_frames=10, n_gaussians=20_000, field=PAPER_FIELD)


def make_values(spec: GopSpec, device: torch.device | str = "cpu") -> GopParameters:
    """Leaves of the order of trained parameters."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int, scale: float) -> torch.Tensor:
        return (scale * torch.randn(*shape, generator=generator)).to(device).requires_grad_()

    field, n = spec.field, spec.n_gaussians
    tables = (normal(g.n_entries, g.n_features_per_level, scale=0.02) for g in (field.static_grid, field.dynamic_grid))
    weights = FieldWeights(*(normal(*shape, scale=0.1) for shape in field.weight_shapes))
    return GopParameters(
        normal(n, 2, scale=0.5), normal(n, 3, scale=2.0), normal(n, 3, scale=0.3), FieldParameters(*tables, weights)
    )


def make_quantizers(
    values: GopParameters, spec: GopSpec = SPEC, backend: str = "auto", config: QuantizerConfig = CONFIG
) -> GopQuantizers:
    """Quantisers that are all in use and moved off their starts."""
    quantizers = GopQuantizers(spec, config, device=values.means.device, backend=backend)
    for stream in QUANTIZED_STREAMS:
        quantizers.initialize(stream, values)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for step in quantizers.parameters():
            step.add_(0.1 * torch.randn(step.shape, generator=generator).to(step.device))
    return quantizers


def leaves(values: GopParameters) -> list[torch.Tensor]:
    return [tensor for tensors in flat(values).values() for tensor in tensors]


def flat(values: GopParameters) -> dict[str, list[torch.Tensor]]:
    field = values.field
    return {
        "means": [values.means],
        "cholesky": [values.cholesky],
        "colors": [values.colors],
        "field": [field.static_table, field.dynamic_table, *field.weights],
    }


@pytest.mark.parametrize("enabled", [QUANTIZED_STREAMS[:n] for n in range(5)], ids=lambda streams: "+".join(streams))
def test_only_enabled_streams_are_replaced(enabled):
    values = make_values(SPEC)

    quantized, commitment = make_quantizers(values).quantize(values, enabled)

    for name, tensors in flat(quantized).items():
        same = [torch.equal(a, b) for a, b in zip(tensors, flat(values)[name], strict=True)]
        assert all(same) == (name not in enabled), name
    assert (commitment is not None) == ("colors" in enabled)


@pytest.mark.parametrize("backend", ["reference", "triton"])
def test_quantised_values_are_those_of_the_symbols(triton_device, backend):
    """Training sees exactly what a decoder computes from the integers."""
    values = make_values(SPEC, triton_device)
    q = make_quantizers(values, backend=backend)
    quantized, _ = q.quantize(values, QUANTIZED_STREAMS)
    grids = (SPEC.field.static_grid, SPEC.field.dynamic_grid)
    group_sizes = [*(grid.level_entries for grid in grids), *((weight.numel(),) for weight in values.field.weights)]

    decoded = {
        "means": [dequantized(q.means, values.means)],
        "cholesky": [dequantized(q.cholesky, values.cholesky)],
        "colors": [dequantized(q.colors, values.colors)],
        "field": [
            torch.from_numpy(reference.symmetric(symbols, scales, symbols.size // sum(sizes) * np.cumsum(sizes)))
            for (symbols, scales), sizes in zip(q.field.symbols(values.field), group_sizes, strict=True)
        ],
    }

    for name, tensors in flat(quantized).items():
        for seen, expected in zip(tensors, decoded[name], strict=True):
            assert torch.equal(seen.cpu(), expected), name


def test_the_field_is_quantised_as_by_one_quantiser_a_tensor():
    values = make_values(SPEC)
    q = GopQuantizers(SPEC, CONFIG)
    q.initialize("field", values)
    grids = (SPEC.field.static_grid, SPEC.field.dynamic_grid)
    n_features = [grid.n_features_per_level for grid in grids]
    sizes = [
        *([n * f for n in grid.level_entries] for grid, f in zip(grids, n_features, strict=True)),
        *(None for _ in values.field.weights),
    ]

    quantized, _ = q.quantize(values, ("field",))
    sum((i + 1) * tensor.square().sum() for i, tensor in enumerate(flat(quantized)["field"])).backward()

    for i, (tensor, groups) in enumerate(zip(flat(values)["field"], sizes, strict=True)):
        alone = SymmetricQuantizer(groups)
        leaf = tensor.detach().flatten().requires_grad_()
        alone.initialize(leaf)
        own = alone(leaf)
        ((i + 1) * own.square().sum()).backward()
        assert torch.equal(flat(quantized)["field"][i].flatten(), own)
        assert torch.equal(tensor.grad.flatten(), leaf.grad)
        symbols = q.field.symbols(values.field)[i]
        assert symbols.symbols.shape == tensor.shape
        assert (symbols.symbols.reshape(-1) == alone.symbols(leaf)).all()
        assert symbols.scales.tobytes() == alone.side()["scales"].tobytes()


@pytest.mark.parametrize("spec", [SPEC, PAPER], ids=["small", "paper"])
def test_tensors_start_where_vectors_of_their_sizes_can_be_loaded(spec):
    values = make_values(dataclasses.replace(spec, n_gaussians=1))
    q = GopQuantizers(spec, CONFIG)
    q.initialize("field", values)
    for tensor in flat(q.quantize(values, ("field",))[0])["field"]:
        assert tensor.is_contiguous()
        assert tensor.storage_offset() % max(tensor.numel() & -tensor.numel(), 1) == 0


def test_a_head_that_is_not_there_has_neither_symbols_nor_scales():
    field = make_values(dataclasses.replace(PAPER, n_gaussians=1)).field
    q = GopQuantizers(PAPER, CONFIG).field
    q.initialize(field)

    *present, w_shapes, b_shapes = q.symbols(field)

    assert q.n_groups == 8 + 8 + 8 == sum(len(tensor.scales) for tensor in present)
    assert [tensor.symbols.shape for tensor in (w_shapes, b_shapes)] == [(0, 128), (0,)]
    assert [len(tensor.scales) for tensor in (w_shapes, b_shapes)] == [0, 0]
    assert q(field).weights.n_shapes == 0


@pytest.mark.parametrize("backend", ["reference", "triton"])
def test_every_value_and_step_gets_a_gradient_through_its_quantiser(triton_device, backend):
    values = make_values(SPEC, triton_device)
    q = make_quantizers(values, backend=backend)
    quantized, commitment = q.quantize(values, QUANTIZED_STREAMS)

    (sum(tensor.square().sum() for tensor in leaves(quantized)) + commitment).backward()

    for tensor in (*leaves(values), *q.parameters()):
        assert tensor.grad is not None
        assert tensor.grad.any()


def test_steps_are_those_of_cholesky_and_field_and_inert_until_their_stream_is_quantised():
    values = make_values(SPEC)
    q = GopQuantizers(SPEC, CONFIG)
    steps = list(q.parameters())

    quantized, _ = q.quantize(values, ("means", "colors"))
    sum(tensor.sum() for tensor in leaves(quantized)).backward()

    assert {id(step) for step in steps} == {id(q.cholesky.gain), id(q.cholesky.shift), id(q.field.flat.gain)}
    assert all(step.grad is None and not step.any() for step in steps)
    q.initialize("cholesky", values)
    q.initialize("field", values)
    assert all(a is b for a, b in zip(q.parameters(), steps, strict=True))


def test_buffers_stay_where_they_are():
    """A CUDA graph keeps their addresses."""
    values = make_values(SPEC)
    q = GopQuantizers(SPEC, CONFIG)
    addresses = [tensor.data_ptr() for tensor in (*q.parameters(), *q.buffers())]
    for stream in QUANTIZED_STREAMS:
        q.initialize(stream, values)
    q.colors.usage[0, :2] = 0.0
    q.update(values.colors, QUANTIZED_STREAMS)
    q.restart_unused(values, QUANTIZED_STREAMS)
    assert (q.colors.usage[0, :2] > 0).all()
    assert [tensor.data_ptr() for tensor in (*q.parameters(), *q.buffers())] == addresses


def test_update_moves_codebooks_of_enabled_colours_only():
    values = make_values(SPEC)
    q = make_quantizers(values)
    before = q.colors.codebooks.clone()
    values.colors.data.add_(0.1)
    q.update(values.colors, ("means", "cholesky"))
    assert torch.equal(q.colors.codebooks, before)
    q.update(values.colors, QUANTIZED_STREAMS)
    assert not torch.equal(q.colors.codebooks, before)


@pytest.mark.gpu
@pytest.mark.parametrize("config", [CONFIG, COMPACT], ids=["paper", "compact"])
def test_a_replayed_graph_does_what_the_steps_do(config):
    """Forward, backward and update are captured once at the paper's sizes; nothing in them waits for the device."""
    device = torch.device("cuda")

    def prepared() -> tuple[GopParameters, GopQuantizers, list[torch.Tensor]]:
        values = make_values(PAPER, device)
        q = make_quantizers(values, PAPER, "triton", config)
        if config.relative_lmbda:
            q.refresh_rate(values)
            q.lmbda.fill_(1e-8)
        return values, q, [*leaves(values), *q.parameters()]

    def step(values: GopParameters, q: GopQuantizers, trained: list[torch.Tensor]) -> torch.Tensor:
        for tensor in trained:
            tensor.grad = None
        quantized, penalty = q.quantize(values, QUANTIZED_STREAMS)
        # The mean over an empty tensor, as that of a head that is not there, is NaN.
        loss = sum(tensor.square().mean() for tensor in leaves(quantized) if tensor.numel()) + penalty
        loss.backward()
        with torch.no_grad():
            for tensor in trained:
                tensor.sub_(tensor.grad, alpha=0.05)
        q.update(values.colors, QUANTIZED_STREAMS)
        return loss.detach()

    by_steps, replayed = prepared(), prepared()
    eager_losses = [step(*by_steps) for _ in range(6)]

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        losses = [step(*replayed)]
        torch.cuda.synchronize()
        with no_waiting():
            graph = torch.cuda.CUDAGraph()
            graph.capture_begin()
            loss = step(*replayed)
            graph.capture_end()
        for _ in range(5):
            graph.replay()
            losses.append(loss.clone())
    torch.cuda.synchronize()

    assert torch.equal(torch.stack(losses), torch.stack(eager_losses))
    assert losses[-1] < losses[0]
    for ours, theirs in ((replayed[2], by_steps[2]), (replayed[1].buffers(), by_steps[1].buffers())):
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


KINDS = list(itertools.product(("half", "grid"), ("cholesky", "log-shear"), ("rvq", "ycocg")))


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["reference", "triton"])
@pytest.mark.parametrize("kinds", KINDS, ids="-".join)
def test_any_kinds_together_with_the_rate_in_the_loss(triton_device, kinds, backend):
    points, shapes, colors = kinds
    config = dataclasses.replace(COMPACT, points=points, shapes=shapes, colors=colors)
    values = make_values(SPEC, triton_device)
    q = make_quantizers(values, backend=backend, config=config)
    plain, commitment = q.quantize(values, QUANTIZED_STREAMS)
    assert (commitment is not None) == (colors == "rvq")
    assert not q.rates(QUANTIZED_STREAMS)

    q.refresh_rate(values)
    q.lmbda.fill_(1e-3)
    quantized, penalty = q.quantize(values, QUANTIZED_STREAMS)

    bits = float(q.estimated_bits(values).total)
    beside = 0.0 if commitment is None else float(commitment.detach())
    assert float(penalty.detach()) == approx(beside + 1e-3 * bits, "bits")
    assert all(torch.equal(a, b) for a, b in zip(leaves(quantized), leaves(plain), strict=True))
    assert q.quantize(values, ("field",))[1] is None
    penalty.backward()
    rated = {"cholesky": shapes == "log-shear", "colors": True, "field": True}
    for stream, tensors in flat(values).items():
        gets_one = any(tensor.grad is not None and bool(tensor.grad.any()) for tensor in tensors)
        assert gets_one == rated.get(stream, False), stream
    q.rate.forget()
    assert not q.rates(QUANTIZED_STREAMS)


def test_a_refresh_leaves_tables_where_they_are_until_there_are_other_gaussians():
    values = make_values(SPEC)
    q = make_quantizers(values, config=COMPACT)
    q.refresh_rate(values)
    rate = q.rate
    addresses = [tensor.data_ptr() for tensor in (rate.tables, rate.rows, rate.fixed_bits)]
    before = rate.tables.clone()
    values.cholesky.data.mul_(1.5)
    q.refresh_rate(values)
    assert [tensor.data_ptr() for tensor in (rate.tables, rate.rows, rate.fixed_bits)] == addresses
    assert not torch.equal(rate.tables, before)


@pytest.mark.gpu
def test_real_size_against_the_reference():
    values = make_values(PAPER, "cuda")
    upstream = [torch.randn_like(tensor) for tensor in leaves(values)]
    grads, outputs = {}, {}
    quantizers = {backend: make_quantizers(values, PAPER, backend) for backend in ("triton", "reference")}
    # Of exponentials that differ in the last place values could round to other symbols.
    for q in quantizers.values():
        q.cholesky.gain.data.zero_()
        q.field.flat.gain.data.zero_()
    for backend, q in quantizers.items():
        q.load_state_dict(quantizers["triton"].state_dict())
        quantized, commitment = q.quantize(values, QUANTIZED_STREAMS)
        total = sum((a * b).sum() for a, b in zip(leaves(quantized), upstream, strict=True)) + 1e4 * commitment
        grads[backend] = torch.autograd.grad(total, [*leaves(values), *q.parameters()])
        outputs[backend] = leaves(quantized)
    for ours, truth in zip(outputs["triton"], outputs["reference"], strict=True):
        assert torch.equal(ours, truth)
    for ours, truth in zip(grads["triton"], grads["reference"], strict=True):
        assert_close(ours, truth, "fit, quantised gradients")
