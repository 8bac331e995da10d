from __future__ import annotations

import pytest

from stgvcodec.bitstream.limits import LIMITS
from stgvcodec.codec.dimensions import STILL_FIELD, field_spec, header_of, spec_of
from stgvcodec.codec.presets import FIELD_SIZES, PAPER_FIELD
from stgvcodec.model.gop_model import GopSpec

SIZES = (*FIELD_SIZES, PAPER_FIELD)


@pytest.mark.parametrize("n_frames", [1, 2, 10, 256])
@pytest.mark.parametrize("size", SIZES, ids=range(len(SIZES)))
def test_header_carries_every_dimension(size, n_frames):
    spec = GopSpec(63, 37, n_frames, 123, field_spec(size, n_frames), low_pass=0.5)

    header = header_of(spec, color_stages=3, color_codebook_size=32)

    header.to_bytes()  # within the format's limits
    assert spec_of(header, 63, 37) == spec
    assert (header.color_stages, header.color_codebook_size) == (3, 32)
    assert header.mlp_shapes == spec.field.weight_shapes
    assert header.static_entries == spec.field.static_grid.level_entries
    assert header.dynamic_entries == spec.field.dynamic_grid.level_entries


@pytest.mark.parametrize("size", FIELD_SIZES, ids=range(len(FIELD_SIZES)))
@pytest.mark.parametrize("n_frames", [2, 3, 10, 60])
def test_time_is_cut_no_finer_than_the_frames(size, n_frames):
    """Finer, the times between frames would stay untrained."""
    temporal = [level[2] for level in field_spec(size, n_frames).dynamic_grid.resolutions]

    assert 1 <= min(temporal)
    assert max(temporal) <= n_frames - 1
    assert temporal == sorted(temporal)


@pytest.mark.parametrize("size", SIZES, ids=range(len(SIZES)))
def test_a_gop_of_one_frame_has_the_least_field(size):
    assert field_spec(size, 1) == STILL_FIELD


@pytest.mark.parametrize("size", SIZES, ids=range(len(SIZES)))
def test_fields_are_within_the_limits_of_the_format(size):
    spec = field_spec(size, 256)

    assert size.n_levels <= LIMITS["grid_levels"]
    assert size.mlp_width <= LIMITS["mlp_width"]
    assert max(spec.static_grid.resolutions[-1]) <= LIMITS["grid_resolution"]
