"""The model of a group of pictures: what is transmitted, and how any of its frames is rendered from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from stgvcodec.model.deformation import DeformationField, FieldSpec, Moments, deform, moments, static_features
from stgvcodec.model.gaussians import CanonicalGaussians, Scale, axis_scales, bounded_cholesky, scale_splats
from stgvcodec.ops.deform import to_pixels
from stgvcodec.ops.field_mlp import FieldWeights
from stgvcodec.ops.rasterize import rasterize


@dataclass(frozen=True)
class GopSpec:
    """Dimensions of a GoP's model.

    Attributes:
        width: Picture width, pixels.
        height: Picture height, pixels.
        n_frames: Number of frames in the GoP, T.
        n_gaussians: Number of canonical Gaussians, N.
        field: Dimensions of the field.
        low_pass: s in Sigma = L L^T + s I, square pixels.
    """

    width: int
    height: int
    n_frames: int
    n_gaussians: int
    field: FieldSpec
    low_pass: float = 0.0


class FieldParameters(NamedTuple):
    """Parameters of a field: the hash tables [n_entries, F] and the weights and biases of the MLP."""

    static_table: Tensor
    dynamic_table: Tensor
    weights: FieldWeights


class GopParameters(NamedTuple):
    """Parameters of a GoP, trained or dequantised, from which its frames are rendered.

    Attributes:
        means: Centres in [-1, 1]^2 over the picture. [N, 2].
        cholesky: (l1, l2, l3) before the lower bound of `bounded_cholesky`, pixels. [N, 3].
        colors: Weighted RGB. [N, 3].
        field: Parameters of the field.
    """

    means: Tensor
    cholesky: Tensor
    colors: Tensor
    field: FieldParameters


class GopModel(nn.Module):
    """Trainable parameters of one GoP."""

    def __init__(self, gaussians: CanonicalGaussians, field: DeformationField) -> None:
        """Join canonical Gaussians and a field."""
        super().__init__()
        self.gaussians = gaussians
        self.field = field

    def gop_parameters(self) -> GopParameters:
        """Return the parameters as they are before any quantiser."""
        field = FieldParameters(self.field.static_table, self.field.dynamic_table, self.field.weights)
        return GopParameters(self.gaussians.means, self.gaussians.cholesky, self.gaussians.colors, field)


def frame_time(k: int, n_frames: int) -> float:
    """Time of frame k of a GoP of n_frames, in [0, 1]."""
    return k / (n_frames - 1) if n_frames > 1 else 0.0


class Clock:
    """Times of a GoP's frames and their encodings, on a device, where a step picks frames by index.

    Attributes:
        moments: Times of all frames in order, and their encodings.
    """

    def __init__(self, spec: GopSpec, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        """Compute the times and encodings of the frames of `spec`."""
        times = [frame_time(k, spec.n_frames) for k in range(spec.n_frames)]
        self.moments = moments(times, spec.field.n_frequencies, dtype=dtype, device=device)

    def at(self, picked: Tensor) -> Moments:
        """Return the times of the frames with the indices `picked` ([B] int64), without waiting for the device."""
        return Moments(*(tensor.index_select(0, picked) for tensor in self.moments))


def render(
    parameters: GopParameters,
    spec: GopSpec,
    times: Sequence[float],
    *,
    backend: str = "auto",
    scale: Scale = 1.0,
    static: Tensor | None = None,
) -> Tensor:
    """Render frames of a GoP at any times and any size (Eqs. 2-9).

    Args:
        parameters: Parameters of the GoP.
        spec: Dimensions of the GoP's model.
        times: B times in [0, 1]; `frame_time` gives the time of a frame.
        backend: Back end of the operators.
        scale: Output size over encoded size, or that along x and along y.
        static: `gop_static_features` of these parameters; None computes them here.

    Returns:
        image: Unclamped RGB, nominal [0, 1]. [B, round(H * scale), round(W * scale), 3].
    """
    at = moments(times, spec.field.n_frequencies, dtype=parameters.means.dtype, device=parameters.means.device)
    gaussians = deformed_px(parameters, spec, at, backend=backend, scale=scale, static=static)
    width, height = output_size(spec, scale)
    return rasterize(*gaussians, height=height, width=width, backend=backend)


def deformed_px(
    parameters: GopParameters,
    spec: GopSpec,
    at: Moments,
    *,
    backend: str = "auto",
    scale: Scale = 1.0,
    static: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Move, recolour and reshape the Gaussians for some frames, Eq. (9), without waiting for the device.

    Args:
        parameters: Parameters of the GoP.
        spec: Dimensions of the GoP's model.
        at: B times on the device, which `Clock.at` returns.
        backend: Back end of the operators.
        scale: Output size over encoded size, or that along x and along y.
        static: `gop_static_features` of these parameters, if the caller keeps them.

    Returns:
        What `rasterize` takes: means [B, N, 2] and factors in pixels of the output, the factors [N, 3] or, if the field
        has a head for shapes, [B, N, 3]; colours [B, N, 3].
    """
    field = parameters.field
    scale_x, scale_y = axis_scales(scale)
    means_px, cholesky, colors = deform(
        parameters.means,
        bounded_cholesky(parameters.cholesky, spec.low_pass),
        parameters.colors,
        field.static_table,
        field.dynamic_table,
        field.weights,
        spec.field,
        at=at,
        size_px=(spec.width * scale_x, spec.height * scale_y),
        static=static,
        backend=backend,
    )
    return means_px, *scale_splats(cholesky, colors, scale)


