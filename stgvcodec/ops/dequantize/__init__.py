"""The dequantisation of a GoP's symbols to its parameters, on the host: bitstream_spec.md section 6.

It needs no torch: arrays go in, and one block of float32 comes out, which a GPU takes in one copy. README.md says how
fast it can be.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stgvcodec.errors import BackendUnavailableError

POINTS_HALF, POINTS_GRID = 0, 1
SHAPES_AFFINE, SHAPES_LOG = 0, 1
COLORS_CODEBOOKS, COLORS_YCOCG = 0, 1

LOG_L1, LOG_L3, SHEAR = 0, 1, 2
"""Indices of the three shape symbols, and of their steps, in `SHAPES_LOG`."""

ALIGNMENT_BYTES = 64
"""Every array of a block begins at a multiple of this many bytes, which suits a cache line and any vector load."""

ZERO_POINT = 128
"""Symbol that stands for 0 in shears and in Y, Co, Cg."""

MAX_LOG_SIZE_PX = 2.0**20
"""Upper end of the log scale of shapes, pixels."""

_GAUSSIANS = ("means", "cholesky", "colors")
_TABLES = ("static_table", "dynamic_table")
_MLP = ("w1", "b1", "w2", "b2", "w_means", "b_means", "w_colors", "b_colors", "w_shapes", "b_shapes")
_N_MODES = 2


class Modes(NamedTuple):
    """The rules that turn the symbols of the Gaussians into parameters.

    Attributes:
        points: `POINTS_HALF` or `POINTS_GRID`.
        shapes: `SHAPES_AFFINE` or `SHAPES_LOG`.
        colors: `COLORS_CODEBOOKS` or `COLORS_YCOCG`.
    """

    points: int
    shapes: int
    colors: int


@dataclass(frozen=True, eq=False, kw_only=True)
class SymbolArrays:
    """The symbols and scales of a GoP. Arrays that a mode has no use for may have any shape.

    Attributes:
        points: Means (x, y). [N, 2] uint16. `POINTS_HALF`: binary16 patterns p as ordered integers, 0xFFFF - p where
            p >= 0x8000, else p + 0x8000; finite. `POINTS_GRID`: steps of the grid.
        shapes: Shape symbols. [N, 3] uint8. `SHAPES_AFFINE`: Cholesky symbols of (l1, l2, l3). `SHAPES_LOG`: log scales
            of l1 and of l3, then the shear, 128 being none.
        colors: Colour symbols. `COLORS_CODEBOOKS`: codeword of each stage, below K. [N, M] uint8. `COLORS_YCOCG`: Y,
            Co, Cg, 128 being 0. [N, 3] uint8.
        codebooks: Codewords as IEEE binary16 bit patterns; finite. [M, K, 3] uint16.
        static_table: Symbols of the 2D tables, level after level. [E, F] int8.
        dynamic_table: Symbols of the 3D tables, level after level. [E, F] int8.
        mlp: Symbols of the ten tensors of `FieldWeights`, of which the last two may be empty. int8.
        point_scale: Step of the grid along x and y. [2] float32.
        point_offset: The origin of the grid. [2] float32.
        shape_scale: Step of each of the three shape symbols; those of log scales are in [2^-10, 0.5]. [3] float32.
        shape_offset: Value of Cholesky symbol 0. [3] float32.
        color_scale: Steps of (Y, Co, Cg). [3] float32.
        static_scales: Step of each 2D level. [L] float32.
        dynamic_scales: Step of each 3D level. [L] float32.
        mlp_scales: Step of each tensor of the MLP that is not empty. [8] or [10] float32.
    """

    points: NDArray[np.uint16]
    shapes: NDArray[np.uint8]
    colors: NDArray[np.uint8]
    codebooks: NDArray[np.uint16]
    static_table: NDArray[np.int8]
    dynamic_table: NDArray[np.int8]
    mlp: tuple[NDArray[np.int8], ...]
    point_scale: NDArray[np.float32]
    point_offset: NDArray[np.float32]
    shape_scale: NDArray[np.float32]
    shape_offset: NDArray[np.float32]
    color_scale: NDArray[np.float32]
    static_scales: NDArray[np.float32]
    dynamic_scales: NDArray[np.float32]
    mlp_scales: NDArray[np.float32]


class ParameterLayout(NamedTuple):
    """The layout of a GoP's parameters in a block of float32. `parameter_layout` makes it.

    Attributes:
        shapes: Shape of each array, by name: means [N, 2], cholesky [N, 3] in pixels before the lower bound, colors
            [N, 3], static_table, dynamic_table, and the ten tensors of `FieldWeights`.
        firsts: Index of the first float of each array, by name.
        starts: Index of the first float of each array, in the order of the names. [15] int64, read-only.
        static_ends: Index one past the last float of each 2D level in the 2D table. [L] int64, read-only.
        dynamic_ends: Index one past the last float of each 3D level in the 3D table. [L] int64, read-only.
        n_floats: Size of the block, floats.
    """

    shapes: Mapping[str, tuple[int, ...]]
    firsts: Mapping[str, int]
    starts: NDArray[np.int64]
    static_ends: NDArray[np.int64]
    dynamic_ends: NDArray[np.int64]
    n_floats: int

    def arrays(self, block: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Return the arrays by name, as views of a block."""
        return {
            name: block[first : first + math.prod(self.shapes[name])].reshape(self.shapes[name])
            for name, first in self.firsts.items()
        }


