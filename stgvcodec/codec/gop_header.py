"""Between a model's dimensions and the transmitted header of a GoP."""

from __future__ import annotations

from stgvcodec.bitstream.symbols import GopHeader
from stgvcodec.model.deformation import FieldSpec
from stgvcodec.model.gop_model import GopSpec
from stgvcodec.ops.hash_encode import HashGridSpec

WEIGHT_BITS = 8
CHOLESKY_BITS = 8


def header_of(spec: GopSpec, *, color_stages: int, color_codebook_size: int) -> GopHeader:
    """The transmitted header of a GoP of these dimensions."""
    field = spec.field
    static, dynamic = field.static_grid, field.dynamic_grid
    return GopHeader(
        n_frames=spec.n_frames,
        n_gaussians=spec.n_gaussians,
        low_pass=spec.low_pass,
        cholesky_bits=CHOLESKY_BITS,
        color_stages=color_stages,
        color_codebook_size=color_codebook_size,
        static_resolutions=tuple((x, y) for x, y in static.resolutions),
        static_features=static.n_features_per_level,
        static_log2_size=static.log2_hashmap_size,
        dynamic_resolutions=tuple((x, y, t) for x, y, t in dynamic.resolutions),
        dynamic_features=dynamic.n_features_per_level,
        dynamic_log2_size=dynamic.log2_hashmap_size,
        mlp_width=field.mlp_width,
        n_frequencies=field.n_frequencies,
        weight_bits=WEIGHT_BITS,
    )


def spec_of(header: GopHeader, width: int, height: int) -> GopSpec:
    """Dimensions that a transmitted header describes."""
    field = FieldSpec(
        static_grid=HashGridSpec(header.static_features, header.static_log2_size, header.static_resolutions),
        dynamic_grid=HashGridSpec(header.dynamic_features, header.dynamic_log2_size, header.dynamic_resolutions),
        mlp_width=header.mlp_width,
        n_frequencies=header.n_frequencies,
    )
    return GopSpec(
        width=width,
        height=height,
        n_frames=header.n_frames,
        n_gaussians=header.n_gaussians,
        field=field,
        low_pass=float(header.low_pass),
    )
