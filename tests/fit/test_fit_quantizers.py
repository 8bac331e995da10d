from __future__ import annotations

import pytest
import torch

from stgvcodec.fit.phases import QUANTIZED_STREAMS, Phase


@pytest.fixture
def trained(make_trainer):
    """A trainer with every quantiser on and moved off its start."""
    trainer = make_trainer()
    trainer.run(Phase("joint", frames="all", n_steps=10))
    trainer.run(Phase("finetune", frames="all", n_steps=5, quantized=QUANTIZED_STREAMS))
    return trainer


def flat(values) -> dict[str, list[torch.Tensor]]:
    field = values.field
    return {
        "means": [values.means],
        "cholesky": [values.cholesky],
        "colors": [values.colors],
        "field": [field.static_table, field.dynamic_table, *field.weights],
    }


@pytest.mark.parametrize("enabled", [QUANTIZED_STREAMS[:n] for n in range(5)], ids=lambda streams: "+".join(streams))
def test_only_enabled_streams_are_replaced(trained, enabled):
    values = trained.model.values()

    quantized, commitment = trained.quantizers.quantize(values, enabled)

    for name, tensors in flat(quantized).items():
        same = [torch.equal(a, b) for a, b in zip(tensors, flat(values)[name], strict=True)]
        assert all(same) == (name not in enabled), name
    assert (commitment is not None) == ("colors" in enabled)


def test_quantised_values_are_those_of_the_symbols(trained):
    """Training sees exactly what a decoder computes from the integers."""
    from stgvcodec.quant import affine, half_float, residual_vq, symmetric

    q, values, spec = trained.quantizers, trained.model.values(), trained.spec.field
    quantized, _ = q.quantize(values, QUANTIZED_STREAMS)
    field = values.field

    decoded = {
        "means": [half_float.dequantize(q.means.symbols(values.means))],
        "cholesky": [affine.dequantize(q.cholesky.symbols(values.cholesky), **q.cholesky.side())],
        "colors": [residual_vq.dequantize(q.colors.symbols(values.colors), **q.colors.side())],
        "field": [
            symmetric.dequantize(
                quantizer.symbols(tensor), **quantizer.side(), group_sizes=None if grid is None else grid.level_entries
            )
            for quantizer, tensor, grid in [
                (q.static_table, field.static_table, spec.static_grid),
                (q.dynamic_table, field.dynamic_table, spec.dynamic_grid),
                *((quantizer, tensor, None) for quantizer, tensor in zip(q.weights, field.weights, strict=True)),
            ]
        ],
    }

    for name, tensors in flat(quantized).items():
        for seen, expected in zip(tensors, decoded[name], strict=True):
            assert torch.equal(seen, expected), name


def test_every_parameter_gets_a_gradient_through_its_quantiser(trained):
    values, _ = trained.quantizers.quantize(trained.model.values(), QUANTIZED_STREAMS)
    trained.model.zero_grad(set_to_none=True)

    sum(tensor.sum() for tensors in flat(values).values() for tensor in tensors).backward()

    for parameter in trained.model.parameters():
        assert parameter.grad is not None
        assert parameter.grad.any()


def test_learned_steps_belong_to_the_enabled_streams(trained):
    q = trained.quantizers
    field = [*q.static_table.parameters(), *q.dynamic_table.parameters(), *q.mlp.parameters()]

    def ids(tensors) -> list[int]:
        return [id(tensor) for tensor in tensors]

    assert q.learned_steps(("means",)) == []
    assert ids(q.learned_steps(("means", "cholesky"))) == ids(q.cholesky.parameters())
    assert ids(q.learned_steps(("field", "cholesky"))) == ids([*field, *q.cholesky.parameters()])
