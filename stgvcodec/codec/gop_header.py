"""From the transmitted header of a GoP to its model's dimensions."""

from __future__ import annotations

from stgvcodec.bitstream.payload.header import GopSetHeader
from stgvcodec.bitstream.symbols import GopHeader
from stgvcodec.model.deformation import FieldSpec
from stgvcodec.model.gop_model import GopSpec
from stgvcodec.ops.hash_encode import HashGridSpec


def spec_of(header: GopHeader | GopSetHeader, width: int, height: int) -> GopSpec:
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
