"""The deformation field: two hash encodings and a small MLP (Eqs. 3-9), with a head for shapes that the paper lacks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from stgvcodec.ops.deform import deform as deform_op
from stgvcodec.ops.deform import to_pixels
from stgvcodec.ops.deform_shapes import deform_shapes
from stgvcodec.ops.field_mlp import FieldWeights, field_mlp
from stgvcodec.ops.hash_encode import HashGridSpec, hash_encode

Encoding: TypeAlias = Literal["spatio-temporal", "static", "dynamic", "positional", "planes"]
"""What the MLP of a field sees of a place and a time, beside gamma(t): both hash encodings, or one of the variants that
the paper compares them with. The bitstream has the first only; the others are for fits in float."""

# In the planes' product, those over time begin at 1 and that over (x, y) in this range (Fridovich-Keil et al. 2023,
# arXiv 2301.10241): a product of zeros would have no gradient.
_XY_PLANE_RANGE = (0.1, 0.5)
# Numbers of an octave of the position encoding: sine and cosine of x and of y.
POSITION_FEATURES = 4


@dataclass(frozen=True)
class FieldSpec:
    """Dimensions of a field, all of which but the encoding are transmitted.

    The encodings other than "spatio-temporal" read the grids in their own way:

    - "static" and "dynamic" train one of the two tables. The other holds zeros, and its grid is best the smallest.
    - "positional" has sin(2^j pi p) and cos(2^j pi p) of both coordinates p in [-1, 1] in the place of f_s, with an
      octave j for each level of `static_grid`, which has `POSITION_FEATURES` features a level. No table is trained.
    - "planes" multiplies the encodings of (x, y) by `static_grid`, and of (x, t) and (y, t), each by `dynamic_grid`,
      whose axes are space and time (K-planes: Fridovich-Keil et al. 2023, arXiv 2301.10241). The rows of the plane
      (x, t) come first in the dynamic table, then those of (y, t). All levels should be dense.

    Attributes:
        static_grid: 2D encoding over (x, y).
        dynamic_grid: 3D encoding over (x, y, t).
        mlp_width: Width of both hidden layers.
        n_frequencies: Octaves of the time encoding.
        has_shape_head: Whether the field changes the shapes of the Gaussians too.
        encoding: What the MLP sees of a place and a time.
    """

    static_grid: HashGridSpec
    dynamic_grid: HashGridSpec
    mlp_width: int
    n_frequencies: int
    has_shape_head: bool = False
    encoding: Encoding = "spatio-temporal"

    @property
    def n_inputs(self) -> int:
        """Length of concat(f_s, f_d, gamma), Eq. (7), or of concat(product of the planes, gamma)."""
        n_dynamic = 0 if self.encoding == "planes" else self.dynamic_grid.n_features
        return self.static_grid.n_features + n_dynamic + 2 * self.n_frequencies

    @property
    def trains_static_table(self) -> bool:
        """Whether the static table is trained; otherwise it is zero."""
        return self.encoding in ("spatio-temporal", "static", "planes")

    @property
    def trains_dynamic_table(self) -> bool:
        """Whether the dynamic table is trained; otherwise it is zero."""
        return self.encoding in ("spatio-temporal", "dynamic", "planes")

    @property
    def table_shapes(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Shapes of the static and of the dynamic table, [n_entries, F]."""
        static, dynamic = self.static_grid, self.dynamic_grid
        n_copies = 2 if self.encoding == "planes" else 1
        return (
            (static.n_entries, static.n_features_per_level),
            (n_copies * dynamic.n_entries, dynamic.n_features_per_level),
        )

    @property
    def weight_shapes(self) -> FieldWeightShapes:
        """Shapes of the MLP's tensors, in the order in which they are transmitted; an empty one is not transmitted."""
        width, n_inputs, n_shapes = self.mlp_width, self.n_inputs, 3 if self.has_shape_head else 0
        heads = ((2, width), (2,), (3, width), (3,), (n_shapes, width), (n_shapes,))
        return ((width, n_inputs), (width,), (width, width), (width,), *heads)

    @property
    def n_parameters(self) -> int:
        """Number of values that training changes: table entries, weights and biases; all of them are transmitted."""
        static, dynamic = (math.prod(shape) for shape in self.table_shapes)
        n_table_values = static * self.trains_static_table + dynamic * self.trains_dynamic_table
        return n_table_values + sum(math.prod(shape) for shape in self.weight_shapes) - self.mlp_width * self._n_zeros

    @property
    def _n_zeros(self) -> int:
        """Number of inputs of the MLP that are always zero, since their table is."""
        n_static = 0 if self.trains_static_table or self.encoding == "positional" else self.static_grid.n_features
        return n_static + (0 if self.trains_dynamic_table else self.dynamic_grid.n_features)


