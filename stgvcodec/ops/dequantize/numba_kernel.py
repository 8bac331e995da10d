"""Dequantisation in numba: two compiled passes, one over the Gaussians and one over the field. README.md says why."""

# Numbers here have a width, of which annotations say nothing, and numba's stubs do not know all options and arguments.
# mypy: disable-error-code="assignment,no-any-return,call-overload,call-arg,arg-type"

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stgvcodec.ops.compiled import njit
from stgvcodec.ops.dequantize import (
    COLORS_YCOCG,
    LOG_L1,
    LOG_L3,
    MAX_LOG_SIZE_PX,
    POINTS_GRID,
    SHAPES_AFFINE,
    SHEAR,
    ZERO_POINT,
    Modes,
    ParameterLayout,
    SymbolArrays,
)

# fastmath stays off: a product and the sum after it are two roundings.
_kernel = njit(nogil=True, cache=True, error_model="numpy")
_helper = njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)

_N_SYMBOLS = 256
_HALF = np.float32(0.5)
_HALF_FRACTION = 0x3FF
_HALF_HIDDEN_BIT = 0x400
# The unit of a binary16 number's last bit, with the sign of the number, by the upper six bits of the pattern.
# Subnormals have the unit of exponent 1.
_HALF_UNITS = np.array([sign * 2.0 ** (max(e, 1) - 25) for sign in (1, -1) for e in range(32)], np.float32)


def dequantize(symbols: SymbolArrays, modes: Modes, layout: ParameterLayout, out: NDArray[np.float32]) -> None:
    """Numba implementation of `stgvcodec.ops.dequantize.dequantize`."""
    n = len(symbols.points)
    _write_gaussians(
        modes.points,
        symbols.points,
        symbols.point_scale,
        symbols.point_offset,
        modes.shapes,
        symbols.shapes,
        symbols.shape_scale,
        symbols.shape_offset,
        modes.colors,
        symbols.colors,
        symbols.color_scale,
        symbols.codebooks,
        _part(layout, "means", out, n),
        _part(layout, "cholesky", out, n),
        _part(layout, "colors", out, n),
    )
    _write_field(
        symbols.static_table.reshape(-1),
        symbols.static_scales,
        layout.static_ends,
        symbols.dynamic_table.reshape(-1),
        symbols.dynamic_scales,
        layout.dynamic_ends,
        *(tensor.reshape(-1) for tensor in symbols.mlp),
        symbols.mlp_scales,
        layout.starts,
        out,
    )


def _part(layout: ParameterLayout, name: str, out: NDArray[np.float32], n: int) -> NDArray[np.float32]:
    first, width = layout.firsts[name], layout.shapes[name][1]
    return out[first : first + n * width].reshape(n, width)


@_kernel
def _write_gaussians(
    point_mode: int,
    points: NDArray[np.uint16],
    point_scale: NDArray[np.float32],
    point_offset: NDArray[np.float32],
    shape_mode: int,
    shapes: NDArray[np.uint8],
    shape_scale: NDArray[np.float32],
    shape_offset: NDArray[np.float32],
    color_mode: int,
    colors: NDArray[np.uint8],
    color_scale: NDArray[np.float32],
    codebooks: NDArray[np.uint16],
    out_means: NDArray[np.float32],
    out_cholesky: NDArray[np.float32],
    out_colors: NDArray[np.float32],
) -> None:
    n = len(points)
    if point_mode == POINTS_GRID:
        for axis in range(2):
            scale, offset = point_scale[axis], point_offset[axis]
            for i in range(n):
                out_means[i, axis] = np.float32(points[i, axis]) * scale + offset
    else:
        for i in range(n):
            for axis in range(2):
                order = np.int32(points[i, axis])
                pattern = order - np.int32(0x8000) if order >= 0x8000 else np.int32(0xFFFF) - order
                out_means[i, axis] = _half(pattern)

    if shape_mode == SHAPES_AFFINE:
        for component in range(3):
            scale, offset = shape_scale[component], shape_offset[component]
            for i in range(n):
                out_cholesky[i, component] = np.float32(shapes[i, component]) * scale + offset
    else:
        sizes_1 = _log_sizes(shape_scale[LOG_L1])
        sizes_3 = _log_sizes(shape_scale[LOG_L3])
        for i in range(n):
            raw_3 = sizes_3[shapes[i, LOG_L3]]
            slope = np.float32(np.int32(shapes[i, SHEAR]) - ZERO_POINT) * shape_scale[SHEAR]
            out_cholesky[i, 0] = sizes_1[shapes[i, LOG_L1]]
            out_cholesky[i, 1] = slope * (_HALF + raw_3)
            out_cholesky[i, 2] = raw_3

    if color_mode == COLORS_YCOCG:
        for i in range(n):
            y = np.float32(np.int32(colors[i, 0]) - ZERO_POINT) * color_scale[0]
            co = np.float32(np.int32(colors[i, 1]) - ZERO_POINT) * color_scale[1]
            cg = np.float32(np.int32(colors[i, 2]) - ZERO_POINT) * color_scale[2]
            rest = y - cg
            out_colors[i, 0] = rest + co
            out_colors[i, 1] = y + cg
            out_colors[i, 2] = rest - co
    else:
        n_stages, n_codewords = codebooks.shape[0], codebooks.shape[1]
        codewords = np.empty((n_stages, n_codewords, 3), np.float32)
        for stage in range(n_stages):
            for k in range(n_codewords):
                for channel in range(3):
                    codewords[stage, k, channel] = _half(np.int32(codebooks[stage, k, channel]))
        for i in range(n):
            red = np.float32(0.0)
            green = np.float32(0.0)
            blue = np.float32(0.0)
            for stage in range(n_stages):
                k = colors[i, stage]
                red += codewords[stage, k, 0]
                green += codewords[stage, k, 1]
                blue += codewords[stage, k, 2]
            out_colors[i, 0] = red
            out_colors[i, 1] = green
            out_colors[i, 2] = blue


