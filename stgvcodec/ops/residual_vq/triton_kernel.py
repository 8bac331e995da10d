"""Triton kernels that do all stages in one launch: a lane has one colour and tries all codewords in turn."""

# The interpreter and the compiler both read types from annotations, and only constexpr means anything to them.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from stgvcodec.ops.half_round.reference import HALF_MAX
from stgvcodec.ops.half_round.triton_kernel import half_of
from stgvcodec.ops.residual_vq.encoding import N_CHANNELS, Encoding

# Each program has this many colours; 20 000 colours make 157 programs, a little over one a multiprocessor.
_BLOCK = 128
_N_WARPS = 4
# The members of this many codewords are summed at a time: [128, 32] values live in 32 registers a lane.
_CHUNK = 32
_AVERAGE_BLOCK = 256
_AVERAGE_WARPS = 1
# Distances must round as the reference's do, or ties and near-ties would go to other codewords.
_OPTIONS = {"enable_fp_fusion": False}

_HALF_MAX = tl.constexpr(HALF_MAX)
_INFINITY = tl.constexpr(float("inf"))


@triton.jit
def _color(x_ptr, offsets, mask):
    x = tl.load(x_ptr + offsets, mask=mask, other=0.0)
    x = tl.where(x != x, 0.0, x)
    return tl.minimum(tl.maximum(x, -_HALF_MAX), _HALF_MAX)


@triton.jit
def _nearest(red, green, blue, codebook_ptr, K: tl.constexpr):
    """Find the nearest codeword, the first among equals: its index, squared distance and channels."""
    best = tl.zeros_like(red) + _INFINITY
    index = tl.zeros_like(red).to(tl.int32)
    best_red, best_green, best_blue = tl.zeros_like(red), tl.zeros_like(red), tl.zeros_like(red)
    for k in range(K):
        code_red = half_of(tl.load(codebook_ptr + 3 * k))
        code_green = half_of(tl.load(codebook_ptr + 3 * k + 1))
        code_blue = half_of(tl.load(codebook_ptr + 3 * k + 2))
        d_red, d_green, d_blue = red - code_red, green - code_green, blue - code_blue
        distance = (d_red * d_red + d_green * d_green) + d_blue * d_blue
        closer = distance < best
        best = tl.where(closer, distance, best)
        index = tl.where(closer, k, index)
        best_red = tl.where(closer, code_red, best_red)
        best_green = tl.where(closer, code_green, best_green)
        best_blue = tl.where(closer, code_blue, best_blue)
    return index, best, best_red, best_green, best_blue


