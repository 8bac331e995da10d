"""Binning on a CPU: rows and bands of each Gaussian, and an order that suits the cache, for forward and backward."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stgvcodec.ops.compiled import njit
from stgvcodec.ops.rasterize import MAX_MAGNITUDE, MIN_SCALE_PX, SIGMA_MAX
from stgvcodec.ops.threads import run_chunks

# Rows of a band. The number is fixed, so that the split of the work does not depend on the machine.
BAND_ROWS = 16
# Pixels in a block. Eight would waste less, but LLVM unrolls a loop of eight to scalar code before it can vectorise it.
LANES = 16

_RADIUS = math.sqrt(2 * SIGMA_MAX)
_SQRT_HALF = math.sqrt(0.5)

_kernel = njit(nogil=True, cache=True, error_model="numpy")


@dataclass(frozen=True)
class Plan:
    """Bins of the Gaussians of one call."""

    shapes: NDArray[np.float64]  # [1 or B, N, 6]: what `_shapes` computes; one for all frames, or one for each.
    rows: NDArray[np.int32]  # [B, N, 2]: rows that the support touches, half-open.
    offsets: NDArray[np.int64]  # [B, n_bands + 1]: where each band's Gaussians begin in `items`.
    items: list[NDArray[np.int32]]  # [B]: the Gaussians of each band, by index within a band.
    order: NDArray[np.int32]  # [B, N]: the Gaussians by their first band, for the cache's sake.

    def shapes_of(self, b: int) -> NDArray[np.float64]:
        """Shapes of the Gaussians in frame b. [N, 6]."""
        shapes: NDArray[np.float64] = self.shapes[b % len(self.shapes)]
        return shapes


def row_size(width: int) -> int:
    """Return the number of floats of a row of a picture in blocks, [blocks, 3, LANES]."""
    return -(-width // LANES) * 3 * LANES


def make_plan(
    means: NDArray[np.float32], cholesky: NDArray[np.float32], colors: NDArray[np.float32], height: int
) -> Plan:
    """Bin the Gaussians of means [B, N, 2], cholesky [1 or B, N, 3] and colors [B, N, 3] over `height` rows."""
    n_frames, n_gaussians, _ = means.shape
    n_bands = -(-height // BAND_ROWS)
    shapes = np.empty((len(cholesky), n_gaussians, 6), np.float64)
    rows = np.empty((n_frames, n_gaussians, 2), np.int32)
    offsets = np.empty((n_frames, n_bands + 1), np.int64)
    order = np.empty((n_frames, n_gaussians), np.int32)
    items = [order[0, :0]] * n_frames if n_frames else []
    plan = Plan(shapes, rows, offsets, items, order)
    run_chunks(lambda i: _shapes(cholesky[i], shapes[i]), len(cholesky))

    def plan_frame(b: int) -> None:
        items[b] = _bin(means[b], colors[b], plan.shapes_of(b), height, rows[b], offsets[b], order[b])

    run_chunks(plan_frame, n_frames)
    return plan


@_kernel
def _within_limits(values: NDArray[np.float32]) -> bool:
    within = True
    for value in values:
        within &= abs(value) <= MAX_MAGNITUDE  # False for a NaN.
    return within


@_kernel
def _shapes(cholesky: NDArray[np.float32], shapes: NDArray[np.float64]) -> None:
    """Compute the numbers from which a row's span and first values follow.

    With a = l2^2 + l3^2 = Sigma_yy, the columns of `shapes` [N, 6] are: 9a; the shift of a row's middle per dy; its
    half width per sqrt(9a - dy^2); and 1 / l1, 1 / l3, l2 / (l1 l3), each times sqrt(1/2), so that sigma = u^2 + v^2.
    A Gaussian that cannot be drawn has -1 in place of 9a.
    """
    for n in range(cholesky.shape[0]):
        l1, l2, l3 = float(cholesky[n, 0]), float(cholesky[n, 1]), float(cholesky[n, 2])
        if not (_within_limits(cholesky[n]) and l1 >= MIN_SCALE_PX and l3 >= MIN_SCALE_PX):
            shapes[n, 0] = -1.0
            continue
        a = l2 * l2 + l3 * l3
        shapes[n, 0] = _RADIUS * _RADIUS * a
        shapes[n, 1] = l1 * l2 / a
        shapes[n, 2] = l1 * l3 / a
        shapes[n, 3] = _SQRT_HALF / l1
        shapes[n, 4] = _SQRT_HALF / l3
        shapes[n, 5] = _SQRT_HALF * l2 / (l1 * l3)


@_kernel
def _bin(
    means: NDArray[np.float32],
    colors: NDArray[np.float32],
    shapes: NDArray[np.float64],
    height: int,
    rows: NDArray[np.int32],
    offsets: NDArray[np.int64],
    order: NDArray[np.int32],
) -> NDArray[np.int32]:
    """Fill `rows`, `offsets` and `order` of one frame and return its `items`, as `Plan` describes them."""
    n_gaussians = means.shape[0]
    n_bands = offsets.shape[0] - 1
    # Where in `order` the Gaussians of each first band begin; the last band stands for those that touch no row.
    starts = np.zeros(n_bands + 2, np.int64)
    offsets[:] = 0
    for n in range(n_gaussians):
        rows[n, 0] = rows[n, 1] = 0
        first_band = n_bands
        if shapes[n, 0] > 0 and _within_limits(means[n]) and _within_limits(colors[n]):
            reach = math.sqrt(shapes[n, 0])
            middle = float(means[n, 1]) - 0.5
            first = math.ceil(min(max(middle - reach, 0.0), float(height)))
            end = math.floor(min(max(middle + reach, -1.0), height - 1.0)) + 1
            if first < end:
                rows[n, 0], rows[n, 1] = first, end
                first_band = first // BAND_ROWS
                for band in range(first_band, (end - 1) // BAND_ROWS + 1):
                    offsets[band + 1] += 1
        starts[first_band + 1] += 1
    for band in range(n_bands):
        offsets[band + 1] += offsets[band]
        starts[band + 1] += starts[band]

    items = np.empty(offsets[n_bands], np.int32)
    cursors = offsets.copy()
    for n in range(n_gaussians):
        first_band = n_bands
        if rows[n, 0] < rows[n, 1]:
            first_band = rows[n, 0] // BAND_ROWS
            for band in range(first_band, (rows[n, 1] - 1) // BAND_ROWS + 1):
                items[cursors[band]] = n
                cursors[band] += 1
        order[starts[first_band]] = n
        starts[first_band] += 1
    return items
