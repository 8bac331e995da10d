"""The deformation field: two hash encodings and a small MLP (Eqs. 3-9), with a head for shapes that the paper lacks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from stgvcodec.ops.deform import deform as deform_op
from stgvcodec.ops.deform_shapes import deform_shapes
from stgvcodec.ops.field_mlp import FieldWeights
from stgvcodec.ops.hash_encode import HashGridSpec, hash_encode


@dataclass(frozen=True)
class FieldSpec:
    """Dimensions of a field, all of which are transmitted.

    Attributes:
        static_grid: 2D encoding over (x, y).
        dynamic_grid: 3D encoding over (x, y, t).
        mlp_width: Width of both hidden layers.
        n_frequencies: Octaves of the time encoding.
        has_shape_head: Whether the field changes the shapes of the Gaussians too.
    """

    static_grid: HashGridSpec
    dynamic_grid: HashGridSpec
    mlp_width: int
    n_frequencies: int
    has_shape_head: bool = False

    @property
    def n_inputs(self) -> int:
        """Length of concat(f_s, f_d, gamma), Eq. (7)."""
        return self.static_grid.n_features + self.dynamic_grid.n_features + 2 * self.n_frequencies

    @property
    def weight_shapes(self) -> FieldWeightShapes:
        """Shapes of the MLP's tensors, in the order in which they are transmitted; an empty one is not transmitted."""
        width, n_inputs, n_shapes = self.mlp_width, self.n_inputs, 3 if self.has_shape_head else 0
        heads = ((2, width), (2,), (3, width), (3,), (n_shapes, width), (n_shapes,))
        return ((width, n_inputs), (width,), (width, width), (width,), *heads)

    @property
    def n_parameters(self) -> int:
        """Number of transmitted values: table entries, weights and biases."""
        tables = (self.static_grid, self.dynamic_grid)
        n_table_values = sum(grid.n_entries * grid.n_features_per_level for grid in tables)
        return n_table_values + sum(math.prod(shape) for shape in self.weight_shapes)


FieldWeightShapes = tuple[tuple[int, ...], ...]


class DeformationField(nn.Module):
    """Trainable field of one GoP.

    The tables start at zero, so that entries that no Gaussian ever reads stay zero and cost next to nothing. The heads
    start at zero, so that training starts from the canonical picture. The hidden layers start as torch's linear layers.
    """

    def __init__(self, spec: FieldSpec, *, generator: torch.Generator, device: torch.device) -> None:
        """Make the field that `spec` describes; `generator` (on the CPU) draws the hidden layers."""
        super().__init__()
        static, dynamic = spec.static_grid, spec.dynamic_grid
        self.static_table = nn.Parameter(torch.zeros(static.n_entries, static.n_features_per_level, device=device))
        self.dynamic_table = nn.Parameter(torch.zeros(dynamic.n_entries, dynamic.n_features_per_level, device=device))

        def uniform(shape: tuple[int, ...], fan_in: int) -> nn.Parameter:
            bound = 1.0 / math.sqrt(max(fan_in, 1))
            return nn.Parameter(((torch.rand(shape, generator=generator) * 2 - 1) * bound).to(device))

        def zeros(shape: tuple[int, ...]) -> nn.Parameter:
            return nn.Parameter(torch.zeros(shape, device=device))

        w1, b1, w2, b2, *heads = spec.weight_shapes
        hidden = [uniform(shape, fan_in) for shape, fan_in in ((w1, w1[1]), (b1, w1[1]), (w2, w2[1]), (b2, w2[1]))]
        self.mlp = nn.ParameterList([*hidden, *(zeros(shape) for shape in heads)])

    @property
    def network(self) -> list[nn.Parameter]:
        """Weights and biases of the MLP but for its head for shapes."""
        return list(self.mlp)[:-2]

    @property
    def shape_head(self) -> list[nn.Parameter]:
        """Weights and biases of the head for shapes, without elements where there is none."""
        return list(self.mlp)[-2:]

    @property
    def weights(self) -> FieldWeights:
        """The MLP's tensors by name."""
        return FieldWeights(*self.mlp)


def time_encoding(times: Sequence[float], n_frequencies: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Frequency encoding gamma(t): sin(2^j pi t), cos(2^j pi t) for j = 0, 1, ...

    It is computed in float64 on the host and rounded once, so that every back end sees the same values.

    Args:
        times: Times in [0, 1]. B values.
        n_frequencies: Number of octaves.

    Returns:
        (sin_0, cos_0, sin_1, cos_1, ...). [B, 2 * n_frequencies] float32.
    """
    angles = np.asarray(times, dtype=np.float64)[:, None] * (np.pi * 2.0 ** np.arange(n_frequencies))[None, :]
    return np.stack((np.sin(angles), np.cos(angles)), axis=2).reshape(len(times), 2 * n_frequencies).astype(np.float32)


class Moments(NamedTuple):
    """Times at which the field is evaluated, on the device of the Gaussians.

    Attributes:
        times: Times in [0, 1]. [B].
        gamma: Encodings of the times. [B, 2 * n_frequencies].
    """

    times: Tensor
    gamma: Tensor


def moments(times: Sequence[float], n_frequencies: int, *, dtype: torch.dtype, device: torch.device) -> Moments:
    """Put times and their encodings on a device."""
    gamma = torch.from_numpy(time_encoding(times, n_frequencies))
    return Moments(torch.tensor(times, dtype=dtype, device=device), gamma.to(device=device, dtype=dtype))


def static_features(means: Tensor, table: Tensor, spec: FieldSpec, *, backend: str) -> Tensor:
    """Features f_s of Eq. (6), which are the same for every frame. Means in [-1, 1]^2 [N, 2] -> [N, L * F]."""
    return hash_encode((means + 1.0) * 0.5, table, spec.static_grid, backend=backend)


def deform(
    means: Tensor,
    cholesky: Tensor,
    colors: Tensor,
    static_table: Tensor,
    dynamic_table: Tensor,
    weights: FieldWeights,
    spec: FieldSpec,
    *,
    at: Moments,
    size_px: tuple[float, float],
    static: Tensor | None,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Move, recolour and reshape Gaussians as the field says (Eqs. 6-9, and bitstream_spec.md section 7.4).

    Args:
        means: Canonical centres in [-1, 1]^2. [N, 2].
        cholesky: Canonical factors (l1, l2, l3) as `bounded_cholesky` returns them, pixels of the encoded size. [N, 3].
        colors: Canonical weighted RGB. [N, 3].
        static_table: Entries of the 2D encoding. [n_entries, F].
        dynamic_table: Entries of the 3D encoding. [n_entries, F].
        weights: Weights and biases of the MLP.
        spec: Dimensions of the field.
        at: B times.
        size_px: Width and height of the output, pixels.
        static: `static_features` of these means, if the caller keeps them.
        backend: Back end of the operators.

    Returns:
        Means in pixels of the output [B, N, 2]; factors in pixels of the encoded size, [B, N, 3], or [N, 3] as they
        were if the field has no head for shapes; colours [B, N, 3].
    """
    means_px, colors, delta = deform_op(
        means,
        colors,
        static_table,
        dynamic_table,
        weights,
        at.times,
        at.gamma,
        static_grid=spec.static_grid,
        dynamic_grid=spec.dynamic_grid,
        size_px=size_px,
        static_features=static,
        backend=backend,
    )
    if spec.has_shape_head:
        cholesky = deform_shapes(cholesky, delta, backend=backend)
    return means_px, cholesky, colors
