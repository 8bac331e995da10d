"""Upper bound of the (Gaussian, tile) pairs of a frame, known before anything is on the device.

The deformation field moves Gaussians, and widens them by no more than the format's limit of a change of shape, so the
transmitted Cholesky factors bound every frame of a GoP. With room for that many pairs, the Triton rasteriser need not
ask the device for their number, and rendering never waits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stgvcodec.model.gaussians import MIN_DIAGONAL_PX, Scale, added_variance, axis_scales
from stgvcodec.ops.deform_shapes import MAX_SHAPE_CHANGE
from stgvcodec.ops.rasterize import SIGMA_MAX

# The rasteriser widens each support by a fraction of a pixel, against rounding; float32 rounds by less than this.
_MARGIN_PX = 1.0
# A change c of log l1 or log l3 multiplies the variances by exp(2 c). With a = |l2| and b = l3, a change c of the shear
# makes a^2 + b^2, the variance along y, at most (a + c b)^2 + b^2, which is at most 1 + c^2 / 2 + c sqrt(1 + c^2 / 4)
# times as much.
_GROWTH = math.exp(2.0 * MAX_SHAPE_CHANGE)
_SHEAR_GROWTH = 1.0 + MAX_SHAPE_CHANGE**2 / 2.0 + MAX_SHAPE_CHANGE * math.sqrt(1.0 + MAX_SHAPE_CHANGE**2 / 4.0)


@dataclass(frozen=True, eq=False)
class SplatExtents:
    """How wide a GoP's Gaussians are.

    Attributes:
        x: Largest variances along x, low-pass included, square pixels of the encoded size. [N] float32.
        y: Largest variances along y in the same form.
    """

    x: NDArray[np.float32]
    y: NDArray[np.float32]
    _known: dict[tuple[Scale, int, int, int, int], int] = field(default_factory=dict)

    @classmethod
    def of(cls, cholesky: NDArray[np.float32], low_pass: float, *, change_shapes: bool) -> SplatExtents:
        """Compute the extents.

        Args:
            cholesky: Transmitted factors (l1, l2, l3), before their lower bound is added, pixels. [N, 3] float32.
            low_pass: Variance that is added to each Gaussian, square pixels.
            change_shapes: Whether the deformation field may change the shapes.
        """
        floor = np.float32(MIN_DIAGONAL_PX)
        with np.errstate(over="ignore"):
            l1, l2, l3 = cholesky.T
            x = np.square(floor + np.maximum(l1, 0.0)) + np.float32(low_pass)
            y = np.square(floor + np.maximum(l3, 0.0)) + np.square(l2) + np.float32(low_pass)
            if change_shapes:
                x, y = x * np.float32(_GROWTH), y * np.float32(_GROWTH * _SHEAR_GROWTH)
        return cls(x, y)

    def most_pairs(self, scale: Scale, *, width: int, height: int, tile_width: int, tile_height: int) -> int:
        """Bound the pairs of a frame, wherever its Gaussians are. Results are remembered.

        Args:
            scale: Output size over encoded size, or that along x and along y.
            width: Output width, pixels.
            height: Output height, pixels.
            tile_width: Tile width, pixels.
            tile_height: Tile height, pixels.
        """
        key = (scale, width, height, tile_width, tile_height)
        if key not in self._known:
            scale_x, scale_y = axis_scales(scale)
            columns = _tiles(self.x, scale_x, width, tile_width)
            rows = _tiles(self.y, scale_y, height, tile_height)
            # A dot product would go to BLAS, which wakes threads for it. Rows and columns are few, so that their
            # products are exact.
            self._known[key] = int((columns * rows).sum(dtype=np.float64))
        return self._known[key]


def _tiles(variances: NDArray[np.float32], scale: float, size_px: int, tile_px: int) -> NDArray[np.float32]:
    # A support reaches sqrt(2 SIGMA_MAX variance) to either side. `reach` begins as its square in halves of a tile, so
    # that its root is the width of the support in tiles.
    per_variance = 2.0 * SIGMA_MAX * (2.0 / tile_px) ** 2
    with np.errstate(over="ignore"):
        reach: NDArray[np.float32] = variances * np.float32(per_variance * scale**2)
    reach += np.float32(per_variance * added_variance(scale))
    np.sqrt(reach, out=reach)
    # An interval of length e meets e / tile + 2 tiles at most, wherever it lies.
    reach += np.float32(2.0 + 2.0 * _MARGIN_PX / tile_px)
    np.floor(reach, out=reach)
    np.minimum(reach, np.float32(-(-size_px // tile_px)), out=reach)
    return reach
