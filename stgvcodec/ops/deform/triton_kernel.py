"""The fused field on CUDA: two launches forward, three backward and a fill, for which README.md gives the reasons."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import triton
from torch import Tensor
from torch.autograd.function import once_differentiable

from stgvcodec.ops.backends import is_interpreted
from stgvcodec.ops.deform.triton_backward import backward_encodings, backward_network, finish_backward
from stgvcodec.ops.deform.triton_field import Field, field_of
from stgvcodec.ops.deform.triton_forward import forward, prepare
from stgvcodec.ops.field_mlp import FieldWeights
from stgvcodec.ops.hash_encode import HashGridSpec


@dataclass(frozen=True)
class Tuning:
    """Launch parameters of the kernels.

    Attributes:
        forward_precision: Precision of the forward's matrix products: "bf16", "bf16x3" (three products of bfloat16
            halves, nearly float32), "tf32", "tf32x3" or "ieee". Training and decoding share it, so that a fit sees what
            a decoder will show.
        backward_precision: Precision of the products of gradients. It must be a bfloat16 kind if the forward's is one,
            and only then.
        forward_block: Number of points of a program of `forward`, at least 64 for the fast matrix units.
        forward_warps: Number of warps of a program of `forward`.
        forward_frames: Number of frames of a program of `forward`.
        forward_registers: Largest number of registers of a thread of `forward`; None leaves it to the compiler.
        network_block: Number of points that a program of `backward_network` takes at a time. It must not be 32, for
            which Triton 3.6 makes code that reads shared memory out of bounds (compute-sanitizer, H100).
        network_warps: Number of warps of a program of `backward_network`.
        network_registers: Largest number of registers of a thread of `backward_network`; None leaves it to the
            compiler.
        encodings_block: Number of points of a program of `backward_encodings`.
        encodings_warps: Number of warps of a program of `backward_encodings`.
    """

    forward_precision: str = "bf16x3"
    backward_precision: str = "bf16"
    forward_block: int = 64
    forward_warps: int = 4
    forward_frames: int = 4
    forward_registers: int | None = None
    network_block: int = 64
    network_warps: int = 8
    network_registers: int | None = None
    encodings_block: int = 32
    encodings_warps: int = 4


TUNING = Tuning()
# Triton's interpreter has no bfloat16 products. Blocks are small there, so that tests with several blocks are quick.
INTERPRETED = Tuning(
    forward_precision="ieee",
    backward_precision="ieee",
    forward_block=32,
    forward_frames=2,
    network_block=32,
    encodings_block=32,
)
_INTERPRETED_PROGRAMS = 3
# Numbers of elements, weights and rows that a program of `prepare` or `finish_backward` takes.
_PREPARE_CHUNK = 1024
_FINISH_WEIGHTS = 64
_FINISH_ROWS = 128


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
    tuning: Tuning | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Triton twin of `stgvcodec.ops.deform.deform`, float32 on CUDA, for fields that `fits` takes.

    Everything stays on the current stream and no size depends on data. So a call can be captured in a CUDA graph, once
    a first call has compiled the kernels and cached the field's constants.

    Raises:
        ValueError: the tensors are not float32.
    """
    if means.dtype != torch.float32:
        raise ValueError(
            f"backend 'triton' computes in float32, got {means.dtype}; convert, or use backend 'reference'"
        )
    if tuning is None:
        tuning = INTERPRETED if is_interpreted() else TUNING
    width, height = size_px
    call = _Call(
        field_of(static_grid, dynamic_grid, weights.w1.shape[0], gamma.shape[1], weights.n_shapes, means.device),
        tuning,
        (0.5 * width, 0.5 * height),
    )
    if static_features is not None:
        static_features = static_features.contiguous()
    tensors = (means, colors, static_table, dynamic_table, times, gamma, *weights)
    differentiable = tensors if static_features is None else (*tensors, static_features)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in differentiable):
        means_px, colors_out, delta_shapes = _Deform.apply(call, static_features, *tensors)
    else:
        (means_px, colors_out, delta_shapes), _ = _run_forward(
            call, static_features, *(tensor.contiguous() for tensor in tensors)
        )
    return means_px, colors_out, delta_shapes


@dataclass(frozen=True)
class _Call:
    field: Field
    tuning: Tuning
    half_size_px: tuple[float, float]


