"""What lies between: pictures of more pixels than were fitted, and frames between those that were."""

from __future__ import annotations

from functools import partial
from typing import Literal, TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from stgvcodec.model.gaussians import Scale
from stgvcodec.model.gop_model import Clock, GopParameters, GopSpec, between, deformed_px, output_size
from stgvcodec.ops.rasterize import rasterize, to_uint8

# What the fit is given: pictures so much smaller, or every second frame.
ENLARGEMENTS = {"x1.5": 1.5, "x2": 2.0, "x3": 3.0}
HALVED = "every second frame"

Interpolation: TypeAlias = Literal["render", "bicubic", "Lanczos", "repetition", "blending"]
RESAMPLED: tuple[Interpolation, ...] = ("bicubic", "Lanczos")
BETWEEN: tuple[Interpolation, ...] = ("repetition", "blending")
_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "Lanczos": Image.Resampling.LANCZOS}


def reduced(frames: np.ndarray, factor: float) -> np.ndarray:
    """Make pictures smaller by a bicubic filter that reaches as far as the factor asks. [T, h, w, 3] uint8."""
    _, height, width, _ = frames.shape
    return _resized(frames, (round(width / factor), round(height / factor)), Image.Resampling.BICUBIC)


def interpolated(
    parameters: GopParameters,
    spec: GopSpec,
    how: Interpolation,
    size: tuple[int, int],
    *,
    is_halved: bool,
    backend: str,
) -> Tensor:
    """Return the pictures that a fit was not given.

    Args:
        parameters: Parameters of the GoP.
        spec: Dimensions of the GoP.
        how: "render" draws the Gaussians at that time and size, as a decoder does. The others make do with the GoP's
            own frames: a filter enlarges them, after rounding to 8 bits; the frame before is repeated, or its mean with
            the next taken.
        size: (width, height) of the pictures.
        is_halved: Whether the pictures between the GoP's frames are asked for, or the frames themselves.
        backend: Back end of the operators.

    Returns:
        The pictures in float. [T, H, W, 3], one less than the GoP's frames if `is_halved`.
    """
    render = partial(_render, parameters, spec, Clock(spec, parameters.means.device), backend=backend)
    n = spec.n_frames
    if how == "render":
        scale = (size[0] / spec.width, size[1] / spec.height)
        pictures = [[k, k + 1] for k in range(n - 1)] if is_halved else [[k] for k in range(n)]
        return torch.cat([render(frames, scale) for frames in pictures])
    decoded = torch.cat([render([k], 1.0) for k in range(n)])
    if how == "repetition":
        return decoded[:-1]
    if how == "blending":
        return (decoded[:-1] + decoded[1:]) / 2
    enlarged = _resized(to_uint8(decoded).cpu().numpy(), size, _FILTERS[how])
    return torch.from_numpy(enlarged).to(decoded.device) / 255.0


def _render(
    parameters: GopParameters, spec: GopSpec, clock: Clock, frames: list[int], scale: Scale, *, backend: str
) -> Tensor:
    """Render a frame, or the picture half-way between two. [1, H, W, 3]."""
    at = clock.at(torch.tensor(frames, device=parameters.means.device))
    splats = deformed_px(parameters, spec, at, backend=backend, scale=scale)
    width, height = output_size(spec, scale)
    half_way = splats if len(frames) == 1 else between(*splats, 0.5)
    return rasterize(*half_way, height=height, width=width, backend=backend).clamp_(0.0, 1.0)


def _resized(frames: np.ndarray, size: tuple[int, int], method: Image.Resampling) -> np.ndarray:
    return np.stack([np.asarray(Image.fromarray(frame).resize(size, method)) for frame in frames])