def between(means: Tensor, cholesky: Tensor, colors: Tensor, share: float) -> tuple[Tensor, Tensor, Tensor]:
    """Interpolate the Gaussians of two frames: each is on the straight line between its two places.

    The field itself is fitted at frames alone and swings in between.

    Args:
        means: Centres in both frames. [2, N, 2].
        cholesky: Factors in both frames, [2, N, 3], or those that both share, [N, 3].
        colors: Colours in both frames. [2, N, 3].
        share: Share of the way to the second frame, in [0, 1].

    Returns:
        The Gaussians of one picture, as `rasterize` takes them.
    """
    # Rows of a factor between two are no longer than the longer of theirs, so that bounds on extents hold.
    means, colors = (torch.lerp(each[:1], each[1:], share) for each in (means, colors))
    return means, cholesky if cholesky.dim() == 2 else torch.lerp(cholesky[:1], cholesky[1:], share), colors


def canonical_px(parameters: GopParameters, spec: GopSpec) -> tuple[Tensor, Tensor, Tensor]:
    """Return the Gaussians of one undeformed frame: means [1, N, 2] and factors [N, 3] in pixels, colours [1, N, 3]."""
    means_px = to_pixels(parameters.means[None], (spec.width, spec.height))
    return means_px, bounded_cholesky(parameters.cholesky, spec.low_pass), parameters.colors[None]


def render_canonical(parameters: GopParameters, spec: GopSpec, *, backend: str = "auto") -> Tensor:
    """Render the canonical Gaussians undeformed, as the key-frame phase trains them. [1, H, W, 3]."""
    return rasterize(*canonical_px(parameters, spec), height=spec.height, width=spec.width, backend=backend)


def gop_static_features(parameters: GopParameters, spec: GopSpec, *, backend: str = "auto") -> Tensor:
    """Return f_s, Eq. (6), of every Gaussian, which is the same for all frames of a GoP. [N, L * F]."""
    return static_features(parameters.means, parameters.field.static_table, spec.field, backend=backend)


def output_size(spec: GopSpec, scale: Scale) -> tuple[int, int]:
    """(width, height) in pixels of a frame rendered at `scale`."""
    return scaled_size(spec.width, spec.height, scale)


def scaled_size(width: int, height: int, scale: Scale) -> tuple[int, int]:
    """(width, height) in pixels of a picture of `width` x `height` rendered at `scale`."""
    scale_x, scale_y = axis_scales(scale)
    return max(1, round(width * scale_x)), max(1, round(height * scale_y))
