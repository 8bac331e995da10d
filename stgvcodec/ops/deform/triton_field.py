"""Constants of a field that follow from its sizes alone: padded sizes, level tables and places of the gradients."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import triton
from torch import Tensor

from stgvcodec.ops.deform.triton_device import N_OUTPUTS, OUTPUTS
from stgvcodec.ops.field_mlp import FieldWeights
from stgvcodec.ops.hash_encode import HASH_PRIMES, HashGridSpec
from stgvcodec.ops.hash_encode.triton_kernel import level_table

# Largest width and largest padded number of inputs of a network that one program can hold on the chip.
MAX_WIDTH = 128
MAX_INPUTS = 128
_OUTPUTS = int(OUTPUTS.value)
_N_OUTPUTS = int(N_OUTPUTS.value)
# Columns of the heads at which colours and shapes begin.
_COLORS, _SHAPES = 2, 5


def fits(weights: FieldWeights, static_grid: HashGridSpec, dynamic_grid: HashGridSpec, n_time: int) -> bool:
    """Return whether the fused kernels take a field of this size."""
    return weights.w1.shape[0] <= MAX_WIDTH and _padded_inputs(static_grid, dynamic_grid, n_time) <= MAX_INPUTS


@dataclass(frozen=True)
class Field:
    """Constants of a field, on a device.

    Attributes:
        constants: Compile-time sizes of both grids, for `forward` and `backward_encodings`.
        encoded: Length of (f_s, f_d).
        k_pad, w_pad: Padded lengths of the network's inputs (a one, for the bias, among them) and of its hidden layers.
        width, n_time: Lengths of the hidden layers and of gamma.
        n_shapes: Number of outputs of the head for shapes, 3 or 0.
        n_rows: Number of rows of a plane.
        packed: Number of elements of the packed weights.
        partial: Number of elements of a program's share of the weights' gradients.
        weight_shapes: Shapes of the network's tensors, in the order of `FieldWeights`.
        static_levels, plane_levels, dynamic_levels: Level tables of the three grids (`hash_encode.triton_kernel`).
        row_bases, row_levels: Row of the 3D table before time is added, and level, of each row of a plane.
            [n_rows] int32.
        partial_places: Place of each weight's gradient in a share, in the order of the weights. [n_weights] int32.
    """

    constants: dict[str, int]
    encoded: int
    k_pad: int
    w_pad: int
    width: int
    n_time: int
    n_shapes: int
    n_rows: int
    packed: int
    partial: int
    weight_shapes: tuple[tuple[int, ...], ...]
    static_levels: Tensor
    plane_levels: Tensor
    dynamic_levels: Tensor
    row_bases: Tensor
    row_levels: Tensor
    partial_places: Tensor


@lru_cache(maxsize=16)
def field_of(
    static_grid: HashGridSpec, dynamic_grid: HashGridSpec, width: int, n_time: int, n_shapes: int, device: torch.device
) -> Field:
    """Return the constants of a field. They are cached, since they lie on the device and never change."""
    s_levels, d_levels = (triton.next_power_of_2(grid.n_levels) for grid in (static_grid, dynamic_grid))
    encoded = static_grid.n_features + dynamic_grid.n_features
    k_pad = _padded_inputs(static_grid, dynamic_grid, n_time)
    w_pad = max(16, triton.next_power_of_2(width))
    plane_grid = HashGridSpec(
        dynamic_grid.n_features_per_level,
        dynamic_grid.log2_hashmap_size,
        tuple((x, y) for x, y, _ in dynamic_grid.resolutions),
    )
    # These tensors are cached across calls and must not be inference tensors, which a later backward could not use.
    with torch.inference_mode(False):
        bases, levels, places = (
            torch.from_numpy(array).to(device)
            for array in (
                *_plane_rows(plane_grid, dynamic_grid),
                _partial_places(width, encoded + n_time, w_pad, k_pad, n_shapes),
            )
        )
    return Field(
        constants={
            "S_LEVELS": static_grid.n_levels,
            "S_FEATURES": static_grid.n_features_per_level,
            "S_LEVELS_PAD": s_levels,
            "S_FEATURES_PAD": triton.next_power_of_2(static_grid.n_features_per_level),
            "D_LEVELS": dynamic_grid.n_levels,
            "D_FEATURES": dynamic_grid.n_features_per_level,
            "D_LEVELS_PAD": d_levels,
            "D_FEATURES_PAD": triton.next_power_of_2(dynamic_grid.n_features_per_level),
        },
        encoded=encoded,
        k_pad=k_pad,
        w_pad=w_pad,
        width=width,
        n_time=n_time,
        n_shapes=n_shapes,
        n_rows=plane_grid.n_entries,
        packed=w_pad * (k_pad + w_pad + _OUTPUTS),
        partial=w_pad * (k_pad + w_pad + 2 * _OUTPUTS) + _OUTPUTS,
        weight_shapes=(
            (width, encoded + n_time),
            (width,),
            (width, width),
            (width,),
            (2, width),
            (2,),
            (3, width),
            (3,),
            (n_shapes, width),
            (n_shapes,),
        ),
        static_levels=level_table(static_grid, s_levels, device),
        plane_levels=level_table(plane_grid, d_levels, device),
        dynamic_levels=level_table(dynamic_grid, d_levels, device),
        row_bases=bases,
        row_levels=levels,
        partial_places=places,
    )


def _padded_inputs(static_grid: HashGridSpec, dynamic_grid: HashGridSpec, n_time: int) -> int:
    """Return the number of the network's inputs and a one for its bias, padded to what the matrix units take."""
    n_inputs: int = triton.next_power_of_2(static_grid.n_features + dynamic_grid.n_features + n_time + 1)
    return max(16, n_inputs)


