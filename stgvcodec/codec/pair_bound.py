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

# The rasteriser widens each support by a fraction of a pixel, against rounding; float32 rounds by less than this.
_MARGIN_PX = 1.0
_ANY_CODE = np.arange(256)


@dataclass(frozen=True, eq=False)
class SplatExtents:
    """How wide a GoP's Gaussians are.

    Attributes:
        codes: Of (l1, l2, l3). [N, 3] uint8.
        variances: What each code adds to the variance, low-pass included in the first two: that of l1 along x, those of
            l2 and l3 along y; square pixels of the encoded size. [256, 3] float64.
    """

    codes: NDArray[np.uint8]
    variances: NDArray[np.float64]
    _known: dict[tuple[float, int, int, int, int], int] = field(default_factory=dict)

    @classmethod
    def of(cls, symbols: GopSymbols) -> SplatExtents:
        """Those of a GoP."""
        with np.errstate(over="ignore"):  # Infinity is as wide as the picture.
            raw = _ANY_CODE[:, None] * symbols.cholesky_scale.astype(np.float64) + symbols.cholesky_offset
            variances = (MIN_DIAGONAL_PX + np.maximum(raw, 0.0)) ** 2
            variances[:, 1] = raw[:, 1] ** 2
        variances[:, :2] += symbols.header.low_pass
        return cls(symbols.cholesky, variances)

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
            # As `scale_splats` widens what is rendered smaller.
            footprint = MIN_DIAGONAL_PX**2 * max(0.0, 1.0 - scale * scale)
            # Squares of reaches in halves of a tile, by code.
            with np.errstate(over="ignore"):
                reach = 2.0 * SIGMA_MAX * (self.variances * scale**2 + [footprint, footprint, 0.0])
                x = (reach[:, 0] * (2.0 / tile_width) ** 2).astype(np.float32)
                y = (reach[:, 1:] * (2.0 / tile_height) ** 2).astype(np.float32)
            l1, l2, l3 = self.codes.T
            columns = _tiles(x, width, tile_width)[l1]
            rows = _tiles(y[:, 0][l2] + y[:, 1][l3], height, tile_height)
            # No BLAS: it wakes threads for this. Rows and columns are few, so their products are exact.
            self._known[key] = int((columns * rows).sum(dtype=np.float64))
        return self._known[key]


def _tiles(squares: NDArray[np.float32], size_px: int, tile_px: int) -> NDArray[np.float32]:
    reach = np.sqrt(squares)
    # An interval of length e meets e / tile + 2 tiles at most, wherever it lies.
    reach += np.float32(2.0 + 2.0 * _MARGIN_PX / tile_px)
    np.floor(reach, out=reach)
    return np.minimum(reach, np.float32(-(-size_px // tile_px)), out=reach)
