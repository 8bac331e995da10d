from __future__ import annotations

import pytest

from stgvcodec.codec.dimensions import field_spec
from stgvcodec.codec.gop_header import header_of, spec_of
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
