"""Values of a GoP's symbols in one launch: programs of Gaussians first, then programs of weights."""

# The compiler reads types from annotations, and only constexpr means anything to it.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import torch
import triton
import triton.language as tl

from stgvcodec.ops.dequantize import GopCodes, GopNumbers

_GAUSSIANS_PER_PROGRAM = 256
_WEIGHTS_PER_PROGRAM = 1024
_N_WARPS = 4


def dequantize(codes: GopCodes) -> GopNumbers:
    """See `stgvcodec.ops.dequantize.dequantize`."""
    n, n_weights = codes.means.shape[0], codes.weights.numel()
    n_stages, n_codewords, _ = codes.codebooks.shape

    def numbers(*shape: int) -> torch.Tensor:
        return torch.empty(shape, dtype=torch.float32, device=codes.means.device)

    out = GopNumbers(numbers(n, 2), numbers(n, 3), numbers(n, 3), numbers(n_weights))
    n_gaussian_programs = triton.cdiv(n, _GAUSSIANS_PER_PROGRAM)
    n_programs = n_gaussian_programs + triton.cdiv(n_weights, _WEIGHTS_PER_PROGRAM)
    if n_programs:
        _dequantize[(n_programs,)](
            *codes,
            *out,
            n,
            n_codewords,
            n_weights,
            n_gaussian_programs,
            STAGES=n_stages,
            GROUPS=codes.weight_ends.numel(),
            GAUSSIANS=_GAUSSIANS_PER_PROGRAM,
            WEIGHTS=_WEIGHTS_PER_PROGRAM,
            num_warps=_N_WARPS,
            # Product and sum are rounded apart, as the format says.
            enable_fp_fusion=False,
        )
    return out


@triton.jit(do_not_specialize=["n", "n_codewords", "n_weights", "n_gaussian_programs"])
def _dequantize(
    means,
    cholesky,
    cholesky_scale,
    cholesky_offset,
    color_indices,
    codebooks,
    weights,
    weight_ends,
    weight_scales,
    out_means,
    out_cholesky,
    out_colors,
    out_weights,
    n,
    n_codewords,
    n_weights,
    n_gaussian_programs,
    STAGES: tl.constexpr,
    GROUPS: tl.constexpr,
    GAUSSIANS: tl.constexpr,
    WEIGHTS: tl.constexpr,
):
    program = tl.program_id(0)
    if program < n_gaussian_programs:
        i = program * GAUSSIANS + tl.arange(0, GAUSSIANS)
        inside = i < n
        for axis in tl.static_range(2):
            mean = tl.load(means + 2 * i + axis, mask=inside, other=0.0)
            tl.store(out_means + 2 * i + axis, mean.to(tl.float32), mask=inside)
        for component in tl.static_range(3):
            code = tl.load(cholesky + 3 * i + component, mask=inside, other=0)
            scale = tl.load(cholesky_scale + component)
            offset = tl.load(cholesky_offset + component)
            tl.store(out_cholesky + 3 * i + component, code.to(tl.float32) * scale + offset, mask=inside)
        red = tl.zeros([GAUSSIANS], tl.float32)
        green = tl.zeros([GAUSSIANS], tl.float32)
        blue = tl.zeros([GAUSSIANS], tl.float32)
        for stage in range(STAGES):
            index = tl.load(color_indices + STAGES * i + stage, mask=inside, other=0).to(tl.int32)
            codeword = codebooks + 3 * (stage * n_codewords + index)
            red += tl.load(codeword, mask=inside, other=0.0).to(tl.float32)
            green += tl.load(codeword + 1, mask=inside, other=0.0).to(tl.float32)
            blue += tl.load(codeword + 2, mask=inside, other=0.0).to(tl.float32)
        tl.store(out_colors + 3 * i, red, mask=inside)
        tl.store(out_colors + 3 * i + 1, green, mask=inside)
        tl.store(out_colors + 3 * i + 2, blue, mask=inside)
    else:
        w = (program - n_gaussian_programs) * WEIGHTS + tl.arange(0, WEIGHTS)
        present = w < n_weights
        group = tl.zeros([WEIGHTS], tl.int32)
        for g in range(GROUPS - 1):
            group += (w >= tl.load(weight_ends + g)).to(tl.int32)
        weight = tl.load(weights + w, mask=present, other=0).to(tl.float32)
        tl.store(out_weights + w, weight * tl.load(weight_scales + group), mask=present)
