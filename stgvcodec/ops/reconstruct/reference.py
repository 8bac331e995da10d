"""Numbers of a set payload in numpy: one array operation for each rounding of bitstream_spec.md section 9."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from stgvcodec.ops.reconstruct import (
    COLORS_YCOCG,
    LOG_L1,
    LOG_L3,
    POINTS_GRID,
    SHAPES_AFFINE,
    SHEAR,
    ZERO_POINT,
    NumbersLayout,
    SetCodes,
    log_sizes,
)

_Numbers = NDArray[np.float32]


def reconstruct(codes: SetCodes, layout: NumbersLayout, out: _Numbers) -> None:
    """See `stgvcodec.ops.reconstruct.reconstruct`."""
    arrays = layout.arrays(out)
    arrays["means"][:] = _means(codes)
    arrays["cholesky"][:] = _cholesky(codes)
    arrays["colors"][:] = _colors(codes)
    _scale_levels(codes.static_table, codes.static_scales, layout.static_ends, arrays["static_table"])
    _scale_levels(codes.dynamic_table, codes.dynamic_scales, layout.dynamic_ends, arrays["dynamic_table"])
    names = list(arrays)[-len(codes.mlp) :]
    for name, tensor, scale in zip(names, codes.mlp, codes.mlp_scales, strict=True):
        arrays[name][...] = tensor.astype(np.float32) * scale


def _means(codes: SetCodes) -> _Numbers:
    if codes.point_mode == POINTS_GRID:
        return codes.points.astype(np.float32) * codes.point_scale + codes.point_offset
    order = codes.points.astype(np.int32)  # [N, 2]
    patterns = np.where(order >= 0x8000, order - 0x8000, 0xFFFF - order).astype(np.uint16)
    return patterns.view(np.float16).astype(np.float32)


def _cholesky(codes: SetCodes) -> _Numbers:
    if codes.shape_mode == SHAPES_AFFINE:
        return codes.shapes.astype(np.float32) * codes.shape_scale + codes.shape_offset
    scale = codes.shape_scale
    raw_1 = log_sizes(scale[LOG_L1])[codes.shapes[:, LOG_L1]]
    raw_3 = log_sizes(scale[LOG_L3])[codes.shapes[:, LOG_L3]]
    slope = (codes.shapes[:, SHEAR].astype(np.float32) - np.float32(ZERO_POINT)) * scale[SHEAR]
    return np.stack((raw_1, slope * (np.float32(0.5) + raw_3), raw_3), axis=1)


def _colors(codes: SetCodes) -> _Numbers:
    if codes.color_mode == COLORS_YCOCG:
        y, co, cg = ((codes.colors.astype(np.float32) - np.float32(ZERO_POINT)) * codes.color_scale).T
        rest = y - cg
        return np.stack((rest + co, y + cg, rest - co), axis=1)
    colors = np.zeros((len(codes.colors), 3), np.float32)
    for stage, codebook in enumerate(codes.codebooks.view(np.float16).astype(np.float32)):
        colors += codebook[codes.colors[:, stage]]
    return colors


def _scale_levels(table: NDArray[np.int8], scales: _Numbers, ends: NDArray[np.int64], out: _Numbers) -> None:
    flat, numbers = table.reshape(-1), out.reshape(-1)
    for (start, end), scale in zip(pairwise([0, *ends.tolist()]), scales, strict=True):
        numbers[start:end] = flat[start:end].astype(np.float32) * scale
