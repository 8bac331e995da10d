from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from stgvcodec.model.deformation import FieldSpec
from stgvcodec.model.gop_model import FieldParameters, GopParameters, GopSpec
from stgvcodec.ops.field_mlp import FieldWeights
from stgvcodec.ops.hash_encode import HashGridSpec


@pytest.fixture
def field_spec() -> FieldSpec:
    """Either grid has a dense level and a hashed one."""
    return FieldSpec(
        static_grid=HashGridSpec(1, 4, ((2, 2), (5, 5))),
        dynamic_grid=HashGridSpec(2, 4, ((1, 1, 1), (4, 4, 3))),
        mlp_width=4,
        n_frequencies=2,
        has_shape_head=True,
    )


@pytest.fixture
def make_spec(field_spec: FieldSpec) -> Callable[..., GopSpec]:
    def make(width: int = 24, height: int = 17, n_frames: int = 4, n_gaussians: int = 12, **rest: float) -> GopSpec:
        return GopSpec(width, height, n_frames, n_gaussians, field_spec, **rest)

    return make


@pytest.fixture
def random_values() -> Callable[..., GopParameters]:
    """Values with a field that moves and recolours everything."""

    def make(spec: GopSpec, *, dtype: torch.dtype = torch.float32, seed: int = 0) -> GopParameters:
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> torch.Tensor:
            return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

        field, n = spec.field, spec.n_gaussians
        weights = FieldWeights(*(0.4 * normal(*shape) for shape in field.weight_shapes))
        return GopParameters(
            means=0.5 * normal(n, 2),
            cholesky=torch.tensor([1.5, 0.0, 1.5], dtype=dtype) + 0.4 * normal(n, 3),
            colors=0.5 * normal(n, 3),
            field=FieldParameters(
                normal(field.static_grid.n_entries, field.static_grid.n_features_per_level),
                normal(field.dynamic_grid.n_entries, field.dynamic_grid.n_features_per_level),
                weights,
            ),
        )

    return make
