"""D-SSIM by one Triton kernel forward and one backward. README.md says why they look like this."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from stgvcodec.ops.dssim import C1, C2, WINDOW, WINDOW_PX

_REACH = WINDOW_PX - 1
# Samples (pixels times channels) of a row that a program holds, one a lane.
_LANES = 128
_NUM_WARPS = 4
# A program goes down a segment of rows and reads ten more than it writes. Longer segments read fewer rows twice, but
# there should be about six programs for each of an H100's 132 processors, as many as run at once with 80 registers a
# thread.
_TARGET_PROGRAMS = 780
_MIN_ROWS = 16
_MAX_ROWS = 128


def dssim(image: Tensor, frames: Tensor, picked: Tensor) -> Tensor:
    """Twin of `reference.dssim`, for float32 tensors.

    Raises:
        ValueError: `image` is not float32.
    """
    if image.dtype != torch.float32:
        raise ValueError(f"image is {image.dtype}, the triton back end takes torch.float32; use backend='reference'")
    with_gradient = image.requires_grad and torch.is_grad_enabled()
    loss: Tensor = _Dssim.apply(image.contiguous(), frames.contiguous(), picked.contiguous(), with_gradient)
    return loss


class _Dssim(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, image: Tensor, frames: Tensor, picked: Tensor, with_gradient: bool) -> Tensor:
        n_pictures, height, width, _ = image.shape
        n_rows = height - _REACH
        # The maps are the derivatives of SSIM by three moments, in rows of W + 10 pixels: there are ten zeros on either
        # side of the valid windows.
        maps = image.new_empty((3, n_pictures, n_rows, width + _REACH, 3) if with_gradient else (3, 0))
        grid, rows = _grid(3 * (width + _REACH), n_rows, n_pictures)
        partials = image.new_empty(grid)
        _forward_kernel[grid](
            image,
            frames,
            picked,
            maps,
            maps.stride(0),
            partials,
            1.0 / (n_pictures * n_rows * (width - _REACH) * 3),
            height,
            width,
            WINDOW=WINDOW,
            C1=C1,
            C2=C2,
            ROWS=rows,
            LANES=_LANES,
            WITH_GRADIENT=with_gradient,
            num_warps=_NUM_WARPS,
        )
        if with_gradient:
            ctx.save_for_backward(image, frames, picked, maps)
        return partials.sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        image, frames, picked, maps = ctx.saved_tensors
        n_pictures, height, width, _ = image.shape
        grad_image = torch.empty_like(image)
        grid, rows = _grid(3 * width, height, n_pictures)
        _backward_kernel[grid](
            image,
            frames,
            picked,
            maps,
            maps.stride(0),
            grad_outputs[0],
            grad_image,
            -1.0 / (n_pictures * (height - _REACH) * (width - _REACH) * 3),
            height,
            width,
            WINDOW=WINDOW,
            ROWS=rows,
            LANES=_LANES,
            num_warps=_NUM_WARPS,
        )
        return grad_image, None, None, None


def _grid(n_samples: int, n_rows: int, n_pictures: int) -> tuple[tuple[int, int, int], int]:
    """Return the numbers of programs along a row, down a picture and over the pictures, and the rows of a program."""
    n_strips = triton.cdiv(n_samples, _LANES)
    wanted = triton.cdiv(n_rows * n_strips * n_pictures, _TARGET_PROGRAMS)
    # The number is a multiple of eight, since the kernels are compiled anew for every number of rows.
    rows = min(max(8 * triton.cdiv(wanted, 8), _MIN_ROWS), _MAX_ROWS)
    return (n_strips, triton.cdiv(n_rows, rows), n_pictures), rows


@triton.jit
def _zeros(LANES: tl.constexpr):  # type: ignore[no-untyped-def]
    zero = tl.zeros([LANES], tl.float32)
    return (zero, zero, zero, zero, zero, zero, zero, zero, zero, zero, zero)


@triton.jit
def _next_row(sums, value, WINDOW: tl.constexpr):  # type: ignore[no-untyped-def]
    """Add a row to a vertical filter in transposed form: sums[k] holds k + 1 taps of a window; the last is complete.

    Each product is added to the sum before, which makes the next sum: eleven multiply-adds, and nothing is moved.
    """
    after = (WINDOW[0] * value,)
    for k in tl.static_range(1, 11):
        after += (sums[k - 1] + WINDOW[k] * value,)  # type: ignore[assignment]
    return after


@triton.jit
def _forward_kernel(  # type: ignore[no-untyped-def]
    image,  # [B, H, W, 3] float32
    frames,  # [T, H, W, 3] uint8
    picked,  # [B] int64
    maps,  # [3, B, H - 10, W + 10, 3] float32, out
    map_stride,
    partials,  # [programs] float32, out: shares of the mean of 1 - SSIM
    share,
    height,
    width,
    WINDOW: tl.constexpr,
    C1: tl.constexpr,
    C2: tl.constexpr,
    ROWS: tl.constexpr,
    LANES: tl.constexpr,
    WITH_GRADIENT: tl.constexpr,
):
    picture = tl.program_id(2).to(tl.int64)
    first_row = tl.program_id(1) * ROWS
    n_rows = height - 10
    sample = tl.program_id(0) * LANES + tl.arange(0, LANES)  # Index in a row of the maps.
    n_valid = (width - 10) * 3
    valid = (sample >= 30) & (sample < 30 + n_valid)
    # The first sample of each lane's window is clamped into the picture, so that no load needs a mask.
    left = tl.minimum(tl.maximum(sample - 30, 0), n_valid - 1)
    x_samples = image + picture * (height * width * 3) + left
    y_samples = frames + tl.load(picked + picture) * (height * width * 3) + left
    map_samples = maps + picture * (n_rows * (width + 10) * 3) + sample

    mean_x, mean_y = _zeros(LANES), _zeros(LANES)
    squares, products = _zeros(LANES), _zeros(LANES)
    total = tl.zeros([LANES], tl.float32)
    for i in range(ROWS + 10):
        offset = tl.minimum(first_row + i, height - 1) * (width * 3)
        x_row, y_row = x_samples + offset, y_samples + offset
        row_x = tl.zeros([LANES], tl.float32)
        row_y = tl.zeros([LANES], tl.float32)
        row_squares = tl.zeros([LANES], tl.float32)
        row_products = tl.zeros([LANES], tl.float32)
        for k in tl.static_range(11):
            x = tl.load(x_row + 3 * k)
            y = tl.load(y_row + 3 * k).to(tl.float32) * (1 / 255)
            row_x += WINDOW[k] * x
            row_y += WINDOW[k] * y
            row_squares += WINDOW[k] * (x * x + y * y)
            row_products += WINDOW[k] * (x * y)
        mean_x = _next_row(mean_x, row_x, WINDOW)
        mean_y = _next_row(mean_y, row_y, WINDOW)
        squares = _next_row(squares, row_squares, WINDOW)
        products = _next_row(products, row_products, WINDOW)

        row = first_row + i - 10
        if (i >= 10) & (row < n_rows):
            mx, my = mean_x[10], mean_y[10]
            means_product = mx * my
            means_squares = mx * mx + my * my
            a1 = 2 * means_product + C1
            a2 = 2 * (products[10] - means_product) + C2
            b1 = means_squares + C1
            b2 = squares[10] - means_squares + C2
            inverse = 1 / (b1 * b2)
            ssim = a1 * a2 * inverse
            total += tl.where(valid, 1 - ssim, 0.0)
            if WITH_GRADIENT:
                by_mean = 2 * inverse * (my * (a2 - a1) - mx * ssim * (b2 - b1))
                by_square = -2 * inverse * ssim * b1
                by_product = 2 * inverse * a1
                in_row = sample < (width + 10) * 3
                means_row = map_samples + row * ((width + 10) * 3)
                squares_row = means_row + map_stride
                products_row = squares_row + map_stride
                tl.store(means_row, tl.where(valid, by_mean, 0.0), mask=in_row)
                tl.store(squares_row, tl.where(valid, by_square, 0.0), mask=in_row)
                tl.store(products_row, tl.where(valid, by_product, 0.0), mask=in_row)
    program = (tl.program_id(0) * tl.num_programs(1) + tl.program_id(1)) * tl.num_programs(2) + tl.program_id(2)
    tl.store(partials + program, tl.sum(total) * share)


@triton.jit
def _backward_kernel(  # type: ignore[no-untyped-def]
    image,
    frames,
    picked,
    maps,
    map_stride,
    grad_loss,  # [] float32
    grad_image,  # [B, H, W, 3] float32, out
    share,
    height,
    width,
    WINDOW: tl.constexpr,
    ROWS: tl.constexpr,
    LANES: tl.constexpr,
):
    picture = tl.program_id(2).to(tl.int64)
    first_row = tl.program_id(1) * ROWS
    n_rows = height - 10
    sample = tl.program_id(0) * LANES + tl.arange(0, LANES)
    in_row = sample < width * 3
    sample = tl.minimum(sample, width * 3 - 1)
    # The first window over a pixel begins ten pixels before it. In the padded maps that window has the pixel's index.
    map_samples = maps + picture * (n_rows * (width + 10) * 3) + sample
    x_samples = image + picture * (height * width * 3) + sample
    y_samples = frames + tl.load(picked + picture) * (height * width * 3) + sample
    grad_samples = grad_image + picture * (height * width * 3) + sample
    scale = tl.load(grad_loss) * share

    means, squares, products = _zeros(LANES), _zeros(LANES), _zeros(LANES)
    for i in range(ROWS + 10):
        row = first_row + i - 10
        row_means = tl.zeros([LANES], tl.float32)
        row_squares = tl.zeros([LANES], tl.float32)
        row_products = tl.zeros([LANES], tl.float32)
        if (row >= 0) & (row < n_rows):
            means_row = map_samples + row * ((width + 10) * 3)
            squares_row = means_row + map_stride
            products_row = squares_row + map_stride
            for k in tl.static_range(11):
                row_means += WINDOW[k] * tl.load(means_row + 3 * k)
                row_squares += WINDOW[k] * tl.load(squares_row + 3 * k)
                row_products += WINDOW[k] * tl.load(products_row + 3 * k)
        means = _next_row(means, row_means, WINDOW)
        squares = _next_row(squares, row_squares, WINDOW)
        products = _next_row(products, row_products, WINDOW)

        if (i >= 10) & (row < height):
            offset = row * (width * 3)
            x = tl.load(x_samples + offset)
            y = tl.load(y_samples + offset).to(tl.float32) * (1 / 255)
            gradient = scale * (means[10] + x * squares[10] + y * products[10])
            tl.store(grad_samples + offset, gradient, mask=in_row)
