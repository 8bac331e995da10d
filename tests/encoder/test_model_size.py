from __future__ import annotations

import dataclasses

import pytest

from stgvcodec.bitstream.syntax.limits import LIMITS
from stgvcodec.encoder.model_size import STILL_FIELD, field_spec
from stgvcodec.encoder.presets import FIELD_SIZES, PAPER_FIELD

SIZES = (*FIELD_SIZES, PAPER_FIELD)


@pytest.mark.parametrize("size", FIELD_SIZES, ids=range(len(FIELD_SIZES)))
@pytest.mark.parametrize("n_frames", [2, 3, 10, 60])
def test_time_is_cut_no_finer_than_the_frames(size, n_frames):
    """In a finer grid, the times between frames would stay untrained."""
    temporal = [level[2] for level in field_spec(size, n_frames).dynamic_grid.resolutions]

    assert min(temporal) >= 1
    assert max(temporal) <= n_frames - 1
    assert temporal == sorted(temporal)


@pytest.mark.parametrize("size", SIZES, ids=range(len(SIZES)))
def test_a_gop_of_one_frame_has_the_least_field(size):
    assert field_spec(size, 1, has_shape_head=True) == field_spec(size, 1) == STILL_FIELD


def test_a_head_for_shapes_is_all_that_a_profile_adds_to_a_field():
    size = FIELD_SIZES[0]
    with_head = field_spec(size, 10, has_shape_head=True)

    assert dataclasses.replace(with_head, has_shape_head=False) == field_spec(size, 10)
    assert with_head.n_parameters - field_spec(size, 10).n_parameters == 3 * (size.mlp_width + 1)


@pytest.mark.parametrize("size", SIZES, ids=range(len(SIZES)))
def test_fields_are_within_the_limits_of_the_format(size):
    spec = field_spec(size, 256)

    assert size.n_levels <= LIMITS["grid_levels"]
    assert size.mlp_width <= LIMITS["mlp_width"]
    assert max(spec.static_grid.resolutions[-1]) <= LIMITS["grid_resolution"]
