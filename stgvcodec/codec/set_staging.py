"""A set payload's numbers as one block of floats: made by any thread, sent to a GPU in one copy that nobody waits for.

Its modes are many and its symbols few, so the host makes the numbers, in the time in which a GPU renders other GoPs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stgvcodec.bitstream.gop_set.header import GopSetHeader
from stgvcodec.bitstream.gop_set.symbols import GopSetSymbols
from stgvcodec.codec.gop_staging import GopTimes, strided, time_arrays
from stgvcodec.model.gop_model import FieldValues, GopValues
from stgvcodec.ops.field_mlp import FieldWeights
from stgvcodec.ops.reconstruct import ALIGNMENT_BYTES, NumbersLayout, SetCodes, numbers_layout, reconstruct


class _Plan(NamedTuple):
    """What is where in the block of a header's GoPs: numbers, then what all of them share."""

    numbers: NumbersLayout
    times_shape: tuple[int, ...]
    gamma_shape: tuple[int, ...]
    first_gamma: int  # In floats; the times begin behind the numbers.
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
        sent, plan = self._floats.to(device, non_blocking=True), self._plan
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
    plan = _plan(symbols.header)
    n_numbers = plan.numbers.n_floats
    floats = torch.empty(n_numbers + len(plan.times), dtype=torch.float32, pin_memory=pinned)
    block: NDArray[np.float32] = floats.numpy()
    reconstruct(_codes(symbols), plan.numbers, block)
    block[n_numbers:] = plan.times
    return StagedNumbers(floats, plan)


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
def _plan(header: GopSetHeader) -> _Plan:
    numbers = numbers_layout(
        header.n_gaussians,
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
    return _Plan(numbers, times.shape, gamma.shape, first_gamma, np.concatenate([times, gap, gamma.reshape(-1)]))
