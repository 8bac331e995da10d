"""A set payload's numbers as one block of floats: made by any thread, sent to a GPU in one copy that nobody waits for.

Its modes are many and its symbols few, so the host makes the numbers, in the time in which a GPU renders other GoPs. Of
a predicted GoP it makes those of the field; residuals are added on the device, to what only that knows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stgvcodec.bitstream.gop_predicted.symbols import PredictedGopSymbols
from stgvcodec.bitstream.payload.header import GopSetHeader
from stgvcodec.bitstream.payload.symbols import GopSetSymbols
from stgvcodec.codec.gop_staging import GopTimes, strided, time_arrays
from stgvcodec.model.gop_model import FieldValues, GopValues
from stgvcodec.ops.field_mlp import FieldWeights
from stgvcodec.ops.reconstruct import (
    ALIGNMENT_BYTES,
    COLORS_YCOCG,
    POINTS_HALF,
    SHAPES_LOG,
    NumbersLayout,
    SetCodes,
    numbers_layout,
    reconstruct,
)
from stgvcodec.quant.residual import N_RESIDUALS


class _Plan(NamedTuple):
    """What is where in the block of a header's GoPs: numbers, then what all of them share."""

    numbers: NumbersLayout
    times_shape: tuple[int, ...]
    gamma_shape: tuple[int, ...]
    first_gamma: int  # In floats; the times begin behind the numbers.
    first_step: int  # Of residuals, where there are some; in floats.
    first_residual: int
    times: NDArray[np.float32]  # Times and gamma, as they stand in the block.


@dataclass(frozen=True)
class StagedNumbers:
    """The numbers of a GoP on the host. Make it with `stage_numbers`."""

    _floats: Tensor  # [n] float32
    _plan: _Plan

    @property
    def cholesky(self) -> NDArray[np.float32]:
        """(l1, l2, l3) before the lower bound, pixels. [N, 3], a view."""
        n, width = self._plan.numbers.shapes["cholesky"]
        first = self._plan.numbers.firsts["cholesky"]
        floats: NDArray[np.float32] = self._floats.numpy()
        return floats[first : first + n * width].reshape(n, width)

    def to(self, device: torch.device) -> tuple[GopValues, GopTimes]:
        """Send the numbers.

        One copy, asynchronous where the memory is pinned, on the device's current stream; none on a CPU.

        Args:
            device: Where the numbers are wanted.

        Returns:
            The GoP's numbers, and times of its frames.
        """
        return _numbers_of(self._floats.to(device, non_blocking=True), self._plan)


class SentPrediction(NamedTuple):
    """A predicted GoP on the device: field, times of its frames, residuals [N, 8] int8, their steps [8] float32."""

    field: FieldValues
    times: GopTimes
    residuals: Tensor
    steps: Tensor


@dataclass(frozen=True)
class StagedPrediction:
    """The numbers of a predicted GoP's field, and its residuals, on the host. Make it with `stage_prediction`."""

    _floats: Tensor  # [n] float32
    _plan: _Plan  # Of no Gaussians.
    _n_gaussians: int

    def to(self, device: torch.device) -> SentPrediction:
        """Send all of it: one copy, as of `StagedNumbers.to`."""
        sent, plan = self._floats.to(device, non_blocking=True), self._plan
        values, times = _numbers_of(sent, plan)
        residuals = strided(sent.view(torch.int8), (self._n_gaussians, N_RESIDUALS), 4 * plan.first_residual)
        return SentPrediction(values.field, times, residuals, strided(sent, (N_RESIDUALS,), plan.first_step))


def _numbers_of(sent: Tensor, plan: _Plan) -> tuple[GopValues, GopTimes]:
    numbers = [strided(sent, shape, plan.numbers.firsts[name]) for name, shape in plan.numbers.shapes.items()]
    means, cholesky, colors, static_table, dynamic_table, *weights = numbers
    times = GopTimes(
        strided(sent, plan.times_shape, plan.numbers.n_floats), strided(sent, plan.gamma_shape, plan.first_gamma)
    )
    field = FieldValues(static_table, dynamic_table, FieldWeights(*weights))
    return GopValues(means, cholesky, colors, field), times


