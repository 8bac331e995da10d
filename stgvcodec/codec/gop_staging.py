"""A GoP's symbols as one block of bytes: filled by any thread, sent to a GPU in one copy that nobody waits for.

The block is the one into which the entropy decoder writes, with a few numbers behind it that all GoPs of a shape share.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stgvcodec.bitstream.entropy.streams import Runner
from stgvcodec.bitstream.gop_layout import GopLayout, aligned
from stgvcodec.bitstream.gop_payload import GopBlock, unpack_block
from stgvcodec.bitstream.syntax.tables import MLP_TENSORS
from stgvcodec.model.deformation import time_encoding
from stgvcodec.model.gop_model import FieldValues, GopSpec, GopValues, frame_time
from stgvcodec.ops.dequantize import GopCodes, dequantize
from stgvcodec.ops.field_mlp import FieldWeights

_TORCH_TYPES = {
    np.dtype(np.uint16): torch.float16,  # Bit patterns.
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


class _Plan(NamedTuple):
    """What is where in the block of a GoP of this shape, and what stands behind its symbols."""

    sections: Mapping[str, _Section]
    weight_parts: tuple[_WeightPart, ...]
    constants: NDArray[np.uint8]


@dataclass(frozen=True)
class StagedGop:
    """A GoP that is ready to be sent. Make it with `stage`.

    Attributes:
        gop: Its symbols, in the same memory.
    """

    gop: GopBlock
    _bytes: Tensor  # [n] uint8
    _plan: _Plan

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
            name: strided(views[section.dtype], section.shape, section.first)
            for name, section in self._plan.sections.items()
        }
        times = GopTimes(tensors.pop("times"), tensors.pop("gamma"))
        numbers = dequantize(GopCodes(**tensors), backend=backend)
        static_table, dynamic_table, *weights = (
            strided(numbers.weights, part.shape, part.first) for part in self._plan.weight_parts
        )
        field = FieldValues(static_table, dynamic_table, FieldWeights(*weights))
        return GopValues(numbers.means, numbers.cholesky, numbers.colors, field), times


def stage(payload: bytes, *, pinned: bool, run: Runner) -> StagedGop:
    """Decode a GoP into one block of bytes.

    Args:
        payload: As written by `pack_gop`.
        pinned: Use page-locked memory, from which a GPU copies while the host goes on.
        run: Decides on threads.

    Raises:
        BitstreamError: the payload is damaged.
    """
    blocks: list[Tensor] = []

    def allocate(layout: GopLayout) -> NDArray[np.uint8]:
        n_bytes = layout.n_bytes + len(_plan(layout).constants)
        blocks.append(torch.empty(n_bytes, dtype=torch.uint8, pin_memory=pinned))
        array: NDArray[np.uint8] = blocks[0].numpy()
        return array

    gop = unpack_block(payload, allocate=allocate, run=run)
    plan = _plan(gop.layout)
    gop.block[gop.layout.n_bytes :] = plan.constants
    return StagedGop(gop, blocks[0], plan)


def gop_times(spec: GopSpec) -> GopTimes:
    """Times of a GoP's frames, on the CPU."""
    arrays = time_arrays(spec.n_frames, spec.field.n_frequencies)
    return GopTimes(torch.from_numpy(arrays["times"]), torch.from_numpy(arrays["gamma"]))


def time_arrays(n_frames: int, n_frequencies: int) -> dict[str, NDArray[np.float32]]:
    """The arrays of `GopTimes` by name."""
    times = [frame_time(k, n_frames) for k in range(n_frames)]
    return {"times": np.array(times, np.float32), "gamma": time_encoding(times, n_frequencies)}


@lru_cache(maxsize=16)
def _plan(layout: GopLayout) -> _Plan:
    header = layout.header
    sections = {
        name: _Section(_TORCH_TYPES[section.dtype], section.shape, section.first // section.dtype.itemsize)
        for name, section in layout.sections.items()
        if name in GopCodes._fields
    }
    floats = layout.sections["floats"]
    first_float, n_scales = floats.first // 4, floats.shape[0] - 6
    for name, n, first in (("cholesky_scale", 3, 0), ("cholesky_offset", 3, 3), ("weight_scales", n_scales, 6)):
        sections[name] = _Section(torch.float32, (n,), first_float + first)

    # Hash tables and MLP are one array of codes, with the end of each group and the place of each tensor.
    tensors = [layout.sections[name] for name in ("static_table", "dynamic_table", *MLP_TENSORS)]
    first_weight, end_weight = tensors[0].first, aligned(tensors[-1].first + tensors[-1].n_bytes)
    sections["weights"] = _Section(torch.int8, (end_weight - first_weight,), first_weight)
    parts = tuple(_WeightPart(tensor.shape, tensor.first - first_weight) for tensor in tensors)
    ends: list[int] = []
    for name in ("hash_static", "hash_dynamic", "mlp"):
        for first, n_symbols in layout.places[name].rows[:, [2, 0]].tolist():
            ends.append(first + n_symbols - first_weight)
            # What fills up from the tensor before belongs to its last group; nobody reads it.
            if len(ends) > 1:
                ends[-2] = first - first_weight
    ends[-1] = end_weight - first_weight

    constants: dict[str, NDArray[np.generic]] = {
        "weight_ends": np.array(ends, np.int32),
        **time_arrays(header.n_frames, header.n_frequencies),
    }
    n_bytes = 0
    filled = np.zeros(sum(aligned(array.nbytes) for array in constants.values()), np.uint8)
    for name, array in constants.items():
        first = (layout.n_bytes + n_bytes) // array.dtype.itemsize
        sections[name] = _Section(_TORCH_TYPES[array.dtype], array.shape, first)
        filled[n_bytes : n_bytes + array.nbytes] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        n_bytes += aligned(array.nbytes)
    return _Plan(sections, parts, filled)


def strided(flat: Tensor, shape: tuple[int, ...], first: int) -> Tensor:
    """A contiguous tensor of `shape` inside `flat`; one call of torch, where slicing and reshaping are three."""
    strides = tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))
    return flat.as_strided(shape, strides, first)