@lru_cache(maxsize=16)
def parameter_layout(
    n_gaussians: int,
    static_entries: tuple[int, ...],
    static_features: int,
    dynamic_entries: tuple[int, ...],
    dynamic_features: int,
    mlp_shapes: tuple[tuple[int, ...], ...],
) -> ParameterLayout:
    """Return the layout of GoPs of one size. It is cached, since the GoPs of a file mostly share it.

    Args:
        n_gaussians: N.
        static_entries: Entries of each 2D level.
        static_features: Features of an entry of the 2D tables.
        dynamic_entries: Entries of each 3D level.
        dynamic_features: Features of an entry of the 3D tables.
        mlp_shapes: Shapes of the ten tensors of `FieldWeights`.
    """
    widths = (2, 3, 3)
    shapes: dict[str, tuple[int, ...]] = {
        **{name: (n_gaussians, width) for name, width in zip(_GAUSSIANS, widths, strict=True)},
        "static_table": (sum(static_entries), static_features),
        "dynamic_table": (sum(dynamic_entries), dynamic_features),
        **dict(zip(_MLP, mlp_shapes, strict=True)),
    }
    step = ALIGNMENT_BYTES // 4
    firsts: dict[str, int] = {}
    n_floats = 0
    for name, shape in shapes.items():
        firsts[name] = n_floats
        n_floats += -(-math.prod(shape) // step) * step
    return ParameterLayout(
        MappingProxyType(shapes),
        MappingProxyType(firsts),
        _fixed(list(firsts.values())),
        _fixed(np.cumsum(static_entries) * static_features),
        _fixed(np.cumsum(dynamic_entries) * dynamic_features),
        n_floats,
    )


def dequantize(
    symbols: SymbolArrays, modes: Modes, layout: ParameterLayout, out: NDArray[np.float32], *, backend: str = "auto"
) -> None:
    """Write the parameters of a GoP, bit for bit those of bitstream_spec.md section 6.

    Args:
        symbols: Symbols and scales as transmitted. Symbols of codewords are trusted to be below K, binary16 patterns to
            be finite.
        modes: Rules for points, shapes and colours.
        layout: Layout of the GoP's parameters in `out`.
        out: Block to fill; what lies between the arrays is left as it is. [n_floats] float32 or longer, contiguous.
        backend: "auto", "numba" or "reference"; there is no other.

    Raises:
        ValueError: a shape, a dtype or a mode differs from `SymbolArrays`, `Modes` and the layout.
        BackendUnavailableError: there is no such back end.
    Gradients: none. Deterministic: yes, the same bits with both back ends. numba releases the GIL and uses one thread.
    """
    _check(symbols, modes, layout, out)
    name = "numba" if backend == "auto" else backend
    if name not in _IMPLEMENTATIONS:
        raise BackendUnavailableError(f"backend '{backend}' does not dequantize; choose one of auto, numba, reference")
    _IMPLEMENTATIONS[name](symbols, modes, layout, out)


def log_sizes(scale: float) -> NDArray[np.float32]:
    """Diagonal entries that log scale symbols stand for, before 0.5 px are added: T of bitstream_spec.md section 6.2.

    Args:
        scale: Step of the log scale, a float32: with the 0.5 px, each entry is 1 + scale times the one before.

    Returns:
        Entry of each symbol, pixels; symbol 0 has 0. [256] float32.
    """
    sizes = np.empty(256, np.float32)
    ratio, size = 1.0 + float(scale), 0.5
    for code in range(256):
        sizes[code] = size - 0.5
        size = min(size * ratio, MAX_LOG_SIZE_PX)
    return sizes


def _numba(symbols: SymbolArrays, modes: Modes, layout: ParameterLayout, out: NDArray[np.float32]) -> None:
    from stgvcodec.ops.dequantize import numba_kernel

    numba_kernel.dequantize(symbols, modes, layout, out)


def _reference(symbols: SymbolArrays, modes: Modes, layout: ParameterLayout, out: NDArray[np.float32]) -> None:
    from stgvcodec.ops.dequantize import reference

    reference.dequantize(symbols, modes, layout, out)


# numba is imported at its first use; it alone costs half a second.
_IMPLEMENTATIONS: dict[str, Callable[[SymbolArrays, Modes, ParameterLayout, NDArray[np.float32]], None]] = {
    "numba": _numba,
    "reference": _reference,
}


def _fixed(numbers: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    array = np.array(numbers, np.int64)
    array.flags.writeable = False
    return array


def _check(symbols: SymbolArrays, modes: Modes, layout: ParameterLayout, out: NDArray[np.float32]) -> None:
    n = layout.shapes["means"][0]
    for name, mode in modes._asdict().items():
        if not 0 <= mode < _N_MODES:
            raise ValueError(f"the mode of {name} is {mode}, expected 0 or 1")
    _check_array("points", symbols.points, np.uint16, (n, 2))
    if modes.points == POINTS_GRID:
        _check_array("point_scale", symbols.point_scale, np.float32, (2,))
        _check_array("point_offset", symbols.point_offset, np.float32, (2,))
    _check_array("shapes", symbols.shapes, np.uint8, (n, 3))
    _check_array("shape_scale", symbols.shape_scale, np.float32, (3,))
    if modes.shapes == SHAPES_AFFINE:
        _check_array("shape_offset", symbols.shape_offset, np.float32, (3,))
    if modes.colors == COLORS_YCOCG:
        _check_array("colors", symbols.colors, np.uint8, (n, 3))
        _check_array("color_scale", symbols.color_scale, np.float32, (3,))
    else:
        n_stages, n_codewords = symbols.codebooks.shape[:2] if symbols.codebooks.ndim == 3 else (0, 0)
        _check_array("colors", symbols.colors, np.uint8, (n, n_stages))
        _check_array("codebooks", symbols.codebooks, np.uint16, (n_stages, n_codewords, 3))
    _check_array("static_table", symbols.static_table, np.int8, layout.shapes["static_table"])
    _check_array("static_scales", symbols.static_scales, np.float32, layout.static_ends.shape)
    _check_array("dynamic_table", symbols.dynamic_table, np.int8, layout.shapes["dynamic_table"])
    _check_array("dynamic_scales", symbols.dynamic_scales, np.float32, layout.dynamic_ends.shape)
    for name, tensor in zip(_MLP, symbols.mlp, strict=True):
        _check_array(name, tensor, np.int8, layout.shapes[name])
    n_tensors = sum(tensor.size > 0 for tensor in symbols.mlp)
    _check_array("mlp_scales", symbols.mlp_scales, np.float32, (n_tensors,))
    if out.dtype != np.float32 or out.ndim != 1 or len(out) < layout.n_floats or not out.flags.c_contiguous:
        raise ValueError(
            f"out is {out.dtype} {list(out.shape)}, expected float32 [{layout.n_floats}] or longer, contiguous"
        )


def _check_array(name: str, array: NDArray[np.generic], dtype: type[np.generic], shape: tuple[int, ...]) -> None:
    if array.dtype != dtype or array.shape != shape:
        raise ValueError(
            f"{name} is {array.dtype} {list(array.shape)}, expected {np.dtype(dtype)} {list(shape)} by modes and layout"
        )
    if not array.flags.c_contiguous:
        raise ValueError(f"{name} is not contiguous, expected a contiguous array; call np.ascontiguousarray")
