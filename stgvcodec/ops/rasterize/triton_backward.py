"""Backward kernels: gradients Gaussian by Gaussian, without atomics, so that they are the same in every run.

The picture's gradient lies in *gradient blocks*, [B, rows / 8, columns / 8, 3, 8 * 8] with zeros beyond the picture's
edge: a warp reads a block's three channels as whole lines at fixed distances, without a mask.
"""

# Triton's interpreter and compiler both read types from annotations, and constexpr is the only one that they know.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from stgvcodec.ops.rasterize import triton_bins
from stgvcodec.ops.rasterize.triton_bins import Bins
from stgvcodec.ops.rasterize.triton_device import EXP_MAX, MARGIN_PX, RECORD, SCALE, box_px, reach_of, span_at

# Gradient blocks side by side that a step takes, for a Gaussian that is not split and for a strip of a large one.
STEP_BLOCKS, STRIP_STEP_BLOCKS = 1, 2
# Programs that share the strips. Each multiprocessor of a large GPU gets a few.
_STRIP_PROGRAMS = 2048
_PACK_BLOCKS = 8
# Number of sums of a Gaussian, which README.md lists under "Gradients".
_MOMENTS = tl.constexpr(8)


def new_blocks(n_frames: int, height: int, width: int, device: torch.device) -> Tensor:
    """Allocate gradient blocks, without writing them. [B, rows / 8, columns / 8, 3, 64] float32."""
    rows, columns = triton.cdiv(height, triton_bins.GRADIENT_ROWS), triton.cdiv(width, triton_bins.GRADIENT_COLUMNS)
    return torch.empty(
        n_frames, rows, columns, 3, triton_bins.GRADIENT_ROWS * triton_bins.GRADIENT_COLUMNS, device=device
    )


def pack(
    grad_image: Tensor, residual: Tensor | None = None, scale: Tensor | None = None, factor: float = 0.0
) -> Tensor:
    """Pack `grad_image` [B, H, W, 3], of any strides, into gradient blocks.

    If `residual`, in gradient blocks, is given, it is multiplied by `scale` and `factor` and added.
    """
    n_frames, height, width, _ = grad_image.shape
    blocks = new_blocks(n_frames, height, width, grad_image.device)
    n_blocks = blocks.shape[1] * blocks.shape[2]
    if blocks.numel():
        _pack_kernel[(triton.cdiv(n_blocks, _PACK_BLOCKS), n_frames)](
            grad_image, residual, scale, factor, blocks, *grad_image.stride(), height, width, n_blocks, blocks.shape[2],
            BLOCKS=_PACK_BLOCKS, ROWS=triton_bins.GRADIENT_ROWS, COLUMNS=triton_bins.GRADIENT_COLUMNS, num_warps=4,
        )  # fmt: skip
    return blocks


