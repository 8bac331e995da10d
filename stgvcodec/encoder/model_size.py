"""Dimensions of a GoP's model where the user leaves them to the preset."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

from stgvcodec.encoder.presets import FIELD_SIZES, FieldSize, Preset
from stgvcodec.model.deformation import POSITION_FEATURES, Encoding, FieldSpec
from stgvcodec.ops.hash_encode import HashGridSpec
from stgvcodec.ops.hash_encode.spec import MAX_FEATURES_PER_LEVEL

# Octaves of the time encoding, as in the paper.
N_FREQUENCIES = 6

# The smallest field that the format allows: nothing moves in a GoP of one frame, and its field is never trained.
STILL_FIELD = FieldSpec(
    static_grid=HashGridSpec(n_features_per_level=1, log2_hashmap_size=2, resolutions=((1, 1),)),
    dynamic_grid=HashGridSpec(n_features_per_level=1, log2_hashmap_size=3, resolutions=((1, 1, 1),)),
    mlp_width=1,
    n_frequencies=1,
)

# Octaves of the position in place of hash encodings, as in D2GV (Liu et al. 2025, arXiv 2503.05600), and a grid with a
# level for each.
N_POSITION_FREQUENCIES = 10
_OCTAVES = HashGridSpec(POSITION_FEATURES, 2, ((1, 1),) * N_POSITION_FREQUENCIES)
# Resolutions of the levels of planes, as multiples of the coarsest.
_PLANE_RATIOS = (1, 2, 4)

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


def field_spec(
    size: FieldSize, n_frames: int, *, has_shape_head: bool = False, encoding: Encoding = "spatio-temporal"
) -> FieldSpec:
    """Return the dimensions of a field of this size for a GoP of `n_frames`; `STILL_FIELD` for a single frame.

    An encoding other than "spatio-temporal" has the same MLP, and parts of the hash encodings, or others in their
    place: `N_POSITION_FREQUENCIES` octaves of the position, or planes that take as many parameters.
    """
    if n_frames == 1:
        return STILL_FIELD
    spec = _hashed_spec(size, n_frames, has_shape_head=has_shape_head)
    grids = {
        "spatio-temporal": (spec.static_grid, spec.dynamic_grid),
        "static": (spec.static_grid, STILL_FIELD.dynamic_grid),
        "dynamic": (STILL_FIELD.static_grid, spec.dynamic_grid),
        "positional": (_OCTAVES, STILL_FIELD.dynamic_grid),
    }
    static_grid, dynamic_grid = grids[encoding] if encoding in grids else _plane_grids(spec, n_frames)
    return replace(spec, static_grid=static_grid, dynamic_grid=dynamic_grid, encoding=encoding)


def _plane_grids(spec: FieldSpec, n_frames: int) -> tuple[HashGridSpec, HashGridSpec]:
    """Return grids of planes with no more parameters than the tables of `spec`, or the smallest if none are so small.

    Planes over time have a vertex at each frame.
    """
    grids = (spec.static_grid, spec.dynamic_grid)
    allowed = sum(grid.n_entries * grid.n_features_per_level for grid in grids)
    n_features = min(2 * spec.dynamic_grid.n_features_per_level, MAX_FEATURES_PER_LEVEL)

    def planes(base: int) -> tuple[HashGridSpec, HashGridSpec]:
        sides = [base * ratio for ratio in _PLANE_RATIOS]
        over_time = [(side, n_frames - 1) for side in sides]
        return _dense_grid(n_features, [(side, side) for side in sides]), _dense_grid(n_features, over_time)

    def n_values(base: int) -> int:
        static, dynamic = planes(base)
        return (static.n_entries + 2 * dynamic.n_entries) * n_features

    return planes(next(base for base in itertools.count(1) if n_values(base + 1) > allowed))


def _dense_grid(n_features: int, resolutions: list[tuple[int, int]]) -> HashGridSpec:
    """Return a 2D grid in which every vertex has an entry of its own."""
    most = max((x + 1) * (y + 1) for x, y in resolutions)
    return HashGridSpec(n_features, (most - 1).bit_length(), tuple(resolutions))


def _hashed_spec(size: FieldSize, n_frames: int, *, has_shape_head: bool) -> FieldSpec:
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
