"""The field's network on CPU threads: float32, forward and backward, the same bits for any number of threads.

`stgvcodec.ops.deform` runs the same kernels between its own.

Points are processed in blocks of `BLOCK`, features-major, so that points lie in SIMD lanes whatever the width is.
Every point goes through the same chain of fused multiply-adds, whichever block, chunk or batch of frames it lies in.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from stgvcodec.ops.compiled import njit
from stgvcodec.ops.field_mlp.weights import FieldWeights
from stgvcodec.ops.threads import run_chunks

# Points of a block, which lie in SIMD lanes: enough to pay for loading 16 weights, and so few that a [128, BLOCK]
# array stays in L2.
BLOCK = 128
# Rows of the right factor that stay in L1 while every row of the left one passes.
_PANEL = 32
# Chunks of the work. Each has weight gradients of its own, so their split depends on the data alone; one of fewer
# blocks would spend its time on copying weights and on being handed to a thread.
_BLOCKS_PER_CHUNK = 4
_MAX_CHUNKS = 16
# Rows of the joined heads at which the outputs of the colour change and of the shape change begin.
_COLORS, _SHAPES = 2, 5

_ZERO = np.float32(0.0)

# The additions may be put into lanes, always in the same way: a function that is not inlined has a copy in each library
# that calls it, optimised there, and which of the copies runs depends on what the cache holds.
_reordered = njit(nogil=True, cache=True, fastmath={"contract", "reassoc"}, forceinline=True)


def field_mlp(
    static_features: Tensor, dynamic_features: Tensor, time_encoding: Tensor, weights: FieldWeights
) -> tuple[Tensor, Tensor, Tensor]:
    """Numba twin of `stgvcodec.ops.field_mlp.reference.field_mlp`, float32 on a CPU.

    Raises:
        ValueError: the tensors are not float32.
    """
    if static_features.dtype != torch.float32:
        raise ValueError(
            f"backend 'numba' computes in float32, got {static_features.dtype}; convert, or use backend 'reference'"
        )
    heads = torch.cat([weights.w_means, weights.w_colors, weights.w_shapes])  # [5 + S, width]
    head_biases = torch.cat([weights.b_means, weights.b_colors, weights.b_shapes])
    tensors = (static_features, dynamic_features, time_encoding, *weights[:4], heads, head_biases)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        delta_means, delta_colors, delta_shapes = _FieldMlp.apply(*tensors)
    else:
        (delta_means, delta_colors, delta_shapes), _ = _run_forward(
            *(tensor.contiguous() for tensor in tensors), keep_hidden=False
        )
    return delta_means, delta_colors, delta_shapes


def _run_forward(*tensors: Tensor, keep_hidden: bool) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
    """Return the three outputs and the hidden layers, which are complete only if they are to be kept."""
    n_frames, n_points, _ = tensors[1].shape
    width, n_outputs = tensors[3].shape[0], tensors[7].shape[0]
    n_blocks, n_chunks, span = split(n_points)
    delta_means = torch.empty((n_frames, n_points, 2), dtype=torch.float32)
    delta_colors = torch.empty((n_frames, n_points, 3), dtype=torch.float32)
    delta_shapes = torch.empty((n_frames, n_points, n_outputs - _SHAPES), dtype=torch.float32)
    # For a backward, both hidden layers of every block are kept. Otherwise a chunk has one slot for all its blocks.
    n_slots = n_frames * n_blocks if keep_hidden else n_chunks
    hidden = torch.empty((n_slots, 2, width, BLOCK), dtype=torch.float32)
    arrays = _arrays(*tensors, delta_means, delta_colors, delta_shapes, hidden)
    run_chunks(lambda i: forward_blocks(*(*arrays, -1 if keep_hidden else i, *span(i))), n_chunks)
    return (delta_means, delta_colors, delta_shapes), hidden


class _FieldMlp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        tensors = tuple(tensor.contiguous() for tensor in tensors)
        outputs, hidden = _run_forward(*tensors, keep_hidden=True)
        static, dynamic, time, w1, _, w2, _, heads, _ = tensors
        ctx.save_for_backward(static, dynamic, time, w1, w2, heads, hidden)
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_means: Tensor, grad_colors: Tensor, grad_shapes: Tensor) -> tuple[Tensor | None, ...]:
        static, dynamic, time, w1, w2, heads, hidden = ctx.saved_tensors
        n_frames, n_points, n_dynamic = dynamic.shape
        n_features = static.shape[1] + n_dynamic
        width, n_outputs = w1.shape[0], heads.shape[0]
        _, n_chunks, span = split(n_points)
        grad_static, grad_dynamic = torch.empty_like(static), torch.empty_like(dynamic)
        partials = make_partials(n_chunks, n_frames, n_features, width, n_outputs)
        arrays = _arrays(
            static,
            dynamic,
            w1,
            w2,
            heads,
            hidden,
            grad_means.contiguous(),
            grad_colors.contiguous(),
            grad_shapes.contiguous(),
            grad_static,
            grad_dynamic,
        )
        needs_features = bool(ctx.needs_input_grad[0] or ctx.needs_input_grad[1])
        run_chunks(lambda i: backward_blocks(*(*arrays, partials[i], needs_features, *span(i))), n_chunks)

        gradients = weight_gradients(partials, time.numpy(), n_features, width, n_outputs)
        w_time = w1.numpy()[:, n_features:]
        grad_time = np.add.reduce(gradients.frame_biases[:, :, None] * w_time, axis=1)  # [B, n_time]
        of_weights = (grad_time, *gradients[:-1])
        feature_gradients = (grad_static, grad_dynamic) if needs_features else (None, None)
        return *feature_gradients, *map(torch.from_numpy, of_weights)


class WeightGradients(NamedTuple):
    """Gradients of the network's weights and biases, and of the first layer's bias in each frame.

    Attributes:
        w1: [width, Fs + Fd + n_time].
        b1: [width].
        w2: [width, width].
        b2: [width].
        heads: Weights of the joined heads. [5 + S, width].
        head_biases: [5 + S].
        frame_biases: [B, width].
    """

    w1: NDArray[np.float32]
    b1: NDArray[np.float32]
    w2: NDArray[np.float32]
    b2: NDArray[np.float32]
    heads: NDArray[np.float32]
    head_biases: NDArray[np.float32]
    frame_biases: NDArray[np.float32]


def make_partials(n_chunks: int, n_frames: int, n_features: int, width: int, n_outputs: int) -> NDArray[np.float32]:
    """Return a row of zeros for each chunk, to which `backward_blocks` adds the chunk's gradients of the weights."""
    sizes = map(math.prod, _partial_shapes(n_frames, n_features, width, n_outputs))
    return np.zeros((n_chunks, sum(sizes)), dtype=np.float32)


