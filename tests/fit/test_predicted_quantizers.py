"""The estimate against the bytes that are really written, and what a predicted GoP's quantisers rate and when."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import torch
from test_rate_model import COMPACT, FIELD, plausible_values, spec_of

from stgvcodec.bitstream.gop_predicted.layout import predicted_gop_layout
from stgvcodec.bitstream.gop_predicted.payload import pack_predicted_gop
from stgvcodec.bitstream.gop_predicted.symbols import RESIDUALS, PredictedGopSymbols, to_zigzag
from stgvcodec.encoder.gop_symbols import header_of
from stgvcodec.fit.phases import QUANTIZED_STREAMS
from stgvcodec.fit.predicted_quantizers import PredictedQuantizers
from stgvcodec.fit.rate_model import RateModel
from stgvcodec.fit.schedule import STEP_GROUPS
from stgvcodec.model.gop_model import FieldValues, GopValues
from stgvcodec.ops.field_mlp import FieldWeights
from stgvcodec.quant import Gaussians, ResidualQuantizer, residual, symmetric

STEPS = {
    "point_scale": np.array([2e-3, 3e-3], np.float32),
    "shape_scale": np.array([0.06, 0.06, 0.06], np.float32),
    "color_scale": np.array([0.01, 0.012, 0.01], np.float32),
}


class Case(NamedTuple):
    quantizers: PredictedQuantizers
    values: GopValues
    residuals: np.ndarray


def make_case(n: int, *, spread: float = 1.5, still: float = 0.0, refreshed: bool = True) -> Case:
    """Quantisers, and values that differ from what predicts them by given residuals.

    What changes at all changes in all of its numbers; a share of the Gaussians does not.
    """
    rng = np.random.default_rng(n)
    values = plausible_values(n, seed=n)
    before = Gaussians(*values[:3])
    change = spread * rng.gamma(1.0, 1.0, (n, 1)) * (rng.random((n, 1)) >= still)
    residuals = np.clip(np.rint(change * rng.laplace(size=(n, 8))), -128, 127).astype(np.int8)
    gaussians = residual.dequantize(residuals, **STEPS, before=before)
    values = GopValues(*gaussians, values.field)
    quantizers = PredictedQuantizers(spec_of(n), COMPACT, ResidualQuantizer(before, **STEPS))
    for stream in QUANTIZED_STREAMS:
        quantizers.initialize(stream, values)
    if refreshed:
        quantizers.refresh_rate(values)
    return Case(quantizers, values, quantizers.residuals.symbols(gaussians))


def symbols_of(case: Case) -> PredictedGopSymbols:
    static_table, dynamic_table, *mlp = case.quantizers.field.symbols(case.values.field)
    return PredictedGopSymbols(
        header=header_of(spec_of(len(case.residuals)), COMPACT),
        residuals=case.residuals,
        **case.quantizers.residuals.side(),
        static_table=static_table.codes,
        dynamic_table=dynamic_table.codes,
        mlp=tuple(tensor.codes for tensor in mlp),
        static_scales=static_table.scales,
        dynamic_scales=dynamic_table.scales,
        mlp_scales=np.concatenate([tensor.scales for tensor in mlp]),
    )


def bytes_of(case: Case) -> tuple[float, int]:
    """Estimated, and as they are."""
    return float(case.quantizers.estimated_bits(case.values)) / 8.0, len(pack_predicted_gop(symbols_of(case)))


def leaves(values: GopValues) -> list[torch.Tensor]:
    field = values.field
    return [*values[:3], field.static_table, field.dynamic_table, *field.weights]


def as_leaves(values: GopValues) -> GopValues:
    static_table, dynamic_table, *weights = (tensor.clone().requires_grad_() for tensor in leaves(values)[3:])
    gaussians = (tensor.clone().requires_grad_() for tensor in values[:3])
    return GopValues(*gaussians, FieldValues(static_table, dynamic_table, FieldWeights(*weights)))


@pytest.mark.parametrize("still", [0.0, 0.7], ids=["all move", "most stand still"])
@pytest.mark.parametrize("spread", [0.5, 1.5], ids="spread {}".format)
@pytest.mark.parametrize("n", [63, 300, 2_000, 5_000])
def test_the_estimate_is_within_one_per_cent_of_the_payload(n, spread, still):
    """Of 63 Gaussians nine tenths are field."""
    estimate, n_bytes = bytes_of(make_case(n, spread=spread, still=still))
    assert estimate == pytest.approx(n_bytes, rel=0.01)


@pytest.mark.parametrize("still", [0.0, 0.7], ids=["all move", "most stand still"])
def test_the_estimate_is_as_good_where_residuals_are_wide(still):
    estimate, n_bytes = bytes_of(make_case(2_000, spread=5.0, still=still))
    assert estimate == pytest.approx(n_bytes, rel=0.01)


@pytest.mark.parametrize("still", [0.0, 0.7], ids=["all move", "most stand still"])
@pytest.mark.parametrize(("n", "limit"), [(300, 0.14), (2_000, 0.055), (5_000, 0.045)])
def test_bits_of_residuals_are_about_those_of_their_stream(n, limit, still):
    """Without field and headers, by what those of a GoP in which nothing changes take; the estimate is the lower."""
    case = make_case(n, still=still)
    estimate, n_bytes = bytes_of(case)
    before = case.values._replace(**plausible_values(n, seed=n)._replace(field=case.values.field)._asdict())
    case.quantizers.refresh_rate(before)
    of_nothing, n_bytes_of_nothing = bytes_of(Case(case.quantizers, before, np.zeros_like(case.residuals)))

    assert n_bytes - n_bytes_of_nothing > 300
    assert estimate - of_nothing == pytest.approx(n_bytes - n_bytes_of_nothing, rel=limit)


@pytest.mark.parametrize("n", [0, 1, 63])
def test_few_gaussians_have_finite_bits(n):
    case = make_case(n)
    assert torch.isfinite(case.quantizers.estimated_bits(case.values))
    assert case.quantizers.rate.rows.shape == (8, n)


@pytest.fixture
def counted(monkeypatch) -> list:
    """The attributes of each refresh."""
    seen = []
    refresh = RateModel.refresh

    def recording(self, attributes, field, fixed_bits):
        seen.append(attributes)
        refresh(self, attributes, field, fixed_bits)

    monkeypatch.setattr(RateModel, "refresh", recording)
    return seen


def test_what_is_counted_has_the_classes_of_the_bitstream(counted):
    """Each attribute's variable is the sum of those columns of a block that its `sources` are, as coded."""
    case = make_case(300, spread=9.0)
    layout = predicted_gop_layout(header_of(spec_of(300), COMPACT))
    block = np.zeros(layout.n_bytes, np.uint8)
    layout.sections["residuals"].of(block)[:] = to_zigzag(case.residuals)

    (attributes,) = counted

    assert [attribute.name for attribute in layout.residuals.attributes] == list(RESIDUALS)
    for i, (ours, theirs) in enumerate(zip(attributes, layout.residuals.attributes, strict=True)):
        assert np.array_equal(ours.symbols.numpy(), case.residuals[:, i].astype(int) + 128)
        assert (ours.variable is None) == (theirs.sources == ())
        if ours.variable is not None:
            assert ours.variable.max() > 20
            variable = ours.variable.clamp_max(255).numpy()
            assert np.array_equal(variable, layout.residuals.variable(block, theirs)), theirs.name


