"""A GoP's parameters as one block of floats: made by any thread, sent to a GPU in one copy that nobody waits for.

The host dequantises, since the modes of quantisation are many and the symbols few. It does so in the time in which a
GPU renders other GoPs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stgvcodec.bitstream.payload.head import GopHeader
from stgvcodec.bitstream.payload.symbols import GopSymbols
from stgvcodec.model.deformation import FieldSpec, Moments, time_encoding
from stgvcodec.model.gop_model import FieldParameters, GopParameters, GopSpec, frame_time
from stgvcodec.ops.dequantize import ALIGNMENT_BYTES, ParameterLayout, dequantize, parameter_layout
from stgvcodec.ops.field_mlp import FieldWeights
from stgvcodec.ops.hash_encode import HashGridSpec


class _Plan(NamedTuple):
    """Layout of the block of GoPs with one header: parameters, then the times and gamma, which these GoPs share."""

    parameters: ParameterLayout
    times_shape: tuple[int, ...]
    gamma_shape: tuple[int, ...]
    first_gamma: int  # Where gamma begins, counted in floats; the times begin behind the parameters.
    times: NDArray[np.float32]  # Times and gamma, copied into the block as they are.


@dataclass(frozen=True)
class StagedGop:
    """The parameters of a GoP on the host. Make it with `stage`."""

    _floats: Tensor  # [n] float32
    _plan: _Plan

    @property
    def cholesky(self) -> NDArray[np.float32]:
        """Cholesky factors (l1, l2, l3) before their lower bound is added, pixels. [N, 3], a view."""
        n, width = self._plan.parameters.shapes["cholesky"]
        first = self._plan.parameters.firsts["cholesky"]
        floats: NDArray[np.float32] = self._floats.numpy()
        return floats[first : first + n * width].reshape(n, width)

    def to(self, device: torch.device) -> tuple[GopParameters, Moments]:
        """Send the parameters to a device.

        They go in one copy on the device's current stream, asynchronous if the memory is pinned. On a CPU nothing is
        copied.

        Args:
            device: Device on which the parameters are wanted.

        Returns:
            The GoP's parameters, and the times of its T frames with their encodings; float32.
        """
        sent, plan = self._floats.to(device, non_blocking=True), self._plan
        layout = plan.parameters
        tensors = [_strided(sent, shape, layout.firsts[name]) for name, shape in layout.shapes.items()]
        means, cholesky, colors, static_table, dynamic_table, *weights = tensors
        times = Moments(
            _strided(sent, plan.times_shape, layout.n_floats), _strided(sent, plan.gamma_shape, plan.first_gamma)
        )
        field = FieldParameters(static_table, dynamic_table, FieldWeights(*weights))
        return GopParameters(means, cholesky, colors, field), times


def stage(symbols: GopSymbols, *, pinned: bool) -> StagedGop:
    """Compute a GoP's parameters into one block of memory.

    Args:
        symbols: Symbols of the GoP.
        pinned: Whether to use page-locked memory, from which a GPU copies while the host goes on.
    """
    plan = _plan(symbols.header)
    n_parameters = plan.parameters.n_floats
    floats = torch.empty(n_parameters + len(plan.times), dtype=torch.float32, pin_memory=pinned)
    block: NDArray[np.float32] = floats.numpy()
    dequantize(symbols, symbols.header.modes, plan.parameters, block)
    block[n_parameters:] = plan.times
    return StagedGop(floats, plan)


# The GoPs of a file mostly have the same header.
@lru_cache(maxsize=16)
def spec_of(header: GopHeader, width: int, height: int) -> GopSpec:
    """Return the dimensions of the model that a transmitted header describes.

    Args:
        header: Header of the GoP's payload.
        width: Picture width, pixels.
        height: Picture height, pixels.
    """
    field = FieldSpec(
        static_grid=HashGridSpec(header.static_features, header.static_log2_size, header.static_resolutions),
        dynamic_grid=HashGridSpec(header.dynamic_features, header.dynamic_log2_size, header.dynamic_resolutions),
        mlp_width=header.mlp_width,
        n_frequencies=header.n_frequencies,
        has_shape_head=bool(header.shape_head),
    )
    return GopSpec(
        width=width,
        height=height,
        n_frames=header.n_frames,
        n_gaussians=header.n_gaussians,
        field=field,
        low_pass=float(header.low_pass),
    )


@lru_cache(maxsize=16)
def _plan(header: GopHeader) -> _Plan:
    parameters = parameter_layout(
        header.n_gaussians,
        header.static_entries,
        header.static_features,
        header.dynamic_entries,
        header.dynamic_features,
        header.mlp_shapes,
    )
    frame_times = [frame_time(k, header.n_frames) for k in range(header.n_frames)]
    times, gamma = np.array(frame_times, np.float32), time_encoding(frame_times, header.n_frequencies)
    gap = np.zeros(-len(times) % (ALIGNMENT_BYTES // 4), np.float32)
    first_gamma = parameters.n_floats + len(times) + len(gap)
    return _Plan(parameters, times.shape, gamma.shape, first_gamma, np.concatenate([times, gap, gamma.reshape(-1)]))


def _strided(flat: Tensor, shape: tuple[int, ...], first: int) -> Tensor:
    """View a part of `flat` as a contiguous tensor, by one call of torch where slicing and reshaping would be three."""
    strides = tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))
    return flat.as_strided(shape, strides, first)
