"""Explanation of one frame: the source, the decoded frame, their error and the Gaussians, side by side."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stgvcodec.report.contact_sheet import contact_sheet
from stgvcodec.report.ellipses import draw_ellipses

_DIMMED = 0.25


def error_image(
    source: npt.NDArray[np.uint8], decoded: npt.NDArray[np.uint8], *, gain: float = 8.0
) -> npt.NDArray[np.uint8]:
    """Draw the signed error around mid grey: 128 + gain * (decoded - source), clipped.

    Args:
        source: Original picture. [H, W, 3] uint8.
        decoded: Decoded picture. [H, W, 3] uint8.
        gain: Amplification, grey levels shown per level of error.

    Returns:
        Error picture; identical pictures give a flat 128. [H, W, 3] uint8.

    Raises:
        ValueError: the two pictures differ in shape, or are not uint8.
    """
    if source.shape != decoded.shape or source.dtype != np.uint8 or decoded.dtype != np.uint8:
        raise ValueError(
            f"source is {source.dtype} {list(source.shape)}, decoded is {decoded.dtype} {list(decoded.shape)}; "
            "expected two uint8 pictures of one shape"
        )
    difference = decoded.astype(np.float32) - source.astype(np.float32)
    shown: npt.NDArray[np.uint8] = np.clip(np.rint(128 + gain * difference), 0, 255).astype(np.uint8)
    return shown


def explain_frame(
    source: npt.NDArray[np.uint8],
    decoded: npt.NDArray[np.uint8],
    means_px: npt.ArrayLike,
    cholesky_px: npt.ArrayLike,
    *,
    magnification: int = 1,
    gain: float = 8.0,
    caption: str = "",
) -> npt.NDArray[np.uint8]:
    """Draw four labelled panels, two by two: source and decoded frame, their error and the Gaussians' 1-sigma outlines.

    An outline has the colour of the decoded picture at the Gaussian's centre: a Gaussian's own weighted colour may be
    negative or far from what is seen where many overlap.

    Args:
        source: Original frame. [H, W, 3] uint8.
        decoded: Decoded frame. [H, W, 3] uint8.
        means_px: Centres of the deformed Gaussians at this frame, pixels. [N, 2] float.
        cholesky_px: Lower factors (l1, l2, l3) of the Gaussians' covariances, pixels. [N, 3] float.
        magnification: Whole number by which pictures are enlarged, pixel by pixel; outlines stay one pixel wide.
        gain: Amplification of the error, grey levels shown per level of error.
        caption: What is said of the decoded frame beside its name, such as its PSNR and its bytes.

    Returns:
        Contact sheet of the four panels. [H', W', 3] uint8.

    Raises:
        ValueError: a shape or dtype differs from the above.
    """
    error = error_image(source, decoded, gain=gain)
    means = np.asarray(means_px, dtype=np.float64)  # [N, 2]
    height, width = decoded.shape[:2]
    last = np.array([width - 1, height - 1])
    pixel = np.clip(np.nan_to_num(np.floor(means)), 0, last).astype(np.int64)  # [N, 2]
    colors = decoded[pixel[:, 1], pixel[:, 0]] / 255.0  # [N, 3]

    def enlarge(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        return image.repeat(magnification, 0).repeat(magnification, 1)

    dimmed = np.rint(_DIMMED * enlarge(decoded)).astype(np.uint8)
    outlines = draw_ellipses(
        dimmed, magnification * means, magnification * np.asarray(cholesky_px, dtype=np.float64), colors
    )
    return contact_sheet(
        [
            (f"source, {width}x{height}", enlarge(source)),
            (f"decoded, {caption}" if caption else "decoded", enlarge(decoded)),
            (f"error, {gain:g} times", enlarge(error)),
            (f"{len(means):,}".replace(",", " ") + " Gaussians, at one standard deviation", outlines),
        ],
        n_columns=2,
    )
