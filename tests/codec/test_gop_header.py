from __future__ import annotations

import pytest

from stgvcodec.codec.gop_header import spec_of
from stgvcodec.encoder.gop_symbols import header_of
from stgvcodec.encoder.model_size import field_spec
from stgvcodec.encoder.presets import FIELD_SIZES, PAPER_FIELD
from stgvcodec.encoder.profiles import PROFILES
from stgvcodec.model.gop_model import GopSpec

SIZES = (*FIELD_SIZES, PAPER_FIELD)


@pytest.mark.parametrize("n_frames", [1, 2, 10, 256])
@pytest.mark.parametrize("size", SIZES, ids=range(len(SIZES)))
@pytest.mark.parametrize(
    ("profile", "modes", "codebooks"), [("compact", (1, 1, 1), (1, 1)), ("paper", (0, 0, 0), (3, 32))]
)
def test_header_carries_every_dimension(size, n_frames, profile, modes, codebooks):
    spec = GopSpec(63, 37, n_frames, 123, field_spec(size, n_frames), low_pass=0.5)

    header = header_of(spec, PROFILES[profile].with_codebooks(3, 32).quantizers)

    header.to_bytes()  # within the format's limits
    assert spec_of(header, 63, 37) == spec
    assert (header.point_mode, header.shape_mode, header.color_mode) == modes
    assert (header.color_stages, header.color_codebook_size) == codebooks
    assert (header.cholesky_bits, header.weight_bits) == (8, 8)
    assert header.mlp_shapes == spec.field.weight_shapes
    assert header.static_entries == spec.field.static_grid.level_entries
    assert header.dynamic_entries == spec.field.dynamic_grid.level_entries