@_kernel
def _write_field(
    static_table: NDArray[np.int8],
    static_scales: NDArray[np.float32],
    static_ends: NDArray[np.int64],
    dynamic_table: NDArray[np.int8],
    dynamic_scales: NDArray[np.float32],
    dynamic_ends: NDArray[np.int64],
    w1: NDArray[np.int8],
    b1: NDArray[np.int8],
    w2: NDArray[np.int8],
    b2: NDArray[np.int8],
    w_means: NDArray[np.int8],
    b_means: NDArray[np.int8],
    w_colors: NDArray[np.int8],
    b_colors: NDArray[np.int8],
    w_shapes: NDArray[np.int8],
    b_shapes: NDArray[np.int8],
    mlp_scales: NDArray[np.float32],
    starts: NDArray[np.int64],
    out: NDArray[np.float32],
) -> None:
    _write_levels(static_table, static_scales, static_ends, out[starts[3] :])
    _write_levels(dynamic_table, dynamic_scales, dynamic_ends, out[starts[4] :])
    _write_scaled(w1, mlp_scales[0], out[starts[5] :])
    _write_scaled(b1, mlp_scales[1], out[starts[6] :])
    _write_scaled(w2, mlp_scales[2], out[starts[7] :])
    _write_scaled(b2, mlp_scales[3], out[starts[8] :])
    _write_scaled(w_means, mlp_scales[4], out[starts[9] :])
    _write_scaled(b_means, mlp_scales[5], out[starts[10] :])
    _write_scaled(w_colors, mlp_scales[6], out[starts[11] :])
    _write_scaled(b_colors, mlp_scales[7], out[starts[12] :])
    if len(w_shapes):
        _write_scaled(w_shapes, mlp_scales[8], out[starts[13] :])
        _write_scaled(b_shapes, mlp_scales[9], out[starts[14] :])


@_helper
def _write_levels(
    table: NDArray[np.int8], scales: NDArray[np.float32], ends: NDArray[np.int64], out: NDArray[np.float32]
) -> None:
    first = 0
    for level in range(len(ends)):
        _write_scaled(table[first : ends[level]], scales[level], out[first:])
        first = ends[level]


@_helper
def _write_scaled(symbols: NDArray[np.int8], scale: np.float32, out: NDArray[np.float32]) -> None:
    for i in range(len(symbols)):
        out[i] = np.float32(symbols[i]) * scale


@_helper
def _half(pattern: np.int32) -> np.float32:
    """The value of a finite binary16 pattern. No step depends on how this thread treats subnormal binary32 numbers."""
    fraction = pattern & _HALF_FRACTION
    if pattern & 0x7C00:
        fraction |= _HALF_HIDDEN_BIT
    return np.float32(fraction) * _HALF_UNITS[pattern >> 10]


@_helper
def _log_sizes(scale: np.float32) -> NDArray[np.float32]:
    """Numba implementation of `stgvcodec.ops.dequantize.log_sizes`."""
    sizes = np.empty(_N_SYMBOLS, np.float32)
    ratio = 1.0 + np.float64(scale)
    size = 0.5
    for code in range(_N_SYMBOLS):
        sizes[code] = np.float32(size - 0.5)
        size = min(size * ratio, MAX_LOG_SIZE_PX)
    return sizes