def _plane_rows(plane_grid: HashGridSpec, dynamic_grid: HashGridSpec) -> tuple[np.ndarray, np.ndarray]:
    """Return each plane row's row in its level of the 3D table, before time is added, and its level. [n_rows] int32."""
    bases, levels = [], []
    for level, (x_cells, _) in enumerate(plane_grid.resolutions):
        row = np.arange(plane_grid.level_entries[level], dtype=np.int64)
        if plane_grid.level_is_dense[level] and not dynamic_grid.level_is_dense[level]:
            x, y = row % (x_cells + 1), row // (x_cells + 1)
            row = (x ^ (y * HASH_PRIMES[1])) & (2**dynamic_grid.log2_hashmap_size - 1)
        bases.append(row)
        levels.append(np.full(len(row), level))
    return np.concatenate(bases).astype(np.int32), np.concatenate(levels).astype(np.int32)


def _partial_places(width: int, n_inputs: int, w_pad: int, k_pad: int, n_shapes: int) -> np.ndarray:
    """Return where `backward_network` writes each weight's gradient, ordered as `FieldWeights`. [n_weights] int32."""
    shapes = [(w_pad, n) for n in (k_pad, w_pad, _OUTPUTS, _OUTPUTS)]
    starts = list(itertools.accumulate((rows * columns for rows, columns in shapes), initial=0))
    w1, w2, b2, heads = (
        start + np.arange(rows * columns).reshape(rows, columns)[:width]
        for start, (rows, columns) in zip(starts[:-1], shapes, strict=True)
    )
    head_biases = starts[-1] + np.arange(_N_OUTPUTS)
    parts = (
        w1[:, :n_inputs],
        w1[:, n_inputs],
        w2[:, :width],
        b2[:, _N_OUTPUTS],
        heads[:, :_COLORS].T,
        head_biases[:_COLORS],
        heads[:, _COLORS:_SHAPES].T,
        head_biases[_COLORS:_SHAPES],
        heads[:, _SHAPES : _SHAPES + n_shapes].T,
        head_biases[_SHAPES : _SHAPES + n_shapes],
    )
    return np.concatenate([part.reshape(-1) for part in parts]).astype(np.int32)