@triton.jit(do_not_specialize=["n"])
def _encode_kernel(x_ptr, codebooks_ptr, indices_ptr, decoded_ptr, left_ptr, errors_ptr, n, weight, M: tl.constexpr,
                   K: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    rows = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = rows < n
    red = _color(x_ptr, 3 * rows, mask)
    green = _color(x_ptr, 3 * rows + 1, mask)
    blue = _color(x_ptr, 3 * rows + 2, mask)
    sum_red, sum_green, sum_blue = tl.zeros_like(red), tl.zeros_like(red), tl.zeros_like(red)
    left_red, left_green, left_blue = tl.zeros_like(red), tl.zeros_like(red), tl.zeros_like(red)
    error = tl.zeros_like(red)
    for stage in range(M):
        index, distance, code_red, code_green, code_blue = _nearest(
            red - sum_red, green - sum_green, blue - sum_blue, codebooks_ptr + 3 * K * stage, K
        )
        tl.store(indices_ptr + rows * M + stage, index.to(tl.uint8), mask=mask)
        sum_red += code_red
        sum_green += code_green
        sum_blue += code_blue
        left_red += red - sum_red
        left_green += green - sum_green
        left_blue += blue - sum_blue
        error += distance
    tl.store(decoded_ptr + 3 * rows, sum_red, mask=mask)
    tl.store(decoded_ptr + 3 * rows + 1, sum_green, mask=mask)
    tl.store(decoded_ptr + 3 * rows + 2, sum_blue, mask=mask)
    tl.store(left_ptr + 3 * rows, left_red, mask=mask)
    tl.store(left_ptr + 3 * rows + 1, left_green, mask=mask)
    tl.store(left_ptr + 3 * rows + 2, left_blue, mask=mask)
    tl.store(errors_ptr + tl.program_id(0), tl.sum(tl.where(mask, error, 0.0)) * weight)


@triton.jit
def _store_sums(cells_ptr, values, is_member, inside):
    tl.store(cells_ptr, tl.sum(tl.where(is_member, values[:, None], 0.0), axis=0), mask=inside)


@triton.jit(do_not_specialize=["n"])
def _members_kernel(x_ptr, codebooks_ptr, sums_ptr, n, M: tl.constexpr, K: tl.constexpr, CHUNK: tl.constexpr,
                    BLOCK: tl.constexpr):  # fmt: skip
    """Count and add up the program's targets at each codeword, into `sums_ptr`, [M, K, 4, programs]."""
    program, n_programs = tl.program_id(0), tl.num_programs(0)
    rows = program * BLOCK + tl.arange(0, BLOCK)
    mask = rows < n
    red = _color(x_ptr, 3 * rows, mask)
    green = _color(x_ptr, 3 * rows + 1, mask)
    blue = _color(x_ptr, 3 * rows + 2, mask)
    sum_red, sum_green, sum_blue = tl.zeros_like(red), tl.zeros_like(red), tl.zeros_like(red)
    for stage in range(M):
        target_red, target_green, target_blue = red - sum_red, green - sum_green, blue - sum_blue
        index, _distance, code_red, code_green, code_blue = _nearest(
            target_red, target_green, target_blue, codebooks_ptr + 3 * K * stage, K
        )
        sum_red += code_red
        sum_green += code_green
        sum_blue += code_blue
        index = tl.where(mask, index, -1)
        for start in range(0, K, CHUNK):
            codewords = start + tl.arange(0, CHUNK)
            is_member = index[:, None] == codewords[None, :]  # [BLOCK, CHUNK]
            inside = codewords < K
            cells = sums_ptr + (stage * K + codewords) * (4 * n_programs) + program
            tl.store(cells, tl.sum(is_member.to(tl.float32), axis=0), mask=inside)
            _store_sums(cells + n_programs, target_red, is_member, inside)
            _store_sums(cells + 2 * n_programs, target_green, is_member, inside)
            _store_sums(cells + 3 * n_programs, target_blue, is_member, inside)


@triton.jit
def _total(sums_ptr, n, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    total = tl.zeros([BLOCK], tl.float64)
    start = 0
    while start < n:
        total += tl.load(sums_ptr + start + lanes, mask=start + lanes < n, other=0.0).to(tl.float64)
        start += BLOCK
    return tl.sum(total)


@triton.jit
def _move(code_ptr, total, count, pull):
    code = tl.load(code_ptr).to(tl.float64)
    tl.store(code_ptr, (code + pull * (total / count - code)).to(tl.float32))


@triton.jit(do_not_specialize=["n_programs"])
def _average_kernel(sums_ptr, codebooks_ptr, usage_ptr, n_programs, DECAY: tl.constexpr,
                    BLOCK: tl.constexpr):  # fmt: skip
    """Add up the members of one codeword, and move the codeword."""
    codeword = tl.program_id(0)
    sums_ptr += codeword * 4 * n_programs
    count = _total(sums_ptr, n_programs, BLOCK)
    usage = DECAY * tl.load(usage_ptr + codeword).to(tl.float64) + (1.0 - DECAY) * count
    tl.store(usage_ptr + codeword, usage.to(tl.float32))
    if count > 0:
        pull = (1.0 - DECAY) * count / usage
        code_ptr = codebooks_ptr + 3 * codeword
        _move(code_ptr, _total(sums_ptr + n_programs, n_programs, BLOCK), count, pull)
        _move(code_ptr + 1, _total(sums_ptr + 2 * n_programs, n_programs, BLOCK), count, pull)
        _move(code_ptr + 2, _total(sums_ptr + 3 * n_programs, n_programs, BLOCK), count, pull)


def residual_vq(x: Tensor, codebooks: Tensor) -> tuple[Tensor, Tensor]:
    """Return values as decoded and the commitment loss, as `ops.residual_vq.residual_vq` describes them."""
    decoded, loss = _Quantize.apply(x, codebooks)
    return decoded, loss


def encode(x: Tensor, codebooks: Tensor) -> Encoding:
    """Code colours, as `ops.residual_vq.residual_vq_encode` describes it."""
    indices, decoded, _, _ = _encode(x, codebooks)
    return Encoding(indices, decoded)


def update(x: Tensor, codebooks: Tensor, usage: Tensor, decay: float) -> None:
    """Move codebooks and usage, in place, as `ops.residual_vq.residual_vq_update` describes it."""
    n_stages, n_codewords = usage.shape
    n_programs = triton.cdiv(x.shape[0], _BLOCK)
    sums = torch.empty(n_stages, n_codewords, 1 + N_CHANNELS, n_programs, device=x.device)
    chunk = min(triton.next_power_of_2(n_codewords), _CHUNK)
    _members_kernel[(n_programs,)](
        x.detach().contiguous(), codebooks, sums, x.shape[0], n_stages, n_codewords, chunk, _BLOCK,
        num_warps=_N_WARPS, **_OPTIONS,
    )  # fmt: skip
    _average_kernel[(n_stages * n_codewords,)](
        sums, codebooks, usage, n_programs, decay, _AVERAGE_BLOCK, num_warps=_AVERAGE_WARPS, **_OPTIONS
    )


class _Quantize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, codebooks: Tensor) -> tuple[Tensor, Tensor]:
        _, decoded, left, errors = _encode(x, codebooks)
        ctx.weight = _weight(x, codebooks)
        ctx.save_for_backward(left)
        return decoded, errors.sum()

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        grad_decoded, grad_loss = grad_outputs
        (left,) = ctx.saved_tensors
        return torch.addcmul(grad_decoded, left, grad_loss, value=2.0 * ctx.weight), None


def _weight(x: Tensor, codebooks: Tensor) -> float:
    return 1.0 / (max(x.shape[0], 1) * codebooks.shape[1])


def _encode(x: Tensor, codebooks: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return indices [N, M] uint8, decoded [N, 3], the sum of the stages' errors [N, 3] and shares of the loss."""
    n_stages, n_codewords = codebooks.shape[:2]
    x = x.detach().contiguous()
    n_programs = triton.cdiv(x.shape[0], _BLOCK)
    indices = torch.empty(x.shape[0], n_stages, dtype=torch.uint8, device=x.device)
    decoded, left = torch.empty_like(x), torch.empty_like(x)
    errors = torch.empty(n_programs, device=x.device)
    if n_programs > 0:
        _encode_kernel[(n_programs,)](
            x, codebooks.contiguous(), indices, decoded, left, errors, x.shape[0], _weight(x, codebooks), n_stages,
            n_codewords, _BLOCK, num_warps=_N_WARPS, **_OPTIONS,
        )  # fmt: skip
    return indices, decoded, left, errors