class _Deform(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, call: _Call, static_features: Tensor | None, *tensors: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        tensors = tuple(tensor.contiguous() for tensor in tensors)
        outputs, kept = _run_forward(call, static_features, *tensors)
        means, _, static_table, dynamic_table, times, gamma, *weights = tensors
        ctx.save_for_backward(means, static_table, static_features, times, gamma, weights[3], *kept)
        ctx.call, ctx.dynamic_shape = call, dynamic_table.shape
        return outputs

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_means_px: Tensor, grad_colors_out: Tensor, grad_delta_shapes: Tensor
    ) -> tuple[Tensor | None, ...]:
        means, static_table, static_features, times, gamma, b2, planes, packed, encoded = ctx.saved_tensors
        call: _Call = ctx.call
        field, tuning = call.field, call.tuning
        n_frames, n_points, _ = grad_means_px.shape
        grad_means_px, grad_colors_out = grad_means_px.contiguous(), grad_colors_out.contiguous()

        def empty(*shape: int) -> Tensor:
            return torch.empty(shape, dtype=torch.float32, device=means.device)

        # One fill clears all that is added to atomically. Sizes are rounded up, so that each part starts on 16 bytes.
        sizes = (math.prod(ctx.dynamic_shape), static_table.numel(), planes.numel())
        starts = list(itertools.accumulate((-(-size // 4) * 4 for size in sizes), initial=0))
        sums = torch.zeros(starts[-1], dtype=torch.float32, device=means.device)
        grad_dynamic_table, grad_static_table, grad_planes = (
            sums[start : start + size] for start, size in zip(starts[:-1], sizes, strict=True)
        )
        n_blocks = n_frames * triton.cdiv(n_points, tuning.network_block)
        n_programs = max(min(n_blocks, _n_processors(means.device)), 1)
        partials = empty(n_programs, field.partial)
        n_weights = field.partial_places.numel()
        grad_weights, grad_encoded = empty(n_weights), empty(*encoded.shape)
        grad_means, grad_colors = empty(n_points, 2), empty(n_points, 3)
        grad_features = None if static_features is None else empty(*static_features.shape)
        with torch.cuda.device_of(means):
            # This is launched even if there are no points, since the shares of the weights' gradients must be written.
            backward_network[(n_programs,)](
                encoded,
                gamma,
                packed,
                b2,
                grad_means_px,
                grad_colors_out,
                grad_delta_shapes.contiguous(),
                grad_encoded,
                partials,
                n_points,
                n_frames,
                field.n_time,
                field.width,
                *call.half_size_px,
                N_SHAPES=field.n_shapes,
                ENCODED=field.encoded,
                K_PAD=field.k_pad,
                W_PAD=field.w_pad,
                PACKED=field.packed,
                PARTIAL=field.partial,
                FORWARD_PRECISION=tuning.forward_precision,
                PRECISION=tuning.backward_precision,
                BLOCK=tuning.network_block,
                num_warps=tuning.network_warps,
                maxnreg=tuning.network_registers,
                enable_fp_fusion=False,
            )
            if n_points:
                backward_encodings[(triton.cdiv(n_points, tuning.encodings_block),)](
                    means,
                    static_table,
                    field.static_levels,
                    planes,
                    field.plane_levels,
                    grad_means_px,
                    grad_colors_out,
                    grad_encoded,
                    grad_means,
                    grad_colors,
                    grad_static_table if grad_features is None else grad_features,
                    grad_planes,
                    n_points,
                    n_frames,
                    field.n_rows,
                    *call.half_size_px,
                    **field.constants,
                    HAS_STATIC=static_features is not None,
                    BLOCK=tuning.encodings_block,
                    num_warps=tuning.encodings_warps,
                    enable_fp_fusion=False,
                )
            n_sums = triton.cdiv(n_weights, _FINISH_WEIGHTS)
            finish_backward[(n_sums + n_frames * triton.cdiv(field.n_rows, _FINISH_ROWS),)](
                partials,
                field.partial_places,
                grad_weights,
                times,
                field.row_bases,
                field.row_levels,
                field.dynamic_levels,
                grad_planes,
                grad_dynamic_table,
                n_programs,
                n_weights,
                field.n_rows,
                D_FEATURES=field.constants["D_FEATURES"],
                D_FEATURES_PAD=field.constants["D_FEATURES_PAD"],
                PARTIAL=field.partial,
                WEIGHTS=_FINISH_WEIGHTS,
                ROWS=_FINISH_ROWS,
                enable_fp_fusion=False,
            )
        ends = itertools.accumulate(math.prod(shape) for shape in field.weight_shapes)
        of_weights = (
            grad_weights[end - math.prod(shape) : end].view(shape)
            for end, shape in zip(ends, field.weight_shapes, strict=True)
        )
        of_static = grad_static_table.view(static_table.shape) if grad_features is None else None
        of_dynamic = grad_dynamic_table.view(ctx.dynamic_shape)
        return None, grad_features, grad_means, grad_colors, of_static, of_dynamic, None, None, *of_weights


def _run_forward(
    call: _Call,
    static_features: Tensor | None,
    means: Tensor,
    colors: Tensor,
    static_table: Tensor,
    dynamic_table: Tensor,
    times: Tensor,
    gamma: Tensor,
    *weights: Tensor,
) -> tuple[tuple[Tensor, Tensor, Tensor], tuple[Tensor, ...]]:
    """Return the three outputs, and what the backward needs: planes, packed weights and encodings."""
    field, tuning = call.field, call.tuning
    n_frames, n_points = len(times), len(means)
    w1, b1, w2, b2, w_means, b_means, w_colors, b_colors, w_shapes, b_shapes = weights

    def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.empty(shape, dtype=dtype, device=means.device)

    halves = tuning.forward_precision.startswith("bf16")
    planes = empty(n_frames, field.n_rows, field.constants["D_FEATURES_PAD"])
    packed = empty(2, field.packed, dtype=torch.bfloat16) if halves else empty(1, field.packed)
    means_px, colors_out = empty(n_frames, n_points, 2), empty(n_frames, n_points, 3)
    delta_shapes = empty(n_frames, n_points, field.n_shapes)
    encoded = empty(n_frames, n_points, field.encoded)
    n_chunks = triton.cdiv(field.packed, _PREPARE_CHUNK)
    n_row_blocks = triton.cdiv(field.n_rows, _PREPARE_CHUNK // field.constants["D_FEATURES_PAD"])
    with torch.cuda.device_of(means):
        prepare[(n_chunks + n_frames * n_row_blocks,)](
            times,
            dynamic_table,
            field.row_bases,
            field.row_levels,
            field.dynamic_levels,
            w1,
            b1,
            w2,
            w_means,
            w_colors,
            w_shapes,
            planes,
            packed,
            field.n_rows,
            field.width,
            field.encoded + field.n_time,
            N_SHAPES=field.n_shapes,
            D_FEATURES=field.constants["D_FEATURES"],
            D_FEATURES_PAD=field.constants["D_FEATURES_PAD"],
            K_PAD=field.k_pad,
            W_PAD=field.w_pad,
            PACKED=field.packed,
            CHUNK=_PREPARE_CHUNK,
            enable_fp_fusion=False,
        )
        if n_points:
            grid = (triton.cdiv(n_points, tuning.forward_block), triton.cdiv(n_frames, tuning.forward_frames))
            forward[grid](
                means,
                colors,
                gamma,
                static_table if static_features is None else static_features,
                field.static_levels,
                planes,
                field.plane_levels,
                packed,
                b2,
                b_means,
                b_colors,
                b_shapes,
                means_px,
                colors_out,
                delta_shapes,
                encoded,
                n_points,
                n_frames,
                field.n_rows,
                field.n_time,
                field.width,
                *call.half_size_px,
                tuning.forward_frames,
                N_SHAPES=field.n_shapes,
                **field.constants,
                K_PAD=field.k_pad,
                W_PAD=field.w_pad,
                PACKED=field.packed,
                HAS_STATIC=static_features is not None,
                PRECISION=tuning.forward_precision,
                BLOCK=tuning.forward_block,
                num_warps=tuning.forward_warps,
                maxnreg=tuning.forward_registers,
                enable_fp_fusion=False,
            )
    return (means_px, colors_out, delta_shapes), (planes, packed, encoded)


@lru_cache(maxsize=64)
def _n_processors(device: torch.device) -> int:
    if device.type != "cuda":
        return _INTERPRETED_PROGRAMS
    count: int = torch.cuda.get_device_properties(device).multi_processor_count
    return count
