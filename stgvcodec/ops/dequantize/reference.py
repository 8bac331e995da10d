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
    if modes.points == POINTS_GRID:
        arrays["means"][:] = affine(symbols.points, symbols.point_scale, symbols.point_offset)
    else:
        arrays["means"][:] = half_floats(symbols.points)
    if modes.shapes == SHAPES_AFFINE:
        arrays["cholesky"][:] = affine(symbols.shapes, symbols.shape_scale, symbols.shape_offset)
    else:
        arrays["cholesky"][:] = log_shear(symbols.shapes, symbols.shape_scale)
    if modes.colors == COLORS_YCOCG:
        arrays["colors"][:] = ycocg(symbols.colors, symbols.color_scale)
    else:
        arrays["colors"][:] = residual_vq(symbols.colors, symbols.codebooks)
    arrays["static_table"][...] = symmetric(symbols.static_table, symbols.static_scales, layout.static_ends)
    arrays["dynamic_table"][...] = symmetric(symbols.dynamic_table, symbols.dynamic_scales, layout.dynamic_ends)
    tensors = zip(list(arrays)[-len(symbols.mlp) :], symbols.mlp, strict=True)
    present = [(name, tensor) for name, tensor in tensors if tensor.size]
    for (name, tensor), scale in zip(present, symbols.mlp_scales, strict=True):
        arrays[name][...] = tensor.astype(np.float32) * scale


def affine(symbols: NDArray[np.unsignedinteger], scale: _Parameters, offset: _Parameters) -> _Parameters:
    """Dequantise cells of the means or affine shapes: float32(k) * scale + offset.

    Args:
        symbols: Symbols. [N, C], uint16 cells or uint8.
        scale: Step of each component. [C] float32.
        offset: Value of symbol 0 of each component. [C] float32.

    Returns:
        Values. [N, C] float32.
    """
    return symbols.astype(np.float32) * scale + offset


def half_floats(order: NDArray[np.uint16]) -> _Parameters:
    """Dequantise half floats from their bit patterns in the order of their values. Any shape, uint16 -> float32."""
    order = order.astype(np.int32)
    patterns = np.where(order >= 0x8000, order - 0x8000, 0xFFFF - order).astype(np.uint16)
    return patterns.view(np.float16).astype(np.float32)


def log_shear(symbols: NDArray[np.uint8], scale: _Parameters) -> _Parameters:
    """Dequantise two log scales and a shear to raw Cholesky factors (l1, l2, l3), pixels.

    Args:
        symbols: Symbols (a, b, s). [N, 3] uint8.
        scale: Relative steps of l1 and l3, and step of the shear. [3] float32.

    Returns:
        Factors before their lower bound. [N, 3] float32.
    """
    raw_1 = log_sizes(scale[LOG_L1])[symbols[:, LOG_L1]]
    raw_3 = log_sizes(scale[LOG_L3])[symbols[:, LOG_L3]]
    slope = (symbols[:, SHEAR].astype(np.float32) - np.float32(ZERO_POINT)) * scale[SHEAR]
    return np.stack((raw_1, slope * (np.float32(0.5) + raw_3), raw_3), axis=1)


def ycocg(symbols: NDArray[np.uint8], scale: _Parameters) -> _Parameters:
    """Dequantise Y, Co and Cg to weighted RGB.

    Args:
        symbols: Symbols. [N, 3] uint8.
        scale: Step of each component. [3] float32.

    Returns:
        Weighted RGB. [N, 3] float32.
    """
    y, co, cg = ((symbols.astype(np.float32) - np.float32(ZERO_POINT)) * scale).T
    rest = y - cg
    return np.stack((rest + co, y + cg, rest - co), axis=1)


def residual_vq(indices: NDArray[np.uint8], codebooks: NDArray[np.uint16]) -> _Parameters:
    """Dequantise codeword indices: zero, plus the codeword of each stage in order.

    Args:
        indices: Codeword index per stage. [N, M] uint8.
        codebooks: Codewords as half bit patterns. [M, K, 3] uint16.

    Returns:
        Weighted RGB. [N, 3] float32.
    """
    colors = np.zeros((len(indices), 3), np.float32)
    for stage, codebook in enumerate(codebooks.view(np.float16).astype(np.float32)):
        colors += codebook[indices[:, stage]]
    return colors


def symmetric(symbols: NDArray[np.int8], scales: _Parameters, ends: NDArray[np.int64]) -> _Parameters:
    """Dequantise signed symbols in groups, the levels of a hash table: float32(q) * the scale of the group.

    Args:
        symbols: Symbols. Any shape, int8.
        scales: Step of each group. [G] float32.
        ends: Index past each group's last symbol, in the flattened order. [G] int64.

    Returns:
        Values. Shape of the symbols, float32.
    """
    values = symbols.astype(np.float32)
    flat = values.reshape(-1)
    for (start, end), scale in zip(pairwise([0, *ends.tolist()]), scales, strict=True):
        flat[start:end] *= scale
    return values