def test_classes_that_say_something_are_used():
    """What moves in x moves in y: then y costs less than x, whose residuals are as wide."""
    case = make_case(2_000, spread=3.0, still=0.5)
    tables, rows = case.quantizers.rate.of_attributes(0, 8)
    codes = torch.from_numpy(case.residuals.T.astype(np.int64)) + 128
    bits = tables[rows.long(), codes].sum(dim=1)
    assert len(rows[0].unique()) == 1
    assert all(len(row.unique()) > 1 for row in rows[1:])
    assert bits[1:].max() < 0.9 * bits[0]


ENABLED = {
    "none": ((), False, False),
    "means": (("means",), True, False),
    "means and cholesky": (("means", "cholesky"), True, False),
    "colors": (("colors",), True, False),
    "field": (("field",), False, True),
    "means and field": (("means", "field"), True, True),
    "all": (QUANTIZED_STREAMS, True, True),
}


@pytest.mark.parametrize("refreshed", [False, True], ids=["not counted", "counted"])
@pytest.mark.parametrize(("enabled", "gaussians", "field"), ENABLED.values(), ids=ENABLED)
def test_gaussians_are_replaced_together_and_rated_once_all_is_on_and_counted(enabled, gaussians, field, refreshed):
    case = make_case(63, refreshed=refreshed)
    values = GopValues(*(x + 0.003 for x in case.values[:3]), case.values.field)

    quantized, penalty = case.quantizers.quantize(values, enabled)

    same = [torch.equal(a, b) for a, b in zip(leaves(quantized), leaves(values), strict=True)]
    assert same[:3] == [not gaussians] * 3
    assert all(same[3:]) == (not field)
    rates = refreshed and enabled == QUANTIZED_STREAMS
    assert case.quantizers.rates(enabled) == rates
    assert (penalty is not None) == rates