def backward(
    bins: Bins,
    shape: tuple[int, int],
    blocks: Tensor,
    height: int,
    width: int,
    *,
    per_frame: bool,
    scale: Tensor | None = None,
    factor: float = 1.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the gradients to means [B, N, 2], cholesky ([N, 3], or [B, N, 3] if `per_frame`) and colors [B, N, 3].

    Args:
        bins: Bins of the call, with strips.
        shape: The sizes B and N.
        blocks: Gradient of the pictures, in gradient blocks.
        height: Rows of the picture, pixels.
        width: Columns of the picture, pixels.
        per_frame: Whether each frame has a cholesky of its own; otherwise its gradients are summed over the frames.
        scale: Factor of all gradients, on the device; None for 1. [] float32.
        factor: Further factor of all gradients.
    """
    n_frames, n_gaussians = shape
    total, device = n_frames * n_gaussians, bins.gaussians.device
    assert bins.strips is not None
    grad_means = torch.empty(n_frames, n_gaussians, 2, device=device)
    grad_colors = torch.empty(n_frames, n_gaussians, 3, device=device)
    grad_cholesky = torch.empty(n_frames, n_gaussians, 3, device=device)
    if total:
        places, items, n_items = bins.strips
        sums = torch.empty(len(items), int(_MOMENTS), device=device)
        sizes = (height, width, n_gaussians, blocks.shape[1], blocks.shape[2])
        constants = {"ROWS": triton_bins.GRADIENT_ROWS, "COLUMNS": triton_bins.GRADIENT_COLUMNS, "num_warps": 1}
        _strips_kernel[(min(_STRIP_PROGRAMS, len(items)),)](
            bins.gaussians, items, n_items, blocks, sums, len(items), *sizes, STEP=STRIP_STEP_BLOCKS, **constants
        )
        _splat_backward_kernel[(total,)](
            bins.gaussians, places, sums, blocks, grad_means, grad_cholesky, grad_colors, scale, factor, *sizes,
            STEP=STEP_BLOCKS, **constants,
        )  # fmt: skip
    if not per_frame:
        grad_cholesky = grad_cholesky.sum(0) if n_frames != 1 else grad_cholesky[0]
    return grad_means, grad_cholesky, grad_colors


@triton.jit
def _pack_kernel(
    grad_image,  # [B, H, W, 3] float32, strided
    residual,  # gradient blocks, or None; with it:
    scale,  # [] float32
    factor,
    blocks,  # gradient blocks, out
    stride_frame,
    stride_row,
    stride_column,
    stride_channel,
    height,
    width,
    n_blocks,
    blocks_x,
    BLOCKS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    area: tl.constexpr = ROWS * COLUMNS
    frame = tl.program_id(1).to(tl.int64)
    lane = tl.arange(0, BLOCKS * area)
    block, within = tl.program_id(0) * BLOCKS + lane // area, lane % area
    row = block // blocks_x * ROWS + within // COLUMNS
    column = block % blocks_x * COLUMNS + within % COLUMNS
    source = grad_image + frame * stride_frame + row.to(tl.int64) * stride_row + column.to(tl.int64) * stride_column
    is_shown = (row < height) & (column < width)
    place = frame * n_blocks * (3 * area) + block * (3 * area) + within
    for channel in tl.static_range(3):
        gradient = tl.load(source + channel * stride_channel, mask=is_shown, other=0.0)
        if residual is not None:
            more = tl.load(residual + place + channel * area, mask=is_shown, other=0.0)
            gradient += more * (tl.load(scale) * factor)
        tl.store(blocks + place + channel * area, gradient, mask=block < n_blocks)


@triton.jit(do_not_specialize=["room", "height", "width", "n_gaussians", "blocks_y", "blocks_x"])
def _strips_kernel(
    gaussians,  # [B * N, 8] float32
    items,  # [room, 4] int32
    n_items,  # [1] int32
    blocks,  # gradient blocks
    sums,  # [room, 8] float32, out
    room,
    height,
    width,
    n_gaussians,
    blocks_y,
    blocks_x,
    STEP: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Write the eight sums of every strip."""
    i, end = tl.program_id(0), tl.minimum(tl.load(n_items), room)
    while i < end:
        g = tl.load(items + 4 * i)
        x, y, inverse_l1, ratio, inverse_l3, red, green, blue = _load_record(gaussians, g)
        z_max, l1_by_q = reach_of(inverse_l1, ratio)
        zero = tl.zeros([STEP * ROWS * COLUMNS], tl.float32)
        frame = blocks + (g // n_gaussians).to(tl.int64) * (blocks_y * blocks_x) * (3 * ROWS * COLUMNS)
        s0, s1, s2, s3, s4, s5, s6, s7 = _add_rows(
            zero, zero, zero, zero, zero, zero, zero, zero, tl.load(items + 4 * i + 1), tl.load(items + 4 * i + 2),
            x, y, inverse_l1, ratio, inverse_l3, red, green, blue, z_max, l1_by_q, frame, width, blocks_x,
            STEP, ROWS, COLUMNS,
        )  # fmt: skip
        at = sums + i * _MOMENTS
        tl.store(at, tl.sum(s0))
        tl.store(at + 1, tl.sum(s1))
        tl.store(at + 2, tl.sum(s2))
        tl.store(at + 3, tl.sum(s3))
        tl.store(at + 4, tl.sum(s4))
        tl.store(at + 5, tl.sum(s5))
        tl.store(at + 6, tl.sum(s6))
        tl.store(at + 7, tl.sum(s7))
        i += tl.num_programs(0)


@triton.jit(do_not_specialize=["height", "width", "n_gaussians", "blocks_y", "blocks_x"])
def _splat_backward_kernel(
    gaussians,  # [B * N, 8] float32
    places,  # [B * N, 2] int32
    sums,  # [room, 8] float32
    blocks,  # gradient blocks
    grad_means,  # [B * N, 2] float32, out
    grad_cholesky,  # [B * N, 3] float32, out
    grad_colors,  # [B * N, 3] float32, out
    scale,  # [] float32, or None
    factor,
    height,
    width,
    n_gaussians,
    blocks_y,
    blocks_x,
    STEP: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Add up the rows of one Gaussian, or the sums of its strips, and write its gradients."""
    g = tl.program_id(0)
    strip, n_strips = tl.load(places + 2 * g), tl.load(places + 2 * g + 1)
    x, y, inverse_l1, ratio, inverse_l3, red, green, blue = _load_record(gaussians, g)
    lane = tl.arange(0, STEP * ROWS * COLUMNS)
    s0 = tl.zeros([STEP * ROWS * COLUMNS], tl.float32)
    s1, s2, s3, s4, s5, s6, s7 = s0, s0, s0, s0, s0, s0, s0
    i = 0
    while i < n_strips:
        at, is_one = sums + (strip + i + lane) * _MOMENTS, i + lane < n_strips
        s0 += tl.load(at, mask=is_one, other=0.0)
        s1 += tl.load(at + 1, mask=is_one, other=0.0)
        s2 += tl.load(at + 2, mask=is_one, other=0.0)
        s3 += tl.load(at + 3, mask=is_one, other=0.0)
        s4 += tl.load(at + 4, mask=is_one, other=0.0)
        s5 += tl.load(at + 5, mask=is_one, other=0.0)
        s6 += tl.load(at + 6, mask=is_one, other=0.0)
        s7 += tl.load(at + 7, mask=is_one, other=0.0)
        i += STEP * ROWS * COLUMNS

    z_max, l1_by_q = reach_of(inverse_l1, ratio)
    first_row, end_row, first_column, end_column = box_px(x, y, inverse_l1, inverse_l3, z_max, height, width)
    is_own = (n_strips == 0) & (first_row < end_row) & (first_column < end_column)
    top = first_row // ROWS
    bottom = tl.where(is_own, (end_row + (ROWS - 1)) // ROWS, top)
    frame = blocks + (g // n_gaussians).to(tl.int64) * (blocks_y * blocks_x) * (3 * ROWS * COLUMNS)
    s0, s1, s2, s3, s4, s5, s6, s7 = _add_rows(
        s0, s1, s2, s3, s4, s5, s6, s7, top, bottom, x, y, inverse_l1, ratio, inverse_l3, red, green, blue, z_max,
        l1_by_q, frame, width, blocks_x, STEP, ROWS, COLUMNS,
    )  # fmt: skip

    # The moments are in units of K, and so are inverse_l1 and inverse_l3; README.md's formulas are not.
    unit = factor * 1.0
    if scale is not None:
        unit *= tl.load(scale)
    by_k2: tl.constexpr = 1.0 / (SCALE * SCALE)
    by_k3: tl.constexpr = 1.0 / (SCALE * SCALE * SCALE)
    u, v, uv = tl.sum(s3), tl.sum(s4), tl.sum(s6)
    tl.store(grad_colors + 3 * g, tl.sum(s0) * unit)
    tl.store(grad_colors + 3 * g + 1, tl.sum(s1) * unit)
    tl.store(grad_colors + 3 * g + 2, tl.sum(s2) * unit)
    tl.store(grad_means + 2 * g, (u - ratio * v) * inverse_l1 * (unit * by_k2))
    tl.store(grad_means + 2 * g + 1, v * inverse_l3 * (unit * by_k2))
    tl.store(grad_cholesky + 3 * g, (tl.sum(s5) - ratio * uv) * inverse_l1 * (unit * by_k3))
    tl.store(grad_cholesky + 3 * g + 1, uv * inverse_l3 * (unit * by_k3))
    tl.store(grad_cholesky + 3 * g + 2, tl.sum(s7) * inverse_l3 * (unit * by_k3))


@triton.jit
def _load_record(gaussians, g):
    record = gaussians + g * RECORD
    x, y, inverse_l1, ratio = tl.load(record), tl.load(record + 1), tl.load(record + 2), tl.load(record + 3)
    inverse_l3, red, green, blue = tl.load(record + 4), tl.load(record + 5), tl.load(record + 6), tl.load(record + 7)
    return x, y, inverse_l1, ratio, inverse_l3, red, green, blue


@triton.jit
def _add_rows(
    s0,
    s1,
    s2,
    s3,
    s4,
    s5,
    s6,
    s7,
    top,
    bottom,
    x,
    y,
    inverse_l1,
    ratio,
    inverse_l3,
    red,
    green,
    blue,
    z_max,
    l1_by_q,
    frame,
    width,
    blocks_x,
    STEP: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Add w g (three channels), t u, t v, t u u, t u v, t v v over the rows of blocks [top, bottom), lane by lane."""
    area: tl.constexpr = ROWS * COLUMNS
    lane = tl.arange(0, STEP * area)
    lane_y = ((lane % area) // COLUMNS).to(tl.float32) + 0.5
    lane_dx = (lane // area * COLUMNS + lane % COLUMNS).to(tl.float32) + 0.5 - x
    lane_at = lane // area * (3 * area) + lane % area
    # Columns are counted in blocks. A block counts as touched if the support's left end lies before the centre of the
    # block's last pixel and its right end behind the centre of the first.
    left_block, right_block = (x + (0.5 - MARGIN_PX)) / COLUMNS, (x - (0.5 - MARGIN_PX)) / COLUMNS
    width_by_q, last_block = l1_by_q / COLUMNS, blocks_x - 1.0
    y_top, y_bottom = y - (0.5 - MARGIN_PX), y - (ROWS - 0.5 + MARGIN_PX)
    row = top
    while row < bottom:
        top_px = (row * ROWS).to(tl.float32)
        z_top = tl.maximum((top_px - y_top) * inverse_l3, -z_max)
        z_bottom = tl.minimum((top_px - y_bottom) * inverse_l3, z_max)
        left, right = span_at(z_top, z_bottom, ratio, z_max)
        first = tl.minimum(tl.maximum(left_block + left * width_by_q, 0.0), last_block + 1.0)
        last = tl.minimum(tl.maximum(right_block + right * width_by_q, -1.0), last_block)
        column, end = tl.floor(first).to(tl.int32), tl.floor(last).to(tl.int32) + 1
        z = (top_px + lane_y - y) * inverse_l3
        while column < end:
            at = frame + (row * blocks_x + column) * (3 * area) + lane_at
            if STEP == 1:
                grad_red, grad_green, grad_blue = tl.load(at), tl.load(at + area), tl.load(at + 2 * area)
            else:
                is_one = column + lane // area < end
                grad_red = tl.load(at, mask=is_one, other=0.0)
                grad_green = tl.load(at + area, mask=is_one, other=0.0)
                grad_blue = tl.load(at + 2 * area, mask=is_one, other=0.0)
            u = (lane_dx + (column * COLUMNS).to(tl.float32)) * inverse_l1
            v = z - u * ratio
            e = tl.exp2(-u * u - v * v)
            weight = tl.maximum(e - EXP_MAX, 0.0)
            s0 += weight * grad_red
            s1 += weight * grad_green
            s2 += weight * grad_blue
            # Outside the support t is zero, and so are its products, since u and v are finite.
            t = tl.where(weight > 0.0, e, 0.0) * (red * grad_red + green * grad_green + blue * grad_blue)
            tu, tv = t * u, t * v
            s3 += tu
            s4 += tv
            s5 += tu * u
            s6 += tu * v
            s7 += tv * v
            column += STEP
        row += 1
    return s0, s1, s2, s3, s4, s5, s6, s7