FieldWeightShapes = tuple[tuple[int, ...], ...]


class DeformationField(nn.Module):
    """Trainable field of one GoP.

    The tables start at zero, so that entries that no Gaussian ever reads stay zero and cost next to nothing; planes
    start as `_XY_PLANE_RANGE` says. The heads start at zero, so that training starts from the canonical picture. The
    hidden layers start as torch's linear layers.
    """

    def __init__(self, spec: FieldSpec, *, generator: torch.Generator, device: torch.device) -> None:
        """Make the field that `spec` describes; `generator` (on the CPU) draws the hidden layers."""
        super().__init__()
        static, dynamic = (torch.zeros(shape) for shape in spec.table_shapes)
        if spec.encoding == "planes":
            static.uniform_(*_XY_PLANE_RANGE, generator=generator)
            dynamic.fill_(1.0)
        self.static_table = nn.Parameter(static.to(device), requires_grad=spec.trains_static_table)
        self.dynamic_table = nn.Parameter(dynamic.to(device), requires_grad=spec.trains_dynamic_table)

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
    if spec.encoding == "positional":
        return position_encoding(means, spec.static_grid.n_levels)
    return hash_encode((means + 1.0) * 0.5, table, spec.static_grid, backend=backend)


def position_encoding(means: Tensor, n_octaves: int) -> Tensor:
    """Frequency encoding of places: sin(2^j pi p), cos(2^j pi p) of both coordinates p, for j = 0, 1, ...

    Args:
        means: Places in [-1, 1]^2. [N, 2].
        n_octaves: Number of octaves.

    Returns:
        For each octave (sin x, sin y, cos x, cos y). [N, n_octaves * POSITION_FEATURES].
    """
    waves = [wave(means * (math.pi * 2.0**j)) for j in range(n_octaves) for wave in (torch.sin, torch.cos)]
    return torch.cat(waves, dim=1)


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
    means_px, colors, delta = evaluate_field(
        means,
        colors,
        static_table,
        dynamic_table,
        weights,
        spec,
        at=at,
        size_px=size_px,
        static=static,
        backend=backend,
    )
    if spec.has_shape_head:
        cholesky = deform_shapes(cholesky, delta, backend=backend)
    return means_px, cholesky, colors


def evaluate_field(
    means: Tensor,
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
    """Evaluate a field of any encoding; the arguments are those of `deform`, the results those of `ops.deform`."""
    if static is None and spec.encoding in ("positional", "planes"):
        static = static_features(means, static_table, spec, backend=backend)
    if spec.encoding == "planes":
        assert static is not None
        features = static * _planes_over_time(means, dynamic_table, spec, at.times, backend=backend)  # [B, N, L * F]
        network = "reference" if backend == "triton" else backend
        nothing = means.new_empty(len(means), 0)
        delta_means, delta_colors, delta_shapes = field_mlp(nothing, features, at.gamma, weights, backend=network)
        return to_pixels(means + delta_means, size_px), colors + delta_colors, delta_shapes
    return deform_op(
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


def _planes_over_time(means: Tensor, table: Tensor, spec: FieldSpec, times: Tensor, *, backend: str) -> Tensor:
    """Product of the encodings of (x, t) and (y, t). Means in [-1, 1]^2 [N, 2], B times -> [B, N, L * F]."""
    shape = (len(times), len(means))
    at = times[:, None].expand(shape)  # [B, N]
    x, y = (
        hash_encode(
            torch.stack((place.expand(shape), at), dim=2).reshape(-1, 2), plane, spec.dynamic_grid, backend=backend
        )
        for place, plane in zip(((means + 1.0) * 0.5).unbind(1), table.chunk(2), strict=True)
    )
    return (x * y).reshape(*shape, -1)
