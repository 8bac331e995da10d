"""Gaussians as what they add to others: those of a predicted GoP to those of the last frame before it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stgvcodec.ops.code_length import CodeLengths, code_length
from stgvcodec.ops.log_shear.limits import MAX_DIAGONAL_PX, MIN_DIAGONAL_PX
from stgvcodec.ops.log_shear.reference import bounded
from stgvcodec.ops.ycocg.limits import MAGNITUDE_MAX, SCALE_MAX, SCALE_MIN
from stgvcodec.ops.ycocg.reference import to_ycocg, values_of

__all__ = [
    "LARGEST_LOG",
    "MIN_RESIDUAL",
    "N_RESIDUALS",
    "SHAPES",
    "Gaussians",
    "ResidualQuantizer",
    "added",
    "dequantize",
]

N_RESIDUALS = 8
"""Of x, y, the logarithms of l1 and l3, the shear l2 / l3, Y, Co, Cg."""
MIN_RESIDUAL, MAX_RESIDUAL = -128, 127
SHAPES = slice(2, 5)
"""Those of shapes."""
_MEANS, _LOGS, _SHEAR, _COLORS = slice(0, 2), slice(2, 4), 4, slice(5, 8)
LARGEST_LOG = 16.0
"""Bound of a logarithm that is added: a factor of e^16 takes half a pixel to the widest Gaussian that there is."""


class Gaussians(NamedTuple):
    """Gaussians of one frame, as numbers.

    means [N, 2] in [-1, 1]^2 over the picture, cholesky [N, 3] in pixels before the lower bound, colors [N, 3]; all
    float32.
    """

    means: Tensor
    cholesky: Tensor
    colors: Tensor


def dequantize(
    symbols: NDArray[np.int8],
    point_scale: NDArray[np.float32],
    shape_scale: NDArray[np.float32],
    color_scale: NDArray[np.float32],
    *,
    before: Gaussians,
) -> Gaussians:
    """Gaussians from residuals. bitstream_spec.md section 17.

    Args:
        symbols: Residuals in steps, in the order of `N_RESIDUALS`. [N, 8] int8.
        point_scale: Step of x and of y, in units of the means. [2] float32.
        shape_scale: Relative steps of l1 and l3, step of the shear. [3] float32.
        color_scale: Steps of Y, Co, Cg. [3] float32.
        before: What they add to; the result is on its device. N Gaussians.

    Raises:
        ValueError: a shape or dtype differs from the above.
    """
    n = before.means.shape[0]
    if symbols.dtype != np.int8 or symbols.shape != (n, N_RESIDUALS):
        raise ValueError(f"residuals are {symbols.dtype} {list(symbols.shape)}, expected int8 {[n, N_RESIDUALS]}")
    scales = np.concatenate([point_scale, shape_scale, color_scale])
    if scales.dtype != np.float32 or scales.shape != (N_RESIDUALS,):
        raise ValueError(f"steps of residuals are {scales.dtype} {list(scales.shape)}, expected float32 [2], [3], [3]")
    device = before.means.device
    return added(before, torch.from_numpy(symbols).to(device), torch.from_numpy(scales).to(device))


def added(before: Gaussians, residuals: Tensor, steps: Tensor) -> Gaussians:
    """Gaussians from residuals that are on the device; never waits for it.

    Args:
        before: What they add to. N Gaussians.
        residuals: In steps. [N, 8] int8.
        steps: Of point_scale, shape_scale and color_scale, in that order. [8] float32.
    """
    return _decoded(_Base.of(before), residuals.float(), steps)


class _Base(NamedTuple):
    """What residuals add to, in the space in which they do: means, l1 and l3 as rendered, shear, colours."""

    means: Tensor
    diagonal: Tensor
    shear: Tensor
    colors: Tensor

    @classmethod
    def of(cls, gaussians: Gaussians) -> _Base:
        diagonal = gaussians.cholesky[:, ::2].clamp_min(0.0) + MIN_DIAGONAL_PX
        return cls(gaussians.means, diagonal, gaussians.cholesky[:, 1] / diagonal[:, 1], gaussians.colors)


def _decoded(before: _Base, residuals: Tensor, steps: Tensor) -> Gaussians:
    """Gaussians of whole numbers of steps as every decoder computes them. [N, 8] and [8]."""
    moves = residuals * steps
    logs = moves[:, _LOGS].clamp(-LARGEST_LOG, LARGEST_LOG)
    diagonal = (before.diagonal * torch.exp(logs)).clamp_max(MAX_DIAGONAL_PX)
    l1, l3 = (diagonal - MIN_DIAGONAL_PX).unbind(1)
    l2 = (before.shear + moves[:, _SHEAR]) * diagonal[:, 1].clamp_min(MIN_DIAGONAL_PX)
    return Gaussians(
        before.means + moves[:, _MEANS],
        torch.stack((l1, l2, l3), dim=1),
        before.colors + values_of(residuals[:, _COLORS], steps[_COLORS]),
    )


class _Round(torch.autograd.Function):
    """Whole numbers within the symbols' range, with the gradient of x where that is inside."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        rounded = x.round().clamp_(MIN_RESIDUAL, MAX_RESIDUAL) + 0.0
        ctx.save_for_backward((x >= MIN_RESIDUAL) & (x <= MAX_RESIDUAL))
        return rounded

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (inside,) = ctx.saved_tensors
        return torch.where(inside, grads[0], 0.0)


