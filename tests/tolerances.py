"""The one table of tolerances: how far numbers may lie from what a test expects, by quantity and precision.

What must agree to the last bit is compared by `torch.equal` and is not here. Where pytest's or torch's own defaults
serve (`pytest.approx(x)`, `torch.testing.assert_close(a, b)`), they are not repeated here.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

BF16, F32, F64 = torch.bfloat16, torch.float32, torch.float64


class Tolerance(NamedTuple):
    """A difference may be `rtol` of the expected number, plus `atol`, plus `of_largest` of the tensor's largest one."""

    rtol: float = 0.0
    atol: float = 0.0
    of_largest: float = 0.0
    # What the largest number counts as where it is smaller.
    least_largest: float = 0.0


class SampleTolerance(NamedTuple):
    """8-bit samples may differ by `most` levels anywhere, and by more than `usual` in a `share` of them."""

    usual: int
    share: float
    most: int


# bitstream_spec.md, section 7.7: two decoders may differ by 1 level in 99.99% of samples, and by 2 anywhere.
DECODED_SAMPLES = SampleTolerance(usual=1, share=1 / 10_000, most=2)

TABLE: dict[str, dict[torch.dtype, Tolerance]] = {
    # Sums and means in float32, in another order.
    "sum": {F32: Tolerance(rtol=1e-5, atol=1e-12)},
    # Parameters of Adam that have moved by about one; rounding alone costs 1e-7 a step.
    "adam": {F32: Tolerance(atol=2e-6)},
    "adam, 20 steps": {F32: Tolerance(atol=1e-5)},
    "adam, extreme gradients": {F32: Tolerance(atol=1e-4)},
    # Sums of thousands of code lengths in float32, in another order.
    "bits": {F32: Tolerance(rtol=1e-5, atol=1e-12)},
    "bits, few": {F32: Tolerance(rtol=1e-5, atol=1e-6)},
    "bits, total": {F32: Tolerance(rtol=1e-6, atol=1e-12)},
    "bits, slope": {F32: Tolerance(atol=1e-5)},
    # Under the interpreter all of a field is float32; on a GPU products are three of bfloat16 halves, and products of
    # gradients plain bfloat16: six roundings between the gradient of an output and that of a table.
    "deform": {F32: Tolerance(of_largest=5e-6, least_largest=1e-12)},
    "deform, GPU": {F32: Tolerance(of_largest=2e-5, least_largest=1e-12)},
    "deform, GPU gradient": {
        F32: Tolerance(of_largest=1e-4, least_largest=1e-12),
        BF16: Tolerance(of_largest=6 * 2.0**-9, least_largest=1e-12),
    },
    # Atomic additions come in another order each time.
    "deform, GPU atomics": {F32: Tolerance(of_largest=1e-5, least_largest=1e-12)},
    "deform, outside the picture": {F32: Tolerance(rtol=1e-5, atol=1e-8)},
    # Exponentials of two back ends, and sums over the frames in another order; a sum of two terms may cancel.
    "deform_shapes": {F32: Tolerance(rtol=1e-6, of_largest=1e-6)},
    "deform_shapes, gradient": {F32: Tolerance(rtol=1e-5, of_largest=1e-6)},
    # A variance E[x^2] - E[x]^2 has errors of 1e-7 in float32, against C2 = 9e-4.
    "dssim": {F32: Tolerance(atol=1e-6)},
    "dssim, gradient": {F32: Tolerance(of_largest=1e-4)},
    "dssim, gradient of equal pictures": {F32: Tolerance(atol=1e-5)},
    # Sums over the width of the network, or over the points.
    "field_mlp": {F32: Tolerance(of_largest=2e-6, least_largest=1.0)},
    "field_mlp, gradient": {F32: Tolerance(of_largest=1e-5, least_largest=1.0)},
    "field_mlp, by hand": {F32: Tolerance(rtol=1e-7, atol=2e-6)},
    # Sums of 8 x 8 terms at most; a row of a coarse level sums thousands, at real size tens of thousands.
    "hash_encode": {F32: Tolerance(of_largest=1e-6, least_largest=1.0)},
    "hash_encode, gradient": {F32: Tolerance(of_largest=5e-6, least_largest=1.0)},
    "hash_encode, gradient of many": {F32: Tolerance(of_largest=1e-5, least_largest=1.0)},
    "hash_encode, table gradient at real size": {F32: Tolerance(of_largest=5e-5, least_largest=1.0)},
    "hash_encode, tiny-cuda-nn": {F32: Tolerance(of_largest=1e-4, least_largest=1.0)},
    "hash_encode, gradcheck of positions": {F64: Tolerance(atol=1e-5)},
    "hash_encode, gradcheck of tables": {F64: Tolerance(atol=1e-6)},
    # Positions of items whose logarithms differ in the last place between back ends.
    "log_shear, gradient": {F32: Tolerance(rtol=1e-5, atol=1e-5)},
    "log_shear, gradient of steps": {F32: Tolerance(rtol=1e-4, of_largest=1e-4)},
    "log_shear, gradient of bits": {F32: Tolerance(rtol=1e-5, of_largest=1e-5)},
    "log_shear, gradient of a finite step": {F32: Tolerance(rtol=2e-2, atol=2e-2)},
    "log_shear, power": {F32: Tolerance(rtol=1e-6, atol=1e-12)},
    # Sums over a group in another order.
    "lsq, gradient of steps": {F32: Tolerance(rtol=2e-5, of_largest=2e-5)},
    "lsq, gradient": {F32: Tolerance(rtol=1e-5, atol=1e-6)},
    "lsq, gradient of bits": {F32: Tolerance(rtol=1e-4, atol=1e-12)},
    "lsq, step": {F32: Tolerance(rtol=1e-6)},
    # Pictures have a nominal range of [0, 1]. The numba kernel sets its rows up in float64, the reference in float32.
    "picture": {F32: Tolerance(atol=1e-5), F64: Tolerance(atol=1e-12)},
    "picture, gradient": {
        F32: Tolerance(of_largest=1e-4, atol=1e-12),
        F64: Tolerance(of_largest=1e-10, atol=1e-12),
    },
    "picture, one weight": {F32: Tolerance(atol=1e-6)},
    "picture, degenerate Gaussian": {F32: Tolerance(atol=1e-4), F64: Tolerance(atol=1e-9)},
    "picture, other Gaussians": {F32: Tolerance(atol=1e-6)},
    "picture, gradient of other Gaussians": {F32: Tolerance(rtol=1e-4, atol=1e-5)},
    "picture, other strides": {F32: Tolerance(rtol=1e-5, atol=1e-6)},
    "picture, within a budget": {F32: Tolerance(atol=1e-5)},
    # Gradients of the largest Gaussians are float32 sums over much of the picture: 1e-4 to 5e-4 of the largest were
    # seen in three runs of the heavy-tailed scene.
    "picture, real size": {F32: Tolerance(of_largest=1e-5, least_largest=1.0)},
    "picture, gradient at real size": {F32: Tolerance(of_largest=2e-4)},
    "picture, gradient of heavy tails": {F32: Tolerance(of_largest=1e-3)},
    # gsplat composites by alpha, and its weights do not have our offset.
    "picture, gsplat": {F32: Tolerance(atol=2e-4)},
    "picture, back ends of a field": {F32: Tolerance(atol=1e-4)},
    "picture, enlarged": {F32: Tolerance(atol=2e-5)},
    # Sums over colours in another order.
    "residual_vq": {F32: Tolerance(rtol=1e-5, of_largest=1e-5)},
    "splat_loss": {F32: Tolerance(of_largest=1e-5, atol=1e-12), F64: Tolerance(rtol=1e-12, atol=1e-12)},
    "splat_loss, gradient": {F32: Tolerance(of_largest=1e-4, atol=1e-12)},
    "splat_loss, replayed": {F32: Tolerance(rtol=1e-4, of_largest=1e-4)},
    # Gradients of quantisers, worked out by hand.
    "quantiser, gradient by hand": {F32: Tolerance(atol=1e-6)},
    "quantiser, exact values": {F32: Tolerance(rtol=1e-6)},
    # A uniform distribution's error of step^2 / 12, from 20 000 samples.
    "quantiser, mean error": {F32: Tolerance(rtol=0.05, atol=1e-12)},
    "kmeans": {F64: Tolerance(rtol=1e-5, atol=1e-8)},
    "residual_vq, commitment gradient": {F32: Tolerance(rtol=1e-5, atol=1e-7)},
    # Means of clusters after 200 updates, and colours under codewords that are rounded to halves.
    "residual_vq, codewords": {F32: Tolerance(rtol=1e-5, atol=1e-5)},
    "residual_vq, usage": {F32: Tolerance(rtol=1e-3, atol=1e-12)},
    "residual_vq, half precision": {F32: Tolerance(rtol=1e-5, atol=1e-3)},
    # Parameters and what follows from them: training spaces, pixels, products of factors.
    "covariance": {F64: Tolerance(rtol=1e-12, atol=1e-6)},
    "covariance, reduced": {F64: Tolerance(rtol=1e-9, atol=1e-9)},
    "means": {F32: Tolerance(atol=1e-6)},
    "means, pixels": {F32: Tolerance(rtol=1e-6, atol=1e-5)},
    "means, raw": {F32: Tolerance(rtol=1e-7)},
    "centroid, pixels": {F32: Tolerance(atol=1e-4)},
    "bound, after descent": {F32: Tolerance(atol=1e-3)},
    "render, gradcheck": {F64: Tolerance(atol=1e-5)},
    # Fit: the same steps by other back ends, and what a start or an estimate may err by.
    "fit, losses": {F32: Tolerance(rtol=1e-4, atol=1e-12)},
    "fit, PSNR of a GPU in dB": {F32: Tolerance(atol=0.3)},
    "fit, PSNR with little room in dB": {F32: Tolerance(atol=0.2)},
    "fit, PSNR after a rollback in dB": {F32: Tolerance(atol=1.0)},
    "fit, quantised gradients": {F32: Tolerance(rtol=1e-4, of_largest=1e-4)},
    "fit, commitment pull": {F32: Tolerance(rtol=1e-3, atol=1e-7)},
    "optimizer": {F32: Tolerance(rtol=1e-6, atol=1e-6)},
    "psnr_db": {F32: Tolerance(atol=1e-4), F64: Tolerance(atol=1e-9)},
    "means, moved": {F32: Tolerance(atol=1e-5)},
    "colour of a start": {F32: Tolerance(atol=0.1)},
    "density, sum": {F32: Tolerance(atol=1e-5)},
    "flow, pairs": {F32: Tolerance(rtol=1e-4, atol=1e-4)},
    "flow, median in pixels": {F32: Tolerance(atol=0.05)},
    "paths, median in pixels": {F32: Tolerance(atol=0.3)},
    "paths, motion": {F32: Tolerance(rtol=0.1, atol=1e-12)},
    "paths, spread": {F32: Tolerance(atol=0.1)},
    "paths, border in pixels": {F32: Tolerance(atol=0.5)},
    "paths, pixels of a border": {F32: Tolerance(rtol=0.35, atol=1e-12)},
    # The estimate of the bits against the bytes of the payload; a table of a class costs its bytes on average only.
    "rate, payload": {F32: Tolerance(rtol=0.01, atol=1e-12)},
    "rate, one class": {F32: Tolerance(rtol=0.02, atol=56)},
    "rate, other back end": {F32: Tolerance(rtol=1e-3, atol=1e-12)},
    # Truths of six digits, other implementations, formulas in float64.
    "PSNR, six digits in dB": {F64: Tolerance(atol=1e-6)},
    "PSNR, formula in dB": {F64: Tolerance(atol=1e-12)},
    "MS-SSIM": {F32: Tolerance(atol=2e-5)},
    "MS-SSIM, equal pictures": {F32: Tolerance(atol=1e-6)},
    "BD-rate, scaled rates": {F64: Tolerance(atol=1e-9)},
    "BD-rate, integration": {F64: Tolerance(rtol=1e-8, atol=1e-12)},
    # Logarithms of other machines may differ in the last place.
    "BD-rate": {F64: Tolerance(rtol=1e-12, atol=1e-12)},
    # Levels of colour: rounding to 8 bits is 0.5, and swscale's fixed point adds a little; deep full-range samples are
    # rounded twice.
    "levels, 4:4:4": {F64: Tolerance(atol=0.55)},
    # Dithering rounds up or down; swscale's full range is off by up to a quarter before that.
    "levels, dithered": {F64: Tolerance(atol=1.02)},
    "levels, dithered full range": {F64: Tolerance(atol=1.27)},
    "levels, mean of a dithered area": {F64: Tolerance(atol=0.04)},
    "levels, mean of a dithered full-range area": {F64: Tolerance(atol=0.26)},
    "levels, 4:2:0": {F64: Tolerance(atol=0.75)},
    "levels, RGB to YUV": {F64: Tolerance(atol=0.6)},
    "levels, resized": {F64: Tolerance(atol=1.0)},
    "levels, mean error of resized": {F64: Tolerance(atol=0.27)},
    "levels, mean error of 4:2:0": {F64: Tolerance(atol=0.26)},
    # Equal with the same libswscale; another version or processor may round differently.
    "levels, other swscale": {F64: Tolerance(atol=2)},
    "levels, mean error of other swscale": {F64: Tolerance(atol=0.01)},
    "levels, mean of a plane": {F64: Tolerance(atol=0.51)},
}  # fmt: skip


def tolerance(quantity: str, dtype: torch.dtype = F32) -> Tolerance:
    return TABLE[quantity][dtype]


def approx(expected, quantity: str, dtype: torch.dtype = F32):
    """`pytest.approx` with the table's tolerance: the larger of its relative and its absolute one."""
    rtol, atol, *_ = tolerance(quantity, dtype)
    return pytest.approx(expected, rel=rtol, abs=atol)


def assert_close(actual: Tensor, expected: Tensor, quantity: str, *, dtype: torch.dtype | None = None) -> None:
    """The tensors agree within the table's tolerance for `dtype`, by default the actual one's; truth may be float64."""
    assert expected.dtype in (actual.dtype, F64), f"{quantity}: {actual.dtype}, expected {expected.dtype}"
    rtol, atol, of_largest, least_largest = tolerance(quantity, dtype or actual.dtype)
    actual, expected = actual.detach().cpu().double(), expected.detach().cpu().double()
    largest = max(float(expected.abs().max()), least_largest) if expected.numel() else 0.0
    torch.testing.assert_close(
        actual, expected, rtol=rtol, atol=atol + of_largest * largest, msg=lambda text: f"{quantity}: {text}"
    )
