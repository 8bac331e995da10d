"""Dequantisation in numpy: one array operation for each rounding of bitstream_spec.md section 6."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from stgvcodec.ops.dequantize import (
    COLORS_YCOCG,
    LOG_L1,
    LOG_L3,
    POINTS_GRID,
    SHAPES_AFFINE,
    SHEAR,
    ZERO_POINT,
    Modes,
    ParameterLayout,
    SymbolArrays,
    log_sizes,
)

_Parameters = NDArray[np.float32]


def dequantize(symbols: SymbolArrays, modes: Modes, layout: ParameterLayout, out: _Parameters) -> None:
    """Reference of `stgvcodec.ops.dequantize.dequantize`."""
    arrays = layout.arrays(out)
    arrays["means"][:] = _means(symbols, modes)
    arrays["cholesky"][:] = _cholesky(symbols, modes)
    arrays["colors"][:] = _colors(symbols, modes)
    _scale_levels(symbols.static_table, symbols.static_scales, layout.static_ends, arrays["static_table"])
    _scale_levels(symbols.dynamic_table, symbols.dynamic_scales, layout.dynamic_ends, arrays["dynamic_table"])
    names = list(arrays)[-len(symbols.mlp) :]
    for name, tensor, scale in zip(names, symbols.mlp, symbols.mlp_scales, strict=True):
        arrays[name][...] = tensor.astype(np.float32) * scale


def _means(symbols: SymbolArrays, modes: Modes) -> _Parameters:
    if modes.points == POINTS_GRID:
        return symbols.points.astype(np.float32) * symbols.point_scale + symbols.point_offset
    order = symbols.points.astype(np.int32)  # [N, 2]
    patterns = np.where(order >= 0x8000, order - 0x8000, 0xFFFF - order).astype(np.uint16)
    return patterns.view(np.float16).astype(np.float32)


def _cholesky(symbols: SymbolArrays, modes: Modes) -> _Parameters:
    if modes.shapes == SHAPES_AFFINE:
        return symbols.shapes.astype(np.float32) * symbols.shape_scale + symbols.shape_offset
    scale = symbols.shape_scale
    raw_1 = log_sizes(scale[LOG_L1])[symbols.shapes[:, LOG_L1]]
    raw_3 = log_sizes(scale[LOG_L3])[symbols.shapes[:, LOG_L3]]
    slope = (symbols.shapes[:, SHEAR].astype(np.float32) - np.float32(ZERO_POINT)) * scale[SHEAR]
    return np.stack((raw_1, slope * (np.float32(0.5) + raw_3), raw_3), axis=1)


def _colors(symbols: SymbolArrays, modes: Modes) -> _Parameters:
    if modes.colors == COLORS_YCOCG:
        y, co, cg = ((symbols.colors.astype(np.float32) - np.float32(ZERO_POINT)) * symbols.color_scale).T
        rest = y - cg
        return np.stack((rest + co, y + cg, rest - co), axis=1)
    colors = np.zeros((len(symbols.colors), 3), np.float32)
    for stage, codebook in enumerate(symbols.codebooks.view(np.float16).astype(np.float32)):
        colors += codebook[symbols.colors[:, stage]]
    return colors


def _scale_levels(table: NDArray[np.int8], scales: _Parameters, ends: NDArray[np.int64], out: _Parameters) -> None:
    flat, numbers = table.reshape(-1), out.reshape(-1)
    for (start, end), scale in zip(pairwise([0, *ends.tolist()]), scales, strict=True):
        numbers[start:end] = flat[start:end].astype(np.float32) * scale