def stage_numbers(symbols: GopSetSymbols, *, pinned: bool) -> StagedNumbers:
    """Compute a GoP's numbers into one block of memory.

    Args:
        symbols: Of a set payload.
        pinned: Use page-locked memory, from which a GPU copies while the host goes on.
    """
    plan = _plan(symbols.header, symbols.header.n_gaussians)
    n_numbers = plan.numbers.n_floats
    floats = torch.empty(n_numbers + len(plan.times), dtype=torch.float32, pin_memory=pinned)
    block: NDArray[np.float32] = floats.numpy()
    reconstruct(_codes(symbols), plan.numbers, block)
    block[n_numbers:] = plan.times
    return StagedNumbers(floats, plan)


def stage_prediction(symbols: PredictedGopSymbols, *, pinned: bool) -> StagedPrediction:
    """Compute a predicted GoP's field into one block of memory, and put its residuals behind it.

    Args:
        symbols: Of a predicted GoP.
        pinned: As of `stage_numbers`.
    """
    n = symbols.header.n_gaussians
    plan = _plan(symbols.header, 0)
    n_numbers, first_residual = plan.numbers.n_floats, plan.first_residual
    n_floats = first_residual + n * N_RESIDUALS // 4
    floats = torch.empty(n_floats, dtype=torch.float32, pin_memory=pinned)
    block: NDArray[np.float32] = floats.numpy()
    reconstruct(_field_codes(symbols), plan.numbers, block)
    block[n_numbers : n_numbers + len(plan.times)] = plan.times
    steps = (symbols.point_scale, symbols.shape_scale, symbols.color_scale)
    block[plan.first_step : plan.first_step + N_RESIDUALS] = np.concatenate(steps)
    block[first_residual:].view(np.int8)[:] = symbols.residuals.reshape(-1)
    return StagedPrediction(floats, plan, n)


def _field_codes(symbols: PredictedGopSymbols) -> SetCodes:
    """Its field, and no Gaussians."""
    nothing = np.zeros((0, 3), np.uint8)
    return SetCodes(
        point_mode=POINTS_HALF,
        shape_mode=SHAPES_LOG,
        color_mode=COLORS_YCOCG,
        points=np.zeros((0, 2), np.uint16),
        point_scale=symbols.point_scale,
        point_offset=np.zeros(0, np.float32),
        shapes=nothing,
        shape_scale=symbols.shape_scale,
        shape_offset=np.zeros(0, np.float32),
        colors=nothing,
        color_scale=symbols.color_scale,
        codebooks=np.zeros((0, 0, 3), np.uint16),
        static_table=symbols.static_table,
        static_scales=symbols.static_scales,
        dynamic_table=symbols.dynamic_table,
        dynamic_scales=symbols.dynamic_scales,
        mlp=symbols.mlp,
        mlp_scales=symbols.mlp_scales,
    )


def _codes(symbols: GopSetSymbols) -> SetCodes:
    header = symbols.header
    return SetCodes(
        point_mode=header.point_mode,
        shape_mode=header.shape_mode,
        color_mode=header.color_mode,
        points=symbols.points,
        point_scale=symbols.point_scale,
        point_offset=symbols.point_offset,
        shapes=symbols.shapes,
        shape_scale=symbols.shape_scale,
        shape_offset=symbols.shape_offset,
        colors=symbols.colors,
        color_scale=symbols.color_scale,
        codebooks=symbols.codebooks,
        static_table=symbols.static_table,
        static_scales=symbols.static_scales,
        dynamic_table=symbols.dynamic_table,
        dynamic_scales=symbols.dynamic_scales,
        mlp=symbols.mlp,
        mlp_scales=symbols.mlp_scales,
    )


@lru_cache(maxsize=16)
def _plan(header: GopSetHeader, n_gaussians: int) -> _Plan:
    numbers = numbers_layout(
        n_gaussians,
        header.static_entries,
        header.static_features,
        header.dynamic_entries,
        header.dynamic_features,
        header.mlp_shapes,
    )
    times, gamma = time_arrays(header.n_frames, header.n_frequencies).values()
    step = ALIGNMENT_BYTES // 4
    gap = np.zeros(-len(times) % step, np.float32)
    first_gamma = numbers.n_floats + len(times) + len(gap)
    first_step = -(-(first_gamma + gamma.size) // step) * step
    return _Plan(
        numbers,
        times.shape,
        gamma.shape,
        first_gamma,
        first_step,
        first_step + step,
        np.concatenate([times, gap, gamma.reshape(-1)]),
    )