def weight_gradients(
    partials: NDArray[np.float32], time: NDArray[np.float32], n_features: int, width: int, n_outputs: int
) -> WeightGradients:
    """Add up the chunks' gradients in their order.

    Args:
        partials: What `make_partials` returned, after all chunks.
        time: Time encoding of each frame. [B, n_time].
        n_features: Number of features of a point, Fs + Fd.
        width: Width of the hidden layers.
        n_outputs: Number of outputs of the joined heads, 5 + S.
    """
    n_frames, total = len(time), np.add.reduce(partials, axis=0)
    shapes = _partial_shapes(n_frames, n_features, width, n_outputs)
    ends = itertools.accumulate(map(math.prod, shapes), initial=0)
    grad_w1, frame_biases, grad_w2, grad_b2, grad_heads, grad_head_biases = (
        total[start:stop].reshape(shape) for (start, stop), shape in zip(itertools.pairwise(ends), shapes, strict=True)
    )
    grad_w_time = np.add.reduce(frame_biases[:, :, None] * time[:, None, :], axis=0)  # [width, n_time]
    grad_w1 = np.concatenate([grad_w1, grad_w_time], axis=1)
    grad_b1 = np.add.reduce(frame_biases, axis=0)
    return WeightGradients(grad_w1, grad_b1, grad_w2, grad_b2, grad_heads, grad_head_biases, frame_biases)


