"""From the symbols of a set payload to its numbers, on the host: bitstream_spec.md section 9. README.md has the floor.

No torch here: arrays in, one block of float32 out, which a GPU takes in one copy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
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
"""Which of the three shape codes, and of their steps, is which in `SHAPES_LOG`."""

ALIGNMENT_BYTES = 64
"""Every array of a block begins at a multiple of this many bytes: a cache line, and any vector load."""

ZERO_POINT = 128
"""Symbol of the number 0, of shears and of colours on a grid."""

MAX_LOG_SIZE_PX = 2.0**20
"""Where the log scale of shapes ends, pixels."""

_GAUSSIANS = ("means", "cholesky", "colors")
_TABLES = ("static_table", "dynamic_table")
_MLP = ("w1", "b1", "w2", "b2", "w_means", "b_means", "w_colors", "b_colors")
_MODES = 2


class SetCodes(NamedTuple):
    """Symbols, scales and modes of a set payload. Arrays that a mode has no use for may have any shape.

    Attributes:
        point_mode: `POINTS_HALF` or `POINTS_GRID`.
        shape_mode: `SHAPES_AFFINE` or `SHAPES_LOG`.
        color_mode: `COLORS_CODEBOOKS` or `COLORS_YCOCG`.
        points: Ordered binary16 patterns, finite, or places on the grid. [N, 2] uint16.
        point_scale: Step of the grid. [2] float32.
        point_offset: Its origin. [2] float32.
        shapes: Codes of (l1, l2, l3), or log scales of l1 and l3 and the shear. [N, 3] uint8.
        shape_scale: Step of each of the three. [3] float32.
        shape_offset: Affine mode: value of code 0. [3] float32.
        colors: Codeword of each stage, below K, or codes of (Y, Co, Cg). [N, M] or [N, 3] uint8.
        color_scale: Steps of (Y, Co, Cg). [3] float32.
        codebooks: binary16 patterns, finite. [M, K, 3] uint16.
        static_table: [E, F] int8.
        static_scales: Of each level. [L] float32.
        dynamic_table: [E, F] int8.
        dynamic_scales: Of each level. [L] float32.
        mlp: The eight tensors of `FieldWeights`. int8.
        mlp_scales: Of each. [8] float32.
    """

    point_mode: int
    shape_mode: int
    color_mode: int
    points: NDArray[np.uint16]
    point_scale: NDArray[np.float32]
    point_offset: NDArray[np.float32]
    shapes: NDArray[np.uint8]
    shape_scale: NDArray[np.float32]
    shape_offset: NDArray[np.float32]
    colors: NDArray[np.uint8]
    color_scale: NDArray[np.float32]
    codebooks: NDArray[np.uint16]
    static_table: NDArray[np.int8]
    static_scales: NDArray[np.float32]
    dynamic_table: NDArray[np.int8]
    dynamic_scales: NDArray[np.float32]
    mlp: tuple[NDArray[np.int8], ...]
    mlp_scales: NDArray[np.float32]


class NumbersLayout(NamedTuple):
    """Where a GoP's numbers lie in a block of float32. Make it with `numbers_layout`.

    Attributes:
        shapes: Of each array, by name: means [N, 2], cholesky [N, 3] in pixels before the lower bound, colors [N, 3],
            static_table, dynamic_table, and the eight tensors of `FieldWeights`.
        firsts: Where each begins, in floats.
        starts: The same, in that order. [13] int64, read-only.
        static_ends: Where each 2D level ends in its table, in floats. [L] int64, read-only.
        dynamic_ends: Likewise of the 3D levels.
        n_floats: Size of the block.
    """

    shapes: Mapping[str, tuple[int, ...]]
    firsts: Mapping[str, int]
    starts: NDArray[np.int64]
    static_ends: NDArray[np.int64]
    dynamic_ends: NDArray[np.int64]
    n_floats: int

    def arrays(self, block: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """The arrays by name, views of a block."""
        return {
            name: block[first : first + math.prod(self.shapes[name])].reshape(self.shapes[name])
            for name, first in self.firsts.items()
        }


@lru_cache(maxsize=16)
def numbers_layout(
    n_gaussians: int,
    static_entries: tuple[int, ...],
    static_features: int,
    dynamic_entries: tuple[int, ...],
    dynamic_features: int,
    mlp_shapes: tuple[tuple[int, ...], ...],
) -> NumbersLayout:
    """The layout of GoPs of one shape; kept, since a file's GoPs mostly share it.

    Args:
        n_gaussians: N.
        static_entries: Entries of each 2D level.
        static_features: Features of an entry.
        dynamic_entries: Entries of each 3D level.
        dynamic_features: Features of an entry.
        mlp_shapes: Of the eight tensors of `FieldWeights`.
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
    return NumbersLayout(
        MappingProxyType(shapes),
        MappingProxyType(firsts),
        _fixed(list(firsts.values())),
        _fixed(np.cumsum(static_entries) * static_features),
        _fixed(np.cumsum(dynamic_entries) * dynamic_features),
        n_floats,
    )


