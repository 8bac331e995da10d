"""A GoP's symbols as one block of bytes: filled by any thread, sent to a GPU in one copy that nobody waits for."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stgvcodec.bitstream.symbols import GopSymbols
from stgvcodec.model.deformation import time_encoding
from stgvcodec.model.gop_model import FieldValues, GopSpec, GopValues, frame_time
from stgvcodec.ops.dequantize import GopCodes, dequantize
from stgvcodec.ops.field_mlp import FieldWeights

# Every section and every tensor of weights begins at a multiple of this many bytes, resp. codes: loads may be wide.
_ALIGNMENT = 16
_TORCH_TYPES = {
    np.dtype(np.float16): torch.float16,
    np.dtype(np.uint8): torch.uint8,
    np.dtype(np.int8): torch.int8,
    np.dtype(np.int32): torch.int32,
    np.dtype(np.float32): torch.float32,
}


class GopTimes(NamedTuple):
    """What the field sees of the GoP's frames: times [T] in [0, 1] and their encoding gamma [T, n_time]; float32."""

    times: Tensor
    gamma: Tensor


class _Section(NamedTuple):
    dtype: torch.dtype
    shape: tuple[int, ...]
    first: int  # In items of dtype.


class _WeightPart(NamedTuple):
    shape: tuple[int, ...]
    first: int  # In codes.


@dataclass(frozen=True)
class StagedGop:
    """A GoP that is ready to be sent. Make it with `stage`."""

    spec: GopSpec
    _bytes: Tensor  # [n] uint8
    _sections: dict[str, _Section]
    _weight_parts: tuple[_WeightPart, ...]

    def to(self, device: torch.device, *, backend: str) -> tuple[GopValues, GopTimes]:
        """Send the symbols and dequantise them there.

        One copy, asynchronous where the memory is pinned, on the device's current stream.

        Args:
            device: Where the numbers are wanted.
            backend: Of `dequantize`.

        Returns:
            The GoP's numbers, and times of its frames.
        """
        sent = self._bytes.to(device, non_blocking=True)
        views = {dtype: sent.view(dtype) for dtype in _TORCH_TYPES.values()}
        tensors = {
            name: _strided(views[section.dtype], section.shape, section.first)
            for name, section in self._sections.items()
        }
        times = GopTimes(tensors.pop("times"), tensors.pop("gamma"))
        numbers = dequantize(GopCodes(**tensors), backend=backend)
        static_table, dynamic_table, *weights = (
            _strided(numbers.weights, part.shape, part.first) for part in self._weight_parts
        )
        field = FieldValues(static_table, dynamic_table, FieldWeights(*weights))
        return GopValues(numbers.means, numbers.cholesky, numbers.colors, field), times


def stage(symbols: GopSymbols, spec: GopSpec, *, pinned: bool) -> StagedGop:
    """Put a GoP's symbols into one block of bytes.

    Args:
        symbols: The GoP.
        spec: Its dimensions.
        pinned: Use page-locked memory, from which a GPU copies while the host goes on.
    """
    weights, ends, parts = _join_weights(symbols, spec)
    arrays: dict[str, NDArray[np.generic]] = {
        "means": symbols.means.view(np.float16),
        "cholesky": symbols.cholesky,
        "cholesky_scale": symbols.cholesky_scale,
        "cholesky_offset": symbols.cholesky_offset,
        "color_indices": symbols.color_indices,
        "codebooks": symbols.codebooks.view(np.float16),
        "weights": weights,
        "weight_ends": ends,
        "weight_scales": np.concatenate([symbols.static_scales, symbols.dynamic_scales, symbols.mlp_scales]),
        **_times_of(spec),
    }
    sections: dict[str, _Section] = {}
    offsets: list[int] = []
    n_bytes = 0
    for name, array in arrays.items():
        offsets.append(n_bytes)
        sections[name] = _Section(_TORCH_TYPES[array.dtype], array.shape, n_bytes // array.dtype.itemsize)
        n_bytes += _aligned(array.nbytes)
    block = torch.empty(n_bytes, dtype=torch.uint8, pin_memory=pinned)
    target = block.numpy()
    for offset, array in zip(offsets, arrays.values(), strict=True):
        target[offset : offset + array.nbytes] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return StagedGop(spec, block, sections, parts)


def gop_times(spec: GopSpec) -> GopTimes:
    """Times of a GoP's frames, on the CPU."""
    arrays = _times_of(spec)
    return GopTimes(torch.from_numpy(arrays["times"]), torch.from_numpy(arrays["gamma"]))


def _times_of(spec: GopSpec) -> dict[str, NDArray[np.generic]]:
    times = [frame_time(k, spec.n_frames) for k in range(spec.n_frames)]
    return {"times": np.array(times, np.float32), "gamma": time_encoding(times, spec.field.n_frequencies)}


def _join_weights(
    symbols: GopSymbols, spec: GopSpec
) -> tuple[NDArray[np.int8], NDArray[np.int32], tuple[_WeightPart, ...]]:
    """Hash tables and MLP as one array of codes, with the end of each group and the place of each tensor."""
    parts: list[_WeightPart] = []
    ends: list[int] = []
    n_codes = 0
    tensors = (symbols.static_table, symbols.dynamic_table, *symbols.mlp)
    grids = (spec.field.static_grid, spec.field.dynamic_grid)
    groups: Iterable[tuple[int, ...]] = (
        *(tuple(n * grid.n_features_per_level for n in grid.level_entries) for grid in grids),
        *((tensor.size,) for tensor in symbols.mlp),
    )
    for tensor, sizes in zip(tensors, groups, strict=True):
        parts.append(_WeightPart(tensor.shape, n_codes))
        ends.extend(n_codes + int(end) for end in np.cumsum(sizes))
        n_codes += _aligned(tensor.size)
        # What fills up to the next tensor belongs to the last group; nobody reads it.
        ends[-1] = n_codes
    codes = np.zeros(n_codes, np.int8)
    for tensor, part in zip(tensors, parts, strict=True):
        codes[part.first : part.first + tensor.size] = tensor.reshape(-1)
    return codes, np.array(ends, np.int32), tuple(parts)


def _aligned(n: int) -> int:
    return -(-n // _ALIGNMENT) * _ALIGNMENT


def _strided(flat: Tensor, shape: tuple[int, ...], first: int) -> Tensor:
    """A contiguous tensor of `shape` inside `flat`; one call of torch, where slicing and reshaping are three."""
    strides = tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))
    return flat.as_strided(shape, strides, first)