def _partial_shapes(n_frames: int, n_features: int, width: int, n_outputs: int) -> tuple[tuple[int, ...], ...]:
    """Shapes of w1 without its time columns, of the first layer's bias in each frame, w2, b2, the heads and biases."""
    return (width, n_features), (n_frames, width), (width, width), (width,), (n_outputs, width), (n_outputs,)


def _arrays(*tensors: Tensor) -> tuple[np.ndarray, ...]:
    return tuple(tensor.detach().numpy() for tensor in tensors)


def split(n_points: int) -> tuple[int, int, Callable[[int], tuple[int, int]]]:
    """Split points: return the numbers of blocks and chunks, and a function that gives a chunk's range of blocks."""
    n_blocks = -(-n_points // BLOCK)
    n_chunks = min(-(-n_blocks // _BLOCKS_PER_CHUNK), _MAX_CHUNKS)
    return n_blocks, n_chunks, lambda i: (i * n_blocks // n_chunks, (i + 1) * n_blocks // n_chunks)


@njit(nogil=True, cache=True, fastmath={"contract"})
def _add_product(left, right, out):  # type: ignore[no-untyped-def]
    """Add left @ right to out, every element by one chain of multiply-adds in the order of the inner index.

    The loop takes four rows by four inner indices at a time: eight loads and four stores for sixteen multiply-adds.
    """
    n_rows, n_lanes = out.shape
    n_inner = left.shape[1]
    quads = n_rows // 4 * 4
    for first in range(0, n_inner, _PANEL):
        last = min(first + _PANEL, n_inner)
        whole = first + (last - first) // 4 * 4
        for i in range(0, quads, 4):
            for k in range(first, whole, 4):
                a0, a1, a2, a3 = left[i, k], left[i, k + 1], left[i, k + 2], left[i, k + 3]
                b0, b1, b2, b3 = left[i + 1, k], left[i + 1, k + 1], left[i + 1, k + 2], left[i + 1, k + 3]
                c0, c1, c2, c3 = left[i + 2, k], left[i + 2, k + 1], left[i + 2, k + 2], left[i + 2, k + 3]
                d0, d1, d2, d3 = left[i + 3, k], left[i + 3, k + 1], left[i + 3, k + 2], left[i + 3, k + 3]
                for p in range(n_lanes):
                    r0, r1, r2, r3 = right[k, p], right[k + 1, p], right[k + 2, p], right[k + 3, p]
                    out[i, p] = out[i, p] + a0 * r0 + a1 * r1 + a2 * r2 + a3 * r3
                    out[i + 1, p] = out[i + 1, p] + b0 * r0 + b1 * r1 + b2 * r2 + b3 * r3
                    out[i + 2, p] = out[i + 2, p] + c0 * r0 + c1 * r1 + c2 * r2 + c3 * r3
                    out[i + 3, p] = out[i + 3, p] + d0 * r0 + d1 * r1 + d2 * r2 + d3 * r3
        for i in range(n_rows):
            # This adds what the quads left: the last inner indices, and for the last rows all of them.
            for k in range(whole if i < quads else first, last):
                factor = left[i, k]
                for p in range(n_lanes):
                    out[i, p] = out[i, p] + factor * right[k, p]


@njit(nogil=True, cache=True)
def _load(points, start, lanes):  # type: ignore[no-untyped-def]
    """Copy points [N, F] from `start` on into lanes [F, BLOCK]; lanes past the last point become zero."""
    n = min(points.shape[0] - start, BLOCK)
    for f in range(points.shape[1]):
        for p in range(n):
            lanes[f, p] = points[start + p, f]
        for p in range(n, BLOCK):
            lanes[f, p] = _ZERO


@njit(nogil=True, cache=True)
def _store(lanes, start, points):  # type: ignore[no-untyped-def]
    for p in range(min(points.shape[0] - start, BLOCK)):
        for f in range(points.shape[1]):
            points[start + p, f] = lanes[f, p]


@njit(nogil=True, cache=True)
def _relu(lanes):  # type: ignore[no-untyped-def]
    # NaN stays NaN, as in torch.
    for j in range(lanes.shape[0]):
        for p in range(lanes.shape[1]):
            lanes[j, p] = _ZERO if lanes[j, p] < _ZERO else lanes[j, p]


@njit(nogil=True, cache=True)
def forward_blocks(  # type: ignore[no-untyped-def]
    static,
    dynamic,
    time,
    w1,
    b1,
    w2,
    b2,
    heads,
    head_biases,
    delta_means,
    delta_colors,
    delta_shapes,
    hidden,
    slot,
    first,
    last,
):
    """Compute the outputs of the blocks [first, last) of all frames.

    Hidden layers are written to hidden[frame * n_blocks + block], or all of them to hidden[slot] if slot >= 0.
    """
    n_frames, n_points, n_dynamic = dynamic.shape
    n_static, width = static.shape[1], w1.shape[0]
    n_features = n_static + n_dynamic
    n_blocks = (n_points + BLOCK - 1) // BLOCK
    w_static, w_dynamic = w1[:, :n_static].copy(), w1[:, n_static:n_features].copy()
    frame_bias = np.empty((n_frames, width), np.float32)
    for b in range(n_frames):
        for j in range(width):
            total = b1[j]
            for k in range(time.shape[1]):
                total += w1[j, n_features + k] * time[b, k]
            frame_bias[b, j] = total
    static_lanes = np.empty((n_static, BLOCK), np.float32)
    dynamic_lanes = np.empty((n_dynamic, BLOCK), np.float32)
    shared = np.empty((width, BLOCK), np.float32)
    outputs = np.empty((heads.shape[0], BLOCK), np.float32)
    for block in range(first, last):
        start = block * BLOCK
        _load(static, start, static_lanes)
        shared[:] = _ZERO
        _add_product(w_static, static_lanes, shared)
        for b in range(n_frames):
            layers = hidden[slot if slot >= 0 else b * n_blocks + block]
            hidden1, hidden2 = layers[0], layers[1]
            _load(dynamic[b], start, dynamic_lanes)
            for j in range(width):
                for p in range(BLOCK):
                    hidden1[j, p] = shared[j, p] + frame_bias[b, j]
                    hidden2[j, p] = b2[j]
            _add_product(w_dynamic, dynamic_lanes, hidden1)
            _relu(hidden1)
            _add_product(w2, hidden1, hidden2)
            _relu(hidden2)
            for o in range(heads.shape[0]):
                outputs[o] = head_biases[o]
            _add_product(heads, hidden2, outputs)
            _store(outputs[:_COLORS], start, delta_means[b])
            _store(outputs[_COLORS:_SHAPES], start, delta_colors[b])
            _store(outputs[_SHAPES:], start, delta_shapes[b])


@njit(nogil=True, cache=True)
def _backward_layer(weights_t, gradient, activation, out):  # type: ignore[no-untyped-def]
    """Compute the gradient before a ReLU: out = (weights_t @ gradient) where activation > 0."""
    out[:] = _ZERO
    _add_product(weights_t, gradient, out)
    for j in range(out.shape[0]):
        for p in range(BLOCK):
            out[j, p] = out[j, p] if activation[j, p] > _ZERO else _ZERO


@_reordered
def _add_dots(left, right, out):  # type: ignore[no-untyped-def]
    """Add left @ right^T to out: the sums over the points of a block, four rows by two at a time in registers."""
    n_rows, n_columns = out.shape
    quads, pairs = n_rows // 4 * 4, n_columns // 2 * 2
    for i in range(0, quads, 4):
        for j in range(0, pairs, 2):
            a0, b0, c0, d0, a1, b1, c1, d1 = _ZERO, _ZERO, _ZERO, _ZERO, _ZERO, _ZERO, _ZERO, _ZERO
            for p in range(BLOCK):
                r0, r1 = right[j, p], right[j + 1, p]
                a0 += left[i, p] * r0
                a1 += left[i, p] * r1
                b0 += left[i + 1, p] * r0
                b1 += left[i + 1, p] * r1
                c0 += left[i + 2, p] * r0
                c1 += left[i + 2, p] * r1
                d0 += left[i + 3, p] * r0
                d1 += left[i + 3, p] * r1
            out[i, j] += a0
            out[i, j + 1] += a1
            out[i + 1, j] += b0
            out[i + 1, j + 1] += b1
            out[i + 2, j] += c0
            out[i + 2, j + 1] += c1
            out[i + 3, j] += d0
            out[i + 3, j + 1] += d1
    for i in range(n_rows):
        # This adds what the tiles left: the last column, and for the last rows all of them.
        for j in range(pairs if i < quads else 0, n_columns):
            total = _ZERO
            for p in range(BLOCK):
                total += left[i, p] * right[j, p]
            out[i, j] += total


@_reordered
def _add_sums(lanes, total):  # type: ignore[no-untyped-def]
    for j in range(lanes.shape[0]):
        of_row = _ZERO
        for p in range(BLOCK):
            of_row += lanes[j, p]
        total[j] += of_row


@njit(nogil=True, cache=True, forceinline=True)
def backward_blocks(  # type: ignore[no-untyped-def]
    static,
    dynamic,
    w1,
    w2,
    heads,
    hidden,
    grad_means,
    grad_colors,
    grad_shapes,
    grad_static,
    grad_dynamic,
    partial,
    needs_features,
    first,
    last,
):
    """Write the feature gradients of the blocks [first, last) of all frames; add weight gradients to `partial`."""
    n_frames, n_points, n_dynamic = dynamic.shape
    n_static, width, n_outputs = static.shape[1], w1.shape[0], heads.shape[0]
    n_features = n_static + n_dynamic
    n_blocks = (n_points + BLOCK - 1) // BLOCK
    at_bias = n_features * width
    at_w2 = at_bias + n_frames * width
    at_b2 = at_w2 + width * width
    at_heads = at_b2 + width
    at_head_biases = at_heads + n_outputs * width
    grad_w1 = partial[:at_bias].reshape(width, n_features)
    grad_frame_bias = partial[at_bias:at_w2].reshape(n_frames, width)
    grad_w2 = partial[at_w2:at_b2].reshape(width, width)
    grad_b2 = partial[at_b2:at_heads]
    grad_heads = partial[at_heads:at_head_biases].reshape(n_outputs, width)
    grad_head_biases = partial[at_head_biases:]

    features_t, w2_t, heads_t = w1[:, :n_features].T.copy(), w2.T.copy(), heads.T.copy()
    features = np.empty((n_features, BLOCK), np.float32)
    grad_features = np.empty((n_features, BLOCK), np.float32)
    grad_outputs = np.empty((n_outputs, BLOCK), np.float32)
    grad_hidden1, grad_hidden2 = np.empty((width, BLOCK), np.float32), np.empty((width, BLOCK), np.float32)
    for block in range(first, last):
        start = block * BLOCK
        _load(static, start, features[:n_static])
        grad_features[:n_static] = _ZERO
        for b in range(n_frames):
            layers = hidden[b * n_blocks + block]
            hidden1, hidden2 = layers[0], layers[1]
            _load(grad_means[b], start, grad_outputs[:_COLORS])
            _load(grad_colors[b], start, grad_outputs[_COLORS:_SHAPES])
            _load(grad_shapes[b], start, grad_outputs[_SHAPES:])
            _add_dots(grad_outputs, hidden2, grad_heads)
            _add_sums(grad_outputs, grad_head_biases)
            _backward_layer(heads_t, grad_outputs, hidden2, grad_hidden2)
            _add_dots(grad_hidden2, hidden1, grad_w2)
            _add_sums(grad_hidden2, grad_b2)
            _backward_layer(w2_t, grad_hidden2, hidden1, grad_hidden1)
            _load(dynamic[b], start, features[n_static:])
            _add_dots(grad_hidden1, features, grad_w1)
            _add_sums(grad_hidden1, grad_frame_bias[b])
            if needs_features:
                # The static rows are not cleared: they add up over the frames.
                grad_features[n_static:] = _ZERO
                _add_product(features_t, grad_hidden1, grad_features)
                _store(grad_features[n_static:], start, grad_dynamic[b])
        if needs_features:
            _store(grad_features[:n_static], start, grad_static)
