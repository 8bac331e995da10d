"""The deformation field: two hash encodings and a small MLP with two heads (Eqs. 3-9)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from stgvcodec.ops.field_mlp import FieldWeights, field_mlp
from stgvcodec.ops.hash_encode import HashGridSpec, hash_encode


@dataclass(frozen=True)
class FieldSpec:
    """Dimensions of a field, all of them transmitted.

    Attributes:
        static_grid: 2D encoding over (x, y).
        dynamic_grid: 3D encoding over (x, y, t).
        mlp_width: Width of both hidden layers.
        n_frequencies: Octaves of the time encoding.
    """

    static_grid: HashGridSpec
    dynamic_grid: HashGridSpec
    mlp_width: int
    n_frequencies: int

    @property
    def n_inputs(self) -> int:
        """Length of concat(f_s, f_d, gamma), Eq. (7)."""
        return self.static_grid.n_features + self.dynamic_grid.n_features + 2 * self.n_frequencies

    @property
    def weight_shapes(self) -> FieldWeightShapes:
        """Shapes of the MLP's tensors, in the order in which they are transmitted."""
        width, n_inputs = self.mlp_width, self.n_inputs
        return ((width, n_inputs), (width,), (width, width), (width,), (2, width), (2,), (3, width), (3,))

    @property
    def n_parameters(self) -> int:
        """Number of transmitted values: table entries, weights and biases."""
        tables = (self.static_grid, self.dynamic_grid)
        n_table_values = sum(grid.n_entries * grid.n_features_per_level for grid in tables)
        return n_table_values + sum(math.prod(shape) for shape in self.weight_shapes)


FieldWeightShapes = tuple[tuple[int, ...], ...]


class DeformationField(nn.Module):
    """Trainable field of one GoP.

    Tables start at zero, so that entries no Gaussian ever reads stay zero and cost next to nothing; the heads start at
    zero, so that training starts from the canonical picture. The hidden layers start as torch's linear layers do.
    """

    def __init__(self, spec: FieldSpec, *, generator: torch.Generator, device: torch.device) -> None:
        """Initialise for `spec`; `generator` (on the CPU) draws the hidden layers."""
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
    def weights(self) -> FieldWeights:
        """The MLP's tensors by name."""
        return FieldWeights(*self.mlp)


def time_encoding(times: Sequence[float], n_frequencies: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Frequency encoding gamma(t): sin(2^j pi t), cos(2^j pi t) for j = 0, 1, ...

    Computed in float64 on the host and rounded once, so that every back end sees the same numbers.

    Args:
        times: Times in [0, 1]. B values.
        n_frequencies: Number of octaves.

    Returns:
        (sin_0, cos_0, sin_1, cos_1, ...). [B, 2 * n_frequencies] float32.
    """
    angles = np.asarray(times, dtype=np.float64)[:, None] * (np.pi * 2.0 ** np.arange(n_frequencies))[None, :]
    return np.stack((np.sin(angles), np.cos(angles)), axis=2).reshape(len(times), 2 * n_frequencies).astype(np.float32)


def static_features(means: Tensor, table: Tensor, spec: FieldSpec, *, backend: str) -> Tensor:
    """f_s of Eq. (6), the same for every frame. Means in [-1, 1]^2 [N, 2] -> [N, L * F]."""
    return hash_encode((means + 1.0) * 0.5, table, spec.static_grid, backend=backend)


def deform(
    means: Tensor,
    static: Tensor,
    dynamic_table: Tensor,
    weights: FieldWeights,
    spec: FieldSpec,
    *,
    times: Sequence[float],
    backend: str,
) -> tuple[Tensor, Tensor]:
    """Evaluate the field at given times (Eqs. 6-8).

    Args:
        means: Canonical centres in [-1, 1]^2. [N, 2].
        static: `static_features` of the same means. [N, L * F].
        dynamic_table: Entries of the 3D encoding. [n_entries, F].
        weights: The MLP.
        spec: Dimensions.
        times: B times in [0, 1].
        backend: Of the operators.

    Returns:
        Delta mu in [-1, 1] units [B, N, 2], Delta c [B, N, 3].
    """
    n_times, n = len(times), means.shape[0]
    xy = ((means + 1.0) * 0.5).expand(n_times, n, 2)
    t = torch.tensor(times, dtype=means.dtype, device=means.device)
    xyt = torch.cat((xy, t[:, None, None].expand(n_times, n, 1)), dim=2)  # [B, N, 3]
    dynamic = hash_encode(xyt.reshape(n_times * n, 3), dynamic_table, spec.dynamic_grid, backend=backend)
    gamma = torch.from_numpy(time_encoding(times, spec.n_frequencies)).to(device=means.device, dtype=means.dtype)
    return field_mlp(static, dynamic.reshape(n_times, n, -1), gamma, weights, backend=backend)
