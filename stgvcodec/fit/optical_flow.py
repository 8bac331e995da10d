"""Dense optical flow by Lucas and Kanade's method (1981), from coarse to fine, on whatever device the pictures are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample, interpolate, pad

# The shorter side of the coarsest level has at least this many pixels; a move by a tenth of the picture is about a
# pixel there.
_COARSEST = 12
_ITERATIONS = 4
# A window is made of two boxes, one after the other, each of which reaches this many pixels to either side.
_REACH = 2
# A window whose sum of squared gradients ([0, 1] luma a pixel) is below this says nothing about motion.
_NOISE = 5e-3


@torch.no_grad()
def optical_flow(before: Tensor, after: Tensor, known: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """Estimate where the points of some pictures lie in others.

    Args:
        before: First picture of each pair, luma in [0, 1]. [P, 1, h, w] float32.
        after: Second picture of each pair, luma in [0, 1]. [P, 1, h, w] float32.
        known: Share of each pixel of both pictures that is known; None: all of all. What is not known tells nothing of
            motion, and moves as what is around it. [P, 1, h, w] float32 each.

    Returns:
        Displacements (x, y), pixels: before(p) is about after(p + flow(p)). [P, 2, h, w] float32.
    """
    pyramid = [(before, after, *(known or ()))]
    while min(pyramid[-1][0].shape[2:]) >= 2 * _COARSEST:
        pyramid.append(tuple(avg_pool2d(each, 2) for each in pyramid[-1]))
    flow = torch.zeros_like(pyramid[-1][0]).repeat(1, 2, 1, 1)
    for a, b, *shares in reversed(pyramid):
        flow = _enlarged(flow, a.shape[3], a.shape[2])
        for _ in range(_ITERATIONS):
            flow = _refined(a, b, flow, shares)
    return flow


def _enlarged(flow: Tensor, width: int, height: int) -> Tensor:
    u, v = interpolate(flow, size=(height, width), mode="bilinear", align_corners=False).unbind(1)
    return torch.stack((u * (width / flow.shape[3]), v * (height / flow.shape[2])), dim=1)


def _refined(a: Tensor, b: Tensor, flow: Tensor, shares: Sequence[Tensor]) -> Tensor:
    """Refine the flow by one Gauss-Newton step of every window, of at most a pixel, and smooth it."""
    warped, is_inside = warped_by(flow, b)
    gx, gy = _gradients(0.5 * (a + warped))
    difference = (warped - a) * is_inside
    terms = torch.cat((gx * gx, gx * gy, gy * gy, gx * difference, gy * difference), dim=1)
    if shares:
        known_before, known_after = shares
        terms = terms * torch.minimum(known_before, warped_by(flow, known_after)[0])
    xx, xy, yy, xd, yd = torch.split(_windowed(terms), 1, dim=1)
    xx, yy = xx + _NOISE, yy + _NOISE
    determinant = xx * yy - xy * xy
    step = torch.cat((xy * yd - yy * xd, xy * xd - xx * yd), dim=1) / determinant
    flow = flow + step.clamp_(-1.0, 1.0)
    # A window that says little about motion takes the flow of its neighbours.
    weight = determinant / (xx + yy)
    return _windowed(weight * flow) / _windowed(weight)


def warped_by(flow: Tensor, pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Sample the pictures at p + flow(p), and tell where that position lies inside them.

    Args:
        flow: Displacements (x, y), pixels. [P, 2, h, w] float32.
        pictures: The pictures. [P, C, h, w] float32.

    Returns:
        The samples [P, C, h, w], and whether each position p + flow(p) is inside [P, 1, h, w].
    """
    height, width = flow.shape[2:]
    x = torch.arange(width, device=flow.device) + flow[:, 0] + 0.5
    y = torch.arange(height, device=flow.device)[:, None] + flow[:, 1] + 0.5
    grid = torch.stack((x * (2.0 / width) - 1.0, y * (2.0 / height) - 1.0), dim=3)
    is_inside = (grid.abs() <= 1.0).all(dim=3)[:, None]
    return grid_sample(pictures, grid, padding_mode="border", align_corners=False), is_inside


def _gradients(pictures: Tensor) -> tuple[Tensor, Tensor]:
    padded = pad(pictures, (1, 1, 1, 1), mode="replicate")
    dx = 0.5 * (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2])
    dy = 0.5 * (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1])
    return dx, dy


def _windowed(values: Tensor) -> Tensor:
    """Sum the values in a window around every pixel, with weights that fall off like a tent."""
    # Sums of shifted pictures are many times as fast on a CPU as torch's pooling.
    reach = 2 * _REACH
    values = pad(values, (reach, reach, reach, reach), mode="replicate")
    for dim in (2, 3, 2, 3):
        n = values.shape[dim] - 2 * _REACH
        total = values.narrow(dim, 0, n).clone()
        for shift in range(1, 2 * _REACH + 1):
            total += values.narrow(dim, shift, n)
        values = total
    return values