def test_other_tables_are_wanted_after_forgetting():
    case = make_case(63)
    case.quantizers.rate.forget()
    assert not case.quantizers.rates(QUANTIZED_STREAMS)
    assert case.quantizers.quantize(case.values, QUANTIZED_STREAMS)[1] is None


@pytest.mark.parametrize("refreshed", [False, True], ids=["not counted", "counted"])
def test_quantised_values_are_those_of_the_symbols(refreshed):
    """Training sees exactly what a decoder computes from the integers."""
    case = make_case(63, refreshed=refreshed)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for step in case.quantizers.parameters():
            step.add_(0.1 * torch.randn(step.shape, generator=generator))
    before = Gaussians(*plausible_values(63, seed=63)[:3])
    quantized, _ = case.quantizers.quantize(case.values, QUANTIZED_STREAMS)

    residuals = case.quantizers.residuals
    codes = residuals.symbols(Gaussians(*case.values[:3]))
    assert codes.any()
    grids = (FIELD.static_grid, FIELD.dynamic_grid)
    group_sizes = [*(grid.level_entries for grid in grids), *(None for _ in case.values.field.weights)]
    decoded = [
        *residual.dequantize(codes, **residuals.side(), before=before),
        *(
            symmetric.dequantize(codes, scales, group_sizes=sizes)
            for (codes, scales), sizes in zip(
                case.quantizers.field.symbols(case.values.field), group_sizes, strict=True
            )
        ),
    ]
    assert all(torch.equal(a, b) for a, b in zip(leaves(quantized), decoded, strict=True))


def test_the_penalty_is_the_weighted_estimate_and_reaches_every_value_and_step():
    case = make_case(63)
    values, q = as_leaves(case.values), case.quantizers
    q.rate_weight.fill_(1e-3)

    _, penalty = q.quantize(values, QUANTIZED_STREAMS)
    penalty.backward()

    assert float(penalty.detach()) == pytest.approx(1e-3 * float(q.estimated_bits(values)), rel=1e-6)
    for tensor in values[:3]:
        assert torch.isfinite(tensor.grad).all()
        assert (tensor.grad != 0).float().mean() > 0.5
    assert any(bool(tensor.grad.any()) for tensor in leaves(values)[3:])
    for gain in (q.residuals.shape_gain, q.residuals.color_gain):
        # Coarser steps take fewer bits.
        assert (gain.grad < 0).all()
    assert q.field.flat.gain.grad.any()


def test_bits_fall_with_coarser_steps():
    case = make_case(300, spread=5.0)
    estimates = []
    for gain in (0.0, 0.5, 1.0):
        with torch.no_grad():
            case.quantizers.residuals.shape_gain.fill_(gain)
            case.quantizers.residuals.color_gain.fill_(gain)
        case.quantizers.refresh_rate(case.values)
        estimates.append(bytes_of(case._replace(residuals=case.quantizers.residuals.symbols(case.values[:3])))[0])
    assert estimates == sorted(estimates, reverse=True)
    assert estimates[2] < 0.95 * estimates[0]


def test_learned_steps_are_by_the_names_of_the_schedule():
    q = make_case(63).quantizers
    groups = q.step_parameters()
    assert set(groups) == set(STEP_GROUPS.values())
    assert {id(step) for group in groups.values() for step in group} == {id(step) for step in q.parameters()}
    assert groups["cholesky_steps"] == [q.residuals.shape_gain]
    assert groups["color_steps"] == [q.residuals.color_gain]


def test_initialising_a_stream_again_leaves_steps_of_residuals():
    case = make_case(63)
    with torch.no_grad():
        case.quantizers.residuals.shape_gain.fill_(0.3)
    before = case.quantizers.residuals.side()
    for stream in QUANTIZED_STREAMS:
        case.quantizers.initialize(stream, case.values)
    for name, step in case.quantizers.residuals.side().items():
        assert np.array_equal(step, before[name])


def test_buffers_and_tables_stay_where_they_are():
    """A CUDA graph knows their addresses."""
    case = make_case(63)
    q = case.quantizers
    tensors = [*q.parameters(), *q.buffers()]
    before = q.rate.tables.clone()
    addresses = [tensor.data_ptr() for tensor in tensors]
    other = GopValues(*(1.05 * x for x in case.values[:3]), case.values.field)
    for stream in QUANTIZED_STREAMS:
        q.initialize(stream, other)
    q.quantize(other, QUANTIZED_STREAMS)
    q.update(other, QUANTIZED_STREAMS)
    q.restart_unused(other, QUANTIZED_STREAMS)
    q.refresh_rate(other)
    assert [tensor.data_ptr() for tensor in (*q.parameters(), *q.buffers())] == addresses
    assert not torch.equal(q.rate.tables, before)