class _AtLeastZero(torch.autograd.Function):
    """max(x, 0) whose gradient is also let through below 0 where it would lift x back over it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x > 0)
        return x.clamp_min(0.0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (above,) = ctx.saved_tensors
        return torch.where(above | (grads[0] < 0), grads[0], 0.0)


class ResidualQuantizer(nn.Module):
    """r = clamp(round((x - before) / step), -128, 127), with scales as logarithms and colours as Y, Co, Cg.

    The steps of shapes and colours are learned; those of the means are not, as on a grid.

    Args:
        before: What residuals add to; kept.
        point_scale: Step of x and of y. [2] float32.
        shape_scale: Steps of the two logarithms and of the shear to begin with. [3] float32.
        color_scale: Steps of Y, Co, Cg to begin with. [3] float32.
    """

    point_scale: Tensor
    shape_unit: Tensor
    color_unit: Tensor

    def __init__(
        self,
        before: Gaussians,
        *,
        point_scale: NDArray[np.float32],
        shape_scale: NDArray[np.float32],
        color_scale: NDArray[np.float32],
    ) -> None:
        super().__init__()
        self._gaussians = before
        self._before = _Base.of(before)
        self.shape_gain = nn.Parameter(torch.zeros(3))
        self.color_gain = nn.Parameter(torch.zeros(3))
        self.register_buffer("point_scale", torch.tensor(point_scale))
        self.register_buffer("shape_unit", torch.tensor(shape_scale))
        self.register_buffer("color_unit", torch.tensor(color_scale))
        self.to(before.means.device)

    def forward(self, x: Gaussians) -> Gaussians:
        """Return the decoder's values.

        Args:
            x: N Gaussians; NaN counts as what they add to.

        Returns:
            Values as decoded.

        Gradients: straight-through to x, as in LSQ to the gains; none where a residual saturates; to an l1 or l3 below
            its bound only what lifts it. Deterministic: yes.
        """
        steps = self._steps()
        return _decoded(self._before, _round(self._ratios(x, steps)), steps)

    def rated(self, x: Gaussians, lengths: CodeLengths) -> tuple[Gaussians, Tensor]:
        """Return the decoder's values and what their symbols cost.

        Args:
            x: As for calling it.
            lengths: Tables, where `MIN_RESIDUAL` has the first entry, and rows of the residuals. Rows [8, N].

        Returns:
            values: As calling it returns them.
            bits: Of all residuals. [1] float32.

        Gradients: of both to x and the gains. Deterministic: yes.
        """
        steps = self._steps()
        ratios = self._ratios(x, steps)
        bits = code_length(ratios.t().contiguous(), lengths, first=MIN_RESIDUAL).reshape(1)
        return _decoded(self._before, _round(ratios), steps), bits

    @torch.no_grad()
    def codes(self, x: Gaussians) -> Tensor:
        """Residuals to transmit. [N, 8] int64, on the device."""
        return _round(self._ratios(x, self._steps())).long()

    def symbols(self, x: Gaussians) -> NDArray[np.int8]:
        """Residuals to transmit. [N, 8] int8."""
        return self.codes(x).cpu().numpy().astype(np.int8)

    @torch.no_grad()
    def side(self) -> dict[str, NDArray[np.float32]]:
        """Steps as transmitted, under the names that `dequantize` takes."""
        steps = self._steps().cpu().numpy()
        return {"point_scale": steps[_MEANS], "shape_scale": steps[2:5], "color_scale": steps[_COLORS]}

    @torch.no_grad()
    def scale_steps(self, factor: float) -> None:
        """Begin with other steps: all of them times `factor`, within their limits."""
        self.point_scale.mul_(factor).clamp_(SCALE_MIN, SCALE_MAX)
        self.shape_unit.mul_(factor)
        self.color_unit.mul_(factor)

    def _steps(self) -> Tensor:
        """Steps as transmitted. [8]."""
        shapes = bounded(self.shape_unit * self.shape_gain.exp())
        colors = (self.color_unit * self.color_gain.exp()).clamp(SCALE_MIN, SCALE_MAX)
        return torch.cat((self.point_scale, shapes, colors))

    def _ratios(self, x: Gaussians, steps: Tensor) -> Tensor:
        """What is rounded: differences over their steps. [N, 8]."""
        before = self._before
        # Before anything is made of them: the gradient of a quotient of NaN or Inf is none, not 0.
        x = Gaussians(*(torch.where(own.isnan(), old, own) for own, old in zip(x, self._gaussians, strict=True)))
        diagonal = _at_least_zero(x.cholesky[:, ::2].clamp_max(MAX_DIAGONAL_PX)) + MIN_DIAGONAL_PX
        shear = x.cholesky[:, 1].clamp(-MAGNITUDE_MAX, MAGNITUDE_MAX) / diagonal[:, 1]
        differences = torch.cat(
            (
                x.means - before.means,
                torch.log(diagonal / before.diagonal),
                (shear - before.shear)[:, None],
                to_ycocg((x.colors - before.colors).clamp(-MAGNITUDE_MAX, MAGNITUDE_MAX)),
            ),
            dim=1,
        )
        return torch.nan_to_num(differences, nan=0.0) / steps


def _round(x: Tensor) -> Tensor:
    result: Tensor = _Round.apply(x)
    return result


def _at_least_zero(x: Tensor) -> Tensor:
    result: Tensor = _AtLeastZero.apply(x)
    return result
