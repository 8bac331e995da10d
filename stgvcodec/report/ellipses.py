"""Drawing of the Gaussians' outlines over a picture."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

# Samples of an outline lie at most this far apart, so that every pixel it crosses is hit.
_SPACING_PX = 0.5
_MIN_SAMPLES = 16
_MAX_SAMPLES = 1 << 14
# The outlines of a batch have this many samples together at most, which bounds the working arrays.
_BATCH_SAMPLES = 1 << 20


def draw_ellipses(
    canvas: npt.NDArray[np.uint8],
    means_px: npt.ArrayLike,
    cholesky_px: npt.ArrayLike,
    colors: npt.ArrayLike,
    n_sigma: float = 1.0,
) -> npt.NDArray[np.uint8]:
    """Draw the outline of each Gaussian, antialiased, one pixel wide.

    The outline is mean + n_sigma L (cos a, sin a) with L = [[l1, 0], [l2, l3]]. Where outlines cross, their colours are
    averaged, so the order of the Gaussians does not matter.

    Args:
        canvas: RGB picture over which outlines are drawn; it is not changed. [H, W, 3] uint8.
        means_px: Centres, pixels, x right, y down, the first pixel's centre at (0.5, 0.5). [N, 2] float.
        cholesky_px: Lower factors (l1, l2, l3) of the covariances, pixels. [N, 3] float.
        colors: RGB of each outline, nominal [0, 1], clipped. [N, 3] float.
        n_sigma: Radius of the outline, in standard deviations; above 0.

    Returns:
        A new picture, in which Gaussians with a value that is not finite are left out. [H, W, 3] uint8.

    Raises:
        ValueError: a shape or dtype differs from the above, or n_sigma is not above 0.
    """
    means = np.asarray(means_px, dtype=np.float64)  # [N, 2]
    factors = np.asarray(cholesky_px, dtype=np.float64)  # [N, 3]
    rgb = np.asarray(colors, dtype=np.float64)  # [N, 3]
    _check(canvas, means, factors, rgb, n_sigma)
    height, width = canvas.shape[:2]

    finite = np.isfinite(means).all(1) & np.isfinite(factors).all(1) & np.isfinite(rgb).all(1)
    # Half extents of the outline: n_sigma times the standard deviations along x and y.
    extent = n_sigma * np.stack([np.abs(factors[:, 0]), np.hypot(factors[:, 1], factors[:, 2])], axis=1)  # [N, 2]
    visible = finite & (means + extent > 0).all(1) & (means - extent < (width, height)).all(1)
    means, factors, rgb, extent = means[visible], factors[visible], np.clip(rgb[visible], 0, 1), extent[visible]

    # The chord between samples is at most |extent| times the angle between them.
    wanted = 2 * math.pi * np.hypot(extent[:, 0], extent[:, 1]) / _SPACING_PX
    exponents = np.ceil(np.log2(np.clip(wanted, _MIN_SAMPLES, _MAX_SAMPLES))).astype(np.int64)  # [N]

    coverage = np.zeros(height * width)
    ink = np.zeros((height * width, 3))
    for exponent in np.unique(exponents):
        members = np.flatnonzero(exponents == exponent)
        n_samples = 1 << int(exponent)
        per_batch = _BATCH_SAMPLES // n_samples
        for start in range(0, len(members), per_batch):
            batch = members[start : start + per_batch]
            points = _outline(means[batch], n_sigma * factors[batch], n_samples)  # [n, S, 2]
            _splat(coverage, ink, points, rgb[batch], height, width)

    alpha = np.minimum(coverage, 1.0)[:, None]  # [H * W, 1]
    average = ink / np.maximum(coverage, 1e-12)[:, None]
    blended = np.rint(canvas.reshape(-1, 3) * (1 - alpha) + 255 * average * alpha)
    drawn: npt.NDArray[np.uint8] = blended.astype(np.uint8).reshape(canvas.shape)
    return drawn


def _outline(means: npt.NDArray[np.float64], factors: npt.NDArray[np.float64], n: int) -> npt.NDArray[np.float64]:
    angles = np.arange(n) * (2 * math.pi / n)
    cosines, sines = np.cos(angles), np.sin(angles)  # [S]
    x = means[:, 0:1] + factors[:, 0:1] * cosines
    y = means[:, 1:2] + factors[:, 1:2] * cosines + factors[:, 2:3] * sines
    return np.stack([x, y], axis=-1)  # [n, S, 2]


def _splat(
    coverage: npt.NDArray[np.float64],
    ink: npt.NDArray[np.float64],
    points: npt.NDArray[np.float64],
    rgb: npt.NDArray[np.float64],
    height: int,
    width: int,
) -> None:
    """Add each sample to its four nearest pixels, weighted by the arc it stands for, so that a line adds up to one."""
    arc = np.linalg.norm(np.roll(points, -1, axis=1) - points, axis=-1)  # [n, S]
    corner = np.floor(points - 0.5).astype(np.int64)  # [n, S, 2]
    fraction = points - 0.5 - corner
    for dx in (0, 1):
        for dy in (0, 1):
            x, y = corner[..., 0] + dx, corner[..., 1] + dy
            weight = arc * np.abs(1 - dx - fraction[..., 0]) * np.abs(1 - dy - fraction[..., 1])  # [n, S]
            owner, sample = np.nonzero((x >= 0) & (x < width) & (y >= 0) & (y < height))
            pixel = y[owner, sample] * width + x[owner, sample]
            amount = weight[owner, sample]
            coverage += np.bincount(pixel, amount, minlength=height * width)
            for channel in range(3):
                ink[:, channel] += np.bincount(pixel, amount * rgb[owner, channel], minlength=height * width)


def _check(
    canvas: npt.NDArray[np.uint8],
    means: npt.NDArray[np.float64],
    factors: npt.NDArray[np.float64],
    rgb: npt.NDArray[np.float64],
    n_sigma: float,
) -> None:
    if canvas.dtype != np.uint8 or canvas.ndim != 3 or canvas.shape[2] != 3:
        raise ValueError(f"canvas is {canvas.dtype} {list(canvas.shape)}, expected uint8 [H, W, 3]")
    n = len(means)
    for name, array, columns in (("means_px", means, 2), ("cholesky_px", factors, 3), ("colors", rgb, 3)):
        if array.shape != (n, columns):
            raise ValueError(f"{name} is {list(array.shape)}, expected [{n}, {columns}], as many rows as means_px")
    if not (math.isfinite(n_sigma) and n_sigma > 0):
        raise ValueError(f"n_sigma is {n_sigma}, expected a number above 0, e.g. 1.0")