def reconstruct(codes: SetCodes, layout: NumbersLayout, out: NDArray[np.float32], *, backend: str = "auto") -> None:
    """Write the numbers of a set payload, bit for bit those of bitstream_spec.md section 9.

    Args:
        codes: What was transmitted. Indices are trusted to be below K, binary16 patterns to be finite.
        layout: Of the GoP.
        out: Where to; what lies between the arrays is left as it is. [n_floats] float32 or longer, contiguous.
        backend: "auto", "numba" or "reference"; there is no other.

    Raises:
        ValueError: a shape, a dtype or a mode differs from `SetCodes` and the layout.
        BackendUnavailableError: there is no such back end.
    Gradients: none. Deterministic: yes, the same bits with both. numba releases the GIL and uses one thread.
    """
    _check(codes, layout, out)
    name = "numba" if backend == "auto" else backend
    if name not in _IMPLEMENTATIONS:
        raise BackendUnavailableError(
            f"backend '{backend}' does not reconstruct numbers; choose one of auto, numba, reference"
        )
    _IMPLEMENTATIONS[name](codes, layout, out)


def log_sizes(scale: float) -> NDArray[np.float32]:
    """Diagonal entries of log codes, before 0.5 px are added: T of bitstream_spec.md section 9.

    Args:
        scale: Step of the log scale, a float32: each code is 1 + scale times as large as the one before.

    Returns:
        Pixels, from 0 at code 0. [256] float32.
    """
    sizes = np.empty(256, np.float32)
    ratio, size = 1.0 + float(scale), 0.5
    for code in range(256):
        sizes[code] = size - 0.5
        size = min(size * ratio, MAX_LOG_SIZE_PX)
    return sizes


def _numba(codes: SetCodes, layout: NumbersLayout, out: NDArray[np.float32]) -> None:
    from stgvcodec.ops.reconstruct import numba_kernel

    numba_kernel.reconstruct(codes, layout, out)


def _reference(codes: SetCodes, layout: NumbersLayout, out: NDArray[np.float32]) -> None:
    from stgvcodec.ops.reconstruct import reference

    reference.reconstruct(codes, layout, out)


# numba is imported at its first use; it alone costs half a second.
_IMPLEMENTATIONS: dict[str, Callable[[SetCodes, NumbersLayout, NDArray[np.float32]], None]] = {
    "numba": _numba,
    "reference": _reference,
}


def _fixed(numbers: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    array = np.array(numbers, np.int64)
    array.flags.writeable = False
    return array


def _check(codes: SetCodes, layout: NumbersLayout, out: NDArray[np.float32]) -> None:
    n = layout.shapes["means"][0]
    for name, mode in (("point", codes.point_mode), ("shape", codes.shape_mode), ("color", codes.color_mode)):
        if not 0 <= mode < _MODES:
            raise ValueError(f"{name}_mode is {mode}, expected 0 or 1")
    _check_array("points", codes.points, np.uint16, (n, 2))
    if codes.point_mode == POINTS_GRID:
        _check_array("point_scale", codes.point_scale, np.float32, (2,))
        _check_array("point_offset", codes.point_offset, np.float32, (2,))
    _check_array("shapes", codes.shapes, np.uint8, (n, 3))
    _check_array("shape_scale", codes.shape_scale, np.float32, (3,))
    if codes.shape_mode == SHAPES_AFFINE:
        _check_array("shape_offset", codes.shape_offset, np.float32, (3,))
    if codes.color_mode == COLORS_YCOCG:
        _check_array("colors", codes.colors, np.uint8, (n, 3))
        _check_array("color_scale", codes.color_scale, np.float32, (3,))
    else:
        n_stages, n_codewords = codes.codebooks.shape[:2] if codes.codebooks.ndim == 3 else (0, 0)
        _check_array("colors", codes.colors, np.uint8, (n, n_stages))
        _check_array("codebooks", codes.codebooks, np.uint16, (n_stages, n_codewords, 3))
    _check_array("static_table", codes.static_table, np.int8, layout.shapes["static_table"])
    _check_array("static_scales", codes.static_scales, np.float32, layout.static_ends.shape)
    _check_array("dynamic_table", codes.dynamic_table, np.int8, layout.shapes["dynamic_table"])
    _check_array("dynamic_scales", codes.dynamic_scales, np.float32, layout.dynamic_ends.shape)
    for name, tensor in zip(_MLP, codes.mlp, strict=True):
        _check_array(name, tensor, np.int8, layout.shapes[name])
    _check_array("mlp_scales", codes.mlp_scales, np.float32, (len(_MLP),))
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
