"""The Gaussians of a GoP for a page: what is sent of each, what it costs, where it lies, and a map of the bits."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from stgvcodec.bitstream.payload.anatomy import PayloadAnatomy
from stgvcodec.bitstream.payload.symbols import GopSymbols
from stgvcodec.decoder.gop_renderer import GopRenderer
from stgvcodec.evaluation.inspection.packing import packed, quantised, rounded
from stgvcodec.model.gaussians import bounded_cholesky

BITS_UNIT = 256
"""Bits of a symbol are rounded to this part of a bit."""

# The map has about this many cells along the longer side of a picture, of this many pixels at least.
_CELLS, _LEAST_CELL_PX = 64, 8
# The bits of a Gaussian are spread over this many points of it.
_POINTS = 32
# The square of the radius, in standard deviations, at which the support of a Gaussian ends (section 7.5).
_SUPPORT = 9.0

# Bytes that a Gaussian takes: x and y, a symbol and its bits in each column, eight parameters.
_OWN_BYTES, _COLUMN_BYTES = 36, 4
# Bytes that it takes again for each picture: its place here and in the frame before, and its shape; 16 bits each.
_PICTURE_BYTES = 14


def gaussian_bytes(anatomy: PayloadAnatomy, n_pictures: int) -> int:
    """Return the bytes that a Gaussian takes in a page that shows so many pictures of its GoP."""
    return _OWN_BYTES + _COLUMN_BYTES * len(anatomy.gaussian_bits) + _PICTURE_BYTES * n_pictures


def gaussian_details(
    anatomy: PayloadAnatomy, symbols: GopSymbols, renderer: GopRenderer, stride: int
) -> dict[str, object]:
    """Describe what is transmitted of the Gaussians.

    Args:
        anatomy: The GoP's payload.
        symbols: Its symbols.
        renderer: The GoP, from which the parameters are taken.
        stride: Every how many Gaussians, in stored order, one is described.
    """
    kept = slice(None, None, stride)
    parameters = renderer.parameters
    shapes = bounded_cholesky(parameters.cholesky, 0.0)  # without the low-pass: section 6.2
    values = np.concatenate([array.cpu().numpy() for array in (parameters.means, shapes, parameters.colors)], axis=1)
    costs = np.stack([bits[kept] for bits in anatomy.gaussian_bits.values()])
    own = np.stack([found[kept] for found in anatomy.gaussian_symbols.values()])
    total = sum(bits for bits in anatomy.gaussian_bits.values())
    assert not isinstance(total, int)
    return {
        "all": len(symbols.points),
        "n": own.shape[1],
        "stride": stride,
        "columns": list(anatomy.gaussian_bits),
        "symbols": packed(own.astype(np.uint16)),
        "bits": packed(np.rint(costs * BITS_UNIT).astype(np.uint16)),
        "bitsUnit": BITS_UNIT,
        "points": packed(symbols.points[kept].T.astype(np.uint16)),
        "parameters": packed(values[kept].T.astype(np.float32)),
        "meanBits": rounded(float(total.mean()), 3),
    }


def placed_gaussians(renderer: GopRenderer, k: int, stride: int) -> dict[str, object]:
    """Return where the Gaussians lie in frame k of a GoP and in the frame before, and their shapes; pixels."""
    means, cholesky = placed(renderer, k)
    before, _ = placed(renderer, max(k - 1, 0))
    return quantised(np.concatenate([means, before, cholesky], axis=1)[::stride])


def placed(renderer: GopRenderer, k: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return centres [N, 2] and Cholesky factors [N, 3] in frame k of a GoP, pixels; float32."""
    means, cholesky, _ = renderer.gaussians(k)
    n = len(means)
    return means.cpu().numpy(), cholesky.cpu().numpy().reshape(n, 3)


def bits_map(
    means_px: npt.NDArray[np.float32],
    cholesky_px: npt.NDArray[np.float32],
    bits: npt.NDArray[np.float64],
    *,
    width: int,
    height: int,
) -> dict[str, object]:
    """Spread the bits of each Gaussian over its support, by the weight that it has there.

    Args:
        means_px: Centres. [N, 2] float32.
        cholesky_px: Cholesky factors. [N, 3] float32.
        bits: Bits of each Gaussian. [N] float64.
        width: Picture width, pixels.
        height: Picture height, pixels.

    Returns:
        Size of the square cells in pixels, their numbers, the bits of each, and the bits that lie outside the picture.
    """
    cell = max(_LEAST_CELL_PX, math.ceil(max(width, height) / _CELLS))
    columns, rows = -(-width // cell), -(-height // cell)
    u, v = _points_of_support()
    with np.errstate(invalid="ignore", over="ignore"):
        x = means_px[:, :1] + cholesky_px[:, :1] * u
        y = means_px[:, 1:] + cholesky_px[:, 1:2] * u + cholesky_px[:, 2:] * v
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)  # False for NaN
    owner, point = np.nonzero(inside)
    place = (y[owner, point] // cell).astype(np.int64) * columns + (x[owner, point] // cell).astype(np.int64)
    found = np.bincount(place, bits[owner] / _POINTS, minlength=columns * rows)
    return {
        "cell": cell,
        "columns": columns,
        "rows": rows,
        "bits": packed(found.astype(np.float32)),
        "most": rounded(float(found.max()), 2),
        "outside": rounded(float(bits.sum() - found.sum()), 2),
        "total": rounded(float(bits.sum()), 2),
    }


def _points_of_support() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return points on a sunflower's spiral that each stand for an equal share of w = exp(-r^2 / 2) - exp(-4.5)."""
    # The share of w within a squared radius q is (1 - exp(-q / 2) - q / 2 exp(-4.5)) / (1 - 5.5 exp(-4.5)).
    squares = np.linspace(0.0, _SUPPORT, 4096)
    edge = math.exp(-_SUPPORT / 2)
    shares = (1 - np.exp(-squares / 2) - squares / 2 * edge) / (1 - (1 + _SUPPORT / 2) * edge)
    index = np.arange(_POINTS)
    radius = np.sqrt(np.interp((index + 0.5) / _POINTS, shares, squares))
    angle = index * math.pi * (3 - math.sqrt(5))
    return radius * np.cos(angle), radius * np.sin(angle)
