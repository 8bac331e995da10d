"""How many (Gaussian, tile) pairs a frame can have at most, known before anything is on the device.

A field moves Gaussians but never widens them, so the transmitted factors bound every frame of a GoP. With room for that
many, the Triton rasteriser need not ask the device how much room it wants: rendering never waits.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stgvcodec.bitstream.symbols import GopSymbols
from stgvcodec.model.gaussians import MIN_DIAGONAL_PX
from stgvcodec.ops.rasterize import SIGMA_MAX

# The rasteriser widens each support by a fraction of a pixel, against rounding.
_MARGIN_PX = 1.0
_ANY_CODE = np.arange(256)


@dataclass(frozen=True, eq=False)
class SplatExtents:
    """Variances of a GoP's Gaussians along the axes of the picture, square pixels of the encoded size. [N] float64."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    _known: dict[tuple[float, int, int, int, int], int] = field(default_factory=dict)

    @classmethod
    def of(cls, symbols: GopSymbols) -> SplatExtents:
        """Those of a GoP, low-pass included."""
        with np.errstate(over="ignore"):  # Infinity is as wide as the picture.
            raw = _ANY_CODE[:, None] * symbols.cholesky_scale.astype(np.float64) + symbols.cholesky_offset  # [256, 3]
            diagonal = (MIN_DIAGONAL_PX + np.maximum(raw, 0.0)) ** 2
            l1, l2, l3 = symbols.cholesky.T
            low_pass = symbols.header.low_pass
            return cls(diagonal[:, 0][l1] + low_pass, (raw[:, 1] ** 2)[l2] + diagonal[:, 2][l3] + low_pass)

    def most_pairs(self, scale: float, *, width: int, height: int, tile_width: int, tile_height: int) -> int:
        """Pairs of a frame at most, wherever its Gaussians are; remembered.

        Args:
            scale: Output size over encoded size.
            width: Of the output, pixels.
            height: Of the output, pixels.
            tile_width: Pixels.
            tile_height: Pixels.
        """
        key = (scale, width, height, tile_width, tile_height)
        if key not in self._known:
            columns = _tiles(self.x, scale, width, tile_width)
            self._known[key] = int(columns @ _tiles(self.y, scale, height, tile_height))
        return self._known[key]


def _tiles(variance: NDArray[np.float64], scale: float, size_px: int, tile_px: int) -> NDArray[np.float64]:
    # As `scale_splats` widens what is rendered smaller.
    footprint = MIN_DIAGONAL_PX**2 * max(0.0, 1.0 - scale * scale)
    reach = np.sqrt(2.0 * SIGMA_MAX * (variance * scale**2 + footprint)) + _MARGIN_PX
    # An interval of length e meets e / tile + 2 tiles at most, wherever it lies.
    return np.minimum(np.floor(reach * (2.0 / tile_px)) + 2.0, -(-size_px // tile_px))
