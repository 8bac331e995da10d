"""Dimensions of a GoP's model where the user leaves them to the preset."""

from __future__ import annotations

import math

from stgvcodec.encoder.presets import FIELD_SIZES, FieldSize, Preset
from stgvcodec.model.deformation import FieldSpec
from stgvcodec.ops.hash_encode import HashGridSpec

# Octaves of the time encoding, as in the paper.
N_FREQUENCIES = 6

# The smallest field that the format allows: nothing moves in a GoP of one frame, and its field is never trained.
STILL_FIELD = FieldSpec(
    static_grid=HashGridSpec(n_features_per_level=1, log2_hashmap_size=2, resolutions=((1, 1),)),
    dynamic_grid=HashGridSpec(n_features_per_level=1, log2_hashmap_size=3, resolutions=((1, 1, 1),)),
    mlp_width=1,
    n_frequencies=1,
)

# Pixels of a frame and Gaussians of a GoP in the paper: for Bunny (640x1280), and for 720p.
_PAPER_SMALL = (640 * 1280, 20_000)
_PAPER_LARGE = (720 * 1280, 40_000)
# Gaussians and field parameters that the other presets take where no rate is asked for.
_PIXELS_PER_GAUSSIAN = 40
_PIXELS_PER_FIELD_PARAMETER = 100


def default_n_gaussians(preset: Preset, width: int, height: int) -> int:
    """Return the Gaussians per GoP where the user names neither a number nor a rate."""
    n_pixels = width * height
    if preset.name == "paper":
        of_pixels, n_gaussians = _PAPER_SMALL if n_pixels <= _PAPER_SMALL[0] else _PAPER_LARGE
        return max(1, round(n_gaussians * n_pixels / of_pixels))
    return max(1, round(n_pixels / _PIXELS_PER_GAUSSIAN))


def default_field_size(preset: Preset, width: int, height: int, n_frames: int) -> FieldSize:
    """Return the field's size where no rate is asked for: the preset's own, or the largest that the pixels warrant."""
    if preset.field is not None:
        return preset.field
    allowed = width * height * n_frames / _PIXELS_PER_FIELD_PARAMETER
    for size in FIELD_SIZES[:-1]:
        spec = field_spec(size, n_frames)
        if spec.n_parameters <= allowed:
            return size
    return FIELD_SIZES[-1]


def field_spec(size: FieldSize, n_frames: int, *, has_shape_head: bool = False) -> FieldSpec:
    """Return the dimensions of a field of this size for a GoP of `n_frames`; `STILL_FIELD` for a single frame."""
    if n_frames == 1:
        return STILL_FIELD
    spatial = [math.floor(size.base_resolution * size.per_level_scale**level) for level in range(size.n_levels)]
    if size.full_temporal_resolution:
        temporal = spatial
    else:
        # Levels go from coarse to fine in time as in space, but never finer than the frames.
        ramp = [round((n_frames - 1) * (level + 1) / size.n_levels) for level in range(size.n_levels)]
        temporal = [min(max(1, n), finest) for n, finest in zip(ramp, spatial, strict=True)]
    return FieldSpec(
        static_grid=HashGridSpec(
            n_features_per_level=size.static_features,
            log2_hashmap_size=size.log2_hashmap_size,
            resolutions=tuple((n, n) for n in spatial),
        ),
        dynamic_grid=HashGridSpec(
            n_features_per_level=size.dynamic_features,
            log2_hashmap_size=size.log2_hashmap_size,
            resolutions=tuple((n, n, n_t) for n, n_t in zip(spatial, temporal, strict=True)),
        ),
        mlp_width=size.mlp_width,
        n_frequencies=N_FREQUENCIES,
        has_shape_head=has_shape_head,
    )
