"""The field on CPU threads: one parallel region forward and one backward, around the kernels of its two operators.

A thread takes a chunk of points through both encodings, the network and what is added to its outputs. The results have
the same bits for any number of threads.
"""

# Numbers here have a width, of which annotations say nothing.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from stgvcodec.ops.compiled import njit
from stgvcodec.ops.field_mlp import FieldWeights
from stgvcodec.ops.field_mlp.numba_kernel import (
    BLOCK,
    backward_blocks,
    forward_blocks,
    make_partials,
    split,
    weight_gradients,
)
from stgvcodec.ops.hash_encode import HashGridSpec
from stgvcodec.ops.hash_encode.numba_kernel import encode_backward, encode_points, levels_of, most_tables
from stgvcodec.ops.threads import run_chunks

_Array = NDArray[np.float32]

_ZERO = np.float32(0.0)
_HALF = np.float32(0.5)
_ONE = np.float32(1.0)
# Rows of the joined heads at which the outputs of the colour change and of the shape change begin.
_COLORS, _SHAPES = 2, 5

# Nothing fuses: means and colours have the bits that torch's operators give them.
_kernel = njit(nogil=True, cache=True)


def deform(
    means: Tensor,
    colors: Tensor,
    static_table: Tensor,
    dynamic_table: Tensor,
    weights: FieldWeights,
    times: Tensor,
    gamma: Tensor,
    *,
    static_grid: HashGridSpec,
    dynamic_grid: HashGridSpec,
    size_px: tuple[float, float],
    static_features: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Numba twin of `stgvcodec.ops.deform.composition.reference`, float32 on a CPU.

    Raises:
        ValueError: the tensors are not float32.
    """
    if means.dtype != torch.float32:
        raise ValueError(f"backend 'numba' computes in float32, got {means.dtype}; convert, or use backend 'reference'")
    call = _Call(static_grid, dynamic_grid, (np.float32(0.5 * size_px[0]), np.float32(0.5 * size_px[1])))
    tensors = (static_features, means, colors, static_table, dynamic_table, times, gamma, *weights)
    if torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors):
        means_px, colors, delta_shapes = _Deform.apply(call, *tensors)
        return means_px, colors, delta_shapes
    outputs, _ = _run_forward(call, _arrays(*tensors), keep_hidden=False)
    return outputs


class _Call(NamedTuple):
    """What a call has beside tensors: the grids, and half of the picture's width and height."""

    static_grid: HashGridSpec
    dynamic_grid: HashGridSpec
    half_size_px: tuple[np.float32, np.float32]


class _Kept(NamedTuple):
    """What a forward pass keeps for the backward: encodings [N, Fs] and [B, N, Fd], hidden layers, joined heads."""

    static: _Array
    dynamic: _Array
    hidden: _Array
    heads: _Array


class _Deform(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, call: _Call, *tensors: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        outputs, kept = _run_forward(call, _arrays(*tensors), keep_hidden=True)
        static_features, means, _, static_table, dynamic_table, times, gamma, w1, _, w2, *_ = tensors
        ctx.save_for_backward(means, static_table, dynamic_table, times, gamma, w1, w2)
        ctx.call, ctx.kept, ctx.has_table = call, kept, static_features is None
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        call, kept = ctx.call, ctx.kept
        means, static_table, dynamic_table, times, gamma, w1, w2 = _arrays(*ctx.saved_tensors)
        grad_means_px, grad_colors_out, grad_shapes = _arrays(*grad_outputs)
        n_frames, n_points, n_dynamic = kept.dynamic.shape
        n_static, width, n_outputs = kept.static.shape[1], len(w1), len(kept.heads)
        _, n_chunks, span = split(n_points)
        partials = make_partials(n_chunks, n_frames, n_static + n_dynamic, width, n_outputs)
        grad_deltas, grad_colors = np.empty_like(grad_means_px), np.empty((n_points, 3), np.float32)
        grad_static, grad_dynamic = np.empty_like(kept.static), np.empty_like(kept.dynamic)
        grad_means = np.empty_like(means)
        # Each chunk has tables of its own, so there may be fewer chunks of the encodings than of the network.
        most = min(most_tables(call.static_grid, n_points), most_tables(call.dynamic_grid, n_points))
        n_tables = max(min(n_chunks, most), 1)
        static_tables = np.zeros((n_tables, *static_table.shape), np.float32)
        dynamic_tables = np.zeros((n_tables, *dynamic_table.shape), np.float32)
        of_network = (
            *(kept.static, kept.dynamic, w1, w2, kept.heads, kept.hidden, grad_means_px, grad_colors_out, grad_shapes),
            *(*call.half_size_px, grad_deltas, grad_colors, grad_static, grad_dynamic),
        )
        levels = levels_of(call.static_grid), levels_of(call.dynamic_grid)
        of_encodings = (
            *(*levels, means, times, static_table, dynamic_table, grad_deltas, grad_static, grad_dynamic, grad_means),
            *(ctx.has_table, bool(ctx.needs_input_grad[2])),
        )

        def network(i: int) -> None:
            _backward_network(*(*of_network, partials[i], *span(i)))

        def encodings(i: int) -> None:
            first, last = i * n_chunks // n_tables, (i + 1) * n_chunks // n_tables
            blocks = (span(first)[0], span(last - 1)[1]) if first < last else (0, 0)
            _backward_encodings(*(*of_encodings, static_tables[i], dynamic_tables[i], *blocks))

        def both(i: int) -> None:
            network(i)
            encodings(i)

        if n_tables == n_chunks:
            run_chunks(both, n_chunks)
        else:
            run_chunks(network, n_chunks)
            run_chunks(encodings, n_tables)

        of_weights = weight_gradients(partials, gamma, n_static + n_dynamic, width, n_outputs)
        w1, b1, w2, b2, heads, head_biases = map(torch.from_numpy, of_weights[:6])
        of_heads = (
            part
            for rows in (slice(_COLORS), slice(_COLORS, _SHAPES), slice(_SHAPES, None))
            for part in (heads[rows], head_biases[rows])
        )
        return (
            None,
            None if ctx.has_table else torch.from_numpy(grad_static),
            torch.from_numpy(grad_means) if ctx.needs_input_grad[2] else None,
            torch.from_numpy(grad_colors),
            torch.from_numpy(_sum(static_tables)) if ctx.has_table else None,
            torch.from_numpy(_sum(dynamic_tables)),
            *(None, None),
            *(w1, b1, w2, b2, *of_heads),
        )


def _run_forward(
    call: _Call, arrays: tuple[Any, ...], *, keep_hidden: bool
) -> tuple[tuple[Tensor, Tensor, Tensor], _Kept]:
    """Return the three outputs and what a backward needs, of which hidden layers are complete only if to be kept."""
    static_features, means, colors, static_table, dynamic_table, times, gamma, w1, b1, w2, b2, *of_heads = arrays
    heads, head_biases = np.concatenate(of_heads[::2]), np.concatenate(of_heads[1::2])
    n_frames, n_points = len(times), len(means)
    n_blocks, n_chunks, span = split(n_points)

    def empty(*shape: int) -> _Array:
        return np.empty(shape, np.float32)

    static = empty(n_points, call.static_grid.n_features) if static_features is None else static_features
    dynamic = empty(n_frames, n_points, call.dynamic_grid.n_features)
    # For a backward, both hidden layers of every block are kept. Otherwise a chunk has one slot for all its blocks.
    hidden = empty(n_frames * n_blocks if keep_hidden else n_chunks, 2, len(w1), BLOCK)
    outputs = (
        empty(n_frames, n_points, 2),
        empty(n_frames, n_points, 3),
        empty(n_frames, n_points, len(heads) - _SHAPES),
    )
    all_arrays = (
        *(levels_of(call.static_grid), levels_of(call.dynamic_grid), means, colors, static_table, dynamic_table),
        *(times, gamma, w1, b1, w2, b2, heads, head_biases, *call.half_size_px, static_features is None),
        *(static, dynamic, hidden, *outputs),
    )
    run_chunks(lambda i: _forward(*(*all_arrays, -1 if keep_hidden else i, *span(i))), n_chunks)
    means_px, new_colors, delta_shapes = map(torch.from_numpy, outputs)
    return (means_px, new_colors, delta_shapes), _Kept(static, dynamic, hidden, heads)


def _arrays(*tensors: Tensor | None) -> tuple[Any, ...]:
    return tuple(None if tensor is None else tensor.detach().contiguous().numpy() for tensor in tensors)


def _sum(partials: _Array) -> _Array:
    total: _Array = partials[0] if len(partials) == 1 else np.add.reduce(partials, axis=0)
    return total


@_kernel
def _positions(means, start, stop):
    """Return the points [start, stop) as the two grids take them, the times of the second yet to be written."""
    flat, deep = np.empty((stop - start, 2), np.float32), np.empty((stop - start, 3), np.float32)
    for p in range(stop - start):
        for axis in range(2):
            flat[p, axis] = deep[p, axis] = (means[start + p, axis] + _ONE) * _HALF
    return flat, deep


@_kernel
def _forward(
    static_levels,
    dynamic_levels,
    means,
    colors,
    static_table,
    dynamic_table,
    times,
    gamma,
    w1,
    b1,
    w2,
    b2,
    heads,
    head_biases,
    half_width,
    half_height,
    has_table,
    static,
    dynamic,
    hidden,
    means_px,
    new_colors,
    delta_shapes,
    slot,
    first,
    last,
):
    """Write the outputs of the blocks [first, last) in all frames, and what lies before them."""
    start, stop = first * BLOCK, min(last * BLOCK, means.shape[0])
    flat, deep = _positions(means, start, stop)
    if has_table:
        encode_points(static_levels, flat, static_table, static[start:stop], 0, stop - start)
    for b in range(len(times)):
        deep[:, 2] = times[b]
        encode_points(dynamic_levels, deep, dynamic_table, dynamic[b, start:stop], 0, stop - start)
    forward_blocks(
        static, dynamic, gamma, w1, b1, w2, b2, heads, head_biases, means_px, new_colors, delta_shapes, hidden,
        slot, first, last,
    )  # fmt: skip
    for b in range(len(times)):
        for n in range(start, stop):
            means_px[b, n, 0] = (means[n, 0] + means_px[b, n, 0] + _ONE) * half_width
            means_px[b, n, 1] = (means[n, 1] + means_px[b, n, 1] + _ONE) * half_height
            for channel in range(3):
                new_colors[b, n, channel] += colors[n, channel]


@_kernel
def _backward_network(
    static,
    dynamic,
    w1,
    w2,
    heads,
    hidden,
    grad_means_px,
    grad_new_colors,
    grad_shapes,
    half_width,
    half_height,
    grad_deltas,
    grad_colors,
    grad_static,
    grad_dynamic,
    partial,
    first,
    last,
):
    """Write gradients of the displacements, colours and encodings of the blocks [first, last); add to `partial`."""
    start, stop = first * BLOCK, min(last * BLOCK, static.shape[0])
    grad_colors[start:stop] = _ZERO
    for b in range(dynamic.shape[0]):
        for n in range(start, stop):
            grad_deltas[b, n, 0] = grad_means_px[b, n, 0] * half_width
            grad_deltas[b, n, 1] = grad_means_px[b, n, 1] * half_height
            for channel in range(3):
                grad_colors[n, channel] += grad_new_colors[b, n, channel]
    backward_blocks(
        static, dynamic, w1, w2, heads, hidden, grad_deltas, grad_new_colors, grad_shapes, grad_static, grad_dynamic,
        partial, True, first, last,
    )  # fmt: skip


@_kernel
def _backward_encodings(
    static_levels,
    dynamic_levels,
    means,
    times,
    static_table,
    dynamic_table,
    grad_deltas,
    grad_static,
    grad_dynamic,
    grad_means,
    has_table,
    needs_means,
    grad_static_table,
    grad_dynamic_table,
    first,
    last,
):
    """Write gradients of the means of the blocks [first, last), if needed; add to those of the tables."""
    start, stop = first * BLOCK, min(last * BLOCK, means.shape[0])
    flat, deep = _positions(means, start, stop)
    grad_flat, grad_deep = np.zeros_like(flat), np.empty_like(deep)
    if has_table:
        encode_backward(
            static_levels, flat, static_table, grad_static[start:stop], grad_flat, grad_static_table, needs_means,
            0, stop - start,
        )  # fmt: skip
    if needs_means:
        grad_means[start:stop] = grad_flat * _HALF
    for b in range(len(times)):
        deep[:, 2] = times[b]
        encode_backward(
            dynamic_levels, deep, dynamic_table, grad_dynamic[b, start:stop], grad_deep, grad_dynamic_table,
            needs_means, 0, stop - start,
        )  # fmt: skip
        if needs_means:
            for p in range(stop - start):
                for axis in range(2):
                    grad_means[start + p, axis] += grad_deltas[b, start + p, axis] + grad_deep[p, axis] * _HALF
