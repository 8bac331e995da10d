"""Paths of the key frame's points through a GoP by optical flow, and what comes into the picture from beside it.

The gradient of a picture's error tells of motion up to about a Gaussian's own size. A field that first learns these
paths follows a pan of tens of pixels a frame, which training on pictures alone does not find.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample

from stgvcodec.fit.optical_flow import optical_flow
from stgvcodec.model.deformation import Moments, evaluate_field
from stgvcodec.model.gop_model import FieldParameters, GopSpec

# Flow is estimated on pictures whose shorter side has about _SHORT_SIDE pixels, for so many pairs of frames at a time.
_SHORT_SIDE = 160
_BATCH = {"cpu": 16, "cuda": 64}
_N_POINTS = 1024
# A point counts as outside the picture if flow puts it more than this many pixels outside.
_MARGIN_PX = 2.0
# Motion below this many distances between Gaussians is left to training on pictures, which finds it more exactly: on
# Bunny, half of which stands still, paths cost 0.5 dB (preset fast), on pans they are worth up to 4 dB.
_LEAST_MOTION = 1.6
# An error of more than this many pixels weighs about as its size, a smaller one about as its square.
_SOFT_PX = 1.0


class Paths(NamedTuple):
    """Points of the key frame, followed through all frames of a GoP.

    Attributes:
        means: Positions in the key frame, in [-1, 1]^2 over the picture. [M, 2] float32.
        px: Positions in every frame, pixels. [T, M, 2] float32.
    """

    means: Tensor
    px: Tensor

    def motion_px(self, key_frame: int) -> float:
        """Return the median distance of points from their key-frame positions, pixels; waits for the device."""
        return float((self.px - self.px[key_frame]).norm(dim=2).median())

    def lead_away(self, key_frame: int, spacing_px: float) -> bool:
        """Tell whether most points move further than training on pictures can follow; waits for the device.

        Args:
            key_frame: Index of the frame from which the points are followed.
            spacing_px: Distance between neighbouring Gaussians, pixels.
        """
        return self.motion_px(key_frame) >= _LEAST_MOTION * spacing_px


class Border(NamedTuple):
    """The part of another frame that lies beside the key frame's picture.

    Attributes:
        picture: The other frame, RGB in [0, 1]. [H, W, 3] float32.
        pixels: Pixels of the other frame that make up this part, numbered row by row. [P] int64.
        here_px: Positions of these pixels relative to the key frame, outside its picture, pixels. [P, 2] float32.
    """

    picture: Tensor
    pixels: Tensor
    here_px: Tensor


@torch.no_grad()
def follow_paths(frames: Tensor, key_frame: int) -> Paths:
    """Follow a lattice of points from the key frame to both ends of a GoP.

    A point that leaves the picture moves on as the picture's nearest border does.

    Args:
        frames: RGB. [T, H, W, 3] uint8.
        key_frame: Index of the key frame.
    """
    n_frames, height, width, _ = frames.shape
    points = _lattice(width, height, frames.device)
    onward, back = _followed(frames, (range(key_frame, n_frames), range(key_frame, -1, -1)), points)
    px = [*back[:0:-1], *onward]
    size = torch.tensor([width, height], dtype=torch.float32, device=frames.device)
    return Paths(points / size * 2.0 - 1.0, torch.stack(px))


@torch.no_grad()
def borders(frames: Tensor, key_frame: int) -> list[Border]:
    """Find the parts of a GoP's first and last frame that lie beside the key frame's picture, if there are any.

    Args:
        frames: RGB. [T, H, W, 3] uint8.
        key_frame: Index of the key frame.
    """
    n_frames, height, width, _ = frames.shape
    y, x = torch.meshgrid(
        torch.arange(height, device=frames.device), torch.arange(width, device=frames.device), indexing="ij"
    )
    pixels = torch.stack((x, y), dim=2).reshape(-1, 2) + 0.5
    size = torch.tensor([width, height], dtype=torch.float32, device=frames.device)
    found = []
    ways = range(key_frame + 1), range(n_frames - 1, key_frame - 1, -1)
    for way, followed in zip(ways, _followed(frames, ways, pixels), strict=True):
        here = followed[-1]
        is_beside = ((here < -_MARGIN_PX) | (here > size + _MARGIN_PX)).any(dim=1)
        beside = is_beside.nonzero()[:, 0]
        if len(beside):
            found.append(Border(frames[way[0]] / 255.0, beside, here[beside]))
    return found


def path_loss(
    paths: Paths, field: FieldParameters, spec: GopSpec, picked: Tensor, at: Moments, *, backend: str
) -> Tensor:
    """Mean of sqrt(d^2 + 1), where d is how far the field takes a point from its path, pixels (Charbonnier 1994).

    Args:
        paths: Paths of the points through all frames.
        field: Parameters of the field.
        spec: Dimensions of the GoP.
        picked: Frames to compare. [B] int64, on the device.
        at: Times of these frames.
        backend: Back end of the operators.

    Returns:
        Loss, a scalar.

    Gradients: to the field.
    """
    black = torch.zeros(paths.means.shape[0], 3, device=paths.means.device)
    reached, _, _ = evaluate_field(
        paths.means,
        black,
        field.static_table,
        field.dynamic_table,
        field.weights,
        spec.field,
        at=at,
        size_px=(spec.width, spec.height),
        static=None,
        backend=backend,
    )
    distance = (reached - paths.px.index_select(0, picked)).square().sum(dim=2)
    return torch.sqrt(distance + _SOFT_PX**2).mean()


def _lattice(width: int, height: int, device: torch.device) -> Tensor:
    """Positions that are spread evenly over the picture, pixels. [M, 2]."""
    spacing = max(1.0, math.sqrt(width * height / _N_POINTS))
    columns, rows = (max(1, round(side / spacing)) for side in (width, height))
    x = (torch.arange(columns, device=device) + 0.5) * (width / columns)
    y = (torch.arange(rows, device=device) + 0.5) * (height / rows)
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=2).reshape(-1, 2)


def _followed(frames: Tensor, ways: Sequence[range], points_px: Tensor) -> list[list[Tensor]]:
    """Follow points of the first frame of each way through all of its frames. [M, 2] each."""
    factor = max(1, round(min(frames.shape[1:3]) / _SHORT_SIDE))
    # Flow between the frames of all ways is estimated together, since a GPU takes no longer for many.
    pairs = [pair for way in ways for pair in pairwise(way)]
    batch = _BATCH[frames.device.type]
    flows: list[Tensor] = []
    for first in range(0, len(pairs), batch):
        before, after = zip(*pairs[first : first + batch], strict=True)
        flows += optical_flow(_small_luma(frames, before, factor), _small_luma(frames, after, factor))
    flow_of = dict(zip(pairs, flows, strict=True))
    followed = []
    for way in ways:
        positions = [points_px]
        for pair in pairwise(way):
            positions.append(_moved(positions[-1], flow_of[pair], factor))
        followed.append(positions)
    return followed


def _small_luma(frames: Tensor, picked: Sequence[int], factor: int) -> Tensor:
    return avg_pool2d(frames[list(picked)].float().mean(dim=3)[:, None] / 255.0, factor)


def _moved(points_px: Tensor, flow: Tensor, factor: int) -> Tensor:
    height, width = flow.shape[1:]
    size = torch.tensor([width, height], dtype=torch.float32, device=flow.device)
    grid = points_px / (factor * size) * 2.0 - 1.0
    step = grid_sample(flow[None], grid[None, None], padding_mode="border", align_corners=False)
    return points_px + factor * step[0, :, 0].t()
